"""Real radiographs: every row becomes a sample, or is refused with its reason. Reads the folder ``ECAMP_REAL_DATA``."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ecamp_fast.commands.shard import command
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.check.verify import verify
from ecamp_fast.shards.images.encode import looks_inverted
from ecamp_fast.shards.load.read import Sample, ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource


@pytest.mark.slow
def test_all_rows_with_text_become_samples(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "cxr-mini" / "reports.csv"
    report = build(CsvSource(path), tmp_path / "set", Options(vocab_size=2000, short_side=512))
    assert report.manifest.counts["samples"] == 140 and report.manifest.counts["studies"] == 126
    assert not report.manifest.quarantined and verify(tmp_path / "set").samples == 140
    with open(path, encoding="utf-8") as file:
        reports = {row["image_path"]: row["report"].strip() for row in csv.DictReader(file)}
    shards = ShardSet(tmp_path / "set")
    for split in shards.splits:
        for index in range(shards.count(split)):
            sample = shards.read(split, index)
            assert sample["txt"].decode() == reports.pop(json.loads(sample["json"])["image"])
    assert not reports


@pytest.mark.slow
def test_images_without_text_become_samples_beside_the_others(real_data: Path, tmp_path: Path) -> None:
    """One command takes 140 images with their reports, of another table, and 64 that have none."""
    folder = real_data / "cxr-mini"
    reports = ["--reports", str(folder / "reports.csv"), "--empty-reports", "keep"]
    built = _build(folder / "images.csv", tmp_path / "set", *reports, "--short-side", "512")
    assert (built["samples"], built["without_text"], built["quarantined"]) == (204, 64, 0)
    with open(folder / "images.csv", encoding="utf-8") as file:
        rows = {row["image_path"]: row for row in csv.DictReader(file)}
    with open(folder / "reports.csv", encoding="utf-8") as file:
        reports = {row["image_path"]: row["report"].strip() for row in csv.DictReader(file)}
    for sample, about in _samples(tmp_path / "set"):
        row = rows.pop(about["image"])
        assert (about["patient_id"], about["view"]) == (row["patient_id"], row["view"])
        assert ";".join(about["labels"]) == row["labels"] and ("txt" in sample) == (row["has_report"] == "1")
        assert sample.get("txt", b"").decode() == reports.get(about["image"], "")
    assert not rows and verify(tmp_path / "set").samples == 204


@pytest.mark.slow
def test_a_table_of_labels_becomes_images_alone(real_data: Path, tmp_path: Path) -> None:
    table = real_data / "cxr-mini" / "nih64" / "labels.csv"
    built = _build(table, tmp_path / "set", "--empty-reports", "keep")
    assert (built["samples"], built["without_text"], built["vocab_size"]) == (700, 700, 0)
    with open(table, encoding="utf-8") as file:
        labels = {row["image_path"]: row["labels"] for row in csv.DictReader(file)}
    for sample, about in _samples(tmp_path / "set"):
        assert sample.keys() == {"jpg", "json"} and (about["width"], about["height"]) == (64, 64)
        assert ";".join(about["labels"]) == labels.pop(about["image"])
    assert not labels and verify(tmp_path / "set").samples == 700


def _build(table: Path, out: Path, *options: str) -> Any:
    done = CliRunner().invoke(command, ["build", "--from", "csv", str(table), str(out), *options, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def _samples(folder: Path) -> Iterator[tuple[Sample, dict[str, Any]]]:
    shards = ShardSet(folder)
    for split in shards.splits:
        for index in range(shards.count(split)):
            sample = shards.read(split, index)
            yield sample, json.loads(sample["json"])


@pytest.mark.slow
def test_inverted_radiographs_are_suspected(real_data: Path) -> None:
    """A hint, not a proof: frames, markers and narrow crops mislead it now and then."""
    films = [Image.open(path).convert("L") for path in sorted((real_data / "cxr-mini" / "images").glob("*.jpg"))]
    assert np.mean([looks_inverted(film) for film in films]) < 0.03
    assert np.mean([looks_inverted(film.point(lambda value: 255 - value)) for film in films]) > 0.97
