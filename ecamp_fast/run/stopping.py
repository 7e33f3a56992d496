"""How a run is asked to stop: SIGTERM, SIGINT, or a file in its directory. The answer comes at the next step."""

import signal
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """``requested`` is true from the first signal on, and while the file exists; a second signal ends the process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._signalled = False
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
        if self._signalled:
            raise SystemExit(128 + number)
        self._signalled = True
