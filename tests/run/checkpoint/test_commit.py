"""A checkpoint is written by all ranks, or by none: what the disk refuses, and where."""

import errno
import itertools
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from ecamp_fast.errors import NumericsError, StorageError
from ecamp_fast.run.checkpoint import commit
from ecamp_fast.run.checkpoint.agreement import RankFault
from ecamp_fast.run.checkpoint.commit import save
from ecamp_fast.run.checkpoint.find import find, put_back
from ecamp_fast.run.checkpoint.verify import damage

FIRST, SECOND = "rank-00000-of-00002.safetensors", "rank-00001-of-00002.safetensors"


def saves(folder: Path, lab, *steps: int):
    """A job: tell of each step its folder's name or the error, then of one more with the disk well again."""

    def job(ranks, tell):
        for step in steps:
            try:
                tell(save(folder, lab.share(step, ranks.rank, ranks.world), lab.at(step), ranks).name)
            except StorageError as error:
                tell(str(error))
        os.environ["ECAMP_FAULT"] = ""
        step = steps[-1] + 1
        tell(save(folder, lab.share(step, ranks.rank, ranks.world), lab.at(step), ranks).name)

    return job


def test_saved_then_found_and_as_it_was(folder: Path, lab) -> None:
    for world in (1, 2, 3):
        (path,) = lab.saved(folder, world, world=world)
        assert path == folder / f"step-0000000{world}" and lab.is_as_saved(path)
        assert lab.found_in(folder) == (path, []) and lab.left_overs(folder) == []


def test_the_writer_s_interface_needs_no_ranks(folder: Path, lab) -> None:
    path = save(folder, lab.whole(3), lab.at(3))
    assert lab.is_as_saved(path)


def test_nobody_else_reads_it(folder: Path, lab) -> None:
    (path,) = lab.saved(folder, 1)
    assert all(item.stat().st_mode & 0o077 == 0 for item in (folder, path, *path.iterdir()))


