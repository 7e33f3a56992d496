"""How a run is asked to stop: SIGTERM, SIGINT, SIGHUP, or the file STOP in its directory."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

ONE_REQUEST = 5.0  # seconds: a terminal, a launcher and a scheduler may each pass on one and the same interrupt
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """``requested`` is true from the first signal on, and while the file exists. Use as a context, in the main thread.

    A signal within ``ONE_REQUEST`` of the first belongs to the same request; a later one is a second: it raises
    SystemExit where ``raises``, and ``again`` is its number. SIGHUP stays ignored where it was, as ``nohup`` does.

    The handler runs once the main thread is back from C, which may take as long as a backward pass does. A thread
    that is woken by signals says ``heard`` at once; each arrival counts once, when the first of the two tells of it.
    Of arrivals shortly after another Python makes one call of the handler; where a thread listens, the handler has
    ``listen`` say ``heard`` of all that have come before it judges.
    """

    def __init__(self, raises: bool = True) -> None:
        self.signalled = 0  # number of the first signal
        self.again = 0
        self._raises = raises
        self._file: Path | None = None
        self._former: int | None = None
        self.first = 0.0  # when that came
        self._previous: dict[int, Any] = {}
        self._heard, self._handled = Counter[int](), Counter[int]()
        self.listen: Callable[[], object] = lambda: None

    @property
    def requested(self) -> bool:
        return bool(self.signalled) or self._asked_by_file() not in (None, self._former)

    def heed(self, file: Path, former: int | None) -> None:
        """Its presence asks too.  former: when one was changed last, nanoseconds, that was meant for an earlier run"""
        self._file, self._former = file, former

    def heard(self, number: int) -> None:
        """A signal has just come, says a thread; its handler has run, or will some time."""
        self._heard[number] += 1
        if self._heard[number] > self._handled[number]:
            self.note(number)

    def note(self, number: int) -> None:
        """A request has come now: a first one, the same again, or a second."""
        now = time.monotonic()
        if not self.signalled:
            self.first = now
            self.signalled = number
        elif now - self.first > ONE_REQUEST:
            self.again = number

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.listen()
        self._handled[number] += 1
        if self._handled[number] > self._heard[number]:
            self.note(number)
        if self.again and self._raises:
            raise SystemExit(128 + number)

    def _asked_by_file(self) -> int | None:
        try:
            return self._file.stat().st_mtime_ns if self._file else None
        except OSError:  # absent, or its disk is away for a moment
            return None
