"""Scores of a classifier on a split, by class and overall, with intervals over patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecamp_fast import scores
from ecamp_fast.scores import Estimate

Array = np.ndarray


@dataclass(frozen=True)
class ClassScores:
    """overall: the mean over classes that can be scored; per_class: None where one kind of a class is absent."""

    overall: Estimate
    per_class: dict[str, float | None]


def area_under_roc(
    outputs: Array, values: Array, names: Sequence[str], patients: Sequence[str], resamples: int = scores.RESAMPLES
) -> ClassScores:
    """AUROC of each class over the samples whose label is known, and their mean.

    outputs: (N, F), any scale   values: (N, F), 1, 0, NaN unknown
    """
    resampled = class_areas(outputs, values, scores.draw_patients(patients, resamples))
    return ClassScores(mean_over_classes(resampled), by_class(resampled[0], names))


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
    return ClassScores(scores.estimate(scores.weighted_mean(hits, weights)), found)


def mean_over_classes(resampled: Array) -> Estimate:
    """Over those that all samples together can score; a draw that lacks one of them is averaged without it.

    resampled: (1 + D, F)
    """
    known = ~np.isnan(resampled[0])
    if not known.any():
        return Estimate(float("nan"), float("nan"), float("nan"))
    return scores.estimate(scores.row_means(resampled[:, known]))


def by_class(values: Array, names: Sequence[str]) -> dict[str, float | None]:
    """values: (F,), NaN where there is none."""
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, values, strict=True)}
