"""Do maps lie where findings are? Five scores of a map against boxes, beside four maps that know nothing of the image.

A map is judged with the boxes of its finding in its image, five ways (``METRICS``):

pointing  whether its highest place lies in a box; of several as high, the share that does
iou       overlap of the boxes and as many of its highest places as the boxes have. So no threshold is chosen, and how
          large a finding is is told: only where counts. Places that are as high as the last are taken in part, alike
share     how much of the map lies in the boxes
lift      share, divided by that of a flat map: 1 says nothing, whatever the size of the boxes
side      whether more of it lies in the half, left or right, where the boxes are; one half where both hold as much.
          Asked only where the boxes lie in one half

What a map must beat are maps too (``OPPONENTS``), judged by the same boxes:

uniform  flat: chance
centre   a hill in the middle
usual    where the finding is in the images of other patients, summed
other    the map of the same finding in another patient's image, mean over such. What a map has above that it has from
         this image: whatever the method likes, for this finding or for any, is in the other's map as well

Legend: E pairs of an image and a finding, P places of a map, G a side, D draws of patients.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from ecamp_fast.downstream.visualize.boxes import at_least, places
from ecamp_fast.scores import Array, Estimate, draw_patients, estimate, inside, weighted_mean

METRICS = ("pointing", "iou", "share", "lift", "side")
OPPONENTS = ("uniform", "centre", "usual", "other")
HILL = 0.25  # standard deviation of the centre's hill, of the image's side
CELL = 1 + 1e-9  # sides of a place that a box has at least: then it holds the middle of one, however it rounds
ONE_SIDE = 0.9  # share of boxes in one half from which on they are on one side
OFTEN = 0.25  # share of the images of a finding with boxes on one side from which on the finding is one-sided
OTHERS = 200  # maps of a finding that others are compared with, at most; evenly taken


class MapPair(NamedTuple):
    """An image that has a finding, and the map of it.

    key      of the image
    finding  its name
    patient  whose image it is
    map      (G, G) floating, >= 0
    boxes    (n, 4) x1, y1, x2, y2 in the square that the map covers, 0 to 1
    """

    key: str
    finding: str
    patient: str
    map: Array
    boxes: Array


@dataclass(frozen=True)
class ComparedScore:
    """A score and the same of the opponents; None where there is nothing to judge. Intervals are over patients.

    own        of the maps
    opponents  by name
    above      by name: own - opponent, pair by pair
    """

    own: Estimate | None
    opponents: dict[str, Estimate | None]
    above: dict[str, Estimate | None]


@dataclass(frozen=True)
class FindingScores:
    """One finding.

    scores     by metric
    pairs      images with boxes and a map of it
    patients   whose they are
    one_sided  whether it is often on one side (``OFTEN``): not so of what lies about the middle, or in both lungs
    """

    scores: dict[str, ComparedScore]
    pairs: int
    patients: int
    one_sided: bool


@dataclass(frozen=True)
class MapScores:
    """mean: over findings, each alike   one_sided: over those that are, None without any   findings: by name"""

    mean: dict[str, ComparedScore]
    one_sided: dict[str, ComparedScore] | None
    findings: dict[str, FindingScores]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


# By metric, by "own", an opponent or ("above", opponent): (1 + D,), NaN where there is nothing to judge. Of all pairs
# first, then of each draw of patients, which depends on whose they are alone: numbers of the same pairs are paired.
Numbers = dict[str, dict[Any, Array]]


@dataclass(frozen=True)
class JudgedFinding:
    """One finding: ``numbers`` of what ``FindingScores`` tells as estimates."""

    numbers: Numbers
    pairs: int
    patients: int
    one_sided: bool


def score_maps(pairs: Sequence[MapPair]) -> MapScores:
    """Judge the maps of all pairs; those of one finding have one size. The order of pairs does not matter.

    Raises ValueError without pairs.
    """
    judged = judge_findings(pairs)
    sided = [one.numbers for one in judged.values() if one.one_sided]
    findings = {
        name: FindingScores(_beside(one.numbers), one.pairs, one.patients, one.one_sided)
        for name, one in judged.items()
    }
    mean = mean_of([one.numbers for one in judged.values()])
    return MapScores(_beside(mean), _beside(mean_of(sided)) if sided else None, findings)


def judge_findings(pairs: Sequence[MapPair]) -> dict[str, JudgedFinding]:
    """Of each finding by itself, by name.  Raises ValueError without pairs."""
    if not pairs:
        raise ValueError("no map has a box")
    pairs = sorted(pairs, key=lambda pair: (pair.finding, pair.patient, pair.key))
    weights = draw_patients([pair.patient for pair in pairs])
    names = np.array([pair.finding for pair in pairs], dtype=object)
    found = {}
    for name in sorted(set(names)):
        rows = np.flatnonzero(names == name)
        found[name] = _judge([pairs[row] for row in rows.tolist()], weights[:, rows])
    return found


def score(maps: Array, boxes: Array) -> dict[str, Array]:
    """Each map with its own boxes.

    maps     (E, P) floating, >= 0, P a square; one that is 0 everywhere counts as flat
    boxes    (E, P) bool: places in a box, at least one each
    returns  by metric (E,) float64; ``side`` is NaN where the boxes are not on one side
    """
    maps = maps + (maps.max(1, keepdims=True) == 0)
    size = boxes.sum(1)
    peaks = maps == maps.max(1, keepdims=True)
    share = (maps * boxes).sum(1) / maps.sum(1)
    right = _right(maps.shape[1])
    where, leaning = boxes @ right, maps @ right
    even = np.abs(leaning) <= 1e-9 * maps.sum(1)
    agrees = np.where(even, 0.5, np.sign(leaning) == np.sign(where))
    return {
        "pointing": (peaks & boxes).sum(1) / peaks.sum(1),
        "iou": _iou(maps, boxes, size),
        "share": share,
        "lift": share * boxes.shape[1] / size,
        "side": np.where(np.abs(where) >= (2 * ONE_SIDE - 1) * size, agrees, np.nan),
    }


def _iou(maps: Array, boxes: Array, size: Array) -> Array:
    """Of the boxes and the highest places, as many."""
    last = np.take_along_axis(-np.sort(-maps, axis=1), size[:, None] - 1, 1)  # the lowest height that is taken
    higher, level = maps > last, maps == last
    part = (size - higher.sum(1)) / level.sum(1)
    shared = (higher & boxes).sum(1) + part * (level & boxes).sum(1)
    return np.asarray(shared / (2 * size - shared))


def _right(count: int) -> Array:
    """(P,) 1 in the right half of the image, -1 in the left, 0 between.  count: P"""
    return np.sign(places(round(count**0.5))[:, 0].round(9) - 0.5)


def _judge(pairs: Sequence[MapPair], weights: Array) -> JudgedFinding:
    """Of one finding.  weights: (1 + D, E)"""
    maps = np.stack([pair.map for pair in pairs]).reshape(len(pairs), -1).astype(np.float64)
    grid = round(maps.shape[1] ** 0.5)
    boxes = np.array([inside(places(grid), at_least(pair.boxes, CELL / grid)) for pair in pairs])
    owners = np.unique([pair.patient for pair in pairs], return_inverse=True)[1]
    own = score(maps, boxes)
    flat = {"uniform": np.ones_like(maps), "centre": np.broadcast_to(_hill(grid), maps.shape)}
    flat["usual"] = _usual(boxes, owners)
    beside = {name: score(one, boxes) for name, one in flat.items()}
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), OTHERS)).round().astype(int))
    others = [score(np.broadcast_to(maps[row], maps.shape), boxes) for row in chosen]
    allowed = owners[:, None] != owners[chosen]
    found: Numbers = {}
    for metric in METRICS:
        known = ~np.isnan(own[metric])
        mine, counts = own[metric][known], weights[:, known]
        numbers: dict[Any, Array] = {"own": weighted_mean(mine, counts)}
        for name, one in beside.items():
            numbers[name] = weighted_mean(one[metric][known], counts)
            numbers["above", name] = weighted_mean(mine - one[metric][known], counts)
        table = np.stack([one[metric][known] for one in others], 1)
        numbers["other"], numbers["above", "other"] = _against(mine, table, allowed[known], counts, weights[:, chosen])
        found[metric] = numbers
    return JudgedFinding(found, len(pairs), len(set(owners)), bool((~np.isnan(own["side"])).mean() >= OFTEN))


def _against(own: Array, table: Array, allowed: Array, counts: Array, drawn: Array) -> tuple[Array, Array]:
    """Mean score of other patients' maps, and the own one's above it; both patients are drawn.

    own      (E,)
    table    (E, M) score of each of M maps with the boxes of each pair
    allowed  (E, M) bool: whether it is another patient's
    counts   (1 + D, E), drawn (1 + D, M): how often each counts
    returns  (1 + D,) twice, NaN for a draw where nobody has another
    """
    reached = drawn @ allowed.T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        other = (drawn @ (allowed * table).T) / reached
        held = counts * (reached > 0)
        mean = np.where(reached > 0, held * other, 0).sum(1) / held.sum(1)
        return mean, held @ own / held.sum(1) - mean


def _usual(boxes: Array, owners: Array) -> Array:
    """The boxes of all other patients, summed; zeros where nobody else has any.  boxes: (E, P) bool   returns (E, P)"""
    by_owner = np.zeros((owners.max() + 1, boxes.shape[1]))
    np.add.at(by_owner, owners, boxes)
    return np.asarray(by_owner.sum(0) - by_owner[owners])


def _hill(grid: int) -> Array:
    """(P,)"""
    return np.asarray(np.exp(-((places(grid) - 0.5) ** 2).sum(1).round(12) / (2 * HILL**2)))


def mean_of(findings: Sequence[Numbers]) -> Numbers:
    """Over the findings that have a number at all, each alike; in a draw, over those that have one in it."""
    found: Numbers = {}
    for metric in METRICS:
        found[metric] = {}
        for name in findings[0][metric]:
            rows = np.stack([one[metric][name] for one in findings])
            rows = rows[~np.isnan(rows[:, 0])] if not np.isnan(rows[:, 0]).all() else rows[:1]
            known = ~np.isnan(rows)
            with np.errstate(invalid="ignore"):
                found[metric][name] = np.where(known, rows, 0).sum(0) / known.sum(0)
    return found


def _beside(numbers: Numbers) -> dict[str, ComparedScore]:
    return {
        metric: ComparedScore(
            _estimate(one["own"]),
            {name: _estimate(one[name]) for name in OPPONENTS},
            {name: _estimate(one["above", name]) for name in OPPONENTS},
        )
        for metric, one in numbers.items()
    }


def _estimate(values: Array) -> Estimate | None:
    return None if np.isnan(values[0]) or np.isnan(values[1:]).all() else estimate(values)
