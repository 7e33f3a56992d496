"""The report: every figure with its command and device; measured and projected in tables of their own."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast.bench.report import page as bench
from ecamp_fast.bench.report.result_files import bench_of, read_results
from ecamp_fast.errors import DataError

ENVIRONMENT = {"device": "NVIDIA H200", "cores": 16, "torch": "2.14", "commit": "abc1234"}
RESULTS = {
    "train.json": {
        "bench": "train",
        "command": "ecamp-fast bench train --steps 8",
        "recipe": "paper",
        "feeds": {"memory": {"images_per_second": 4321.0, "mfu": 0.4, "tokens": 109.5}},
    },
    "model-h200.json": {
        "recipe": "paper",
        "tokens": 110.0,
        "ours": {
            "bf16": {
                "images_per_second": 5000.0,
                "mfu": None,
                "saved_bytes_per_sample": 50e6,
                "component_seconds": {"encoder": {"forward": 0.01, "backward": 0.02}},
            }
        },
        "peer": {"saved_bytes_per_sample": 220e6},
    },
    "scaling.json": {
        "recipe": "paper",
        "rows": [
            {"ranks": 1, "stage": "ddp", "images_per_second_per_rank": 4000.0, "efficiency": 1.0},
            {"ranks": 2, "stage": "2", "parity": {"passed": False}, "efficiency": None},
        ],
    },
    "project.json": {
        "recipe": "paper",
        "projected": [{"chip": "A100", "assumption": "optimistic", "images_per_second": 2345.0, "mfu": 0.6}],
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, result in RESULTS.items():
        (tmp_path / name).write_text(json.dumps({"schema": 1, "environment": ENVIRONMENT} | result))
    (tmp_path / "loader.json").write_text(json.dumps({"schema": 1, "error": {"kind": "DataError"}}))
    return tmp_path


def test_a_page_and_its_charts(folder: Path) -> None:
    done = CliRunner().invoke(bench.command, ["--results", str(folder), "--out", str(folder / "page"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    drawn = {Path(chart["file"]).name: chart["kind"] for chart in told["charts"]}
    assert drawn == {
        "step-parts-h200.svg": "measurement",
        "saved-memory-h200.svg": "measurement",
        "whole-step.svg": "measurement",
        "zero-stages.svg": "measurement",
        "projected-gpus.svg": "projection",
    }
    assert all(Path(chart["file"]).read_text().startswith("<svg") for chart in told["charts"])
    text = Path(told["page"]).read_text()
    sections = {part.splitlines()[0]: part for part in text.split("\n## ")}
    assert "](whole-step.svg)" in sections["Charts, measured"]
    assert re.findall(r"\]\((.*?)\)\n", sections["Charts, projected (calculated, not measured)"] + "\n") == [
        "projected-gpus.svg"
    ]
    measured = sections["Measured images a second"]
    projected = sections["Projected images a second (from counted work, not measured)"]
    assert "4,321.0" in measured and "40.0%" in measured and "2,345.0" not in measured
    assert "2,345.0" in projected and "4,321.0" not in projected
    assert "| 1 | ddp | 4,000.0 | 100.0% |" in sections["Scaling, measured"]
    assert "50.0" in sections["Memory kept for the backward pass, measured"]
    assert "| encoder | paper bf16 | 10.0 | 20.0 |" in sections["Time by component, measured"]
    origins = sections["Where the figures come from"]
    assert "`ecamp-fast bench train --steps 8`" in origins and "abc1234" in origins and "NVIDIA H200" in origins
    assert [row["kind"] for row in told["throughput"]] == ["measurement", "measurement", "projection"]


def test_a_result_under_its_bench_s_former_name_gives_way_to_a_new_one(folder: Path) -> None:
    former = read_results(folder)["project.json"]
    assert bench_of("project.json", former) == bench_of("any.json", former | {"bench": "project"}) == "roofline"
    (folder / "roofline-h100.json").write_text(json.dumps(former))
    assert {"project.json", "roofline-h100.json"} < set(read_results(folder))  # of another device
    (folder / "roofline.json").write_text(json.dumps(former | {"bench": "roofline"}))
    found = read_results(folder)
    assert "project.json" not in found
    assert [row["file"] for row in bench.throughput(found)][-2:] == ["roofline-h100.json", "roofline.json"]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(bench.command, ["--results", str(tmp_path)])
    assert isinstance(done.exception, DataError) and "no results" in str(done.exception)
