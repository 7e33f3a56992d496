"""The file of the flight recorder, RUN/flight.bin: a head of 64 bytes, then 64 bytes for every optimizer step.

It only grows. A run that resumes from a checkpoint appends the steps it does again: the last record of a step counts,
and the earlier ones say whether it went the same way the first time. numpy only, so that comparing runs starts at once.
"""

import math
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

from ecamp_fast.errors import DataError
from ecamp_fast.fault_points import reach
from ecamp_fast.files import missing_folder

FILE = "flight.bin"
VERSION = 1
# One step, little-endian. step: steps done, this one included   flags: LEFT_OUT, FIRST   samples, patches, words: of
# the global batch, see ``tally``   loss ... mlm: means of its micro-batches   norm: of the gradient before clipping
# weights: digest of a slice of them after the update   crc: CRC32 of the bytes before it
RECORD = np.dtype(
    [
        *(("step", "<u4"), ("flags", "<u2"), ("ranks", "<u2")),
        *((name, "<u8") for name in ("samples", "patches", "words")),
        *((name, "<f4") for name in ("loss", "mim", "sr", "mlm", "norm")),
        *(("weights", "<u8"), ("crc", "<u4")),
    ]
)
SIZE = RECORD.itemsize
LEFT_OUT, FIRST = 1, 2  # the update was left out; the first step of a leg, behind a start or a resume

_BODY = struct.Struct("<IHH3Q5fQ")  # a record without its checksum
_LARGEST = float(np.finfo(np.float32).max)
_MAGIC = b"ECFLIGHT"
_HEAD = struct.pack("<8sII44x", _MAGIC, VERSION, SIZE)
HEAD = _HEAD + struct.pack("<I", crc32(_HEAD))
_MOST_PENDING = 4096 * SIZE  # bytes that wait for a disk that refuses


@dataclass(frozen=True, slots=True)
class Flight:
    """What a run recorded.

    steps    (N,) RECORD   the last record of each step, ascending
    earlier  (M,) RECORD   those of the same steps that came before, from legs that were cut short, as they came
    """

    steps: np.ndarray
    earlier: np.ndarray


def pack(
    step: int, flags: int, ranks: int, digests: tuple[int, int, int], means: tuple[float, ...], weights: int
) -> bytes:
    """The bytes of a record: the fields of ``RECORD`` in its order.  means: four losses and the norm

    What float32 cannot hold is recorded as infinite.
    """
    floats = (value if abs(value) <= _LARGEST else math.copysign(math.inf, value) for value in means)
    body = _BODY.pack(step, flags, ranks, *digests, *floats, weights)
    return body + struct.pack("<I", crc32(body))


def read_flight(run: Path) -> Flight:
    """What RUN/flight.bin holds; a record that a crash tore off at its end is left out.

    Raises DataError where there is no such file, or it is damaged or of another version.
    """
    path = run / FILE
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if fault := missing_folder(run):
            raise DataError(fault, "name the folder given as --out") from None
        hint = "name the folder given as --out; versions up to 0.1 recorded nothing"
        raise DataError(f"{run} has no {FILE}", hint) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})", "check its permissions") from None
    if fault := _fault_of_head(data):
        raise DataError(f"{path} {fault}", "restore it from a copy, or compare with the version that wrote it")
    records = _whole_records(data)
    if len(bad := _damaged(records)):
        raise DataError(f"{path} is damaged: record {bad[0] + 1} of {len(records)}", "restore it from a copy")
    order = np.argsort(records["step"], kind="stable")
    steps = records["step"][order]
    last = np.append(steps[1:] != steps[:-1], True) if len(steps) else np.zeros(0, bool)
    return Flight(records[order[last]], records[np.sort(order[~last])])


def _fault_of_head(data: bytes) -> str:
    """Why these are not the bytes of a flight; an empty string where they are."""
    if len(data) < len(HEAD):
        return "is shorter than its head"
    if not data.startswith(_MAGIC):
        return "is no file of the flight recorder"
    version, size = struct.unpack_from("<II", data, len(_MAGIC))
    if (version, size) != (VERSION, SIZE):
        return f"has version {version} with records of {size} bytes, this version reads {VERSION} with {SIZE}"
    return "" if data.startswith(HEAD) else "is damaged: its head"


def _whole_records(data: bytes) -> np.ndarray:
    """Those behind the head, without what a crash left at the end: a piece of a record, or blocks never written."""
    records = np.frombuffer(data, RECORD, (len(data) - len(HEAD)) // SIZE, len(HEAD))
    written = np.flatnonzero(records.view(np.uint8).reshape(-1, SIZE).any(1))
    return records[: written[-1] + 1 if len(written) else 0]


def _damaged(records: np.ndarray) -> np.ndarray:
    """Which of them their checksum denies."""
    data, ends = memoryview(records.tobytes()), range(SIZE, len(records) * SIZE + 1, SIZE)
    sums = np.fromiter((crc32(data[end - SIZE : end - 4]) for end in ends), np.uint32, len(records))
    return np.flatnonzero(sums != records["crc"])


class FlightFile:
    """RUN/flight.bin, appended to; opened by the first record, so a run without a step leaves it as it is.

    What a crash tore off at its end is cut then, so that records stay in step.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / FILE
        self._file: int | None = None
        self._pending = bytearray()

    def append(self, record: bytes) -> None:
        """One write, of the record and of those that the disk refused before; the latest that find no room are lost.

        Raises DataError where the file is not one to append to, OSError where the disk refuses.
        """
        if len(self._pending) < _MOST_PENDING:
            self._pending += record
        reach("write", file=FILE)
        if self._file is None:
            self._file = self._open()
        self._write(self._file)

    def _open(self) -> int:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            data = self._path.read_bytes()
            if HEAD.startswith(data):  # nothing yet, or a head that was torn
                os.ftruncate(file, 0)
                self._pending[:0] = HEAD
            elif fault := _fault_of_head(data):
                raise DataError(f"{self._path} {fault}", "move it away")
            else:
                os.ftruncate(file, len(HEAD) + SIZE * len(_whole_records(data)))
        except BaseException:
            os.close(file)
            raise
        return file

    def _write(self, file: int) -> None:
        written = os.write(file, self._pending)
        del self._pending[:written]  # a disk that is almost full takes a part: the next write goes on from there

    def sync(self) -> None:
        """Let the disk have what was written.  Raises OSError where it refuses."""
        if self._file is not None:
            reach("fsync", file=FILE)
            os.fsync(self._file)

    def close(self) -> None:
        """The next record opens it again."""
        if self._file is not None:
            with suppress(OSError):  # it was told when it refused
                self._write(self._file)
            os.close(self._file)
        self._file = None
        self._pending.clear()
