"""Masked patches, reconstructed by the model and by what needs no training: a blur, an interpolation, the mean image,
and the mean image to which a blur or an interpolation adds how the visible patches differ from it.

Errors are mean squares over the pixels of masked patches, in units of the recipe's standardised pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.evidence.check import Check, told
from ecamp_fast.evidence.samples import Samples
from ecamp_fast.kernels.low_resolution import low_resolution
from ecamp_fast.model.ecamp import Reconstruction
from ecamp_fast.scores import Estimate, draw_patients, estimate, weighted_mean

WIDTHS = (0.25, 0.5, 1.0, 2.0)  # of the blur, standard deviation in patches
ROUNDS = 100  # of the interpolation: it moves by a pixel a round, and begins at the blur


WITH_MEAN = "mean image + "  # names of opponents that add to it what the visible patches say


@dataclass(frozen=True)
class ImageEvidence:
    """Masked errors of the model and of its opponents, of a blur the best width alone.

    better_than_one   lowest error of a blur, an interpolation or the mean image, minus that of the model
    better            lowest error of all opponents, minus that of the model
    """

    model: Estimate
    opponents: dict[str, Estimate]
    better_than_one: Estimate
    better: Estimate

    def check(self) -> Check:
        """That the model is below a blur, an interpolation and the mean image, each by itself."""
        return self._check("hidden patches are reconstructed, not smeared", False, self.better_than_one)

    def check_with_mean(self) -> Check:
        """That it is below every opponent, those with the mean image in them too."""
        name = "hidden patches are more than the mean image and what its neighbours add"
        return self._check(name, True, self.better)

    def _check(self, name: str, with_mean: bool, better: Estimate) -> Check:
        of = {name: one for name, one in self.opponents.items() if name.startswith(WITH_MEAN) == with_mean}
        others = ", ".join(f"{name} {one.value:.3f}" for name, one in of.items())
        found = f"error {self.model.value:.3f}; {others}; below the best {'of all' if with_mean else 'of them'} by "
        return Check(name, found + told(better), better.positive)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model": self.model.as_dict(),
            "opponents": {name: one.as_dict() for name, one in self.opponents.items()},
            "better_than_one": self.better_than_one.as_dict(),
            "better": self.better.as_dict(),
        }


def compare_images(reconstruct: Callable[[Batch], Reconstruction], samples: Samples, mean: Tensor) -> ImageEvidence:
    """Reconstruct held-out samples and compare, patient by patient.

    reconstruct  what ``Ecamp.reconstruct`` does
    mean         (1, 1, H, W) float32   mean low-resolution image of the training split, standardised
    """
    errors: dict[str, list[Tensor]] = {}
    for batch in samples.batches:
        found = reconstruct(batch)
        assert found.prediction is not None  # the recipe has an image term
        hidden = pixel_mask(found.mask, found.low.shape[-1])[:, None]
        for name, picture in {"model": found.prediction, **_drawn(found.low, hidden, found.mask, mean)}.items():
            errors.setdefault(name, []).append(masked_error(picture, found.low, hidden).cpu())
    weights = draw_patients(samples.patients)
    means = {name: weighted_mean(torch.cat(parts).double().numpy(), weights) for name, parts in errors.items()}
    model = means.pop("model")
    # In every draw the opponent that is best in it: near a tie the one that is best on the whole would be let off.
    best_of_one = np.min([values for name, values in means.items() if not name.startswith(WITH_MEAN)], axis=0)
    best = np.min([*means.values()], axis=0)
    shown = {name: estimate(values) for name, values in means.items()}
    for start in ("blur", f"{WITH_MEAN}blur"):
        blurs = sorted((name for name in shown if name.startswith(start)), key=lambda name: shown[name].value)
        for name in blurs[1:]:
            del shown[name]
    return ImageEvidence(estimate(model), shown, estimate(best_of_one - model), estimate(best - model))


def _drawn(low: Tensor, hidden: Tensor, mask: Tensor, mean: Tensor) -> dict[str, Tensor]:
    """The pictures of all opponents by name, (B, 1, H, W) each."""
    drawn = {"mean image": mean.expand_as(low)}
    for start, base in (("", torch.zeros_like(mean)), (WITH_MEAN, mean)):
        rest = low - base
        for width in WIDTHS:
            drawn[f"{start}blur of {width:g} patches"] = base + blur(rest, hidden, width, mask)
        drawn[f"{start}interpolation"] = base + interpolate(rest, hidden, mask)
    return drawn


def mean_image(samples: Samples, recipe: Recipe) -> Tensor:
    """The mean low-resolution image of samples, (1, 1, H, W) float32, standardised."""
    pixels = recipe.image
    antialias = pixels.low_res == "antialiased"
    lows = [low_resolution(batch.image, pixels.mean, pixels.std, antialias=antialias) for batch in samples.batches]
    return torch.stack([low.sum(0) for low in lows]).sum(0, keepdim=True) / len(samples.patients)


def masked_error(prediction: Tensor, truth: Tensor, hidden: Tensor) -> Tensor:
    """prediction, truth: (B, 1, H, W)   hidden: (B, 1, H, W) bool   returns (B,) mean square where hidden."""
    error = (prediction.float() - truth.float()).square() * hidden
    return error.sum((1, 2, 3)) / hidden.sum((1, 2, 3))


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


def _centred(image: Tensor, where: Tensor) -> Tensor:
    mean = torch.where(where, image, 0.0).sum((1, 2)) / where.sum((1, 2))
    return torch.where(where, image - mean[:, None, None], 0.0)


def pixel_mask(mask: Tensor, side: int) -> Tensor:
    """Patches to pixels.  mask: (B, N) bool   side: H, pixels   returns (B, H, H) bool."""
    grid = math.isqrt(mask.shape[1])
    cells = mask.reshape(-1, grid, grid)
    return cells.repeat_interleave(side // grid, 1).repeat_interleave(side // grid, 2)


def blur(low: Tensor, hidden: Tensor, width: float, mask: Tensor) -> Tensor:
    """The visible pixels, smeared into the hidden ones with a Gaussian; the sum of what each pixel gets is one.

    low     (B, 1, H, W)
    hidden  (B, 1, H, W) bool
    width   standard deviation, in patches
    mask    (B, N) bool, the same in patches
    """
    sigma = width * low.shape[-1] / math.isqrt(mask.shape[1])
    reach = math.ceil(4 * sigma)
    line = torch.arange(-reach, reach + 1, device=low.device).float().div(sigma).square().mul(-0.5).exp()
    line = line / line.sum()

    def smear(values: Tensor) -> Tensor:
        across = functional.conv2d(values, line[None, None, None], padding=(0, reach))
        return functional.conv2d(across, line[None, None, :, None], padding=(reach, 0))

    seen = (~hidden).float()
    light, share = smear(low.float() * seen), smear(seen)
    fallback = (low.float() * seen).sum((1, 2, 3), keepdim=True) / seen.sum((1, 2, 3), keepdim=True).clamp_min(1)
    return torch.where(share > 1e-6, light / share.clamp_min(1e-6), fallback)


def interpolate(low: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
    """From a blur towards the smoothest picture through the visible pixels, each hidden one the mean of its neighbours.

    Laplace's equation by Jacobi's rounds: holes of two patches are at rest after ``ROUNDS``, larger ones nearly.
    """
    known = low.float()
    picture = torch.where(hidden, blur(low, hidden, 0.5, mask), known)
    cross = torch.tensor([[0.0, 0.25, 0.0], [0.25, 0.0, 0.25], [0.0, 0.25, 0.0]], device=low.device)[None, None]
    for _ in range(ROUNDS):
        neighbours = functional.conv2d(functional.pad(picture, (1, 1, 1, 1), mode="replicate"), cross)
        picture = torch.where(hidden, neighbours, known)
    return picture
