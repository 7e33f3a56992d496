"""What a report reads from a run directory: times, resumes, steps done twice."""

import math
from pathlib import Path

import pytest

from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.report import run_curves, sections
from ecamp_fast.report.facts import Facts, gather, read_results, save_results
from ecamp_fast.report.html import write_report
from ecamp_fast.run.rundir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    directory = RunDir(tmp_path / "run")
    directory.create()
    (directory.path / "recipe.yaml").write_text(dump_recipe(load_recipe("demo")))
    directory.set_state(status="complete", total_steps=40, ranks=2, device="CPU")
    return directory


def log(run: RunDir, step: int, loss: float = 2.0, rate: float = 4.0) -> None:
    losses = dict.fromkeys(("loss", "mim", "sr", "mlm"), loss)
    run.metric(
        {"step": step, "samples": step * 8, "epoch": step / 10, "images_per_second": rate, "time": 1e9 + step} | losses
    )


def resumed_at_20(run: RunDir, again: float) -> Facts:
    """Logged up to step 30, killed, resumed at 20; step 30 has the loss ``again`` the second time."""
    for step in (10, 20, 30):
        log(run, step)
    run.event("resumed", step=20, checkpoint="step-00000020")
    log(run, 30, again)
    log(run, 40)
    return gather(run.path)


def test_steps_done_twice_are_counted_and_compared(run: RunDir) -> None:
    facts = resumed_at_20(run, again=2.0)
    assert (facts.redone, facts.redone_alike) == (10, True)
    assert "1</b><span>resume, 10 steps redone" in sections.tiles(facts)
    assert "bit for bit" in sections.verdicts(facts)


def test_another_loss_the_second_time_is_told(run: RunDir) -> None:
    facts = resumed_at_20(run, again=2.0 + 2**-40)
    assert not facts.redone_alike
    assert 'class="bad"' in sections.verdicts(facts)


@pytest.mark.fault("N1.strict-json")
def test_losses_that_were_not_finite_leave_gaps(run: RunDir) -> None:
    for step, loss in ((10, 2.0), (20, math.nan), (30, math.inf), (40, 1.5)):
        log(run, step, loss)
    run.metric({"split": "val", "step": 40, "loss": math.nan, "mim": math.nan, "samples": 3})
    run.event("skipped", step=20, value=math.nan)
    save_results(run.path, images={"median": math.nan})
    facts = gather(run.path)
    assert [record["loss"] for record in facts.train if math.isfinite(record["loss"])] == [2.0, 1.5]
    assert math.isnan(read_results(run.path)["images"]["median"])
    page = write_report(run.path, [], "").read_text()
    assert "from 2 to 1.5" in page


def test_a_step_that_was_not_finite_twice_is_alike(run: RunDir) -> None:
    log(run, 20, math.nan)
    run.event("resumed", step=10, checkpoint="step-00000010")
    log(run, 20, math.nan)
    assert gather(run.path).redone_alike


def test_training_time_is_samples_over_rate(run: RunDir) -> None:
    log(run, 10, rate=8.0)
    log(run, 20, rate=2.0)
    facts = gather(run.path)
    assert facts.seconds == pytest.approx(10.0 + 40.0)
    assert facts.rate == pytest.approx(160 / 50)
    assert facts.span == (1e9 + 10, 1e9 + 20)


def test_a_run_that_has_logged_nothing_yet(run: RunDir) -> None:
    facts = gather(run.path)
    assert facts.span is None and facts.rate == 0.0
    parts = (sections.header, sections.tiles, sections.verdicts, run_curves.curves, sections.held_out, sections.about)
    assert "no step logged yet" in "".join(part(facts) for part in parts)


def test_results_are_merged_and_damage_is_named(run: RunDir) -> None:
    save_results(run.path, probe={"better": True})
    save_results(run.path, checks=[])
    assert read_results(run.path) == {"probe": {"better": True}, "checks": []}
    (run.path / "results.json").write_text("{")
    with pytest.raises(DataError, match=r"results\.json cannot be read"):
        read_results(run.path)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run directory"):
        gather(tmp_path)


def test_held_out_losses_at_start_and_end(run: RunDir) -> None:
    for step, loss in ((0, 4.0), (40, 1.0)):
        run.metric({"split": "val", "step": step, "samples": 9} | dict.fromkeys(("loss", "mim", "sr", "mlm"), loss))
        once = sections.held_out(gather(run.path))
    assert once.count("4.0000") == once.count("1.0000") == once.count("−75.0%") == 4


def test_results_have_their_sentences(run: RunDir) -> None:
    checks = [
        {"name": "patches", "found": "1 -> 2", "passed": True},
        {"name": "words", "found": "3", "passed": False},
        {"name": "pictures", "found": "not judged", "passed": None},
    ]
    save_results(run.path, checks=checks, images={"check": {"name": "images", "found": "4", "passed": True}})
    told = sections.verdicts(gather(run.path))
    assert [told.count(f'class="{kind}"') for kind in ("good", "bad", "open")] == [2, 1, 1]
    assert "1 → 2" in told and "Images" in told
    save_results(run.path, images={"check": {"name": "patches", "found": "of before", "passed": True}})
    assert "of before" not in sections.verdicts(gather(run.path))  # the same claim is told once


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.52, "1.5 s"), (48, "48 s"), (185, "3 min 5 s"), (3600, "1 h"), (7860, "2 h 11 min"), (273600, "3 d 4 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert sections.duration(seconds) == text
