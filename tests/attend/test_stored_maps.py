"""``attend score`` reads what ``attend apply`` writes, and judges it by the boxes of the set."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ecamp_fast.attend.map_files import ShardMaps, read_maps
from ecamp_fast.attend.stored_maps import read_boxed
from ecamp_fast.commands.knowledge.attend import command
from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet

GRID, SIZE = 16, 72
ONE_SIDED = {"atelectasis", "consolidation", "effusion", "mass", "nodule", "pneumothorax"}


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "phantoms"
    build_phantoms(160, out, seed=5, size=SIZE, options=Options(holdout=0.75))
    return out


def planted(shards: ShardSet) -> dict[str, list[Any]]:
    """Perfect maps of all findings of the validation split: the boxes themselves, in pixels of 16 x 16 cells."""
    rows: dict[str, list[Any]] = {"keys": [], "entities": [], "maps": [], "square": [], "image": []}
    for index in range(shards.count("val")):
        about = {"boxes": [], **shards.metadata("val", index)}
        for finding in sorted({box["finding"] for box in about["boxes"]}):
            cell = SIZE / GRID
            one = np.zeros((GRID, GRID), np.uint8)
            for box in (box for box in about["boxes"] if box["finding"] == finding):
                inside = [
                    np.abs((np.arange(GRID) + 0.5) * cell - box[corner] - box[side] / 2) <= max(box[side], cell) / 2
                    for corner, side in (("y", "height"), ("x", "width"))
                ]
                one[inside[0][:, None] & inside[1]] = 255
            for name, value in zip(
                rows, (shards.key("val", index), finding, one, (0, 0, SIZE, SIZE), (SIZE, SIZE)), strict=True
            ):
                rows[name].append(value)
    return rows


def write(folder: Path, rows: dict[str, list[Any]], split: str = "val", parts: int = 2) -> Path:
    """As ``attend apply`` writes them."""
    folder.mkdir(exist_ok=True)
    for part in range(parts):
        of = {name: values[part::parts] for name, values in rows.items()}
        held = ShardMaps(
            keys=np.array(of["keys"], str),
            entities=np.array(of["entities"], str),
            maps=np.array(of["maps"], np.uint8),
            peaks=np.ones(len(of["keys"]), np.float32),
            square=np.array(of["square"], np.int32).reshape(-1, 4),
            image=np.array(of["image"], np.int32).reshape(-1, 2),
            samples=np.array([], str),
            windows=np.zeros((0, 2), np.int32),
        )
        (folder / f"maps-{split}-{part:06d}.npz").write_bytes(held.as_bytes())
    return folder


def judged(maps: Path, shards: Path, *more: str) -> dict[str, Any]:
    done = CliRunner().invoke(command, ["score", str(maps), str(shards), *more, "--json"], catch_exceptions=False)
    return json.loads(done.stdout)


def test_perfect_maps_are_judged_so_and_phantoms_have_six_one_sided_findings(boxed: Path, tmp_path: Path) -> None:
    maps = write(tmp_path / "maps", rows := planted(ShardSet(boxed)))
    found = judged(maps, boxed)
    assert found["split"] == "val" and found["samples"] == ShardSet(boxed).count("val")
    assert (found["pairs"], found["unmapped"], found["unboxed"]) == (len(rows["keys"]), 0, 0)
    assert {name for name, one in found["findings"].items() if one["one_sided"]} == ONE_SIDED
    assert found["one_sided"]["side"]["own"]["value"] == 1
    assert found["one_sided"]["lift"]["above"]["other"]["low"] > 0
    assert found["mean"]["iou"]["own"]["value"] > 0.9


def test_the_table_says_what_its_columns_mean(boxed: Path, tmp_path: Path) -> None:
    maps = write(tmp_path / "maps", planted(ShardSet(boxed)))
    done = CliRunner().invoke(command, ["score", str(maps), str(boxed)], catch_exceptions=False)
    for words in (
        "Beside it, maps",
        "another patient's image",
        "by chance",
        "mass (1)",
        "cardiomegaly ",
        "mean of (1)",
        "above other",
    ):
        assert words in done.stdout
    (side,) = [part for part in done.stdout.split("\n\n") if part.startswith("side:")]
    assert "cardiomegaly" not in side and "mass (1)" in side


def test_boxes_are_laid_into_the_square_that_a_map_covers(boxed: Path, tmp_path: Path) -> None:
    """Maps of a square that begins elsewhere: a box is moved into it, cut at its edge, and left out beyond it."""
    shards = ShardSet(boxed)
    rows = planted(shards)
    whole = read_boxed(write(tmp_path / "whole", rows), shards, "val")
    rows["square"] = [(18, 9, 54, 36)] * len(rows["keys"])
    part = read_boxed(write(tmp_path / "part", rows), shards, "val")
    assert 0 < part.unmapped == len(whole.pairs) - len(part.pairs)
    number = {shards.key("val", index): index for index in range(shards.count("val"))}
    key, finding = rows["keys"][0], rows["entities"][0]
    boxes = [box for box in shards.metadata("val", number[key])["boxes"] if box["finding"] == finding]
    expected = [
        [(b["x"] - 9) / 36, (b["y"] - 18) / 54, (b["x"] + b["width"] - 9) / 36, (b["y"] + b["height"] - 18) / 54]
        for b in boxes
    ]
    np.testing.assert_allclose(part.pairs[0].boxes, np.clip(expected, 0, 1))
    assert part.pairs[0].finding == finding


def test_findings_without_maps_and_maps_without_boxes_are_counted(boxed: Path, tmp_path: Path) -> None:
    shards = ShardSet(boxed)
    rows = planted(shards)
    for values in rows.values():
        values.pop(3)
    rows["entities"][0] = "hernia"
    found = read_boxed(write(tmp_path / "maps", rows), shards, "val")
    assert (found.unmapped, found.unboxed, len(found.pairs)) == (2, 1, len(rows["keys"]) - 1)


def test_entities_of_one_noun_are_one_finding(boxed: Path, tmp_path: Path) -> None:
    """By the list: its plural names the same entity. The higher of two maps counts at each place."""
    shards = ShardSet(boxed)
    rows = planted(shards)
    first = {name: values[0] for name, values in rows.items()}
    own, more = first["maps"], np.full((GRID, GRID), 100, np.uint8)
    for name, value in (first | {"maps": more, "entities": first["entities"].upper()}).items():
        rows[name].append(value)
    found = read_boxed(write(tmp_path / "maps", rows), shards, "val")
    assert len(found.pairs) == len(rows["keys"]) - 1
    assert (found.pairs[0].map == np.maximum(own, 100)).all()


WRONG: dict[str, tuple[Callable[[dict[str, list[Any]]], object], str]] = {
    "another set": (lambda rows: rows["keys"].__setitem__(2, "nobody-0"), "not in split"),
    "another size": (lambda rows: rows["image"].__setitem__(2, (SIZE, SIZE + 1)), "pixels"),
    "twice": (lambda rows: [values.append(values[0]) for values in rows.values()], "two maps"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_maps_of_something_else_are_refused(boxed: Path, tmp_path: Path, wrong: str) -> None:
    shards = ShardSet(boxed)
    change, told = WRONG[wrong]
    change(rows := planted(shards))
    with pytest.raises(DataError, match=told):
        read_boxed(write(tmp_path / "maps", rows), shards, "val")


def test_maps_of_a_shard_that_was_cut_are_read_too(boxed: Path, tmp_path: Path) -> None:
    """Units that are full go on in `val-000000-1.tar`."""
    maps = write(tmp_path / "maps", rows := planted(ShardSet(boxed)))
    (maps / "maps-val-000001.npz").rename(maps / "maps-val-000000-1.npz")
    assert len(read_boxed(maps, ShardSet(boxed), "val").pairs) == len(rows["keys"])


def test_damaged_files_and_other_splits_are_named(boxed: Path, tmp_path: Path) -> None:
    shards = ShardSet(boxed)
    maps = write(tmp_path / "maps", planted(shards), "valid")
    with pytest.raises(DataError, match="it has valid"):
        read_boxed(maps, shards, "val")
    write(maps, planted(shards))
    file = maps / "maps-val-000001.npz"
    for data in (b"", file.read_bytes()[:1000], b"PK\x05\x06" + bytes(18)):
        file.write_bytes(data)
        with pytest.raises(DataError, match="000001"):
            read_boxed(maps, shards, "val")
    held = asdict(read_maps(write(tmp_path / "whole", planted(shards), parts=1) / "maps-val-000000.npz"))  # type: ignore[arg-type]
    np.savez(file, **held | {"keys": held["keys"].astype(object)})
    with pytest.raises(DataError, match="ValueError"):  # a pickle is not opened
        read_boxed(maps, shards, "val")
    for name in ("keys", "entities", "peaks", "square", "image", "maps", "windows"):
        np.savez(file, **held | {name: held[name][1:] if len(held[name]) else np.zeros((1, 2), np.int32)})
        with pytest.raises(DataError, match="do not belong"):
            read_boxed(maps, shards, "val")


def test_a_set_without_boxes_is_refused_by_the_command(boxed: Path, tmp_path: Path) -> None:
    rows = planted(ShardSet(boxed))
    rows["entities"] = ["hernia" if n % 2 else "scoliosis" for n in range(len(rows["keys"]))]
    rows["keys"] = [f"{key}" for key in rows["keys"]]
    once = {name: values[:1] for name, values in rows.items()}
    with pytest.raises(DataError, match="no map of split"):
        CliRunner().invoke(
            command, ["score", str(write(tmp_path / "maps", once, parts=1)), str(boxed)], catch_exceptions=False
        )
