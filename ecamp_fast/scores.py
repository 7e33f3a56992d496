"""Scores of a classifier, and how sure they are: area under the ROC curve, and intervals over patients. numpy alone.

Legend: N samples, F findings, D resamples of the bootstrap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
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
    seeds, draws = len(differences), differences.shape[1] - 1
    value, drawn = differences[:, 0].mean(), differences[:, 1:]
    if seeds == 1:
        return estimate(differences[0])
    chosen = np.random.default_rng(seed).integers(seeds, size=(seeds, draws))
    own = differences[:, :1]  # of each seed, which is what differs between them
    between = (own[chosen, 0] - value).mean(0) * np.sqrt(seeds / (seeds - 1))
    within = np.take_along_axis(drawn - own, chosen, axis=0).mean(0)
    return estimate(np.concatenate([[value], value + between + within]))


def weighted_mean(values: Array, weights: Array) -> Array:
    """values: (N,)   weights: (D, N)   returns (D,) float64."""
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
    order = np.argsort(scores, kind="stable")
    scores, positive, counts = scores[order], positive[order], counts[:, order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])  # of each run of equal scores
    won = np.add.reduceat(counts * positive, starts, axis=1)
    lost = np.add.reduceat(counts * ~positive, starts, axis=1)
    below = lost.cumsum(1) - lost
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((won * (below + lost / 2)).sum(1) / (won.sum(1) * lost.sum(1)))  # 0 / 0 is NaN


def mean_auroc(scores: Array, positive: Array, weights: Array | None = None) -> Array:
    """Mean of ``auroc`` over the findings that have both classes; NaN where none has. Shape () or (D,)."""
    found = auroc(scores, positive, weights)
    known = ~np.isnan(found)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, found, 0.0).sum(-1) / known.sum(-1))
