"""Linear probe of frozen features, cross-fitted by patient."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ecamp_fast.downstream.logistic import fit
from ecamp_fast.downstream.threads import one_thread
from ecamp_fast.errors import DataError
from ecamp_fast.scores import mean_auroc

RIDGES = [1.0, 0.3, 0.1, 0.03, 0.01, 0.003]
FOLDS = 3
REPEATED = 400  # samples below which folds are dealt out again: a fold of twenty tells one strength from no other
TUNED = 12_000  # samples, at most, that the ridge strength is chosen among


@dataclass(frozen=True)
class Probed:
    """What probes that were fitted on other patients say of each sample.

    logits  (N, F) float64   of different folds they are of different probes: compare them within a fold
    labels  (N, F) bool
    fold    (N,) int64
    """

    logits: np.ndarray
    labels: np.ndarray
    fold: np.ndarray

    def auroc(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Mean AUROC over the folds and the findings that have both classes in the fold.

        weights: (D, N), how often each sample counts (``scores.draw_patients``)   returns shape () or (D,).
        """
        parts = [self.fold == part for part in range(int(self.fold.max()) + 1)]
        found = [
            mean_auroc(self.logits[part], self.labels[part], None if weights is None else weights[:, part])
            for part in parts
        ]
        return np.asarray(np.mean(found, axis=0))


def probe(features: Tensor, labels: Tensor, patients: Sequence[str], seed: int = 0, folds: int = FOLDS) -> Probed:
    """Cross-fitted linear probe: each fold of patients is scored by a probe fitted on the others.

    The ridge strength is the best of ``RIDGES`` in a cross-validation, by patient, inside the fitting part.

    features  (N, D) floating
    labels    (N, F) bool
    patients  N names
    seed      of the folds

    Raises DataError where a fold cannot be judged.
    """
    if not len(features) == len(labels) == len(patients):
        raise ValueError(f"{len(features)} features, {len(labels)} labels and {len(patients)} patients do not match")
    fold = patient_folds(patients, folds, seed)
    names = list(patients)
    logits = torch.empty(labels.shape, dtype=torch.float64)
    with one_thread():
        for part in range(folds):
            fitting, testing = (fold != part).nonzero()[:, 0], (fold == part).nonzero()[:, 0]
            own = [names[i] for i in fitting.tolist()]
            logits[testing] = tuned(features[fitting], labels[fitting], own, seed, features[testing])
    found = Probed(logits.numpy(), labels.numpy(), fold.numpy())
    if math.isnan(found.auroc()):
        raise DataError(
            f"a fold of {len(features) // folds} samples has no finding with both classes",
            "probe more samples, or with fewer folds",
        )
    return found


def patient_folds(patients: Sequence[str], folds: int, seed: int) -> Tensor:
    """The fold of each sample, (N,) int64: patients are dealt out in random order, so none is in two folds."""
    names = sorted(set(patients))
    if len(names) < folds:
        raise DataError(f"{len(names)} patients do not fill {folds} folds", "probe more patients")
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    fold = {names[index]: position % folds for position, index in enumerate(order)}
    return torch.tensor([fold[name] for name in patients])


def tuned(
    features: Tensor, labels: Tensor, patients: Sequence[str], seed: int, test: Tensor, known: Tensor | None = None
) -> Tensor:
    """Logits (M, F) of ``test`` (M, D), with the ridge strength that serves best inside ``features``.

    known: (N, F) bool: samples that say something about a finding; None: all do
    """
    some = _some(patients, seed)
    chosen = slice(None) if some is None else some
    names = list(patients) if some is None else [patients[i] for i in some.tolist()]
    best = _best_ridge(features[chosen], labels[chosen], names, seed, None if known is None else known[chosen])
    return fit(features, labels, [best], known).logits(test)[0]


def _best_ridge(features: Tensor, labels: Tensor, patients: Sequence[str], seed: int, known: Tensor | None) -> float:
    score = np.zeros(len(RIDGES))
    for turn in range(math.ceil(REPEATED / len(features))):
        fold = patient_folds(patients, FOLDS, seed + turn)
        for part in range(FOLDS):
            held = fold == part
            found = fit(features[~held], labels[~held], RIDGES, None if known is None else known[~held])
            judged = None if known is None else known[held]
            score += np.nan_to_num([_area(one, labels[held], judged) for one in found.logits(features[held])])
    return RIDGES[int(score.argmax())]


def _some(patients: Sequence[str], seed: int) -> Tensor | None:
    """Samples that the ridge strength is chosen among; None: all.

    A strength that a few thousand cannot tell from its neighbour is as good as its neighbour for all of them.
    """
    if len(patients) <= TUNED:
        return None
    part = patient_folds(patients, math.ceil(len(patients) / TUNED), seed)
    return (part == 0).nonzero()[:, 0]


def _area(logits: Tensor, labels: Tensor, known: Tensor | None) -> float:
    """Mean AUROC over findings with both classes among what is known."""
    if known is None:
        return float(mean_auroc(logits.numpy(), labels.numpy()))
    columns = [
        mean_auroc(logits[known[:, f], f : f + 1].numpy(), labels[known[:, f], f : f + 1].numpy())
        for f in range(labels.shape[1])
    ]
    found = np.array(columns)
    return float(found[~np.isnan(found)].mean()) if not np.isnan(found).all() else float("nan")
