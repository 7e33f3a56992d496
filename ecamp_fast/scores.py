"""Scores of classifiers and masks, and how sure they are: AUROC, Dice, intervals over patients. numpy alone.

Legend: N samples, F findings, D resamples of the bootstrap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
BLOCK = 256  # samples whose pairs with all others are held at once
ROUNDING = 1e-5  # of what is scored: below it two numbers in float32 are one
Array = np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def positive(self) -> bool:
        """Whether the whole interval lies above zero, by more than float32 rounds."""
        return self.low > ROUNDING

    def as_dict(self) -> dict[str, float]:
        """Plain numbers, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


def draw_patients(patients: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """How often each sample counts when as many patients as there are get drawn, with replacement.

    A patient's samples are drawn together, since they are alike.

    patients: N names   returns (1 + resamples, N) float64; row 0 counts every sample once.
    """
    _, patient = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    count = int(patient.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.concatenate([np.ones((1, len(patient))), drawn[:, patient].astype(np.float64)])


def estimate(values: Array) -> Estimate:
    """values: (1 + D,), of all samples and of each draw   returns the first with the middle 95 % of the others.

    A draw that has no value (NaN) counts for nothing.
    """
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return Estimate(float(values[0]), float(low), float(high))


def over_seeds(differences: Array, seed: int = 0) -> Estimate:
    """The mean difference of two trainings, sure over patients and over training seeds (a hierarchical bootstrap).

    Each draw takes as many training seeds as there are, with replacement, and of each of them its difference on one
    draw of patients. S seeds drawn so have (S - 1) / S of the variance that they speak for, so that part is widened.

    differences: (S, 1 + D), row by training seed: of all samples and of each draw of patients (``draw_patients``), both
    trainings on the same; the seeds share draws where they share patients
    returns the mean of the first column, and the interval; of one seed over patients alone. Few seeds say little of
    their own spread: where it is half the patients', 84 % of such intervals of 2 seeds hold the truth, 92 % of 5.
    """
    seeds, resamples = len(differences), differences.shape[1] - 1
    value, drawn = differences[:, 0].mean(), differences[:, 1:]
    if seeds == 1:
        return estimate(differences[0])
    chosen = np.random.default_rng(seed).integers(seeds, size=(seeds, resamples))
    own = differences[:, :1]  # of each seed, which is what differs between them
    between = (own[chosen, 0] - value).mean(0) * np.sqrt(seeds / (seeds - 1))
    within = np.take_along_axis(drawn - own, chosen, axis=0).mean(0)
    return estimate(np.concatenate([[value], value + between + within]))


def weighted_mean(values: Array, weights: Array) -> Array:
    """values: (N,)   weights: (D, N)   returns (D,) float64, NaN for a draw that weighs nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(weights @ values / weights.sum(1))


def auroc(scores: Array, positive: Array, weights: Array | None = None) -> Array:
    """The chance that a positive case scores above a negative one, ties counting one half (Mann and Whitney).

    scores: (N, F) floating, any scale   positive: (N, F) bool   weights: (D, N) >= 0, how often each sample counts
    returns (F,) float64, or (D, F) with weights; NaN for a finding that lacks positive or negative cases.
    """
    counts = np.ones((1, len(scores))) if weights is None else weights
    columns = [_auroc(scores[:, finding], positive[:, finding], counts) for finding in range(scores.shape[1])]
    found = np.stack(columns, axis=1)
    return found[0] if weights is None else found


def _auroc(scores: Array, positive: Array, counts: Array) -> Array:
    """(D,) of one finding."""
    if not len(scores):  # of which no label is known: reduceat has no empty sum
        return np.full(len(counts), np.nan)
    order = np.argsort(scores, kind="stable")
    scores, positive, counts = scores[order], positive[order], counts[:, order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])  # of each run of equal scores
    won = np.add.reduceat(counts * positive, starts, axis=1)
    lost = np.add.reduceat(counts * ~positive, starts, axis=1)
    below = lost.cumsum(1) - lost
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((won * (below + lost / 2)).sum(1) / (won.sum(1) * lost.sum(1)))  # 0 / 0 is NaN


def auroc_of_parts(scores: Array, positive: Array, owners: Array, weights: Array) -> Array:
    """``auroc`` of many parts of few samples, such as the patches of images, where a sample's parts are drawn together.

    The pairs between every two samples are counted once, so that draws cost as much as there are samples, not parts.

    scores: (R, F) floating   positive: (R, F) bool   owners: (R,) integers below N   weights: (D, N) >= 0
    returns (D, F) float64; NaN for a finding that lacks positive or negative parts.
    """
    columns = zip(scores.T, positive.T, strict=True)
    return np.stack([_auroc_of_parts(*column, owners, weights) for column in columns], axis=1)


def _auroc_of_parts(scores: Array, positive: Array, owners: Array, weights: Array) -> Array:
    """(D,) of one finding."""
    samples = weights.shape[1]
    high, of_high = scores[positive], owners[positive]
    order = np.lexsort((scores[~positive], owners[~positive]))
    low, of_low = scores[~positive][order], owners[~positive][order]
    starts = np.searchsorted(of_low, np.arange(samples + 1))
    won = np.zeros(len(weights))
    for first in range(0, samples, BLOCK):
        block = range(first, min(first + BLOCK, samples))
        pairs = np.zeros((samples, len(block)))
        for column, sample in enumerate(block):
            own = low[starts[sample] : starts[sample + 1]]
            wins = (np.searchsorted(own, high, "left") + np.searchsorted(own, high, "right")) / 2
            pairs[:, column] = np.bincount(of_high, wins, samples)
        won += ((weights @ pairs) * weights[:, block.start : block.stop]).sum(1)
    counts = [weights @ np.bincount(part, minlength=samples) for part in (of_high, of_low)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(won / (counts[0] * counts[1]))  # 0 / 0 is NaN


def mean_auroc(scores: Array, positive: Array, weights: Array | None = None) -> Array:
    """Mean of ``auroc`` over the findings that have both classes; NaN where none has. Shape () or (D,)."""
    return row_means(auroc(scores, positive, weights))


def row_means(values: Array) -> Array:
    """Means along the last axis of what is not NaN; NaN where everything is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(-1) / known.sum(-1))


def dice(predicted: Array, truth: Array) -> Array:
    """Overlap of two masks, 2 |A and B| / (|A| + |B|); 1 where both are empty, as the paper scores it.

    predicted, truth: (..., H, W) bool   returns (...) float64.
    """
    shared, together = (predicted & truth).sum((-2, -1)), predicted.sum((-2, -1)) + truth.sum((-2, -1))
    return np.where(together > 0, 2 * shared / np.maximum(together, 1), 1.0)


def mean_over(values: Array, chosen: Array, weights: Array | None = None) -> Array:
    """Mean of the values that are chosen; NaN where there is none.

    values: (N,)   chosen: (N,) bool   weights: (D, N) >= 0, how often each sample counts   returns shape () or (D,).
    """
    counts = np.ones((1, len(values))) if weights is None else weights
    with np.errstate(invalid="ignore"):
        found = counts[:, chosen] @ values[chosen] / counts[:, chosen].sum(1)  # 0 / 0 is NaN
    return np.asarray(found[0] if weights is None else found)


def inside(points: Array, boxes: Array) -> Array:
    """Whether each point lies in any of some boxes.

    points   (P, 2) x, y
    boxes    (n, 4) x1, y1, x2, y2; the lower edges belong to a box, the upper ones do not
    returns  (P,) bool
    """
    x, y = points[:, :1], points[:, 1:]
    x1, y1, x2, y2 = boxes.T
    return np.asarray(((x >= x1) & (x < x2) & (y >= y1) & (y < y2)).any(1))


def pointing_game(maps: Array, points: Array, boxes: Sequence[Array]) -> Array:
    """Whether the peak of each map lies in one of its image's boxes (Zhang et al. 2016).

    Where several places are as high, the share of them that lies there: so a flat map has the chance of a blind guess.

    maps     (N, P)
    points   (P, 2) x, y of the places
    boxes    N arrays (n, 4) as of ``inside``
    returns  (N,) float64, 0 to 1
    """
    peaks = maps == maps.max(1, keepdims=True)
    return np.array([inside(points[peak], mine).mean() for peak, mine in zip(peaks, boxes, strict=True)], np.float64)
