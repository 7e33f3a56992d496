"""The file of the flight recorder: what is written is read, what a crash tore off is no harm, damage is named."""

import os
import struct
import time
from pathlib import Path

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.run.safety.flight import FILE, HEAD, SIZE, FlightFile, pack, read_flight


def record(step: int, loss: float = 0.0) -> bytes:
    return pack(step, 0, 1, (2, 3, 4), (loss, 5, 6, 7, 8), 9)


def write(run: Path, *records: bytes) -> Path:
    file = FlightFile(run)
    for one in records:
        file.append(one)
    file.close()
    return run / FILE


def steps(run: Path) -> list[int]:
    return read_flight(run).steps["step"].tolist()


def test_a_head_and_a_record_are_64_bytes_and_laid_out_for_ever(tmp_path: Path) -> None:
    assert len(HEAD) == SIZE == 64
    path = write(tmp_path, record(7, 0.5))
    assert path.stat().st_mode & 0o777 == 0o600
    data = path.read_bytes()
    assert data[:16] == b"ECFLIGHT" + struct.pack("<II", 1, 64)
    assert struct.unpack("<IHHQQQfffffQ", data[64:124]) == (7, 0, 1, 2, 3, 4, 0.5, 5.0, 6.0, 7.0, 8.0, 9)


def test_the_last_record_of_a_step_counts_and_the_earlier_stay(tmp_path: Path) -> None:
    write(tmp_path, *(record(step) for step in (1, 2, 3)))
    write(tmp_path, *(record(step, 1.0) for step in (2, 3, 4)))
    flight = read_flight(tmp_path)
    assert flight.steps["step"].tolist() == [1, 2, 3, 4] and flight.steps["loss"].tolist() == [0, 1, 1, 1]
    assert flight.earlier["step"].tolist() == [2, 3] and flight.earlier["loss"].tolist() == [0, 0]


@pytest.mark.fault("C8.recorded")
@pytest.mark.parametrize("torn", [b"\1", record(3)[:63], bytes(64), bytes(100)])
def test_what_a_crash_tore_off_is_left_out_and_cut_by_the_next_leg(tmp_path: Path, torn: bytes) -> None:
    path = write(tmp_path, record(1), record(2))
    path.write_bytes(path.read_bytes() + torn)
    assert steps(tmp_path) == [1, 2]
    write(tmp_path, record(3))
    assert steps(tmp_path) == [1, 2, 3]
    assert path.stat().st_size == 64 * 4


@pytest.mark.parametrize("size", [0, 1, 63])
def test_a_head_that_was_torn_is_written_anew(tmp_path: Path, size: int) -> None:
    (tmp_path / FILE).write_bytes(HEAD[:size])
    with pytest.raises(DataError, match="shorter than its head"):
        read_flight(tmp_path)
    write(tmp_path, record(1))
    assert steps(tmp_path) == [1]


def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, record(1), record(2))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(DataError):
            read_flight(tmp_path)
    path.write_bytes(whole)
    assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"something else" * 9, "no file of the flight recorder"),
        (HEAD[:8] + struct.pack("<II", 2, 128) + HEAD[16:], "version 2 with records of 128 bytes"),
    ],
)
def test_other_files_are_refused_and_left_alone(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(DataError, match=said):
        read_flight(tmp_path)
    with pytest.raises(DataError, match=said):
        write(tmp_path, record(1))
    assert (tmp_path / FILE).read_bytes() == data


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no flight"):
        read_flight(tmp_path)
    FlightFile(tmp_path).close()
    assert not (tmp_path / FILE).exists()


def test_a_disk_that_takes_a_part_gets_the_rest_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, file = os.write, FlightFile(tmp_path)
    file.append(record(1))
    monkeypatch.setattr(os, "write", lambda to, data: whole(to, data[:10]))
    file.append(record(2))
    assert steps(tmp_path) == [1]
    monkeypatch.setattr(os, "write", whole)
    file.append(record(3))
    assert steps(tmp_path) == [1, 2, 3]
    file.close()


def test_a_hundred_thousand_steps_are_read_in_a_second(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(HEAD + b"".join(record(step) for step in range(1, 100_001)))
    began = time.process_time()
    assert len(read_flight(tmp_path).steps) == 100_000
    assert time.process_time() - began < 1
