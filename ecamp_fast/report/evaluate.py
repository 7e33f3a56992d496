"""Whether the model reconstructs this patient or just any chest: its own image against another patient's."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ecamp_fast.batch import Batch
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.model.ecamp import Ecamp


@dataclass(frozen=True)
class OwnVersusOther:
    """How a reconstruction correlates, over the masked pixels, with its own image and with another patient's.

    cases  samples compared   wins  those with own > other   own, other  mean correlations
    """

    cases: int
    wins: int
    own: float
    other: float

    @property
    def share(self) -> float:
        """Share of cases in which the own image correlates better."""
        return self.wins / self.cases

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share (Wilson's score interval)."""
        n, z2 = self.cases, 1.959964**2
        centre = (self.share + z2 / (2 * n)) / (1 + z2 / n)
        half = math.sqrt(z2 * (self.share * (1 - self.share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self) | {"share": self.share, "interval": list(self.interval)}


def own_versus_other(model: Ecamp, batches: Iterable[Batch], patients: Sequence[str]) -> OwnVersusOther:
    """Reconstruct held-out samples and compare each with its own image and with the next other patient's.

    Both correlations run over the same pixels, those of the patches hidden from the encoder.

    batches: each sample once, as ``Loader.evaluation`` gives them
    patients: name by sample number (``Batch.samples``)
    Raises ConfigError for a model without an image term, DataError where there is one patient only.
    """
    predictions, truths, masks, names = [], [], [], []
    for batch in batches:
        reconstruction = model.reconstruct(batch)
        if reconstruction.prediction is None:
            raise ConfigError(
                "the recipe has no image term: nothing is reconstructed", "turn on losses.mim or losses.sr"
            )
        predictions.append(reconstruction.prediction.cpu())
        truths.append(reconstruction.low.cpu())
        masks.append(reconstruction.mask.cpu())
        names += [patients[sample] for sample in batch.samples.tolist()]
    others = next_other(names)
    prediction, truth, mask = torch.cat(predictions), torch.cat(truths), torch.cat(masks)
    own = masked_correlation(prediction, truth, mask)
    other = masked_correlation(prediction, truth[others], mask)
    return OwnVersusOther(len(own), int((own > other).sum()), float(own.mean()), float(other.mean()))


def next_other(patients: Sequence[str]) -> list[int]:
    """For each sample the next one, around the end, of a different patient.  Raises DataError where there is none."""
    count = len(patients)
    if len(set(patients)) < 2:
        raise DataError(f"the {count} samples belong to one patient: there is nobody to compare with", "hold out more")
    found = []
    for index, patient in enumerate(patients):
        step = next(step for step in range(1, count) if patients[(index + step) % count] != patient)
        found.append((index + step) % count)
    return found


def masked_correlation(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Pearson's correlation over the pixels of masked patches.

    prediction, truth: (B, 1, H, W)   mask: (B, N) bool, True = hidden from the encoder
    returns (B,) float64; 0 where prediction or truth is constant.
    """
    hidden = pixel_mask(mask, prediction.shape[-1])
    a, b = (_centred(image[:, 0].double(), hidden) for image in (prediction, truth))
    product = (a * b).sum((1, 2))
    norm = (a.square().sum((1, 2)) * b.square().sum((1, 2))).sqrt()
    return torch.where(norm > 0, product / norm, 0.0)


def pixel_mask(mask: Tensor, side: int) -> Tensor:
    """Patches to pixels.  mask: (B, N) bool   side: H, pixels   returns (B, H, H) bool."""
    grid = math.isqrt(mask.shape[1])
    cells = mask.reshape(-1, grid, grid)
    return cells.repeat_interleave(side // grid, 1).repeat_interleave(side // grid, 2)


def _centred(image: Tensor, where: Tensor) -> Tensor:
    mean = torch.where(where, image, 0.0).sum((1, 2)) / where.sum((1, 2))
    return torch.where(where, image - mean[:, None, None], 0.0)
