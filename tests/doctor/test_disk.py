import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from ecamp_fast.config import load_recipe
from ecamp_fast.doctor import disk
from ecamp_fast.doctor.finding import Finding, Status
from ecamp_fast.doctor.run_setup import RunSetup


def only(check: object, setup: RunSetup) -> Finding:
    (finding,) = check(setup)  # type: ignore[operator]
    return finding


def test_out_can_be_anywhere_that_can_be_made(tmp_path: Path) -> None:
    out = tmp_path / "a path with spaces" / "größe"
    assert only(disk.out, RunSetup(out=out)).status is Status.OK
    assert not out.parent.exists()
    assert list(disk.out(RunSetup())) == []


@pytest.mark.parametrize(("free", "status"), [(1e9, Status.FAIL), (3e9, Status.WARN), (9e9, Status.OK)])
def test_free_space_is_weighed_against_checkpoints(
    free: float, status: Status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=int(free)))
    setup = RunSetup(out=tmp_path, recipe=load_recipe("paper"), parameters=10**8)
    finding = only(disk.room, setup)
    assert finding.status is status
    assert "a checkpoint takes about 1.20 GB, 2 are kept" in finding.found


@pytest.mark.parametrize(
    ("free", "ranks", "status"), [(64 * 2**20, 2, Status.WARN), (64 * 2**20, 1, Status.OK), (2**30, 2, Status.OK)]
)
def test_shared_memory(free: int, ranks: int, status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_frsize=4096, f_bavail=free // 4096))
    finding = only(disk.shared_memory, RunSetup(asked_ranks=ranks))
    assert finding.status is status
    assert status is Status.OK or "--shm-size=512m" in finding.hint


def test_no_shared_memory_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SHARED_MEMORY", tmp_path / "shm")
    assert only(disk.shared_memory, RunSetup()).status is Status.WARN
