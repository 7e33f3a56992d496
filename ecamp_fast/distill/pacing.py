"""How many requests are under way at once, when one is tried again, and when to give up.

As many as the server takes: the number grows with every answer, doubling at first, and shrinks by a third when the
server says it is busy or does not answer in time. What a server asks to wait (Retry-After) holds for all requests.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ecamp_fast.errors import EndpointError

_CROWDED = ("busy", "unavailable", "timeout")
_SHRINKS = 0.7
_GRACE = 3600.0  # seconds of a server's own pauses that are not counted against patience


@dataclass(frozen=True)
class Pace:
    """What a run asks of its server at most.

    concurrency    requests at once
    first          of them at the start
    pause          seconds before the first further try, doubled for each one after it
    longest_pause  seconds, at most, unless the server asks for more
    patience       seconds without any answer after which a run ends
    tries          of one report while others are answered; after these the rules write it
    """

    concurrency: int = 32
    first: int = 4
    pause: float = 0.5
    longest_pause: float = 60.0
    patience: float = 300.0
    tries: int = 10


class Governor:
    """The one place that knows how the server is doing.

    clock   seconds, monotonic
    chance  where jitter comes from
    """

    def __init__(
        self, pace: Pace, clock: Callable[[], float] = time.monotonic, chance: random.Random | None = None
    ) -> None:
        self._pace, self._clock = pace, clock
        self._chance = chance or random.Random()
        self._limit = float(min(pace.first, pace.concurrency))
        self._doubles_to = float(pace.concurrency)  # up to here every answer makes room for one more
        self._shrunk = self._answered = clock()
        self._free_at, self._waited = 0.0, 0.0
        self.answers = 0
        self.failures: Counter[str] = Counter()

    @property
    def slots(self) -> int:
        """Requests that may be under way at once."""
        return max(1, int(self._limit))

    @property
    def wait(self) -> float:
        """Seconds before anything may be sent."""
        return max(0.0, self._free_at - self._clock())

    def answered(self) -> None:
        """A request was answered, whatever the answer is worth."""
        self.answers += 1
        self._answered, self._waited = self._clock(), 0.0
        self._limit += 1.0 if self._limit < self._doubles_to else 1.0 / self._limit
        self._limit = min(self._limit, float(self._pace.concurrency))

    def failed(self, kind: str, started: float, pause: float | None) -> None:
        """A request was not answered.  started: when it was sent   pause: what the server asks to wait

        Raises EndpointError when patience is at its end.
        """
        now = self._clock()
        self.failures[kind] += 1
        if kind in _CROWDED and started >= self._shrunk:  # those sent before were sent by the larger number
            self._limit = max(1.0, self._limit * _SHRINKS)
            self._doubles_to, self._shrunk = self._limit, now
        if pause is not None:
            self._waited += max(0.0, min(now + pause - max(self._free_at, now), _GRACE - self._waited))
            self._free_at = max(self._free_at, now + pause)
        if now - self._answered > self._pace.patience + self._waited:
            told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.failures.items()))
            what = f"no answer for {now - self._answered:.0f} seconds ({told})"
            raise EndpointError(what, "see whether the server is well; the same command goes on where this one ended")

    def delay(self, failures: int) -> float:
        """Seconds before a report is asked for again, with jitter.  failures: in a row"""
        longest = min(self._pace.longest_pause, self._pace.pause * 2.0 ** min(failures - 1, 30))
        return longest * self._chance.uniform(0.5, 1.0)
