"""Which optimizer steps ``--profile`` means."""

import re
from dataclasses import dataclass

from ecamp_fast.errors import ConfigError

WARM = 2  # steps of a leg that come before those of a bare number: they compile, allocate and fill queues
LIMIT = 50  # steps in one trace: it is held in memory, some 10,000 events a micro-batch
HINT = "--profile 3 takes three warm steps, --profile 10-12 these"


@dataclass(frozen=True, slots=True)
class Span:
    """Steps by number, the first of a run being 1; both ends belong to it."""

    first: int
    last: int

    def __contains__(self, step: int) -> bool:
        return self.first <= step <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.first}-{self.last}" if len(self) > 1 else str(self.first)


@dataclass(frozen=True, slots=True)
class ProfiledSteps:
    """What ``--profile`` was given: a number of warm steps of this leg, or a span of the run."""

    told: str
    count: int = 0
    span: Span | None = None

    @staticmethod
    def parse(text: str) -> "ProfiledSteps":
        """Of ``3`` or ``10-12``.  Raises ConfigError."""
        found = re.fullmatch(r"([0-9]{1,12})(?:-([0-9]{1,12}))?", text)
        if not found:
            raise ConfigError(f"--profile {text!r} is no number of steps and no range of them", HINT)
        first = int(found[1])
        span = Span(first, int(found[2])) if found[2] else None
        count = first if span is None else span.last - first + 1
        if count < 1 or first < 1:
            raise ConfigError(f"--profile {text} names no step", HINT)
        if count > LIMIT:
            raise ConfigError(f"--profile {text}: {count:,} steps, a trace holds at most {LIMIT}", HINT)
        return ProfiledSteps(text, count, span)

    def require(self, total: int) -> None:
        """Raises ConfigError where a run of so many steps has none such, wherever it goes on from."""
        span = self._of_leg(0)
        if span.last > total:
            raise ConfigError(f"--profile {self.told} takes steps {span}, the run has {total}", HINT)

    def settle(self, done: int, total: int) -> Span | None:
        """The steps themselves; None where a leg that goes on has them no more: the same command must go on too.

        done: steps before this leg   total: of the run   Raises ConfigError where no leg has them.
        """
        self.require(total)
        span = self._of_leg(done)
        return span if done < span.first and span.last <= total else None

    def lacks(self, done: int, total: int) -> str:
        """Why ``settle`` gives none, for people."""
        if self.span:
            why = f"{done} steps of the run are done already"
        else:
            why = f"{total - done} steps are left, and it takes {WARM} to be warm"
        return f"--profile {self.told}: {why}; nothing is profiled"

    def _of_leg(self, done: int) -> Span:
        return self.span or Span(done + WARM + 1, done + WARM + self.count)
