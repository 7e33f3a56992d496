"""The commit protocol, with a stand-in engine: what counts as a checkpoint and what does not."""

import json
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ecamp_fast.errors import ConfigError, DataError, StorageError
from ecamp_fast.run import checkpoint
from ecamp_fast.run.checkpoint import Position

pytestmark = pytest.mark.usefixtures("context")


class Engine:
    """Writes and reads one file, as DeepSpeed would many."""

    loaded = ""

    def __init__(self) -> None:
        self.optimizer = SimpleNamespace(load_state_dict=None)

    def save_checkpoint(self, folder: str, tag: str, save_latest: bool) -> None:
        assert not save_latest
        (Path(folder) / tag / "states.pt").write_bytes(b"weights of " + tag.encode())

    def load_checkpoint(self, folder: str, tag: str) -> tuple[str, dict[str, Any]]:
        self.loaded = tag
        return tag, {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def at(step: int, **other: Any) -> Position:
    return Position(**({"step": step, "world": 1, "data": "d", "recipe": "r"} | other))


def save(folder: Path, *steps: int) -> list[Path]:
    return [checkpoint.save(Engine(), folder, at(step), keep=2) for step in steps]


def rejected(folder: Path, mode: str = "auto") -> tuple[Path | None, list[tuple[str, str]]]:
    notes: list[tuple[str, str]] = []
    found = checkpoint.find(folder, mode, lambda name, reason: notes.append((name, reason)))
    return found, notes


def test_saved_then_found_then_restored(folder: Path) -> None:
    (path,) = save(folder, 7)
    assert rejected(folder) == (path, [])
    assert (folder / "LATEST").read_text() == (folder / "latest").read_text() == path.name
    engine = Engine()
    assert checkpoint.restore(engine, path, at(0)) == 7
    assert engine.loaded == path.name


def test_the_newest_are_kept(folder: Path) -> None:
    save(folder, 1, 2, 3, 4)
    assert [p.name for p in sorted(folder.glob("step-*"))] == ["step-00000003", "step-00000004"]


def test_milestones_and_the_best_stay_beside_the_newest(folder: Path) -> None:
    for step in range(1, 8):
        path = checkpoint.save(Engine(), folder, at(step), keep=2, stay={2, 9})
        if step == 3:
            checkpoint.note_best(path, 0.5)
    assert [int(p.name[5:]) for p in sorted(folder.glob("step-*"))] == [2, 3, 6, 7]
    assert checkpoint.best_of(folder) == ("step-00000003", 0.5)
    checkpoint.note_best(path, 0.25)
    checkpoint.save(Engine(), folder, at(8), keep=2, stay={2, 9})
    assert [int(p.name[5:]) for p in sorted(folder.glob("step-*"))] == [2, 7, 8]


def test_without_a_best_there_is_none(folder: Path) -> None:
    folder.mkdir()
    assert checkpoint.best_of(folder) == ("", math.inf)
    (folder / "BEST").write_text("{")
    assert checkpoint.best_of(folder) == ("", math.inf)


def test_the_digest_of_before_is_known(folder: Path) -> None:
    (path,) = save(folder, 1)
    assert checkpoint.restore(Engine(), path, at(0, recipe="new"), former_recipe="r") == 1
    with pytest.raises(ConfigError):
        checkpoint.restore(Engine(), path, at(0, recipe="new"), former_recipe="other")


def test_saving_a_step_again_replaces_it(folder: Path) -> None:
    save(folder, 5, 5)
    assert [p.name for p in folder.glob("step-*")] == ["step-00000005"]


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "no manifest", "torn manifest", "extra", "writable"])
def test_damage_is_noticed_and_the_older_one_used(folder: Path, damage: str) -> None:
    older, newer = save(folder, 1, 2)
    states, manifest = newer / "states.pt", newer / "MANIFEST.json"
    if damage == "cut":
        states.write_bytes(states.read_bytes()[:-1])
    elif damage == "flip":
        states.write_bytes(b"W" + states.read_bytes()[1:])
    elif damage == "missing":
        states.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "torn manifest":
        manifest.write_text(manifest.read_text()[:20])
    elif damage == "extra":
        (newer / "zero_states.pt").write_bytes(b"planted")
    else:
        newer.chmod(0o777)
    found, notes = rejected(folder)
    assert found == older
    assert [name for name, _ in notes] == [newer.name]
    assert notes[0][1]


