"""What ``--data`` says: a shard set, and behind its last colon how much of it an epoch has."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecamp_fast.errors import ConfigError
from ecamp_fast.shards.storage.store import require_set_at

LARGEST = 100.0
_WEIGHT = re.compile(r"(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf))", re.DOTALL)
_HOST_ALONE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")  # what a number behind it would be is its port


@dataclass(frozen=True, slots=True)
class Weighted:
    """A set of a run.

    place   a folder, or an address
    weight  how much of its training samples an epoch has: 1 each once, 0.3 three in ten, 2 each twice
    """

    place: str
    weight: float = 1.0

    def __str__(self) -> str:
        """What ``parse_weighted`` reads as this; a weight of 1 is said where the place would end in another."""
        return f"{self.place}:{self.weight!r}" if self.weight != 1 or _parted(self.place) else self.place


def parse_weighted(named: str) -> Weighted:
    """``PLACE`` or ``PLACE:WEIGHT``; a port, a drive or a scheme is no weight. No disk is asked.

    A folder whose own name ends in a colon and a number is named with its weight behind it: ``./a:2:1``.
    Raises ConfigError for a weight that is not above 0, or above ``LARGEST``.
    """
    parted = _parted(named)
    if parted is None:
        return Weighted(named)
    place, weight = parted[0], float(parted[1])
    if not (math.isfinite(weight) and 0 < weight <= LARGEST):
        hint = f"0.3 takes three samples in ten an epoch, 2 each twice; a folder of that name is --data {named}:1"
        raise ConfigError(f"--data {named}: a weight is above 0 and at most {LARGEST:g}", hint)
    return Weighted(place, weight)


def parse_data(named: str | Sequence[str]) -> tuple[Weighted, ...]:
    """All that ``--data`` says, of one set or of several.  Raises ConfigError as ``parse_weighted``."""
    return tuple(map(parse_weighted, (named,) if isinstance(named, str) else named))


def as_recorded(named: str | Sequence[str]) -> str | list[str]:
    """What a run recorded as its data, as ``parse_data`` reads it.

    Up to 0.1 a set alone was recorded by its bare place, which may end in a colon and a number.
    """
    if not isinstance(named, str):
        return list(named)
    parted = _parted(named)
    now = parted is not None and _parted(parted[0]) is not None and float(parted[1]) == 1
    return named if now and not Path(named).is_dir() else str(Weighted(named))


def require_sets_at(named: Sequence[str]) -> None:
    """Raises what opening these would, as far as it is known at once, see ``require_set_at``."""
    for source in parse_data(named):
        require_set_at(source.place)


def _parted(named: str) -> tuple[str, str] | None:
    """The place and the number behind the last colon; None where there is none."""
    found = _WEIGHT.fullmatch(named)
    return None if found is None or _HOST_ALONE.fullmatch(named) else (found[1], found[2])
