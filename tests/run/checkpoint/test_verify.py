"""What makes a folder a complete checkpoint, and what is said of one that is not."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
from pathlib import Path

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.run.checkpoint.find import find
from ecamp_fast.run.checkpoint.read import Checkpoint, load
from ecamp_fast.run.checkpoint.verify import damage

FIRST, SECOND = "rank-00000-of-00002.safetensors", "rank-00001-of-00002.safetensors"


def test_as_saved_it_is_whole(two: Path, lab) -> None:
    for path in sorted(two.iterdir()):
        assert damage(path) == "" and lab.is_as_saved(path)


def test_it_may_be_moved_and_bear_any_name(pair, tmp_path: Path, lab) -> None:
    _, newer = pair
    moved = newer.rename(tmp_path / "kept for the paper")
    assert damage(moved) == "" and lab.is_as_saved(moved)
    link = tmp_path / "link"
    link.symlink_to(moved)
    assert damage(link) == ""


def _swap(newer: Path) -> None:
    (newer / FIRST).rename(newer / "x")
    (newer / SECOND).rename(newer / FIRST)
    (newer / "x").rename(newer / SECOND)


def _socket(newer: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        home = os.getcwd()
        os.chdir(newer)  # the address of a socket is short
        try:
            one.bind("s")
        finally:
            os.chdir(home)


def _rewrite(file: Path, change) -> None:
    file.write_bytes(change(file.read_bytes()))


DAMAGE = {
    "cut": (lambda new: _rewrite(new / FIRST, lambda data: data[:-1]), "bytes, not"),
    "longer": (lambda new: _rewrite(new / FIRST, lambda data: data + b"\0"), "bytes, not"),
    "flip": (lambda new: _rewrite(new / SECOND, lambda data: data[:-1] + bytes([data[-1] ^ 1])), "digest differs"),
    "missing": (lambda new: (new / SECOND).unlink(), f"{SECOND} is missing"),
    "empty": (lambda new: (new / SECOND).write_bytes(b""), "has 0 bytes"),
    "swapped": (_swap, "bytes, not|digest differs"),
    "of another step": (lambda new: shutil.copy(new.parent / "step-00000001" / FIRST, new), "digest differs"),
    "no manifest": (lambda new: (new / "MANIFEST.json").unlink(), "no readable MANIFEST"),
    "torn manifest": (lambda new: _rewrite(new / "MANIFEST.json", lambda data: data[:20]), "its end is missing"),
    "manifest of another step": (
        lambda new: shutil.copy(new.parent / "step-00000001" / "MANIFEST.json", new),
        "MANIFEST.json is that of step 1",
    ),
    "extra": (lambda new: (new / "zero_states.pt").write_bytes(b"planted"), "'zero_states.pt' does not belong"),
    "extra folder": (lambda new: (new / "more").mkdir(), "'more' is no plain file"),
    "link": (lambda new: ((new / FIRST).rename(new.parent / "x"), (new / FIRST).symlink_to("../x")), "no plain file"),
    "socket": (_socket, "'s' is no plain file"),
    "pipe": (lambda new: ((new / FIRST).unlink(), os.mkfifo(new / FIRST)), "no plain file"),
    "anybody may add": (lambda new: new.chmod(0o777), "not yours alone"),
    "anybody may write": (lambda new: (new / FIRST).chmod(0o666), "not yours alone"),
    "a name that breaks lines": (lambda new: (new / "a\n\x1b[31mb").write_bytes(b""), r"'a\\n\\x1b\[31mb' does not"),
    "a name that is no text": (lambda new: Path(os.fsdecode(bytes(new) + b"/\xff")).touch(), r"'\\udcff' does not"),
    "a file": (lambda new: (shutil.rmtree(new), new.write_bytes(b"")), "it is no folder"),
    "empty folder": (lambda new: (shutil.rmtree(new), new.mkdir()), "no readable MANIFEST"),
    "gone": (lambda new: (shutil.rmtree(new), new.symlink_to("nowhere")), "cannot be read"),
}


@pytest.mark.fault("C3.any-file", "C3.named", "C3.older-used")
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_the_older_one_used(pair, lab, kind: str) -> None:
    older, newer = pair
    change, reason = DAMAGE[kind]
    change(newer)
    path, notes = lab.found_in(older.parent)
    assert path == older and lab.is_as_saved(path)
    assert [name for name, _ in notes] == [newer.name]
    assert re.search(reason, notes[0][1])
    assert notes[0][1].isprintable() and notes[0][1].isascii()


def _first(tree, **values):
    tree["tensors"]["weight/a"]["parts"][0].update(values)


def _file(tree, **values):
    tree["files"][0].update(values)


HOSTILE = {
    "step of another folder": lambda tree: tree["position"].update(step=8),
    "negative step": lambda tree: tree["position"].update(step=-2),
    "huge step": lambda tree: tree["position"].update(step=10**30),
    "step is no number": lambda tree: tree["position"].update(step="2"),
    "no position": lambda tree: tree.pop("position"),
    "unknown key": lambda tree: tree.update(more=1),
    "gap": lambda tree: _first(tree, stop=14),
    "overlap": lambda tree: _first(tree, stop=16),
    "backwards": lambda tree: _first(tree, start=15, stop=0),
    "twice": lambda tree: tree["tensors"]["weight/a"]["parts"].append(tree["tensors"]["weight/a"]["parts"][0]),
    "a part is gone": lambda tree: tree["tensors"]["weight/a"]["parts"].pop(),
    "no part": lambda tree: tree["tensors"]["weight/a"].update(parts=[]),
    "wrong key": lambda tree: _first(tree, key="weight/none"),
    "key of another tensor": lambda tree: _first(tree, key="exp_avg/b"),
    "wrong file": lambda tree: _first(tree, file=1),
    "no such file": lambda tree: _first(tree, file=2),
    "negative file": lambda tree: _first(tree, file=-1),
    "huge numbers": lambda tree: _first(tree, start=10**40, stop=10**41),
    "endless number": lambda tree: _first(tree, start=0, stop=int("9" * 4000)),
    "larger shape": lambda tree: tree["tensors"]["weight/a"].update(shape=[6, 6]),
    "negative shape": lambda tree: tree["tensors"]["weight/a"].update(shape=[-6, -5]),
    "huge shape": lambda tree: tree["tensors"]["weight/a"].update(shape=[2**62, 2**62]),
    "shape is no list": lambda tree: tree["tensors"]["weight/a"].update(shape=30),
    "fractions": lambda tree: tree["tensors"]["weight/a"].update(shape=[6.0, 5.0]),
    "tensors are a list": lambda tree: tree.update(tensors=[]),
    "file outside": lambda tree: _file(tree, name="../outside"),
    "file of a path": lambda tree: _file(tree, name="/etc/passwd"),
    "file above": lambda tree: _file(tree, name=".."),
    "file with an end of line": lambda tree: _file(tree, name=FIRST + "\n"),
    "no name": lambda tree: _file(tree, name=""),
    "the manifest itself": lambda tree: _file(tree, name="MANIFEST.json"),
    "other bytes": lambda tree: _file(tree, bytes=10**30),
    "other digest": lambda tree: _file(tree, sha256="0" * 64),
    "digest is no digest": lambda tree: _file(tree, sha256="x"),
    "not a file of it": lambda tree: tree["files"].append({"name": "more", "bytes": 0, "sha256": "0" * 64}),
    "files gone": lambda tree: tree.update(files=[]),
    "nothing": lambda tree: tree.clear(),
}


@pytest.mark.fault("C3.hostile")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_manifest_that_lies_with_a_true_digest_is_refused(pair, lab, kind: str, tmp_path: Path) -> None:
    older, newer = pair
    (tmp_path / "outside").write_bytes((newer / FIRST).read_bytes())
    lab.resealed(newer, HOSTILE[kind])
    path, notes = lab.found_in(older.parent)
    assert path == older and [name for name, _ in notes] == [newer.name]
    with pytest.raises(DataError):
        find(older.parent, str(newer), lambda *_: None)
    with contextlib.suppress(DataError):  # who reads without having looked gets an error of ours at worst
        load(newer)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format": 2, "position": ' + "[" * 5000, "5", "null", "NaN", "", "{"]
)
def test_text_that_is_no_manifest_but_has_its_digest(pair, text: str) -> None:
    _, newer = pair
    seal = f',\n"digest": "{hashlib.sha256(text.encode()).hexdigest()}"}}\n'
    (newer / "MANIFEST.json").write_text(text + seal)
    assert damage(newer)


@pytest.mark.parametrize("header", [b"\xff" * 8, b"\0" * 8, b"\x10" + b"\0" * 7 + b"{}", b""])
def test_a_tensor_file_that_lies_with_a_true_digest_is_refused(pair, lab, header: bytes) -> None:
    """Eight exabytes of header, none, and less than it says."""
    older, newer = pair
    (newer / FIRST).write_bytes(header)
    digest = hashlib.sha256(header).hexdigest()
    lab.resealed(newer, lambda tree: _file(tree, bytes=len(header), sha256=digest))
    assert "is no safetensors file" in damage(newer)
    assert lab.found_in(older.parent)[0] == older
    with pytest.raises(DataError):
        Checkpoint(newer).read("weight/a")


def test_shapes_are_those_of_the_manifest(pair, lab) -> None:
    """A range has no shape of its own in its file: another shape of as many numbers is for the model to refuse."""
    _, newer = pair
    lab.resealed(newer, lambda tree: tree["tensors"]["weight/a"].update(shape=[5, 6]))
    assert damage(newer) == "" and Checkpoint(newer).shape("weight/a") == (5, 6)
    assert json.loads((newer / "MANIFEST.json").read_text())["tensors"]["weight/a"]["shape"] == [5, 6]
