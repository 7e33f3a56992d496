"""What a run tells while it trains: metrics.jsonl, TensorBoard and the terminal; rank 0 alone tells it."""

import time
from typing import Any

from ecamp_fast.config import Recipe
from ecamp_fast.run.metrics import Clock, Gauge, TensorBoardLog
from ecamp_fast.run.progress import TERMS, TrainProgress, losses
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.schedule import learning_rate
from ecamp_fast.run.tracking.follower import Follower


class RunLog:
    """The log of one leg of a run, from the step where it begins to its end or stop.

    run      its directory
    recipe   what it trains by
    samples  of the training split
    total    optimizer steps of the whole run
    start    steps done before this leg
    gauge    of the machine; None: nothing is told of it
    follower of metrics.jsonl, for a tracker
    """

    def __init__(
        self,
        run: RunDir,
        recipe: Recipe,
        samples: int,
        total: int,
        start: int,
        gauge: Gauge | None = None,
        follower: Follower | None = None,
    ) -> None:
        self._gauge = gauge
        self._run, self._recipe, self._samples = run, recipe, samples
        self._terms = [name for name in TERMS if getattr(recipe.losses, name)]
        self._progress = TrainProgress(total, start, run.writes, self._terms)
        self._tensorboard = TensorBoardLog(run.path / "tensorboard", run.writes, start)
        self._follower = follower
        self.clock = Clock()

    def say(self, text: str) -> None:
        """A line for whoever watches."""
        self._progress.say(text)

    def warmed_up(self, step: int) -> None:
        """The first step of this leg is done, with all that is compiled and filled once.  step: steps done"""
        self._progress.warmed_up(step)

    def leave_out(self, began: float) -> None:
        """What took the time since ``began`` (``time.perf_counter()``) comes once: no rate and no ETA counts it."""
        self.clock.pause(began)
        self._progress.leave_out(time.perf_counter() - began)

    def went_back(self, step: int) -> None:
        """The run has rolled back to so many steps, and goes on from there."""
        self.clock.start()  # as the sums of the losses do
        self._progress.warmed_up(step)

    def trained(self, step: int, means: dict[str, float], norm: float) -> None:
        """A line of the training split.

        step   steps done
        means  of ``LossMeter.drain``, since the line before
        norm   of the last gradient
        """
        batch, rate = self._recipe.batch.total, self.clock.lap()
        machine = self._gauge.read(means, rate, self.clock.seconds) if self._gauge else {}
        record = {
            "step": step,
            "epoch": round(step * batch / self._samples, 6),
            "samples": step * batch,
            **{name: value for name, value in means.items() if name != "data_seconds"},
            "lr": learning_rate(self._recipe, step - 1, self._samples),
            "grad_norm": norm,
            "images_per_second": round(rate, 2),
            **machine,
        }
        self._write(record)
        self._progress.update(step, record)

    def held_out(self, step: int, means: dict[str, float]) -> None:
        """A line of the held-out split.  step: steps done   means: of ``evaluate``"""
        self._write({"split": "val", "step": step, **means})
        self.say(f"held out, step {step}: {losses(means, self._terms)} on {means['samples']} samples")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.close()
        if self._follower:
            self._follower.close()

    def _write(self, record: dict[str, Any]) -> None:
        record = record | {"time": round(time.time(), 3)}
        self._run.metric(record)
        self._tensorboard.add(record)
        if self._follower:
            self._follower.look()
