"""Blocks on the local disk: within the bound and the room there is, whoever else writes, and whoever was killed."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from ecamp_fast.shards.storage import block_cache
from ecamp_fast.shards.storage.block_cache import Blocks, cache_folder


def held(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def test_the_cache_stays_within_its_bound_and_keeps_what_was_read_last(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path, tmp_path / "set", bound=100_000)
    for number in range(300):
        blocks.put("a.tar", number, bytes(1000))
        assert blocks.get("a.tar", 0, 1000) is not None, "touched all the time"
    assert held(tmp_path) <= 100_000 * (1 + 1 / 16)
    assert blocks.get("a.tar", 299, 1000) is not None and blocks.get("a.tar", 100, 1000) is None


def test_left_overs_of_a_killed_process_do_not_count_for_ever(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path, tmp_path / "set", bound=10_000)
    (tmp_path / "set" / "a.tar").mkdir()
    left = tmp_path / "set" / "a.tar" / ".0123.tmp"
    left.write_bytes(bytes(9000))
    os.utime(left, (0, 0))
    for number in range(5):
        blocks.put("a.tar", number, bytes(1000))
    assert not left.exists() and blocks.get("a.tar", 4, 1000) is not None


def test_temporaries_of_killed_processes_go_and_those_in_use_stay(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path, tmp_path / "set", bound=10_000)
    old, young = (tmp_path / "set" / f".INDEX.bin.tmp-{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(bytes(6000))
    os.utime(old, (0, 0))
    blocks.put("a.tar", 0, bytes(1000))
    assert young.exists() and not old.exists()


def test_copies_are_left_alone_until_they_are_old(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path, tmp_path / "set", bound=10_000)
    with blocks.scratch() as killed, blocks.scratch() as folder:
        for copy in (killed, folder):
            (copy / "a.tar").write_bytes(bytes(50_000))
        for path in (killed / "a.tar", killed):
            os.utime(path, (0, 0))
        for number in range(30):
            blocks.put("b.tar", number, bytes(1000))
        assert (folder / "a.tar").stat().st_size == 50_000
        assert all(blocks.get("b.tar", number, 1000) for number in range(25, 30)), "copies do not count as held"
        assert blocks.get("b.tar", 0, 1000) is None
        with blocks.scratch():
            assert folder.exists() and not killed.exists()
    assert not folder.exists()


def test_who_has_no_bound_deletes_nothing_and_stops_when_much_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_cache, "UNBOUNDED", 20_000)
    run = Blocks(tmp_path, tmp_path / "set", bound=100_000)
    for number in range(15):
        run.put("a.tar", number, bytes(1000))
    other = Blocks(tmp_path, tmp_path / "set", bound=None)
    for number in range(100, 150):
        other.put("a.tar", number, bytes(1000))
    assert all(run.get("a.tar", number, 1000) for number in range(15))
    assert 18_000 <= held(tmp_path) <= 21_000
    for number in range(15, 30):
        run.put("a.tar", number, bytes(1000))
    other.put("a.tar", 200, bytes(1000))
    assert all(run.get("a.tar", number, 1000) for number in range(30)) and other.get("a.tar", 200, 1000) is None


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk of ``size`` bytes, of which others take ``others``.  told: whether it says how full it is"""
    disk = SimpleNamespace(size=100_000, others=0, told=True)
    write = Path.write_bytes

    def free() -> int:
        return int(disk.size - disk.others - held(tmp_path))

    def statvfs(path: Path) -> SimpleNamespace:
        return SimpleNamespace(f_frsize=1, f_blocks=disk.size, f_bavail=max(0, free()) if disk.told else disk.size)

    def full(path: Path, data: bytes) -> int:
        if len(data) > free():
            raise OSError(errno.ENOSPC if disk.told else errno.EDQUOT, "full")
        return write(path, data)

    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(Path, "write_bytes", full)
    return disk


def test_a_full_disk_leaves_the_cache_smaller_but_alive(tmp_path: Path, disk: SimpleNamespace) -> None:
    blocks = Blocks(tmp_path, tmp_path / "set", bound=10**9)
    for number in range(300):
        blocks.put("a.tar", number, bytes(1000))
        assert blocks.get("a.tar", number, 1000) is not None
    for number in range(300, 600):
        disk.others = min(60_000, disk.size - held(tmp_path))  # take whatever is free
        blocks.put("a.tar", number, bytes(1000))
        assert blocks.get("a.tar", number, 1000) is not None
    assert 30_000 <= held(tmp_path) <= 40_000


def test_the_reserve_stays_free(tmp_path: Path, disk: SimpleNamespace) -> None:
    blocks = Blocks(tmp_path, tmp_path / "set", bound=110_000)
    for number in range(300):
        blocks.put("a.tar", number, bytes(1000))
    share = block_cache.RESERVE[1]
    assert held(tmp_path) <= 100_000 * (1 - share) + 110_000 / 32 + 1000


def test_a_quota_that_nothing_tells_of_makes_room_too(tmp_path: Path, disk: SimpleNamespace) -> None:
    disk.told = False
    blocks = Blocks(tmp_path, tmp_path / "set", bound=10**9)
    for number in range(300):
        blocks.put("a.tar", number, bytes(1000))
        assert blocks.get("a.tar", number, 1000) is not None


def test_a_disk_that_others_fill_takes_nothing_and_is_no_fault(tmp_path: Path, disk: SimpleNamespace) -> None:
    blocks = Blocks(tmp_path, tmp_path / "set", bound=10**9)
    disk.others = disk.size
    for number in range(5):
        blocks.put("a.tar", number, bytes(1000))
    assert held(tmp_path) == 0


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ECAMP_FAST_CACHE", raising=False)
    assert cache_folder() == tmp_path / "ecamp-fast"
    monkeypatch.setenv("ECAMP_FAST_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
