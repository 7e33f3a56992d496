"""Scores of a classifier on a split, by class and overall, with intervals over patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecamp_fast import scores
from ecamp_fast.scores import Estimate

Array = np.ndarray


@dataclass(frozen=True)
class ClassScores:
    """Of one fit.

    overall    the mean over classes that can be scored
    per_class  None where one kind of a class is absent
    resampled  (1 + D,): overall, of all samples and of each draw of patients
    """

    overall: Estimate
    per_class: dict[str, float | None]
    resampled: Array


def area_under_roc(
    outputs: Array, values: Array, names: Sequence[str], patients: Sequence[str], resamples: int = scores.RESAMPLES
) -> ClassScores:
    """AUROC of each class over the samples whose label is known, and their mean.

    outputs: (N, F), any scale   values: (N, F), 1, 0, NaN unknown
    """
    resampled = class_areas(outputs, values, scores.draw_patients(patients, resamples))
    return ClassScores(mean_over_classes(resampled), by_class(resampled[0], names), overall(resampled))


def class_areas(outputs: Array, values: Array, weights: Array) -> Array:
    """weights: (D, N), how often each sample counts   returns (D, F); NaN where a class lacks one kind."""
    columns = []
    for number in range(values.shape[1]):
        known = ~np.isnan(values[:, number])
        column = slice(number, number + 1)
        columns.append(scores.auroc(outputs[known, column], values[known, column] > 0.5, weights[:, known])[:, 0])
    return np.stack(columns, 1)


def accuracy(
    outputs: Array, values: Array, names: Sequence[str], patients: Sequence[str], resamples: int = scores.RESAMPLES
) -> ClassScores:
    """Share of samples whose likeliest class is theirs, overall and of each class.

    outputs: (N, F)   values: (N, F), one 1 a row
    """
    truth = values.argmax(1)
    hits = (outputs.argmax(1) == truth).astype(np.float64)
    weights = scores.draw_patients(patients, resamples)
    found = {name: float(hits[truth == n].mean()) if (truth == n).any() else None for n, name in enumerate(names)}
    resampled = scores.weighted_mean(hits, weights)
    return ClassScores(scores.estimate(resampled), found, resampled)


def mean_over_classes(resampled: Array) -> Estimate:
    """``overall`` with its interval.  resampled: (1 + D, F)"""
    values = overall(resampled)
    return Estimate(*[float("nan")] * 3) if np.isnan(values[0]) else scores.estimate(values)


def overall(resampled: Array) -> Array:
    """The mean over classes that all samples together can score; a draw that lacks one of them goes without it.

    resampled: (1 + D, F)   returns (1 + D,); NaN where there is no such class
    """
    return scores.row_means(resampled[:, ~np.isnan(resampled[0])])


def listed(values: Array) -> list[float]:
    """For a result: of two on the same samples the differences are paired, draw by draw."""
    return [round(float(value), 6) for value in values]


def by_class(values: Array, names: Sequence[str]) -> dict[str, float | None]:
    """values: (F,), NaN where there is none."""
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, values, strict=True)}
