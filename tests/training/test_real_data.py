"""Real radiographs and reports, from a table to held-out losses. Reads the folder ``ECAMP_REAL_DATA``."""

import csv
from pathlib import Path

import pytest

from ecamp_fast.run import launch
from ecamp_fast.run.rundir import read_metrics
from ecamp_fast.shards.builder.build import build
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource

pytestmark = pytest.mark.slow


def with_patients(data: Path, out: Path) -> Path:
    """The table of reports with the patients that the table of images names; image paths made absolute."""
    with open(data / "images.csv", encoding="utf-8") as file:
        patients = {row["image_path"]: row["patient_id"] for row in csv.DictReader(file)}
    with open(data / "reports.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with open(out, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "patient_id"])
        writer.writeheader()
        for row in rows:
            path = str(data / row["image_path"])
            writer.writerow(row | {"patient_id": patients[row["image_path"]], "image_path": path})
    return out


def test_pre_training_lowers_all_losses_on_held_out_patients(real_data: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    build(CsvSource(with_patients(real_data / "cxr-mini", tmp_path / "reports.csv")), shards)
    found = ShardSet(shards)
    assert found.count("train") + found.count("val") == 140
    with open(tmp_path / "log", "wb") as log:
        out = tmp_path / "run"
        settings = ["batch.total=32", "batch.micro=32", "schedule.epochs=12", "schedule.horizon_epochs=12"]
        arguments = [f"--data={shards}", f"--out={out}", "--recipe=demo", "--no-report"]
        code = launch.wait(launch.start([*arguments, *(f"--set={item}" for item in settings)], 1, log), out)
    assert code == 0, (tmp_path / "log").read_text()[-4000:]
    first, *_, last = read_metrics(out, "val")
    for name in ("mim", "sr", "mlm"):
        assert last[name] < 0.9 * first[name], f"{name}: {first[name]:.3f} -> {last[name]:.3f}"
