"""What a person sees of a running job: a live bar on a terminal, one plain line every half minute elsewhere."""

import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ecamp_fast.printable import one_line, takes_control_codes
from ecamp_fast.run.safety.heartbeat import AFTER_ALL, Heartbeat

PLAIN_SECONDS = 30.0
QUIET_SECONDS = 20.0  # at most, before the first line of training
TERMS = ("mim", "sr", "mlm")  # that metrics.jsonl always has, 0 where they are off


class TrainProgress:
    """Step, rate, ETA and the losses on standard error.  terms: of ``TERMS``, those that are on"""

    def __init__(self, total: int, start: int, visible: bool, terms: Sequence[str] = TERMS) -> None:
        self._total, self._terms = total, terms
        self._start: int | None = None  # steps done when the first of this leg was, from where on steps are like others
        self._began = 0.0
        self._printed = float("-inf")
        self._visible = visible
        self._bar: Any = None
        if visible and takes_control_codes(sys.stderr):
            self._bar = _bar(total, start)

    def warmed_up(self, step: int) -> None:
        """The first step of this leg is done: what follows tells how long the rest takes.  step: steps done"""
        self._start, self._began = step, time.perf_counter()

    def leave_out(self, seconds: float) -> None:
        """So long took what comes once; an evaluation or a save comes again, and the ETA counts it in proportion."""
        self._began += seconds

    def update(self, step: int, record: dict[str, Any]) -> None:
        """record: a line of metrics.jsonl of step ``step`` (steps done)."""
        if not self._visible:
            return
        text = f"{losses(record, self._terms)}  {record['images_per_second']:.0f} images/s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, description=text)
        elif time.perf_counter() - self._printed >= PLAIN_SECONDS or step == self._total:
            self._printed = time.perf_counter()
            print(f"step {step}/{self._total}  {text}  ETA {self._eta(step)}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        text = one_line(text)
        if self._visible and self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif self._visible:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _eta(self, step: int) -> str:
        if self._start is None or step <= self._start:
            return "after the next step" if step < self._total else "0:00:00"
        per_step = (time.perf_counter() - self._began) / (step - self._start)
        minutes, seconds = divmod(round(per_step * (self._total - step)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}"


class Waiting:
    """Use as a context: until the first line of training a line every ``QUIET_SECONDS`` says what takes so long.

    heartbeat  of this rank   visible  whether this rank speaks
    """

    def __init__(self, heartbeat: Heartbeat, visible: bool) -> None:
        self._heartbeat, self._closing = heartbeat, threading.Event()
        self._began = time.monotonic()
        self._passes: tuple[float, int] | None = (
            None  # when the first step was first seen at a micro-step, and at which
        )
        self._thread = threading.Thread(target=self._watch, name="ecamp-fast-waiting", daemon=True) if visible else None

    def __enter__(self) -> None:
        if self._thread:
            self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        while not self._closing.wait(QUIET_SECONDS) and not self._heartbeat.told:
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """Where the main thread is, and since when the run is on its way."""
        step, part, phase = self._heartbeat.at
        if phase == "step" and not self._heartbeat.warm:
            what = f"the first step, micro-step {part + 1} of {self._heartbeat.parts}{self._left(part)}"
        elif phase == "step":
            what = f"step {step + 1}; {step} done"
        elif phase == "evaluation":
            batch = f", batch {part + 1}" if part < AFTER_ALL else ""
            what = f"the held-out loss at step {step}{batch}"
        elif phase == "data":
            what = f"waiting for the data of step {step + 1}"
        else:
            what = {"save": "saving", "end": "ending"}.get(phase, "reading the shards and building the model")
        return f"at work for {time.monotonic() - self._began:.0f} s: {what}"

    def _left(self, part: int) -> str:
        """What the first step still takes, by its micro-steps so far; the first of them compiles."""
        now = time.monotonic()
        if self._passes is None:
            self._passes = now, part
            return ""
        began, first = self._passes
        if part <= first:
            return ""
        return f"; it takes about {(now - began) / (part - first) * (self._heartbeat.parts - part):.0f} s more"


def losses(record: dict[str, Any], terms: Sequence[str]) -> str:
    """The total, and of its terms those that are on; the language loss also in nats per predicted token.

    The latter can be compared between splits and runs.

    record: a line of metrics.jsonl   terms: of ``TERMS``, those that are on
    """
    parts = [f"{name} {record[name]:.4f}" for name in terms]
    if "mlm" in terms and "mlm_per_token" in record:
        parts.append(f"{record['mlm_per_token']:.2f} nats a token")
    parts += [f"{name} {record[name]:.4f}" for name in ("align", "local", "global") if name in record]
    return f"loss {record['loss']:.4f} ({', '.join(parts)})"


def _bar(total: int, start: int) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    bar = Bar(*columns, console=Console(stderr=True))
    bar.add_task("starting", total=total, completed=start)
    bar.start()
    return bar
