"""The process beside a run that feeds a tracker: python -m ecamp_fast.run.tracking.program RUN TRACKER GRACE NAME...

It imports nothing heavy. What it keeps alive is a child, the sender, which imports the tracker: that may raise, hang or
be killed, is begun again ``PAUSE`` seconds later, and ends ``GRACE`` seconds after standard input did, whatever it does
then, with everything that it has started. Standard output gets a line where a sender is lost: how it ended.

It is two processes, a keeper and below it the one that does all this: whichever is killed, and however, the other ends
what was started below it. SIGTERM ends it all at once.
"""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ecamp_fast.run.safety.processes import ProcessId, adopt_orphans, descendants, end_with_parent, send
from ecamp_fast.run.tracking.choice import TrackerChoice, parse_choice

PAUSE = 30.0  # seconds before the first sender is begun again; twice as long each time
LONGEST = 600.0
DYING = 5.0  # seconds for a process that was killed
_NICE = 10  # training comes first
_ENDS = 0  # standard input, which ends with the run


class Watch:
    """When the run has ended, and how long senders may go on after it.  grace: seconds"""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self.over = False  # whether the run has ended
        self.deadline = float("inf")

    @property
    def is_late(self) -> bool:
        """Whether senders had their time."""
        return time.monotonic() >= self.deadline

    def wait(self, seconds: float, other: int | None = None) -> bool:
        """Until the run ends, ``other`` can be read, or so many seconds are over.  Returns whether the run has ended"""
        ears = [*([] if self.over else [_ENDS]), *([] if other is None else [other])]
        if self.over:
            seconds = max(min(seconds, self.deadline - time.monotonic()), 0.0)
        heard, _, _ = select.select(ears, [], [], seconds)
        if _ENDS in heard and not self.over and not os.read(_ENDS, 64):
            self.over, self.deadline = True, time.monotonic() + self._grace
        return self.over


def main(arguments: Sequence[str]) -> int:
    """Returns 0 where all was handed over, else 1, or 128 and the number of the signal that ended it."""
    os.nice(_NICE)
    adopt_orphans()
    signal.signal(signal.SIGTERM, _exit_now)
    try:
        if below := os.fork():
            code = os.waitstatus_to_exitcode(os.waitpid(below, 0)[1])
            return code if code >= 0 else 128 - code
        end_with_parent()
        adopt_orphans()
        return _keep_sending(*arguments)
    finally:  # whoever is left
        for one in descendants(os.getpid()):
            send(one, signal.SIGKILL)


def _exit_now(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _keep_sending(run: str, tracker: str, grace: str, *names: str) -> int:
    choice, watch, pause = parse_choice(tracker), Watch(float(grace)), PAUSE
    while True:
        last = watch.over
        sender = _fork(Path(run), choice, names)
        if _outlive(sender, watch):
            return 0
        if last or watch.is_late:  # it had all the time there was
            return 1
        if not watch.over:
            watch.wait(pause)
            pause = min(2 * pause, LONGEST)


def _fork(run: Path, choice: TrackerChoice, names: Sequence[str]) -> int:
    """The number of a child that sends; how it failed is said on standard output, all else goes to standard error."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code, tells = 1, os.dup(1)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        end_with_parent(signal.SIGKILL)
        os.dup2(2, 1)
        from ecamp_fast.run.tracking.sender import send as send_lines

        send_lines(run, choice, names, Watch(0.0).wait)
        code = 0
    except BaseException as error:
        _tell(tells, type(error).__name__)
        traceback.print_exc()
    finally:
        os._exit(code)


def _outlive(sender: int, watch: Watch) -> bool:
    """Wait for the end of a sender, and bring it about where it is time; nobody below it is left.

    Returns whether it sent all that there was. A signal that ended it is said on standard output.
    """
    descriptor = os.pidfd_open(sender)
    while not select.select([descriptor], [], [], 0)[0] and not watch.is_late:
        watch.wait(LONGEST, descriptor)
    for one in [ProcessId.of(sender), *descendants(os.getpid())]:
        if one:
            send(one, signal.SIGKILL)
    if not select.select([descriptor], [], [], DYING)[0]:  # the kernel holds it, as where a disk hangs
        return False
    os.close(descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(sender, 0)[1])
    if code < 0:
        _tell(1, signal.Signals(-code).name)
    return code == 0


def _tell(descriptor: int, how: str) -> None:
    """To rank 0, as long as there is one."""
    with suppress(OSError):
        os.write(descriptor, f"{how}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
