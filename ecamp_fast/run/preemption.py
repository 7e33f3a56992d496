"""How a run is asked to stop: SIGTERM, SIGINT, or a file in its directory. The answer comes at the next step."""

import signal
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

ONE_REQUEST = 5.0  # seconds: a terminal and a launcher may both pass on one and the same interrupt


class StopRequest:
    """``requested`` is true from the first signal on, and while the file exists; a later signal ends the process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._signalled = False
        self._first = 0.0
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        return self._signalled or self._file.exists()

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._signalled and now - self._first > ONE_REQUEST:
            raise SystemExit(128 + number)
        if not self._signalled:
            self._signalled, self._first = True, now
