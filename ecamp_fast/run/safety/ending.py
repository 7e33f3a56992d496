"""Why the ranks of a run leave together: who is to blame, where it was, and with which exit code."""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecamp_fast.errors import EnvironmentFault, StorageError
from ecamp_fast.run.safety.heartbeat import AFTER_ALL, Beat

SHOWN = 8  # samples named in a message; the event has them all
GO_ON = "the same command goes on from the last checkpoint"

HAPPENED = {
    "died": "died",
    "stopped": "was stopped by a signal, {seconds:.0f} s ago",
    "silent": "has given no sign for {seconds:.0f} s",
    "stalled": "has made no progress for {seconds:.0f} s",
    "failed": "failed: {what}",
}
HINTS = {
    "died": "if nobody killed it, look for 'Out of memory' in `dmesg` of its host; " + GO_ON,
    "stopped": "safety.watchdog.stopped is how long a stop may last; " + GO_ON,
    "silent": "look at its host and at the network; safety.watchdog.silent is the limit; " + GO_ON,
    "stalled": "RUN/stacks-rank*.txt say where every thread was; safety.watchdog.{limit} is the limit; " + GO_ON,
    "failed": GO_ON,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a run that one rank brought about.

    kind     one of ``HAPPENED``
    culprit  ``Member.name``, or what else does not answer
    rank     its number; -1 where no single rank is to blame
    beat     where it was last
    seconds  for how long it had done so
    code     that all ranks leave with
    limit    the key of ``safety.watchdog`` that ended the run
    what     of ``failed``: the fault
    samples  keys of those it had there
    reached  whether it was heard of there; otherwise the others wait for it there
    """

    kind: str
    culprit: str
    rank: int
    beat: Beat
    seconds: float
    code: int
    limit: str = ""
    what: str = ""
    samples: tuple[str, ...] = ()
    reached: bool = True

    def fault(self) -> EnvironmentFault | StorageError:
        """As an error with a message for people; its class has the usual code of the kind."""
        happened = HAPPENED[self.kind].format(seconds=self.seconds, what=self.what)
        hint = HINTS[self.kind].format(limit=self.limit)
        kind = StorageError if self.code == StorageError.exit_code else EnvironmentFault
        return kind(f"{self.culprit} {happened}{self._last_seen()}{self._samples()}", hint)

    def facts(self) -> dict[str, Any]:
        """For events and state."""
        step, part, phase = self.beat.step, self.beat.part, self.beat.phase
        where = {"phase": phase, "step": step, "part": part, "where": self.beat.where}
        return {"fault": self.kind, "rank": self.rank, "culprit": self.culprit, **where, "exit_code": self.code}

    def encode(self) -> dict[str, Any]:
        """As a dict of plain values."""
        return asdict(self)

    @staticmethod
    def decode(facts: dict[str, Any]) -> "Ending":
        """From ``encode``."""
        return Ending(**facts | {"beat": Beat(**facts["beat"]), "samples": tuple(facts["samples"])})

    def _last_seen(self) -> str:
        beat = self.beat
        inside = f" (in {beat.where})" if beat.where else ""
        if beat.phase == "start":
            return f"; last seen before the first step{inside}"
        seen = "last seen" if self.reached else "the others wait for it"
        part = {"data": ", micro-batch", "step": ", micro-batch", "evaluation": ", batch"}.get(beat.phase, "")
        number = f"{part} {beat.part}" if part and beat.part < AFTER_ALL else ""
        return f"; {seen} in phase {beat.phase} after step {beat.step}{number}{inside}"

    def _samples(self) -> str:
        return f", samples {listed(self.samples)}" if self.samples else ""


def listed(keys: Iterable[str]) -> str:
    """The first few of many keys."""
    every = list(keys)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def claim(file: Path, ending: Ending) -> tuple[Ending, bool]:
    """Settle why the run ends: the first rank to make ``file`` has said it, and alone tells the run's files.

    Returns the ending that counts, and whether it is ours.  Raises OSError where the disk refuses.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_ending(file) or ending, False
    with open(descriptor, "w", encoding="utf-8") as stream:
        json.dump(ending.encode(), stream)
    return ending, True


def read_ending(file: Path, patience: float = 1.0) -> Ending | None:
    """What ``claim`` has written; None where nobody has.  patience: seconds for its writer to finish"""
    until = time.monotonic() + patience
    while file.exists():
        try:
            return Ending.decode(json.loads(file.read_text(encoding="utf-8")))
        except ValueError:
            if time.monotonic() > until:
                return None
            time.sleep(0.05)
    return None
