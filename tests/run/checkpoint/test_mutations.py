"""A thousand ways to change a checkpoint: none is accepted, each is told, and the older sound one is used."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.run.checkpoint.find import committed
from ecamp_fast.run.checkpoint.verify import damage

MANIFEST = "MANIFEST.json"


def _any(newer: Path, chance: random.Random) -> Path:
    return chance.choice(sorted(newer.iterdir()))


def _changed(change: Callable[[bytes, random.Random], bytes]) -> Callable[[Path, random.Random], str]:
    def mutate(newer: Path, chance: random.Random) -> str:
        file = _any(newer, chance)
        file.write_bytes(change(file.read_bytes(), chance))
        return file.name

    return mutate


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _splice(data: bytes, chance: random.Random) -> bytes:
    start, stop = sorted(chance.sample(range(len(data) + 1), 2))
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[start:stop] + data[at:]


def _zeros(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    stop = min(len(data), start + chance.choice([1, 16, 512]))
    return data[:start] + bytes(stop - start) + data[stop:]


def _without(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randint(1, 40) :]


def _delete(newer: Path, chance: random.Random) -> str:
    file = _any(newer, chance)
    file.unlink()
    return file.name


def _rename(newer: Path, chance: random.Random) -> str:
    file = _any(newer, chance)
    file.rename(newer / chance.choice([file.name + "~", file.name.upper() + "x", "x", f".{file.name}"]))
    return file.name


def _duplicate(newer: Path, chance: random.Random) -> str:
    file = _any(newer, chance)
    shutil.copy(file, newer / chance.choice(["x.safetensors", file.name + ".bak", "." + file.name, "latest"]))
    return file.name


def _link(newer: Path, chance: random.Random) -> str:
    """Also to its own bytes, elsewhere."""
    file = _any(newer, chance)
    away = file.rename(newer.parent / f"away-{file.name}")
    file.symlink_to(chance.choice([away, "nowhere", file.name, "/dev/zero", newer.parent]))
    return file.name


def _no_file(newer: Path, chance: random.Random) -> str:
    file = _any(newer, chance)
    file.unlink()
    chance.choice([os.mkfifo, os.mkdir])(file)
    return file.name


def _swap(newer: Path, chance: random.Random) -> str:
    """Two files of it, or one with that of another checkpoint."""
    one = _any(newer, chance)
    older = newer.parent / "step-00000001"
    others = [path for path in (*newer.iterdir(), older / one.name) if path != one]
    other = chance.choice(sorted(others))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    if other.parent == newer:
        other.write_bytes(first)
    return f"{one.name}, {other.name}"


def _json(newer: Path, chance: random.Random) -> str:
    """A value changed by hand, the file written as it was, or anew, or with another digest."""
    file = newer / MANIFEST
    tree = json.loads(file.read_text())
    place, path = tree, []
    while isinstance(place, dict | list) and place:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        path.append(chance.choice(keys))
        holder, place = place, place[path[-1]]
    value = chance.choice([0, 1, -1, 8, 2**70, 1.5, None, True, "", "x", "../x", [], {}, [0], "0" * 64])
    holder[path[-1]] = value
    layout = chance.choice([{"indent": 0}, {"indent": 1}, {}, {"separators": (",", ":")}])
    file.write_text(json.dumps(tree, **layout) + chance.choice(["", "\n"]))
    return f"{path} = {value!r}"


def _white_space(newer: Path, chance: random.Random) -> str:
    """The same JSON, other bytes."""
    file = newer / MANIFEST
    data = file.read_bytes()
    at = chance.choice([i for i, byte in enumerate(data) if byte in b",\n:{["])
    file.write_bytes(data[:at] + chance.choice([b" ", b"\n", b"\t", b"\r"]) + data[at:])
    return str(at)


def _key(newer: Path, chance: random.Random) -> str:
    """A key more, or one less."""
    file = newer / MANIFEST
    tree = json.loads(file.read_text())
    part = chance.choice([tree, tree["position"], tree["files"][0], tree["tensors"]])
    if chance.random() < 0.5:
        part["planted"] = 1
    else:
        part.pop(chance.choice(sorted(part)))
    file.write_text(json.dumps(tree, indent=0) + "\n")
    return str(sorted(part))


def _mode(newer: Path, chance: random.Random) -> str:
    path = chance.choice([newer, *sorted(newer.iterdir())])
    path.chmod(chance.choice([0o602, 0o606, 0o666]) | (0o100 if path == newer else 0) | 0o400)
    return path.name


def _junk(newer: Path, chance: random.Random) -> str:
    name = chance.choice(["core", ".nfs0001", "rank-00002-of-00002.safetensors", "zero_pp_rank_0.pt", "a\nb", "é"])
    (newer / name).write_bytes(chance.randbytes(chance.choice([0, 9])))
    return ascii(name)


def _folder(newer: Path, chance: random.Random) -> str:
    """The name of a later step on a copy, on an empty folder, on a file."""
    later = newer.with_name(f"step-{chance.randint(3, 10**9):08d}")
    kind = chance.choice(["moved", "emptied", "file"])
    if kind == "moved":
        newer.rename(later)
    else:
        shutil.rmtree(newer)
        newer.mkdir() if kind == "emptied" else newer.write_bytes(b"x")
    return kind


MUTATIONS = {
    "flip": _changed(_flip),
    "cut": _changed(lambda data, chance: data[: chance.randrange(len(data))]),
    "append": _changed(lambda data, chance: data + chance.choice([b"\0", b"\n", b" ", data, b"}" * 3])),
    "splice": _changed(_splice),
    "zeros": _changed(_zeros),
    "without": _changed(_without),
    "noise": _changed(lambda data, chance: chance.randbytes(len(data))),
    **{function.__name__[1:]: function for function in (_delete, _rename, _duplicate, _link, _no_file, _swap, _json)},
    **{function.__name__[1:]: function for function in (_white_space, _key, _mode, _junk, _folder)},
}


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """What lies there: names, kinds and modes, bytes."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.fault("C3.any-file", "C3.manifest", "C3.older-used", "C3.no-traceback", "C3.named")
@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.complete)])
def test_none_is_accepted(two: Path, tmp_path: Path, lab, count: int) -> None:
    chance = random.Random(count)
    pristine, done = state_of(two), 0
    while done < count:
        folder = shutil.copytree(two, tmp_path / "checkpoints")
        kind = list(MUTATIONS)[done % len(MUTATIONS)]
        where = f"{kind}: {MUTATIONS[kind](folder / 'step-00000002', chance)}"
        if state_of(folder) != pristine:  # what leaves everything as it was is no mutation
            done += 1
            path, notes = lab.found_in(folder)
            assert path == folder / "step-00000001" and lab.is_as_saved(path), where
            assert len(notes) == 1 and notes[0][1].isprintable() and notes[0][0] == committed(folder)[0].name, where
        shutil.rmtree(folder)


@pytest.mark.fault("C3.never-silently")
def test_of_one_checkpoint_alone_none_becomes_a_fresh_start(two: Path, tmp_path: Path, lab) -> None:
    chance = random.Random(7)
    for kind in MUTATIONS:
        folder = tmp_path / "checkpoints"
        shutil.copytree(two / "step-00000002", folder / "step-00000002")
        shutil.copytree(two / "step-00000001", folder / "step-00000001")
        MUTATIONS[kind](folder / "step-00000002", chance)
        shutil.rmtree(folder / "step-00000001")
        with pytest.raises(DataError):
            lab.found_in(folder)
        shutil.rmtree(folder)


def test_what_lies_beside_changes_nothing(two: Path, tmp_path: Path, lab) -> None:
    folder = shutil.copytree(two, tmp_path / "checkpoints")
    for name in ("LATEST", "latest", "core", "step-00000003.tmp-x", "step-3", "a\nb"):
        (folder / name).write_bytes(b"junk")
    assert lab.found_in(folder) == (folder / "step-00000002", []) and damage(folder / "step-00000002") == ""