def test_unfinished_saves_are_no_checkpoints(folder: Path) -> None:
    (path,) = save(folder, 1)
    (folder / "step-00000002.tmp").mkdir()
    assert rejected(folder) == (path, [])
    save(folder, 3)
    assert not list(folder.glob("*.tmp"))


def test_never_silently_from_zero(folder: Path) -> None:
    (path,) = save(folder, 1)
    (path / "states.pt").unlink()
    with pytest.raises(DataError, match="none of 1"):
        rejected(folder)


def test_modes(folder: Path) -> None:
    assert rejected(folder) == (None, [])
    with pytest.raises(DataError, match="no checkpoint"):
        rejected(folder, "must")
    older, _ = save(folder, 1, 2)
    assert rejected(folder, "never") == (None, [])
    assert rejected(folder, str(older)) == (older, [])
    with pytest.raises(DataError, match="MANIFEST"):
        rejected(folder, str(folder))


def test_another_run_is_refused(folder: Path) -> None:
    (path,) = save(folder, 1)
    for other, error in (({"world": 2}, ConfigError), ({"recipe": "x"}, ConfigError), ({"data": "x"}, DataError)):
        with pytest.raises(error):
            checkpoint.restore(Engine(), path, at(0, **other))


def test_padded_buffers_are_not_read_into_unpadded_ones(folder: Path) -> None:
    """The other way round DeepSpeed can: tests/training/test_resume.py."""
    (path,) = save(folder, 1)
    assert checkpoint.restore(Engine(), path, at(0, aligned=True)) == 1
    padded = checkpoint.save(Engine(), folder, at(2, aligned=True), keep=2)
    assert checkpoint.restore(Engine(), padded, at(0, aligned=True)) == 2
    with pytest.raises(ConfigError, match="parameter_alignment"):
        checkpoint.restore(Engine(), padded, at(0))


def test_a_manifest_from_before_tells_no_padding(folder: Path) -> None:
    (path,) = save(folder, 1)
    manifest = json.loads((path / "MANIFEST.json").read_text())
    del manifest["position"]["aligned"]
    (path / "MANIFEST.json").write_text(json.dumps(manifest))
    assert checkpoint.restore(Engine(), path, at(0, aligned=True)) == 1


def test_a_disk_that_refuses_leaves_the_older_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = save(folder, 1)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Engine, "save_checkpoint", full)
    with pytest.raises(StorageError, match="No space left"):
        save(folder, 2)
    assert rejected(folder) == (path, [])


def test_the_manifest_says_where_the_run_stood(folder: Path) -> None:
    (path,) = save(folder, 9)
    manifest = json.loads((path / "MANIFEST.json").read_text())
    assert manifest["position"] == {"step": 9, "world": 1, "data": "d", "recipe": "r", "aligned": False}
    assert os.stat(path).st_mode & 0o077 == 0  # nobody else reads what a radiograph trained


def test_what_a_name_points_to_is_on_the_disk_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that a power cut cannot break: files, manifest, folder renamed, its parent, and only then the names."""
    done: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        done.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        fsync(descriptor)

    def seen_replace(source: Path, target: Path) -> None:
        done.append(("rename", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    save(folder, 4)

    def written(name: str, parent: str) -> list[tuple[str, str]]:
        return [("sync", f".{name}.tmp"), ("rename", name), ("sync", parent)]

    told = [(what, name.partition(".tmp-")[0] + ".tmp" if ".tmp-" in name else name) for what, name in done]
    assert told == [
        ("sync", "states.pt"),
        *written("MANIFEST.json", "step-00000004.tmp"),
        ("rename", "step-00000004"),
        ("sync", "checkpoints"),
        *written("LATEST", "checkpoints"),
        *written("latest", "checkpoints"),
    ]
