"""Where two runs part: the first optimizer step, and in it the first quantity in the order of cause and effect."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ecamp_fast.run.safety.flight import LEFT_OUT, Flight

# Of a step, each before what follows from it.
EXACT_FIRST = ("samples", "patches", "words")
TERMS = ("mim", "sr", "mlm", "loss", "norm")
QUANTITIES = (*EXACT_FIRST, *TERMS, "left_out", "weights")
SPOKEN = {
    "patches": "masks of patches",
    "words": "masks of words",
    "norm": "norm of the gradient",
    "left_out": "update left out or not",
    "weights": "weights after the update",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A quantity of a step that is not the same.  one, other: its values; digests in hexadecimal"""

    step: int
    quantity: str
    one: Any
    other: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two lists of records, step by step.

    compared  steps that both have
    differ    quantity -> steps where it differs
    first     the first difference; None where there is none
    largest   of ``TERMS``: the largest relative difference, and its step; 0 where a step is the same to the bit
    """

    compared: int
    differ: dict[str, int]
    first: Difference | None
    largest: dict[str, tuple[float, int]]


def compare(one: np.ndarray, other: np.ndarray, tolerance: float | None = None) -> Comparison:
    """one, other: (N,), (M,) RECORD, each step at most once and ascending

    tolerance: relative, allowed in losses and norm; weights are left out of the comparison then. None: every bit counts
    """
    _, mine, theirs = np.intersect1d(one["step"], other["step"], assume_unique=True, return_indices=True)
    return _compare(one[mine], other[theirs], tolerance)


def compare_redone(flight: Flight, tolerance: float | None = None) -> Comparison:
    """The steps that a run did more than once, as they went at first against as they went at last."""
    last = flight.steps[np.searchsorted(flight.steps["step"], flight.earlier["step"])]
    return _compare(flight.earlier, last, tolerance)


def _compare(one: np.ndarray, other: np.ndarray, tolerance: float | None) -> Comparison:
    """one, other: (N,) RECORD, of the same steps"""
    apart = {name: _relative(one[name], other[name]) for name in TERMS}
    differs = {name: one[name] != other[name] for name in EXACT_FIRST}
    differs |= {name: apart[name] > (tolerance or 0.0) for name in TERMS}
    differs["left_out"] = (one["flags"] ^ other["flags"]) & LEFT_OUT != 0
    if tolerance is None:
        differs["weights"] = one["weights"] != other["weights"]
    return Comparison(
        len(one),
        {name: int(found.sum()) for name, found in differs.items()},
        _first(one, other, differs),
        {name: _largest(one["step"], found) for name, found in apart.items()},
    )


def _relative(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Relative difference, float64: 0 where both are the same to the bit or no number, infinite where one is neither.

    one, other: (N,) float32
    """
    mine, theirs = one.astype(np.float64), other.astype(np.float64)
    same = (one.view(np.uint32) == other.view(np.uint32)) | (np.isnan(mine) & np.isnan(theirs))
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(mine - theirs) / np.maximum(np.abs(mine), np.abs(theirs))
    apart[~np.isfinite(apart)] = np.inf
    apart[same] = 0.0
    return apart


def _largest(steps: np.ndarray, apart: np.ndarray) -> tuple[float, int]:
    if not len(steps):
        return 0.0, 0
    at = int(apart.argmax())
    return float(apart[at]), int(steps[at])


def _first(one: np.ndarray, other: np.ndarray, differs: dict[str, np.ndarray]) -> Difference | None:
    """The step, then the quantity: the records may come in any order."""
    places = np.flatnonzero(np.any(list(differs.values()), axis=0))
    if not len(places):
        return None
    at = int(places[one["step"][places].argmin()])
    name = next(name for name in QUANTITIES if name in differs and differs[name][at])
    return Difference(int(one["step"][at]), name, _value(one[at], name), _value(other[at], name))


def _value(record: np.ndarray, name: str) -> Any:
    if name == "left_out":
        return bool(record["flags"] & LEFT_OUT)
    value = record[name]
    return float(value) if name in TERMS else f"{int(value):016x}"
