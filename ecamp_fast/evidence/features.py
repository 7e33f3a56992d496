"""Linear probes of frozen features against those of encoders that learned nothing from reports, and of none at all.

Legend: N samples, S pixels a side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ecamp_fast.downstream.features import encode, untrained
from ecamp_fast.downstream.probe import Probed, probe
from ecamp_fast.evidence.check import Check, needed, told
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.scores import Estimate, draw_patients, estimate

RAW = 16  # pixels a side of the image that a probe reads as it is
INITS = 3  # of untrained encoders
TRAINED = "trained"


@dataclass(frozen=True)
class FeatureEvidence:
    """Mean AUROC of linear probes, cross-fitted by patient, as estimates over patients.

    pooling      tokens are averaged over a grid of ``pooling`` x ``pooling`` parts of the image
    auroc        by name of the features: ``trained``, and the opponents
    difference   by name of the opponent: trained - opponent, patient by patient
    """

    pooling: int
    auroc: dict[str, Estimate]
    difference: dict[str, Estimate]

    def check(self, opponents: Sequence[str], least: float = 0.0) -> Check:
        """That the trained features are surely above each of ``opponents`` and reach ``least``."""
        best = self.auroc[TRAINED]
        rest = ", ".join(f"{name} {one.value:.3f}" for name, one in self.auroc.items() if name != TRAINED)
        above = ", ".join(f"{name} {told(self.difference[name])}" for name in opponents)
        found = f"AUROC {best.value:.3f}{needed(least)}, {self.how}; {rest}. Above {above}"
        passed = best.value >= least and all(self.difference[name].positive for name in opponents)
        return Check(f"a linear probe of the features beats {' and '.join(opponents)}", found, passed)

    @property
    def how(self) -> str:
        """How tokens are pooled, in words."""
        return "mean of all tokens" if self.pooling == 1 else f"means of {self.pooling} x {self.pooling} parts"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        numbers = {"auroc": self.auroc, "difference": self.difference}
        plain = {key: {name: one.as_dict() for name, one in table.items()} for key, table in numbers.items()}
        return {"pooling": self.pooling, **plain}


def compare_features(
    features: Tensor,
    opponents: Mapping[str, Sequence[Tensor]],
    labels: Tensor,
    patients: Sequence[str],
    pooling: int = 1,
) -> FeatureEvidence:
    """Probe features and those of opponents on the same folds.

    features    (N, D) floating
    opponents   by name: (N, D) features; of several, such as random weights of several seeds, the mean AUROC counts
    labels      (N, F) bool
    patients    N names
    pooling     of ``features``, for the record
    """
    weights = draw_patients(patients)
    scores = {TRAINED: probe(features, labels, patients).auroc(weights)}
    for name, several in opponents.items():
        found: list[Probed] = [probe(one, labels, patients) for one in several]
        scores[name] = np.mean([one.auroc(weights) for one in found], axis=0)
    return FeatureEvidence(
        pooling,
        {name: estimate(values) for name, values in scores.items()},
        {name: estimate(scores[TRAINED] - values) for name, values in scores.items() if name != TRAINED},
    )


def without_learning(model: Ecamp, images: Tensor, training: Tensor, pooling: int) -> dict[str, list[Tensor]]:
    """The features of opponents that need no reports and no gradient: random weights, pixels, principal components.

    images: (N, 1, S, S) uint8   training: (M, 1, S, S) uint8, images whose principal components are taken
    """
    random = [encode(untrained(model.recipe, seed), images, pooling) for seed in range(INITS)]
    width = random[0].shape[1]
    return {
        "random weights": random,
        f"pixels {RAW} x {RAW}": [pixels(images, RAW).cpu()],
        "principal components": [principal(images, training, min(width, len(training) - 1)).cpu()],
    }


def pixels(images: Tensor, side: int) -> Tensor:
    """(N, side * side) float32, 0 to 1."""
    return functional.adaptive_avg_pool2d(images.float() / 255, side).flatten(1)


def principal(images: Tensor, training: Tensor, count: int, side: int = 64) -> Tensor:
    """The first ``count`` principal components of ``training``, at ``side`` pixels a side. (N, count) float32."""
    fitted, wanted = (pixels(part, side).double() for part in (training, images))
    mean = fitted.mean(0)
    fitted = fitted - mean
    spread, mixes = torch.linalg.eigh(fitted @ fitted.T)  # ascending; fewer images than pixels make a small matrix
    axes = fitted.T @ mixes[:, -count:].flip(1)
    return (
        (wanted - mean) @ axes / spread[-count:].flip(0).clamp_min(1e-9).sqrt()
    ).float()  # pictures that stand twice
