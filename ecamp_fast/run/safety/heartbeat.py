"""Where the main thread of a rank is: attributes that it sets as it goes, and other threads read.

A mark costs two assignments and two looks at the clock, about a microsecond; nothing is written or sent by it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from ecamp_fast.fault_points import reach

# In the order in which a run goes through them at one step; "data" and "step" alternate.
ORDER = {"start": 0, "evaluation": 1, "save": 2, "data": 3, "step": 3, "end": 4}
AFTER_ALL = 2**31  # the part of an evaluation whose batches are done on this rank
GAP = 5.0  # seconds between two marks after which a rank asks whether it has been given up

Keys = Callable[[int, int, int], list[str]]  # step, part, rank -> keys of the samples there


@dataclass(frozen=True, slots=True)
class Beat:
    """What a rank publishes of itself.

    step    steps done              part    micro-batch of the step, or batch of an evaluation
    phase   one of ``ORDER``        warm    whether a step was done since the start: nothing is compiled any more
    still   seconds since the last mark, or since bytes were moved while saving
    where   innermost function of the main thread      waits   whether it is within a collective
    ended   whether the rank left in order             ending  of the run, as it was told: ``Ending`` as a dict
    number  counts, so that no two beats are alike
    """

    step: int = 0
    part: int = 0
    phase: str = "start"
    warm: bool = False
    still: float = 0.0
    where: str = ""
    waits: bool = False
    ended: bool = False
    ending: dict[str, Any] | None = None
    number: int = field(default=0)

    @property
    def position(self) -> tuple[int, int, int, bool]:
        """How far the rank has come: all ranks go through the same positions in the same order."""
        return self.step, ORDER[self.phase], self.part, self.phase == "step"

    def encode(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def decode(text: str) -> "Beat":
        """From ``encode``."""
        return Beat(**json.loads(text))


class Heartbeat:
    """Set by the main thread of a rank, read by its watchdog, and by who tells a person what takes so long.

    at         step, part, phase, in one assignment
    moved      ``time.monotonic()`` of the last mark
    warm       whether this process has done an optimizer step
    owns_run   whether the run directory was taken over: only then may a watchdog change the state of the run
    keys       by phase: which samples a rank has there
    parts      micro-batches of a step, once they are known; 0 before
    told       whether a line of training was written since the start
    after_gap  called by a mark that comes long after the one before: by then others may have given this rank up
    """

    def __init__(self) -> None:
        self.at: tuple[int, int, str] = (0, 0, "start")
        self.moved = time.monotonic()
        self.warm = False
        self.owns_run = False
        self.parts = 0
        self.told = False
        self.keys: dict[str, Keys] = {}
        self.after_gap: Callable[[], None] = lambda: None

    def mark(self, phase: str, step: int, part: int = 0) -> None:
        """Say that the main thread has come to ``phase`` of ``step``: progress.  part: micro-batch, or batch"""
        self.ask()
        self.moved = time.monotonic()
        self.at = (step, part, phase)
        reach("phase", name=phase, step=step, part=part)

    def ask(self) -> None:
        """Where the last mark is long ago, see whether others have given this rank up: then this does not return."""
        if time.monotonic() - self.moved > GAP:
            self.after_gap()

    def samples(self, beat: Beat, rank: int) -> list[str]:
        """Keys of the samples that ``rank`` has at ``beat``; empty in phases without samples."""
        find = self.keys.get(beat.phase)
        return find(beat.step, beat.part, rank) if find and beat.part < AFTER_ALL else []
