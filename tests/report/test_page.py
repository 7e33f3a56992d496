"""The page: complete in itself, honest about what it holds, and safe whatever a run is called."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
import torch

from ecamp_fast.config import Recipe, dump_recipe, load_recipe
from ecamp_fast.evidence.images import masked_correlation
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.report.build import report_run
from ecamp_fast.report.facts import read_results
from ecamp_fast.report.html import write_report
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out = tmp_path_factory.mktemp("report") / "phantoms"
    build_phantoms(24, out, size=146, options=Options(holdout=0.5, workers=1))
    return ShardSet(out)


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("demo")


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe) -> Path:
    """A run directory as the trainer leaves it."""
    path = tmp_path / "run <b>1</b>"
    directory = RunDir(path)
    directory.create()
    (path / "recipe.yaml").write_text(dump_recipe(recipe))
    for step in range(0, 31, 10):
        line = {
            "step": step,
            "loss": 5.0 - step / 10,
            "mim": 1.0,
            "sr": 1.0,
            "mlm": 3.0 - step / 10,
            "time": 1e9 + step,
        }
        extra = {
            "lr": 1e-3,
            "images_per_second": 10.0,
            "epoch": step / 10,
            "samples": step,
            "tokens": 9,
            "grad_norm": 1.0,
        }
        directory.metric(line | extra if step else line | {"split": "val", "samples": 4, "tokens": 9})
    directory.event("saved", step=20, checkpoint="step-00000020", seconds=0.1)
    directory.set_state(status="complete", step=30, total_steps=30, ranks=1, device="CPU", data="x", versions={})
    return path


def test_the_page_needs_and_loads_nothing_else(run: Path, shards: ShardSet, recipe: Recipe) -> None:
    page = report_run(run, Ecamp(recipe, shards.manifest.vocab_size).eval(), shards, recipe, samples=2).read_text()
    assert page.count('src="data:image/') >= 10  # five pictures of each sample
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert "handle it as such" in page
    assert "<b>1</b>" not in page  # the run's name is text, not markup
    assert len(page) < 3_000_000
    images = read_results(run)["images"]
    assert images["check"]["passed"] is False  # nothing was trained
    assert "interpolation" in images["opponents"]
    assert "Hidden patches are reconstructed, not smeared" in page


def test_a_page_to_share_has_no_pictures_and_no_text(run: Path, shards: ShardSet) -> None:
    page = write_report(run).read_text()
    assert "data:image/" not in page and "handle it as such" not in page
    assert shards.key("val", 0) not in page


def test_correlation_runs_over_masked_pixels_alone() -> None:
    torch.manual_seed(0)
    truth, mask = torch.randn(3, 1, 8, 8), torch.tensor([[True, False, True, False]]).expand(3, 4)
    prediction = truth.clone()
    prediction[:, :, :, 4:] = 99.0  # visible patches: the right half of the picture
    assert masked_correlation(prediction, truth, mask).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    assert masked_correlation(-prediction, truth, mask).tolist() == pytest.approx([-1.0] * 3, abs=1e-5)


MACHINE = {"tokens_per_second": 90.0, "data_wait": 0.25, "memory_bytes": 3 * 2**30, "mfu": 0.4}


def charts(page: str) -> dict[str, str]:
    """Title of each chart -> its picture."""
    found = re.findall(r'<figure class="chart"><figcaption>([^<]*).*?(<svg.*?</svg>)', page, re.DOTALL)
    return {unescape(title): svg for title, svg in found}


def test_every_chart_names_its_axes_and_units(run: Path) -> None:
    for line in range(40, 71, 10):
        RunDir(run).metric(
            {"step": line, "samples": line, "epoch": 1, "loss": 1.0, "grad_norm": 2.0, "time": 1e9 + line} | MACHINE
        )
    RunDir(run).metric({"split": "val", "step": 70, "samples": 4, "loss": 2.5, "time": 1e9 + 7200})
    found = charts(write_report(run).read_text())
    for title, unit, value in (
        ("Gradient norm", "L2 norm before clipping", "2"),
        ("Text tokens per second", "tokens/s", "90"),
        ("Wait for data", "% of the time, mean of ranks", "25"),
        ("Memory", "GiB, resident, rank 0", "3"),
        ("Model FLOP utilisation (MFU)", "% of the bfloat16 peak", "40"),
    ):
        assert f">{unit}</text>" in found[title] and ">optimizer step</text>" in found[title]
        assert f"to {value}" in found[title]
    assert all(svg.count("x name") == 2 for svg in found.values())
    assert ">hours since the first line</text>" in found["Held-out loss by the clock"]
    readings = json.loads(unescape(re.search(r'data-lines="([^"]*)"', found["Held-out loss by the clock"]).group(1)))
    assert [point[2:] for point in readings[0]["points"]] == [["0", "5"], ["2", "2.5"]]


def test_a_run_of_before_has_a_report_that_says_what_is_not_known(run: Path) -> None:
    page = write_report(run).read_text()
    assert "not recorded by the version that trained this run" in page
    assert not {"Text tokens per second", "Wait for data", "Memory"} & charts(page).keys()
    RunDir(run).metric({"step": 40, "samples": 40, "epoch": 1, "loss": 1.0, "time": 1e9} | MACHINE | {"mfu": None})
    page = write_report(run).read_text()
    assert "not recorded" not in page and "a CPU has no peak to hold it against" in page


@pytest.mark.parametrize(("seconds", "axis"), [(30, "seconds"), (150, "minutes"), (9000, "hours")])
def test_the_clock_has_a_unit_that_fits(run: Path, seconds: int, axis: str) -> None:
    RunDir(run).metric({"split": "val", "step": 30, "samples": 4, "loss": 2.5, "time": 1e9 + seconds})
    assert f">{axis} since the first line</text>" in charts(write_report(run).read_text())["Held-out loss by the clock"]
