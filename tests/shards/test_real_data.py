"""Real radiographs: every row becomes a sample, or is refused with its reason. Reads the folder ``ECAMP_REAL_DATA``."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.shards.build import Options, build
from ecamp_fast.shards.image import decode, looks_inverted
from ecamp_fast.shards.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.verify import verify


@pytest.mark.slow
def test_all_rows_with_text_become_samples(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "cxr-mini" / "reports.csv"
    report = build(CsvSource(path), tmp_path / "set", Options(vocab_size=2000, short_side=512))
    assert report.manifest.counts["samples"] == 140 and report.manifest.counts["studies"] == 126
    assert not report.manifest.quarantined and verify(tmp_path / "set").samples == 140
    with open(path, encoding="utf-8") as file:
        said = {row["image_path"]: row["report"].strip() for row in csv.DictReader(file)}
    shards = ShardSet(tmp_path / "set")
    for split in shards.splits:
        for index in range(shards.count(split)):
            sample = shards.read(split, index)
            assert sample["txt"].decode() == said.pop(json.loads(sample["json"])["image"])
    assert not said


@pytest.mark.slow
def test_every_image_without_text_decodes(real_data: Path) -> None:
    """64 radiographs without text, and 700 small ones: ready for a format that holds images alone."""
    with open(real_data / "cxr-mini" / "images.csv", encoding="utf-8") as file:
        alone = [row for row in csv.DictReader(file) if row["has_report"] == "0"]
    assert len(alone) == 64
    for row in alone:
        image = decode((real_data / "cxr-mini" / row["image_path"]).read_bytes())
        assert image.size == (int(row["width"]), int(row["height"]))
    small = sorted((real_data / "cxr-mini" / "nih64" / "images").glob("*.png"))
    assert len(small) == 700 and {decode(path.read_bytes()).size for path in small} == {(64, 64)}


@pytest.mark.slow
def test_inverted_radiographs_are_suspected(real_data: Path) -> None:
    """A hint, not a proof: frames, markers and narrow crops mislead it now and then."""
    films = [Image.open(path).convert("L") for path in sorted((real_data / "cxr-mini" / "images").glob("*.jpg"))]
    assert np.mean([looks_inverted(film) for film in films]) < 0.03
    assert np.mean([looks_inverted(film.point(lambda value: 255 - value)) for film in films]) > 0.97
