"""The manifest: what it says, and that only what was sealed is believed."""

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from ecamp_fast.run.checkpoint.manifest import (
    Position,
    TensorEntry,
    Unreadable,
    is_former,
    name_of,
    read_manifest,
    step_of,
    write_manifest,
)


def entry(shape, *ranges):
    parts = [{"file": 0, "key": "k", "start": start, "stop": stop} for start, stop in ranges]
    return TensorEntry.model_validate({"shape": shape, "parts": parts})


def test_names_of_steps() -> None:
    assert name_of(7) == "step-00000007" and step_of("step-00000007") == 7
    assert step_of(name_of(10**9)) == 10**9
    for name in ("step-7", "step-00000007.tmp-1", "step-000000007", "step-0000000x", "step-٠٠٠٠٠٠٠٧", "notes", ""):
        assert step_of(name) is None, name


def test_what_was_sealed_is_read(tmp_path: Path, lab) -> None:
    position = lab.at(9, left_out=[3, 5])
    write_manifest(tmp_path, position, [], {"a": {"shape": [0], "parts": []}})
    manifest = read_manifest(tmp_path)
    assert manifest.position == position and manifest.tensors["a"].shape == [0] and manifest.bytes == 0
    assert json.loads((tmp_path / "MANIFEST.json").read_text())["format"] == 2  # plain JSON all the same
    assert (tmp_path / "MANIFEST.json").stat().st_mode & 0o077 == 0


@pytest.mark.fault("C3.manifest")
def test_no_byte_of_it_may_change(tmp_path: Path, lab) -> None:
    """Every byte, in both directions; every length; white space too, which JSON would not mind."""
    write_manifest(tmp_path, lab.at(9), [], {})
    file = tmp_path / "MANIFEST.json"
    data = file.read_bytes()
    changed = [data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :] for i in range(len(data))]
    changed += [data[:i] for i in range(len(data))]
    changed += [data + b"\n", data + data, b" " + data, data.replace(b"\n", b"\n ", 1), data.replace(b": ", b":", 1)]
    changed += [data.replace(b"9", b"8", 1), data.replace(b'"step": 9', b'"step": 9.0', 1)]
    for other in changed:
        file.write_bytes(other)
        with pytest.raises(Unreadable):
            read_manifest(tmp_path)
    file.write_bytes(data)
    assert read_manifest(tmp_path).position == lab.at(9)


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "missing"])
def test_only_a_plain_file_is_opened(tmp_path: Path, lab, kind: str) -> None:
    """Opening a pipe would wait for ever."""
    write_manifest(tmp_path, lab.at(9), [], {})
    file = tmp_path / "MANIFEST.json"
    file.rename(tmp_path / "other")
    make = {"pipe": lambda: os.mkfifo(file), "link": lambda: file.symlink_to("other"), "folder": file.mkdir}
    make.get(kind, lambda: None)()
    with pytest.raises(Unreadable, match="no readable MANIFEST"):
        read_manifest(tmp_path)
    assert not is_former(tmp_path)


def test_the_former_format_is_known(tmp_path: Path) -> None:
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"format": 1, "position": {"step": 3}}, indent=1))
    assert is_former(tmp_path)
    with pytest.raises(Unreadable, match="format 1"):
        read_manifest(tmp_path)


def test_a_later_format_is_told(tmp_path: Path, lab) -> None:
    write_manifest(tmp_path, lab.at(9), [], {})
    lab.resealed(tmp_path, lambda tree: tree.update(format=3))
    with pytest.raises(Unreadable, match="format 3, this version reads 2"):
        read_manifest(tmp_path)


def test_positions_are_numbers_that_a_folder_can_have() -> None:
    for step in (-1, 10**18, 1.0, True, "3", None):
        with pytest.raises(ValidationError):
            Position(step=step)


def test_where_parts_make_no_whole() -> None:
    assert entry([6, 5], (0, 10), (10, 30)).gap() is None
    assert entry([6, 5], (10, 30), (0, 10)).gap() is None
    assert entry([], (0, 1)).gap() is None
    assert entry([0]).gap() is None
    assert entry([6, 5], (0, 10), (11, 30)).gap() == 10
    assert entry([6, 5], (0, 10), (9, 30)).gap() == 10
    assert entry([6, 5], (0, 10), (0, 10), (10, 30)).gap() == 10
    assert entry([6, 5], (0, 29)).gap() == 29
    assert entry([6, 5], (0, 31)).gap() == 31
    assert entry([6, 5], (0, 30), (30, 20)).gap() == 30
    with pytest.raises(ValidationError):
        entry([-2, -15], (0, 30))
