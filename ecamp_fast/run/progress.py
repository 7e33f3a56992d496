"""What a person sees of a running job: a live bar on a terminal, one plain line every half minute elsewhere."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from ecamp_fast.printable import one_line

PLAIN_SECONDS = 30.0


TERMS = ("mim", "sr", "mlm")  # that metrics.jsonl always has, 0 where they are off


class TrainProgress:
    """Step, rate, ETA and the losses on standard error.  terms: of ``TERMS``, those that are on"""

    def __init__(self, total: int, start: int, visible: bool, terms: Sequence[str] = TERMS) -> None:
        self._total, self._terms = total, terms
        self._start = start
        self._began = time.perf_counter()
        self._printed = float("-inf")
        self._visible = visible
        self._bar: Any = None
        if visible and sys.stderr.isatty():
            self._bar = _bar(total, start)

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
        per_step = (time.perf_counter() - self._began) / max(step - self._start, 1)
        minutes, seconds = divmod(round(per_step * (self._total - step)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}"


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
