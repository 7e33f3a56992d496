"""What a fit says of itself: what lies before it, how long that takes, how it ended."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ecamp_fast.downstream.training.settings import Settings

TIMED = 5  # steps that the pace is taken of; the first of all, which also opens files and compiles, is not among them


def plan(settings: Settings, metric: str, steps_per_epoch: int, start: int) -> str:
    """The line before the first step.  metric: of the validation   start: steps done"""
    every = settings.evaluate_every or steps_per_epoch
    begin = f"goes on from step {start} of {settings.steps}" if start else f"{settings.steps} steps at most"
    early = f"; ends earlier after {settings.patience} validations without a better one" if settings.patience else ""
    return (
        f"{begin}, {settings.batch} images each, {settings.steps / steps_per_epoch:.1f} epochs; "
        f"val {metric} every {every} steps{early}"
    )


def ended(step: int, settings: Settings, metric: str, best: tuple[int, float] | None) -> str:
    """The line after the last step.  step: steps done   best: step and score of the weights that are kept"""
    patience = f"no better val {metric} in {settings.patience} validations"
    why = patience if step < settings.steps else f"all {settings.steps} steps are done"
    kept = f"kept: step {best[0]}, val {metric} {best[1]:.4f}" if best else "kept: the last, no validation had a score"
    return f"ended at step {step}: {why}; {kept}"


def stopped(saved: int, resume: str) -> str:
    """The line of an interrupt.  saved: step of the newest checkpoint, 0 where there is none   resume: as of ``fit``"""
    again = "the same command goes on" if resume in ("auto", "must") else "--resume auto goes on"
    return f"stopped by an interrupt: {f'{again} from step {saved}' if saved else 'nothing was saved yet'}"


class TimeLeft:
    """How long what is left will take, by the clock.

    start, total: steps done, and of the whole fit
    """

    def __init__(self, start: int, total: int) -> None:
        self._first, self._total = start + 1, total
        self._began = self._apart = 0.0

    def forecast(self, step: int) -> str:
        """Asked after each step, it says it once, a few steps after the first."""
        if step == self._first:
            self._began = time.perf_counter()
        if step - self._first != TIMED or step == self._total:
            return ""
        each = (time.perf_counter() - self._began - self._apart) / TIMED
        rest = duration(each * (self._total - step))
        return f"{each:.2g} s a step: about {rest} to step {self._total}, validations apart"

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What is done within it, a validation, is no part of a step."""
        began = time.perf_counter()
        yield
        self._apart += time.perf_counter() - began

    def left(self, step: int) -> str:
        """By all that was done since the first step, validations among it; "" where nothing is left or known."""
        done = step - self._first
        if done < 1 or step == self._total:
            return ""
        return f", {duration((time.perf_counter() - self._began) / done * (self._total - step))} left at most"


def duration(seconds: float) -> str:
    """As in "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
