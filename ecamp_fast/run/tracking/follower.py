"""Rank 0's end of tracking: starts the process that follows metrics.jsonl, and looks whether it lives."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ecamp_fast.errors import EndpointError
from ecamp_fast.files import open_private
from ecamp_fast.machine import child_environment
from ecamp_fast.printable import one_line
from ecamp_fast.rendezvous import VARIABLES
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.processes import end_with_parent
from ecamp_fast.run.tracking.choice import TrackerChoice, is_heeded, parse_choice
from ecamp_fast.run.tracking.sent import FOLDER, SentSteps, read_sent

FLUSH = 5.0  # seconds that a complete run waits for the last lines to be sent
GRACE = 10.0  # seconds that the process goes on after the run
LOG = "tracker.log"
_LOOK = 0.05


class Follower:
    """Of one leg of a run; nothing where ``track`` is None, or on a rank that does not write.

    names: of what may be sent

    No method waits but ``finish``, none raises, and whatever becomes of the child, the run goes on as without it.
    """

    def __init__(self, run: RunDir, track: str | None, names: Sequence[str]) -> None:
        self._run, self._told = run, False
        self._child: subprocess.Popen[bytes] | None = None
        self._choice = parse_choice(track) if track and run.writes else None
        if self._choice:
            try:
                self._child = start(run.path, self._choice, names, GRACE)
            except OSError as error:
                self._lost(type(error).__name__)

    def look(self) -> None:
        """Say it where the tracker was lost; once."""
        if self._child is None:
            return
        words = _heard(self._child)
        if (code := self._child.poll()) is not None:
            words = words or ([f"left with {code}"] if code else [])
            self._child = None
        if words:
            self._lost(words[0])

    def close(self) -> None:
        """The run writes no more: the process sends what there is, and ends within ``GRACE`` seconds."""
        if self._child and self._child.stdin:
            with suppress(OSError):
                self._child.stdin.close()

    def finish(self, seconds: float = FLUSH) -> None:
        """Wait so long for its end; what was not sent by then may still be.  Call ``close`` before."""
        until = time.monotonic() + seconds
        while self._child and self._child.poll() is None and time.monotonic() < until:
            time.sleep(_LOOK)
        if self._child and self._child.poll() is None:
            self._lost("it does not end")
        self.look()

    def _lost(self, how: str) -> None:
        if self._told or self._choice is None:
            return
        self._told = True
        self._run.event("tracker lost", tracker=self._choice.library, how=how)
        again = f"`ecamp-fast track RUN --to {self._choice}` sends what is missing"
        log = self._run.path / FOLDER / LOG
        told = f"warning: {self._choice.library} is lost ({how}), training goes on: {log} says more, {again}"
        print(one_line(told), file=sys.stderr, flush=True)


def start(
    run: Path, choice: TrackerChoice, names: Sequence[str], grace: float, *, ends_with_us: bool = False
) -> "subprocess.Popen[bytes]":
    """The process that follows a run until its standard input ends, in a session of its own.

    It has neither the signals of the run, nor its rank, nor its devices, nor words for a tracker.  Raises OSError.

    grace: seconds that it goes on after that   ends_with_us: at once where this process dies, however
    """
    folder = run.resolve() / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    program = ["-P", "-m", "ecamp_fast.run.tracking.program"]
    with open_private(folder / LOG, "wb") as log:
        child = subprocess.Popen(
            [sys.executable, *program, str(run.resolve()), str(choice), str(grace), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
            preexec_fn=end_with_parent if ends_with_us else None,
        )
    assert child.stdout
    os.set_blocking(child.stdout.fileno(), False)
    return child


def catch_up(run: Path, choice: TrackerChoice, names: Sequence[str], seconds: float) -> tuple[SentSteps, SentSteps]:
    """Send what was not sent yet.  returns what was sent before, and what is now

    seconds: that it may take   Raises EndpointError where the tracker fails, or does not end by then.
    """
    before = read_sent(run, str(choice))
    child = start(run, choice, names, seconds, ends_with_us=True)
    try:
        child.communicate()  # ends its input: it hands over what there is, and ends in time by itself
    finally:
        child.terminate()  # an interrupt is for it too
    if child.returncode:
        log = run / FOLDER / LOG
        raise EndpointError(f"{choice.library} fails, or takes more than {seconds:g} s", f"{log} says more; try again")
    return before, read_sent(run, str(choice))


def _environment() -> dict[str, str]:
    left_out = (*VARIABLES, "LOCAL_WORLD_SIZE")
    kept = {name: value for name, value in child_environment().items() if name not in left_out and is_heeded(name)}
    return kept | {"CUDA_VISIBLE_DEVICES": ""}


def _heard(child: "subprocess.Popen[bytes]") -> list[str]:
    """Lines that it has said and nobody has read: names of errors and signals, whatever they hold."""
    try:
        told = os.read(child.stdout.fileno(), 4096) if child.stdout else b""
    except OSError:  # nothing
        return []
    return re.findall(r"^\w{1,60}$", told.decode(errors="replace"), re.MULTILINE)