def test_the_order_that_a_power_cut_cannot_break(folder: Path, lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, manifest, their folder, and only then the name; of a new folder its parent too."""
    done: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def named(path: object) -> str:
        return Path(str(path)).name.replace(nonce[0], "NONCE") if nonce else Path(str(path)).name

    def seen_fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if ".tmp-" in path and not nonce:
            nonce.append(path.partition(".tmp-")[2].partition("/")[0])
        done.append(("sync", named(path)))
        fsync(descriptor)

    def seen_replace(source: Path, target: Path) -> None:
        done.append((named(source), named(target)))
        replace(source, target)

    nonce: list[str] = []
    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    save(folder, lab.whole(4), lab.at(4))
    assert done == [
        ("sync", folder.parent.name),
        ("sync", "rank-00000-of-00001.safetensors"),
        ("sync", "MANIFEST.json"),
        ("sync", "step-00000004.tmp-NONCE"),
        ("step-00000004.tmp-NONCE", "step-00000004"),
        ("sync", "checkpoints"),
    ]


def test_the_same_step_again(folder: Path, lab) -> None:
    """The same position stands as it is; another, or a damaged one, is replaced."""
    (path,) = lab.saved(folder, 5)
    inode = path.stat().st_ino
    assert lab.saved(folder, 5, 5, 5) == [path] * 3 and path.stat().st_ino == inode
    save(folder, lab.whole(5), lab.at(5, left_out=[2]))
    assert path.stat().st_ino != inode and lab.is_as_saved(path)
    (path / "more").touch()
    save(folder, lab.whole(5), lab.at(5, left_out=[2]))
    assert lab.is_as_saved(path) and [item.name for item in folder.iterdir()] == [path.name]


@pytest.mark.fault("C3.junk")
@pytest.mark.parametrize("kind", ["file", "link", "link to a folder", "folder"])
def test_junk_of_its_name_gives_way(folder: Path, lab, kind: str) -> None:
    folder.mkdir()
    (folder.parent / "full").mkdir()
    (folder.parent / "full" / "kept").touch()
    path = folder / "step-00000005"
    {
        "file": path.touch,
        "link": lambda: path.symlink_to("nowhere"),
        "link to a folder": lambda: path.symlink_to(folder.parent / "full"),
        "folder": lambda: shutil.copytree(folder.parent / "full", path),
    }[kind]()
    lab.saved(folder, 5)
    assert lab.is_as_saved(path) and [item.name for item in folder.iterdir()] == [path.name]
    assert (folder.parent / "full" / "kept").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_on_one_rank_is_saved_by_none(folder: Path, lab, bad: float) -> None:
    lab.saved(folder, 1)

    def job(ranks):
        state = lab.share(2, ranks.rank, 2)
        if ranks.rank == 1:
            state["exp_avg/a"].values[3] = bad
        with pytest.raises(NumericsError, match="step 2 is not saved: exp_avg/a is not finite"):
            save(folder, state, lab.at(2), ranks)
        return True

    assert lab.in_threads(job) == [True, True]
    assert [path.name for path in folder.iterdir()] == ["step-00000001"]


def test_a_mistake_in_the_program_is_no_storage_fault(folder: Path, lab) -> None:
    with pytest.raises(RankFault, match=r"rank 0: KeyError: torch\.complex64"):
        save(folder, {"a": torch.ones(2, dtype=torch.complex64)}, lab.at(1))
    assert list(folder.iterdir()) == []


# The disk refuses

PLACES = {
    "write of rank 0": f"write:file={FIRST}:rank=0",
    "write of rank 1": f"write:file={SECOND}:rank=1",
    "sync of rank 0": f"fsync:file={FIRST}:rank=0",
    "sync of rank 1": f"fsync:file={SECOND}:rank=1",
    "write of both": "write:file=rank-*",
    "write of the manifest": "write:file=MANIFEST.json",
    "sync of the manifest": "fsync:file=MANIFEST.json",
    "sync of its folder": "fsync:file=step-00000002.tmp-*",
    "rename": "rename:file=step-00000002",
    "sync of the renaming": "fsync:file=checkpoints",
    "first thing": "checkpoint.begin",
    "between": "checkpoint.sealed",
}
SHORT = list(zip(PLACES, itertools.cycle(["ENOSPC", "EIO", "EROFS"]), itertools.cycle(["", "nth=1:"])))
SHORT += [(place, name, "" if first else "nth=1:") for place, name, first in SHORT]
EVERY = [
    *itertools.product(PLACES, ["ENOSPC", "EIO", "EROFS"], ["", "nth=1:"]),
    *itertools.product(PLACES, ["EDQUOT", "EFBIG", "ESTALE", "ETIMEDOUT"], ["", "nth=1:", "nth=2:"]),
]


@pytest.mark.fault("C2.every-file", "C2.every-rank", "C2.no-hang", "C2.all-agree", "C2.last-good", "C2.tried-again")
@pytest.mark.parametrize(
    "place, name, when",
    [*SHORT, *(pytest.param(*case, marks=pytest.mark.complete) for case in EVERY if case not in SHORT)],
)
def test_a_disk_that_refuses(pair, crew, lab, place: str, name: str, when: str) -> None:
    """Once: the save succeeds. Always: all ranks get one error, the older checkpoint stands, the next save succeeds."""
    older, newer = pair
    shutil.rmtree(newer)
    folder = older.parent
    team = crew.start(saves(folder, lab, 2), fault=f"{PLACES[place]}:{when}{name}")
    first, second = team.answers()
    assert first == second and first[1] == "step-00000003", (first, second)
    told = first[0]
    if when:
        assert told == "step-00000002" and lab.is_as_saved(newer)
    else:
        assert told.startswith("checkpoint of step 2 not written in 3 attempts: rank ")
        assert os.strerror(getattr(errno, name)) in told and "hint: free space" in told
        assert place == "sync of the renaming" or not newer.exists()
    assert lab.is_as_saved(folder / "step-00000003") and lab.is_as_saved(older)
    assert lab.left_overs(folder) == [] and lab.found_in(folder)[1] == []


@pytest.mark.fault("C2.last-good")
def test_what_was_half_written_does_not_stay_on_a_full_disk(pair, lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the damaged one that it was to replace is where it was."""
    older, newer = pair
    (newer / SECOND).unlink()
    for fault in ("fsync:file=MANIFEST.json:ENOSPC", "rename:file=step-00000002:ENOSPC"):
        monkeypatch.setenv("ECAMP_FAULT", fault)
        with pytest.raises(StorageError):
            lab.saved(older.parent, 2)
        monkeypatch.delenv("ECAMP_FAULT")
        put_back(older.parent)  # as a start does, where nothing could be renamed
        assert sorted(path.name for path in older.parent.iterdir()) == [older.name, newer.name]
        assert damage(newer) == f"{SECOND} is missing"


@pytest.mark.fault("C2.tried-again")
def test_attempts_are_further_and_further_apart(folder: Path, lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "PAUSE", 1.0)
    monkeypatch.setenv("ECAMP_FAULT", "write:EIO")
    waits: list[float] = []
    with pytest.raises(StorageError):
        save(folder, lab.whole(1), lab.at(1), wait=waits.append)
    assert waits == [1.0, 2.0]


@pytest.mark.fault("C2.room")
def test_a_disk_without_room_is_told_before_anything_is_written(folder: Path, lab, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 800, 200))
    with pytest.raises(StorageError, match="GB free, a checkpoint takes"):
        save(folder, lab.whole(1), lab.at(1))
    assert list(folder.iterdir()) == []


