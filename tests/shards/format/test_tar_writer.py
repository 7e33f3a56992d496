"""A shard is a plain tar whose bytes depend on its samples alone, and appears whole or not at all."""

import hashlib
import os
import resource
import subprocess
import sys
import tarfile
import zlib

import numpy as np
import pytest

from ecamp_fast.errors import StorageError
from ecamp_fast.shards.format import tar_writer
from ecamp_fast.shards.format.manifest import EXTENSIONS
from ecamp_fast.shards.format.tar_writer import ShardWriter, UnitWriter

SAMPLES = {
    "a_1": {"jpg": b"J" * 700, "txt": b"report", "distilled.txt": b"", "tokens": b"\1\0\0\0", "json": b"{}"},
    "b_1": {"json": b"{}", "jpg": b"K" * 512, "attn.pgm": b"P5", "txt": b"r", "distilled.txt": b"d", "tokens": b"\1"},
}


def written(folder, samples=SAMPLES):
    with ShardWriter(folder, "train-000000.tar", "train") as writer:
        for key, members in samples.items():
            writer.add(key, members)
        return writer.close()


def test_the_manifest_entry_is_true(tmp_path):
    shard = written(tmp_path)
    data = (tmp_path / shard.name).read_bytes()
    assert shard.bytes == len(data) and shard.sha256 == hashlib.sha256(data).hexdigest()
    assert shard.keys == ("a_1", "b_1")
    for row, key in enumerate(shard.keys):
        for extension, columns in shard.members.items():
            offset, size, crc = (int(getattr(columns, name)[row]) for name in ("offset", "size", "crc32"))
            expected = SAMPLES[key].get(extension)
            if expected is None:
                assert (offset, size, crc) == (-1, -1, -1)
            else:
                assert data[offset : offset + size] == expected and zlib.crc32(expected) == crc
    assert "masks.png" not in shard.members


def test_it_is_a_plain_tar_of_anonymous_regular_files_in_order(tmp_path):
    with tarfile.open(tmp_path / written(tmp_path).name, "r:") as archive:
        entries = archive.getmembers()
    names = [f"{key}.{ext}" for key, members in SAMPLES.items() for ext in EXTENSIONS if ext in members]
    assert [e.name for e in entries] == names
    assert all(e.isreg() and (e.mtime, e.uid, e.gid, e.uname, e.gname) == (0, 0, 0, "", "") for e in entries)


def test_the_order_of_members_given_does_not_matter(tmp_path):
    (tmp_path / "x").mkdir()
    turned = {key: dict(reversed(members.items())) for key, members in SAMPLES.items()}
    assert written(tmp_path).sha256 == written(tmp_path / "x", turned).sha256


def test_an_error_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, "train-000000.tar", "train") as writer:
        writer.add("a_1", SAMPLES["a_1"])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_unit_is_one_shard_and_more_where_it_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_writer, "SHARD_BYTES", 60_000)
    with UnitWriter(tmp_path, "val-000003", "val") as unit:
        for number in range(3):
            unit.add(f"k{number}", {"jpg": b"x" * 100})
        for number in range(3):
            unit.add(f"big{number}", {"jpg": b"x" * 40_000})
        shards = unit.finish()
    names = [("val-000003.tar", 4), ("val-000003-1.tar", 1), ("val-000003-2.tar", 1)]
    assert [(s.name, len(s.keys)) for s in shards] == names
    with UnitWriter(tmp_path, "val-000004", "val") as empty:
        assert empty.finish() == ()


def test_a_full_disk_is_a_storage_error(tmp_path, monkeypatch):
    with (
        pytest.raises(StorageError, match=r"train-000000\.tar.*No space left") as caught,
        ShardWriter(tmp_path, "train-000000.tar", "train") as writer,
    ):
        writer._file.close()
        writer._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        writer.add("a_1", SAMPLES["a_1"])
    assert caught.value.exit_code == 5 and list(tmp_path.iterdir()) == []


def test_a_file_size_limit_stops_a_build_and_leaves_nothing(tmp_path):
    program = (
        "import resource, sys; from ecamp_fast.shards.builder.build import build_phantoms, Options\n"
        "from ecamp_fast.errors import StorageError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, {resource.RLIM_INFINITY}))\n"
        "try: build_phantoms(20, sys.argv[1], size=64, options=Options(workers=1))\n"
        "except StorageError as error: sys.exit(error.exit_code)\n"
    )
    out = tmp_path / "set"
    done = subprocess.run([sys.executable, "-c", program, str(out)], env=os.environ | {"PYTHONPATH": _path()})
    assert done.returncode == 5 and list(tmp_path.iterdir()) == []


def _path():
    return os.pathsep.join(entry for entry in sys.path if entry)


def test_columns_are_int64(tmp_path):
    assert all(columns.crc32.dtype == np.int64 for columns in written(tmp_path).members.values())
