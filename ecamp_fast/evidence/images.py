"""Masked patches, reconstructed by the model and by what needs no learning: a blur, an interpolation, the mean image.

Errors are mean squares over the pixels of masked patches, in units of the recipe's standardised pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class ImageEvidence:
    """Masked errors of the model and of each opponent, and how far the model is below the best of them.

    better: lowest error of an opponent minus that of the model
    """

    model: Estimate
    opponents: dict[str, Estimate]
    best: str
    better: Estimate

    def check(self) -> Check:
        """That the model is below the best opponent."""
        others = ", ".join(f"{name} {one.value:.3f}" for name, one in self.opponents.items())
        found = f"error {self.model.value:.3f}; {others}; below the best of them by {told(self.better)}"
        return Check("hidden patches are reconstructed, not smeared", found, self.better.positive)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        opponents = {name: one.as_dict() for name, one in self.opponents.items()}
        return {
            "model": self.model.as_dict(),
            "opponents": opponents,
            "best": self.best,
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
        drawn = {"model": found.prediction, "mean image": mean.expand_as(found.low)}
        drawn |= {f"blur of {width:g} patches": blur(found.low, hidden, width, found.mask) for width in WIDTHS}
        drawn["interpolation"] = interpolate(found.low, hidden, found.mask)
        for name, picture in drawn.items():
            errors.setdefault(name, []).append(masked_error(picture, found.low, hidden).cpu())
    weights = draw_patients(samples.patients)
    means = {name: weighted_mean(torch.cat(parts).double().numpy(), weights) for name, parts in errors.items()}
    model = means.pop("model")
    best = min(means, key=lambda name: float(means[name][0]))
    blurs = [name for name in means if name.startswith("blur")]
    shown = {*means} - {*sorted(blurs, key=lambda name: float(means[name][0]))[1:]}  # the best blur alone
    return ImageEvidence(
        estimate(model),
        {name: estimate(values) for name, values in means.items() if name in shown},
        best,
        estimate(means[best] - model),
    )


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
    """The smoothest picture through the visible pixels: each hidden one the mean of its four neighbours (Laplace)."""
    known = low.float()
    picture = torch.where(hidden, blur(low, hidden, 0.5, mask), known)
    cross = torch.tensor([[0.0, 0.25, 0.0], [0.25, 0.0, 0.25], [0.0, 0.25, 0.0]], device=low.device)[None, None]
    for _ in range(ROUNDS):
        neighbours = functional.conv2d(functional.pad(picture, (1, 1, 1, 1), mode="replicate"), cross)
        picture = torch.where(hidden, neighbours, known)
    return picture
