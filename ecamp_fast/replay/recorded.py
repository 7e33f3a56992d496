"""What a run recorded of a step, against what came when the step was rebuilt."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecamp_fast.errors import DataError
from ecamp_fast.run.metrics import NAMES
from ecamp_fast.run.rundir import read_metrics
from ecamp_fast.run.safety.flight import FILE, read_flight

AGREE = 1e-3  # relative: another device, another order of sums
NORM = "grad_norm"


@dataclass(frozen=True)
class Recorded:
    """A record of the run beside the same of now.

    first, last  the steps that ``losses`` are means of: the same where it is one step's own; 0 where no losses are
                 compared. ``grad_norm`` is always that of the one step
    values       by ``metrics.NAMES`` and ``grad_norm``: what the run recorded
    came         the same names: what came now
    """

    first: int
    last: int
    values: Mapping[str, float]
    came: Mapping[str, float]

    @property
    def agrees(self) -> bool:
        """Whether all of it is the same, but for the order of sums."""
        return all(_alike(value, self.came[name]) for name, value in self.values.items())

    def as_dict(self) -> dict[str, Any]:
        """For JSON: ``recorded``, ``recorded_steps`` (first and last of the losses; null without), ``replayed``."""
        steps = [self.first, self.last] if self.last else None
        return {"recorded": dict(self.values), "recorded_steps": steps, "replayed": dict(self.came)}


def find_record(
    run: Path, step: int, given: Mapping[int, Mapping[str, float]], norm: float, say: Callable[[str], None]
) -> Recorded | None:
    """The flight recorder's record of ``step``; where there is none, the line of metrics.jsonl that ends at it.

    given  step to its losses, of those that were gone through   norm: of the gradient of ``step``
    say    told where the flight recorder's file cannot be read

    returns None where neither has the step
    """
    flown = _of_flight(run, step, say)
    if flown is not None:
        return Recorded(step, step, flown, {**given[step], NORM: norm})
    lines = {record["step"]: record for record in read_metrics(run)}
    if step not in lines:
        return None
    first = max((line for line in lines if line < step), default=0) + 1
    values, came = {NORM: lines[step][NORM]}, {NORM: norm}
    if not all(number in given for number in range(first, step + 1)):
        return Recorded(0, 0, values, came)
    values = {name: lines[step][name] for name in NAMES} | values
    covered = [given[number] for number in range(first, step + 1)]
    came = {name: sum(losses[name] for losses in covered) / len(covered) for name in NAMES} | came
    return Recorded(first, step, values, came)


def _of_flight(run: Path, step: int, say: Callable[[str], None]) -> dict[str, float] | None:
    if not (run / FILE).exists():
        return None
    try:
        records = read_flight(run).steps
    except DataError as error:
        say(f"{error.what}: what came is compared with metrics.jsonl")
        return None
    at = np.flatnonzero(records["step"] == step)
    if not len(at):
        return None
    record = records[at[0]]
    return {**{name: float(record[name]) for name in NAMES}, NORM: float(record["norm"])}


def _alike(recorded: float, came: float) -> bool:
    if not (math.isfinite(recorded) and math.isfinite(came)):
        return math.isfinite(recorded) == math.isfinite(came)
    return abs(recorded - came) <= AGREE * abs(recorded) + 1e-12
