"""Which checkpoints stay."""

import math
import os
import shutil
from pathlib import Path

import pytest

from ecamp_fast.run.checkpoint.manifest import step_of
from ecamp_fast.run.checkpoint.retention import Retention, best_of, clean, note_best, set_aside


@pytest.fixture
def stocked(folder: Path, lab, tmp_path_factory) -> Path:
    """Checkpoints of steps 1 to 8."""
    made = lab.saved(folder, 1)[0]
    for step in range(2, 9):
        lab.saved(folder, step, world=1)
    assert made.is_dir()
    return folder


def steps(folder: Path) -> list[int]:
    return sorted(step for path in folder.iterdir() if (step := step_of(path.name)) is not None)


def spoil(folder: Path, step: int) -> None:
    next((folder / f"step-{step:08d}").glob("rank-*")).write_bytes(b"spoilt")


def test_the_newest_stay(stocked: Path) -> None:
    gone = Retention(stocked, 2).purge()
    assert steps(stocked) == [7, 8] and len(gone) == 6 and gone[0] == "step-00000006"
    assert sorted(path.name for path in stocked.iterdir()) == ["step-00000007", "step-00000008"]


def test_milestones_and_the_best_stay(stocked: Path) -> None:
    note_best(stocked / "step-00000003", 0.5)
    Retention(stocked, 2).purge(milestones={2, 99})
    assert steps(stocked) == [2, 3, 7, 8] and best_of(stocked) == ("step-00000003", 0.5)
    note_best(stocked / "step-00000007", 0.25)
    Retention(stocked, 2).purge(milestones={2})
    assert steps(stocked) == [2, 7, 8] and best_of(stocked) == ("step-00000007", 0.25)


@pytest.mark.fault("C2.healthy-stays")
def test_the_last_from_before_a_trouble_stays(stocked: Path) -> None:
    Retention(stocked, 2).purge(before=[5])
    assert steps(stocked) == [5, 7, 8]
    Retention(stocked, 2).purge(before=[6])  # the one at 6 is gone
    assert steps(stocked) == [5, 7, 8]
    Retention(stocked, 2).purge(before=[0])
    assert steps(stocked) == [7, 8]


@pytest.mark.fault("C3.retention")
def test_only_those_that_verify_count(stocked: Path) -> None:
    """Damaged and empty ones push no sound one out, and are left for their owner to look at."""
    spoil(stocked, 8)
    spoil(stocked, 6)
    (stocked / "step-00000009").mkdir()
    (stocked / "step-00000010").write_text("")
    Retention(stocked, 2).purge(before=[6], milestones=[8])
    assert steps(stocked) == [5, 6, 7, 8, 9, 10]
    Retention(stocked, 2).purge()
    assert steps(stocked) == [5, 6, 7, 8, 9, 10]


def test_one_that_is_damaged_later_no_longer_counts(stocked: Path) -> None:
    retention = Retention(stocked, 2)
    retention.purge()
    lone = shutil.copytree(stocked / "step-00000007", stocked.parent / "x")
    spoil(stocked, 8)
    assert retention.purge() == [] and steps(stocked) == [7, 8]
    lone.rename(stocked / "step-00000006")
    assert retention.purge() == [] and steps(stocked) == [6, 7, 8]  # of another step than its name


