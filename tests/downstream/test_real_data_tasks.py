"""Each command of a task on real radiographs, a few steps of it: that they run, and nothing of an encoder's worth.

Lungs as masks and boxes of ``cxr-mini``, 14 classes of ``nih64``. Reads the folder ``ECAMP_REAL_DATA``.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ecamp_fast import cli
from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.format.manifest import read_manifest
from ecamp_fast.weights.export import to_ours

pytestmark = pytest.mark.slow
LUNGS = ("left_lung", "right_lung")
FEW = [word for change in ("steps=3", "batch=8", "warmup=1", "precision=fp32") for word in ("--set", change)]


def ecamp_fast(*words: object) -> Any:
    done = CliRunner().invoke(cli.command, [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def build(table: Path, out: Path, *options: object) -> Path:
    ecamp_fast("shard", "build", "--from", "csv", table, out, "--short-side", 128, *options)
    return out


def test_lungs_by_masks_and_boxes(real_data: Path, tiny_run: Path, tmp_path: Path) -> None:
    folder = real_data / "cxr-mini"
    shards = build(
        folder / "images.csv",
        tmp_path / "set",
        *("--empty-reports", "keep", "--masks", folder / "masks.csv", "--boxes", folder / "boxes.csv"),
    )
    each = [word for name in LUNGS for word in ("--mask", name)]
    segmented = ecamp_fast("finetune", "segment", tiny_run, shards, tmp_path / "masks", *each, *FEW)
    with open(folder / "masks.csv", encoding="utf-8") as file:
        masked = {row["image_path"] for row in csv.DictReader(file)}
    assert sum(segmented["samples"].values()) == len(masked) == 29  # what nobody drew is not known
    assert segmented["extra"]["positive"]["images"].keys() == set(LUNGS)
    from_boxes = ecamp_fast(
        *("finetune", "segment", tiny_run, shards, tmp_path / "unions", *each, "--boxes", "--head", "linear", *FEW)
    )
    assert sum(from_boxes["samples"].values()) == 204
    classes = [word for name in LUNGS for word in ("--class", name)]
    patches = ecamp_fast("probe", tiny_run, shards, tmp_path / "patches", "--patches", *classes, "--no-baselines")
    assert patches["extra"]["place"]["value"] > 0.8  # lungs are where lungs are
    for head in ("fcos", "yolo"):
        words = ("--head", head, "--channels", 32, *classes)
        found = ecamp_fast("finetune", "detect", tiny_run, shards, tmp_path / head, *words, *FEW)
        assert sum(found["samples"].values()) == 204 and found["per_class"].keys() == set(LUNGS)


def test_fourteen_classes(real_data: Path, tiny_run: Path, tmp_path: Path) -> None:
    table = real_data / "cxr-mini" / "nih64" / "labels.csv"
    shards = build(table, tmp_path / "set", "--empty-reports", "keep", "--labels", "nih")
    probed = ecamp_fast("probe", tiny_run, shards, tmp_path / "probe")
    assert len(probed["per_class"]) == 14 and probed["extra"]["baselines"]["pixels 16x16"]["value"] > 0.5
    assert sum(probed["samples"].values()) == 700
    fitted = ecamp_fast("finetune", "classify", tiny_run, shards, tmp_path / "fit", *FEW)
    assert fitted["samples"] == probed["samples"] and fitted["per_class"].keys() == probed["per_class"].keys()
    ecamp_fast("features", tiny_run, shards, tmp_path / "features.npz")
    with np.load(tmp_path / "features.npz") as held:
        assert len(held["features"]) == len(held["values"]) == 700 and np.isfinite(held["features"]).all()
    images = sorted((table.parent / "images").iterdir())[:3]
    told = ecamp_fast("predict", tmp_path / "fit", *images, tmp_path / "told.csv")
    assert told["images"] == 3 and told["classes"] == list(fitted["per_class"])


def test_where_words_look_is_told_in_numbers_alone(
    real_data: Path, small: Callable[..., Recipe], tmp_path: Path
) -> None:
    folder = real_data / "cxr-mini"
    options = ("--reports", folder / "reports.csv", "--boxes", folder / "boxes.csv")
    shards = build(folder / "images.csv", tmp_path / "set", *options)
    run = tmp_path / "run"
    run.mkdir()
    torch.manual_seed(3)
    to_ours.write(Ecamp(small("official"), read_manifest(shards).vocab_size).eval(), run)
    found = ecamp_fast("visualize", run, "--data", shards, "--out", tmp_path / "page")
    assert found["files"] == ["index.html"] and found["checks"]
    card = ecamp_fast("evaluate", "--label-free", run, "--data", shards)
    assert next(iter(card["cards"].values()))["measures"]
