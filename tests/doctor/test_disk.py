import errno
import os
from collections.abc import Callable
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
@pytest.mark.fault("E3.shared-memory")
def test_shared_memory(free: int, ranks: int, status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_frsize=4096, f_bavail=free // 4096))
    finding = only(disk.shared_memory, RunSetup(asked_ranks=ranks))
    assert finding.status is status
    assert status is Status.OK or "--shm-size=512m" in finding.hint


def test_no_shared_memory_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SHARED_MEMORY", tmp_path / "shm")
    assert only(disk.shared_memory, RunSetup()).status is Status.WARN


def failing(name: str, number: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), name)

    return refuse


@pytest.mark.parametrize(
    ("place", "number", "says"),
    [("os.replace", errno.EPERM, "cannot rename onto a file"), ("fcntl.flock", errno.ENOLCK, "cannot lock a file"),
     ("os.fsync", errno.EIO, "cannot write and fsync")],
)  # fmt: skip
def test_a_file_system_that_cannot_commit_is_refused(
    place: str, number: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert only(disk.commit, RunSetup(out=tmp_path / "run")).status is Status.OK
    monkeypatch.setattr(disk, "folder_fault", lambda _: "")
    monkeypatch.setattr(place, failing(place, number))
    finding = only(disk.commit, RunSetup(out=tmp_path / "run"))
    assert finding.status is Status.FAIL and says in finding.found and "another file system" in finding.hint
    assert list(tmp_path.iterdir()) == []


def test_a_slow_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SLOW", 0.0)
    assert only(disk.commit, RunSetup(out=tmp_path)).status is Status.WARN


@pytest.mark.parametrize(
    ("free", "all_of_them", "status"), [(10, 99, Status.FAIL), (10**6, 10**7, Status.OK), (0, 0, Status.OK)]
)
def test_the_number_of_files(free: int, all_of_them: int, status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=all_of_them, f_favail=free))
    assert only(disk.files, RunSetup()).status is status


@pytest.mark.parametrize(
    ("kind", "status", "says"),
    [("tmpfs", Status.WARN, "a restart"), ("overlay", Status.WARN, "the container"), ("nfs4", Status.OK, "network"),
     ("ext4", Status.OK, "ext4")],
)  # fmt: skip
def test_the_kind_of_file_system(
    kind: str, status: Status, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a run"
    out.mkdir()
    mounts = tmp_path / "mountinfo"
    mount = str(out).replace(" ", "\\040")
    mounts.write_text(f"1 0 8:1 / / rw - xfs /dev/sda rw\n2 1 8:2 / {mount} rw shared:1 - {kind} /dev/sdb rw\n")
    monkeypatch.setattr(disk, "MOUNTS", mounts)
    finding = only(disk.file_system, RunSetup(out=out))
    assert finding.status is status and says in finding.found
    assert only(disk.file_system, RunSetup(out=tmp_path)).found == "xfs"


@pytest.mark.parametrize(
    ("out", "status", "says"),
    [("a run/größe", Status.OK, "long"), ("x" * 4000, Status.FAIL, "3,936 are allowed"),
     ("a\nb", Status.FAIL, "cannot be seen"), ("run\u202e", Status.FAIL, "be seen"), ("run ", Status.FAIL, "be seen")],
)  # fmt: skip
@pytest.mark.fault("E3.path")
def test_names_of_runs(out: str, status: Status, says: str) -> None:
    finding = only(disk.names, RunSetup(out=Path(out)))
    assert finding.status is status and says in finding.found


def test_a_link_to_nothing_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for out, says in (("link", "which is not there"), ("file", "is a file")):
        finding = only(disk.out, RunSetup(out=tmp_path / out))
        assert finding.status is Status.FAIL and says in finding.found
