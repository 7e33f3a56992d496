"""Which optimizer steps ``--profile`` means."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError

if TYPE_CHECKING:
    from ecamp_fast.shards.load.mix import Data

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

    def settle(self, done: int, total: int) -> Span:
        """The steps themselves.  done: steps before this leg   total: of the run   Raises ConfigError beyond either."""
        span = self.span or Span(done + WARM + 1, done + WARM + self.count)
        if span.first <= done:
            raise ConfigError(f"--profile {self.told}: {done} steps of the run are done already", HINT)
        if span.last > total:
            left = f"{total - done} of them are left" if done else "from its start"
            raise ConfigError(f"--profile {self.told} takes steps {span}, the run has {total}, {left}", HINT)
        return span


def require_steps(text: str, recipe: Recipe, data: "Data", out: Path, resume: str) -> None:
    """Before the launch: whether ``--profile`` means steps that this leg will do.

    data: the shard sets   Raises ConfigError where it does not; DataError where the set cannot be read.
    """
    from ecamp_fast.run.rundir import RunDir
    from ecamp_fast.run.schedule import total_steps
    from ecamp_fast.run.setup import Job, open_shards

    samples = open_shards(Job(recipe, data, out)).epoch("train")
    done = 0 if resume == "never" or not out.is_dir() else RunDir(out, writes=False).state().get("step", 0)
    ProfiledSteps.parse(text).settle(done, total_steps(recipe, samples))
