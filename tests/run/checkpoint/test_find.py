"""From which checkpoint a run goes on: never from a damaged one, never silently from nothing."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ecamp_fast.errors import DataError, EcampError
from ecamp_fast.run.checkpoint.find import committed, find_together


def former(folder: Path, step: int) -> Path:
    path = folder / f"step-{step:08d}"
    path.mkdir(parents=True)
    (path / "MANIFEST.json").write_text(json.dumps({"format": 1, "position": {"step": step}, "files": {}}, indent=1))
    return path


def test_the_newest_that_is_whole(pair, lab) -> None:
    older, newer = pair
    assert lab.found_in(older.parent) == (newer, [])
    assert lab.found_in(older.parent, "must") == (newer, [])
    assert lab.found_in(older.parent, "never") == (None, [])
    assert lab.found_in(older.parent, str(older)) == (older, [])


@pytest.mark.fault("C10.clock-skew")
def test_no_clock_is_asked(pair, lab) -> None:
    older, newer = pair
    for path, time in ((older, 4e9), (newer, 0), (older / "MANIFEST.json", 5e9), (newer / "MANIFEST.json", 1)):
        os.utime(path, (time, time))
    assert lab.found_in(older.parent) == (newer, [])


def test_steps_are_compared_as_numbers(folder: Path) -> None:
    for step in (99_999_999, 100_000_000, 2):
        (folder / f"step-{step:08d}").mkdir(parents=True)
    assert [path.name for path in committed(folder)] == ["step-100000000", "step-99999999", "step-00000002"]


def test_nothing_is_a_fresh_start_unless_it_must_be(folder: Path, lab) -> None:
    for make in (lambda: None, lambda: folder.mkdir(), lambda: (folder / "step-00000004.tmp-abc").mkdir()):
        make()
        assert lab.found_in(folder) == (None, [])
        with pytest.raises(DataError, match="there is no checkpoint"):
            lab.found_in(folder, "must")


@pytest.mark.fault("C3.junk")
def test_junk_counts_for_nothing(pair, lab) -> None:
    older, newer = pair
    for name in ("step-9", "step-00000009.bak", "step-00000009.tmp-1", "notes", "step-0000000x", "BEST", "latest"):
        (older.parent / name).mkdir()
    (older.parent / "LATEST").write_text("step-00000099")
    assert lab.found_in(older.parent) == (newer, [])
    shutil.rmtree(newer)
    shutil.rmtree(older)
    assert lab.found_in(older.parent) == (None, [])


@pytest.mark.fault("C3.empty-folders")
def test_folders_that_bear_the_name_and_hold_nothing_are_passed_over(pair, lab) -> None:
    older, newer = pair
    (older.parent / "step-00000009").mkdir()
    (older.parent / "step-00000010").write_text("")
    (older.parent / "step-00000011").symlink_to("nowhere")
    found, notes = lab.found_in(older.parent)
    assert found == newer and [name for name, _ in notes] == ["step-00000011", "step-00000010", "step-00000009"]


@pytest.mark.fault("C3.never-silently")
@pytest.mark.parametrize("mode", ["auto", "must"])
def test_damaged_ones_alone_are_no_fresh_start(pair, lab, mode: str) -> None:
    for path in pair:
        next(path.glob("rank-*")).unlink()
    with pytest.raises(DataError, match=r"none of 2 checkpoints .* verifies.*\n.*--resume never"):
        lab.found_in(pair[0].parent, mode)


@pytest.mark.fault("C3.never-silently")
@pytest.mark.parametrize("mode", ["auto", "must"])
@pytest.mark.parametrize("there", [True, False])
def test_a_checkpoint_that_was_committed_and_is_gone_is_no_fresh_start(folder: Path, lab, mode: str, there) -> None:
    if there:
        folder.mkdir()
    with pytest.raises(DataError, match=r"step 8 was saved.*no checkpoint is left") as caught:
        lab.found_in(folder, mode, known=lambda: 8)
    assert caught.value.exit_code == 3 and "--resume never" in str(caught.value)
    assert lab.found_in(folder, "never", known=lambda: 8) == (None, [])


def test_what_the_run_knows_is_asked_only_where_nothing_is_left(pair, lab) -> None:
    """A damaged events.jsonl stops nobody who has a checkpoint."""
    assert lab.found_in(pair[0].parent, known=lambda: 1 / 0)[0] == pair[1]


@pytest.mark.parametrize("mode", ["auto", "must", "path"])
def test_the_former_format_is_refused_with_the_command_that_converts_it(tmp_path: Path, lab, mode: str) -> None:
    folder = tmp_path / "RUN" / "checkpoints"
    path = former(folder, 3)
    with pytest.raises(DataError) as caught:
        lab.found_in(folder, str(path) if mode == "path" else mode)
    assert f"`ecamp-fast import --checkpoint {tmp_path / 'RUN'}`" in str(caught.value) and caught.value.exit_code == 3


def test_a_former_one_beside_a_newer_is_passed_over(pair, lab) -> None:
    former(pair[0].parent, 5)
    found, notes = lab.found_in(pair[0].parent)
    assert found == pair[1] and "format 1" in notes[0][1]


def test_what_is_named_must_be_whole(pair, lab) -> None:
    older, newer = pair
    (newer / "more").touch()
    for path in (newer, older.parent, older.parent / "none", older / "MANIFEST.json"):
        with pytest.raises(DataError, match="name a complete checkpoint"):
            lab.found_in(older.parent, str(path))


def test_one_that_was_being_replaced_is_put_back(pair, lab, context) -> None:
    """A kill between two renames leaves it under another name."""
    older, newer = pair
    newer.rename(newer.with_name(newer.name + ".tmp-old"))
    older.with_name(older.name + ".tmp-old").mkdir()
    assert find_together(older.parent, "auto", lambda *_: None) == newer
    assert lab.is_as_saved(older) and lab.is_as_saved(newer)


def test_errors_are_those_of_all_ranks(folder: Path, context) -> None:
    with pytest.raises(EcampError, match="no checkpoint"):
        find_together(folder, "must", lambda *_: None)
    assert find_together(folder, "auto", lambda *_: None) is None