def test_what_was_verified_is_not_read_again(stocked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecamp_fast.run.checkpoint import retention as module

    looked: list[str] = []
    damage = module.damage
    monkeypatch.setattr(module, "damage", lambda path: looked.append(path.name) or damage(path))
    retention = Retention(stocked, 2)
    retention.purge(milestones=range(9))
    assert len(looked) == 8
    retention.purge()
    assert len(looked) == 8 and steps(stocked) == [7, 8]


def test_a_link_goes_as_a_link(stocked: Path, lab) -> None:
    """What somebody moved to another disk stays there, and nothing stumbles over the link afterwards."""
    away = (stocked / "step-00000004").rename(stocked.parent / "step-00000004")
    (stocked / "step-00000004").symlink_to(away)
    Retention(stocked, 2).purge()
    assert steps(stocked) == [7, 8] and lab.is_as_saved(away) and lab.left_overs(stocked) == []


def test_a_best_that_cannot_be_read_is_none(folder: Path) -> None:
    folder.mkdir()
    for text in ("", "{", "[" * 100_000, "5", '{"checkpoint": "x"}', '{"checkpoint": "x", "loss": NaN}', "\xff"):
        (folder / "BEST").write_text(text, encoding="latin-1")
        assert best_of(folder) == ("", math.inf), text[:20]
    (folder / "BEST").write_text('{"checkpoint": "../..", "loss": 1' + "0" * 400 + "}")
    assert best_of(folder) == ("", math.inf)
    (folder / "BEST").unlink()
    assert best_of(folder) == ("", math.inf)


def test_the_best_is_on_the_disk_before_it_has_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda one: done.append("sync") or fsync(one))
    monkeypatch.setattr(os, "replace", lambda one, other: done.append(f"to {other.name}") or replace(one, other))
    folder.mkdir()
    note_best(folder / "step-00000001", 0.5)
    assert done == ["sync", "to BEST", "sync"]


@pytest.mark.fault("C3.retention")
def test_later_ones_are_set_aside(stocked: Path, lab) -> None:
    assert set_aside(stocked, 6) == ["step-00000008", "step-00000007"] and steps(stocked) == [1, 2, 3, 4, 5, 6]
    assert set_aside(stocked, 6) == []
    lab.saved(stocked, 7, world=1)
    assert set_aside(stocked, 6) == ["step-00000007"]
    clean(stocked)
    Retention(stocked, 2).purge()
    names = ["left-step-00000007", "left-step-00000008", "step-00000005", "step-00000006"]
    assert sorted(path.name for path in stocked.iterdir()) == names


@pytest.mark.fault("C1.left-overs")
def test_what_kills_left_is_cleaned_whatever_it_is(pair, lab) -> None:
    folder = pair[0].parent
    for name in ("step-00000003.tmp-0a1b2c3d", "step-00000001.tmp-old", "step-00000004.tmp", "step-00000001.tmp-gone"):
        (folder / name).mkdir()
        (folder / name / "rank-00000-of-00002.safetensors").touch()
    (folder / "step-00000005.tmp-file").touch()
    (folder / "step-00000005.tmp-link").symlink_to(folder.parent)
    (folder / "step-00000005.tmp-dangling").symlink_to("nowhere")
    (folder / ".BEST.tmp-0a1b2c3d").touch()
    kept = [".BEST.swp", "step-notes.tmp-mine", "step-00000005.tmp.mine", "notes.tmp-x"]
    for name in kept:
        (folder / name).mkdir()
    clean(folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted([*kept, "step-00000001", "step-00000002"]) and folder.parent.is_dir()
    assert lab.is_as_saved(pair[0])


def test_what_was_being_replaced_comes_back(pair, lab) -> None:
    pair[1].rename(pair[1].with_name("step-00000002.tmp-old"))
    clean(pair[0].parent)
    assert lab.found_in(pair[0].parent) == (pair[1], []) and lab.left_overs(pair[0].parent) == []


def test_what_cannot_be_removed_stops_nothing(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pair[0].parent
    for name in ("step-00000003.tmp-a", "step-00000003.tmp-b"):
        (folder / name).mkdir()

    def refused(path: Path, *_: object, **__: object) -> None:
        if path.name.endswith("a"):
            raise PermissionError(1, "Operation not permitted")
        os.rmdir(path)

    monkeypatch.setattr(shutil, "rmtree", refused)
    clean(folder)
    assert [path.name for path in folder.glob("*tmp*")] == ["step-00000003.tmp-a"]


def test_a_purge_that_is_refused_stops_nothing(stocked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECAMP_FAULT", "rename:file=step-0000000[36].tmp-gone:EIO")
    Retention(stocked, 2).purge()
    assert steps(stocked) == [3, 6, 7, 8]
    monkeypatch.delenv("ECAMP_FAULT")
    Retention(stocked, 2).purge()
    assert steps(stocked) == [7, 8]
