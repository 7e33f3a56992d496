"""Images per second are those of steps: whatever else a run does between them, however long it takes, is left out."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast import fault_points
from ecamp_fast.config import Recipe
from ecamp_fast.fault_points import VARIABLE
from ecamp_fast.run import trainer as trainer_module
from ecamp_fast.run.checkpoint import saver as saver_module
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.progress import TrainProgress
from ecamp_fast.run.rundir import RunDir, read_records
from ecamp_fast.run.saving import RunCheckpoints
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trainer import Trainer

SETTINGS = (
    *("schedule={epochs: 1, warmup_epochs: 0, horizon_epochs: 2}", "log_every=1", "checkpoint.keep=3"),
    *("checkpoint.every_steps=2", "evaluation.every_steps=2"),
)
PAUSE = 1.0  # seconds; a step here takes a few hundredths
# What is slow, once: at which call, the first that comes behind a step.
SLOW: dict[str, tuple[Any, str, int]] = {
    "an evaluation": (trainer_module, "evaluate", 2),
    "the beginning of a save": (RunCheckpoints, "save", 1),
    "a save that the next one waits for": (saver_module, "save", 1),
    "a look at what was saved": (RunCheckpoints, "look", 2),
    "a line of metrics on a slow disk": (RunDir, "metric", 3),
    "a line on a slow terminal": (TrainProgress, "update", 2),
    "going back to a checkpoint": (RunCheckpoints, "go_back", 1),
}


SHORT = ("an evaluation", "a save that the next one waits for", "a line of metrics on a slow disk")
SHORT += ("going back to a checkpoint",)


@pytest.mark.parametrize(
    "what", [what if what in SHORT else pytest.param(what, marks=pytest.mark.complete) for what in SLOW]
)
def test_a_pause_is_left_out(
    what: str,
    tiny: Callable[..., Recipe],
    phantoms: Path,
    context: DistContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where, name, nth = SLOW[what]
    real, calls = getattr(where, name), []

    def slow(*given: Any, **named: Any) -> Any:
        calls.append(name)
        if len(calls) == nth:
            time.sleep(PAUSE)
        return real(*given, **named)

    monkeypatch.setattr(where, name, slow)
    changes = SETTINGS
    if "back" in what:
        changes = (*SETTINGS, "safety.spikes=roll_back")
        monkeypatch.setattr("ecamp_fast.run.safety.spikes.ARMED", 3)
        monkeypatch.setattr(fault_points, "_seen", fault_points.Counter())  # the same fault is tried elsewhere
        monkeypatch.setenv(VARIABLE, "loss.term:step=5:micro=0:nth=1:spike")
    trainer = Trainer(Job(tiny(*changes), phantoms, tmp_path / "run"), context)
    assert trainer.train() == "complete" and len(calls) >= nth
    assert trainer.step == 6
    lines = [line for line in read_records(tmp_path / "run" / "metrics.jsonl") if "split" not in line]
    seconds = [trainer.recipe.batch.total / line["images_per_second"] for line in lines]
    assert max(seconds[1:]) < 0.8 * PAUSE, seconds  # the first warms up