@pytest.mark.fault("C2.real")
def test_a_limit_on_the_size_of_files(pair, crew, lab) -> None:
    """EFBIG of the kernel itself, on one rank."""
    folder = pair[0].parent

    def job(ranks, tell):
        state = lab.share(3, ranks.rank, 2) | {f"large/{ranks.rank}": torch.ones(20_000)}
        if ranks.rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        try:
            save(folder, state, lab.at(3), ranks)
        except StorageError as error:
            tell(str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        tell(save(folder, lab.share(3, ranks.rank, 2), lab.at(3), ranks).name)

    first, second = crew.start(job).answers()
    assert first == second and "rank 1: OSError: [Errno 27] File too large" in first[0]
    assert first[1] == "step-00000003" and lab.left_overs(folder) == [] and lab.is_as_saved(folder / first[1])


@pytest.fixture
def little_disk(tmp_path: Path):
    """A file system of one MiB."""
    path = tmp_path / "little"
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", path], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system may be mounted here: {made.stderr.strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.mark.fault("C2.real")
@pytest.mark.parametrize("room", [1.2, 0.0])
def test_a_disk_that_is_full(little_disk: Path, lab, monkeypatch: pytest.MonkeyPatch, room: float) -> None:
    """Seen before, or not before it is full."""
    monkeypatch.setattr(commit, "ROOM", room)
    folder = little_disk / "checkpoints"
    lab.saved(folder, 1)
    with pytest.raises(StorageError, match="No space left" if not room else "GB free"):
        save(folder, lab.whole(2) | {"large": torch.ones(300_000)}, lab.at(2))
    assert [path.name for path in folder.iterdir()] == ["step-00000001"]
    lab.saved(folder, 3)
    assert lab.is_as_saved(folder / "step-00000001") and lab.is_as_saved(folder / "step-00000003")


@pytest.mark.fault("C2.real")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(pair, lab) -> None:
    pair[0].parent.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="Permission denied"):
            lab.saved(pair[0].parent, 3)
        assert lab.found_in(pair[0].parent) == (pair[1], [])
    finally:
        pair[0].parent.chmod(0o700)


@pytest.mark.fault("C10.slow-sync", "C10.stale-handle", "C10.not-visible")
@pytest.mark.parametrize("fault", ["fsync:sleep=0.1", f"write:file={SECOND}:nth=1:ESTALE", "write:nth=1:ENOENT"])
def test_a_disk_of_a_network(pair, crew, lab, fault: str) -> None:
    """Slow to sync, handles that went stale, a new folder that another machine does not see yet."""
    folder = pair[0].parent
    assert crew.start(saves(folder, lab, 3), fault=fault).answers() == [["step-00000003", "step-00000004"]] * 2
    assert lab.is_as_saved(folder / "step-00000003") and lab.left_overs(folder) == []


@pytest.mark.fault("C1.no-hang")
def test_ranks_that_are_left_say_which_is_gone(pair, crew, lab) -> None:
    folder = pair[0].parent
    team = crew.start(saves(folder, lab, 3), 3, "checkpoint.write:rank=1:kill", patience=1.0)
    first, gone, third = team.answers()
    assert gone == [] and first == third == ["AgreementError: no answer from rank 1 in 1 s"]
    assert find(folder, "must", lambda *_: None) == pair[1]
