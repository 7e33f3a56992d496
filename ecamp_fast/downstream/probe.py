"""Linear probe of frozen features, and its paired comparison with the same probe on an untrained encoder."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from ecamp_fast.downstream.logistic import fit
from ecamp_fast.downstream.threads import one_thread
from ecamp_fast.errors import DataError
from ecamp_fast.scores import mean_auroc

RIDGES = [1.0, 0.3, 0.1, 0.03, 0.01, 0.003]
FOLDS = 3

# 97.5 % quantiles of Student's t, 1 to 30 degrees of freedom.
_T975 = (
    *(12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963),
    *(2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272),
)


@dataclass(frozen=True)
class Comparison:
    """Mean AUROC per seed of the probe on trained and on untrained features; what one seed did is a pair."""

    trained: tuple[float, ...]
    untrained: tuple[float, ...]

    @property
    def differences(self) -> tuple[float, ...]:
        return tuple(a - b for a, b in zip(self.trained, self.untrained, strict=True))

    @property
    def mean(self) -> float:
        """Mean paired difference, trained minus untrained."""
        return fmean(self.differences)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % t-interval of the mean paired difference."""
        half = t_quantile(len(self.trained) - 1) * stdev(self.differences) / math.sqrt(len(self.trained))
        return self.mean - half, self.mean + half

    @property
    def better(self) -> bool:
        """Whether the interval lies above zero."""
        return self.interval[0] > 0

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "trained": list(self.trained),
            "untrained": list(self.untrained),
            "difference": self.mean,
            "interval": list(self.interval),
            "better": self.better,
        }


def compare(
    trained: Tensor,
    untrained: Callable[[int], Tensor],
    labels: Tensor,
    patients: Sequence[str],
    seeds: Sequence[int] = range(5),
) -> Comparison:
    """Probe trained features against those of an encoder with random weights, pairwise over seeds.

    Each seed splits the samples by patient anew, for both alike, and draws another untrained encoder.

    trained    (N, D) floating
    untrained  gives the (N, D) features of the encoder initialised with a seed
    labels     (N, F) bool
    patients   N names
    seeds      each gives a pair

    Raises DataError where no finding can be judged.
    """
    ours, theirs = [], []
    for seed in seeds:
        ours.append(probe(trained, labels, patients, seed))
        theirs.append(probe(untrained(seed), labels, patients, seed))
    return Comparison(tuple(ours), tuple(theirs))


def probe(features: Tensor, labels: Tensor, patients: Sequence[str], seed: int, folds: int = FOLDS) -> float:
    """Cross-fitted linear probe: each fold of patients is scored by a probe fitted on the others.

    The ridge strength is the best of ``RIDGES`` in a cross-validation, by patient, inside the fitting part.

    features  (N, D) floating
    labels    (N, F) bool
    patients  N names
    seed      of the folds
    returns   mean AUROC over the folds and the findings that have both classes in the fold
    """
    if not len(features) == len(labels) == len(patients):
        raise ValueError(f"{len(features)} features, {len(labels)} labels and {len(patients)} patients do not match")
    fold = patient_folds(patients, folds, seed)
    names = list(patients)
    scores = []
    with one_thread():
        for part in range(folds):
            fitting, testing = (fold != part).nonzero()[:, 0], (fold == part).nonzero()[:, 0]
            own = [names[i] for i in fitting.tolist()]
            logits = _tuned(features[fitting], labels[fitting], own, seed, features[testing])
            scores.append(mean_auroc(logits, labels[testing]))
    if any(math.isnan(score) for score in scores):
        raise DataError(
            f"a fold of {len(features) // folds} samples has no finding with both classes",
            "probe more samples, or with fewer folds",
        )
    return fmean(scores)


def patient_folds(patients: Sequence[str], folds: int, seed: int) -> Tensor:
    """The fold of each sample, (N,) int64: patients are dealt out in random order, so none is in two folds."""
    names = sorted(set(patients))
    if len(names) < folds:
        raise DataError(f"{len(names)} patients do not fill {folds} folds", "probe more patients")
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    fold = {names[index]: position % folds for position, index in enumerate(order)}
    return torch.tensor([fold[name] for name in patients])


def t_quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t; beyond 30 degrees of freedom by the Cornish-Fisher expansion."""
    if freedom < 1:
        raise ValueError("an interval needs two seeds at least")
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z = 1.959964
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def _tuned(features: Tensor, labels: Tensor, patients: Sequence[str], seed: int, test: Tensor) -> Tensor:
    """Logits (M, F) of ``test`` (M, D), with the ridge strength that serves best inside ``features``."""
    fold = patient_folds(patients, FOLDS, seed)
    score = torch.zeros(len(RIDGES))
    for part in range(FOLDS):
        held = fold == part
        logits = fit(features[~held], labels[~held], RIDGES).logits(features[held])
        score += torch.tensor([mean_auroc(one, labels[held]) for one in logits]).nan_to_num(0.0)
    best = RIDGES[int(score.argmax())]
    return fit(features, labels, [best]).logits(test)[0]
