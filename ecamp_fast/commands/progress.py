"""Progress of a command on standard error: a live bar on a terminal, a plain line every half minute elsewhere."""

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any

from ecamp_fast.printable import one_line, takes_control_codes

PLAIN_SECONDS = 30.0


class BuildProgress:
    """Use as a context; ``tick`` counts, ``say`` writes a line.  what: the things counted."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = self._printed = time.monotonic()
        self._start: int | None = None  # things done before: they tell nothing of the speed
        self._bar: Any = None

    def __enter__(self) -> "BuildProgress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tick(self, done: int, total: int, rejected: Mapping[str, int] = {}) -> None:
        """``done`` of ``total`` things are done.  rejected: things left out, by class."""
        now = time.monotonic()
        if self._start is None:
            self._start, self._began = done, now
        left_out = ", ".join(f"{number:,} {kind}" for kind, number in rejected.items())
        left_out = f"  left out: {left_out}" if left_out else ""
        if takes_control_codes(sys.stderr):
            self._bar = self._bar or _bar(self._what)
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, description=left_out.strip())
        elif now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            rate = (done - self._start) / max(now - self._began, 1e-9)
            eta = timedelta(seconds=round((total - done) / max(rate, 1e-9)))
            line = f"{done:,}/{total:,} {self._what}  {rate:.1f}/s  ETA {eta}{left_out}"
            print(line, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        text = one_line(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


def _bar(what: str) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    text = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(30), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn(), text)
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    bar.add_task("", total=None)
    bar.start()
    return bar
