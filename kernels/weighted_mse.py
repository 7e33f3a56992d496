"""Squared error of an image against a grey target, weighted by where to look: loss and gradient in one pass.

loss = sum_p W(p) sum_c (x(c, p) - t(p))^2, where W comes from a guide:
  an attention grid  W = w / (B C sum_p w): g = clip(grid / mean, 1/4, 4), all one for an empty grid; w is the bilinear
                     interpolation of g at the pixels (align_corners False, edges clamped); each sample weighs the same
  a window           W = 1 / (B C S S) inside, 0 outside: the mean over ALL pixels, as in the released code
  nothing            W = 1 / (B C S S): the plain mean
The gradient 2 W e is made in the forward, in the dtype of the prediction, a few samples at a time, so neither the
error nor a float copy of the target exists for the whole batch.
Legend: B samples, C channels, S pixels per side, G cells per side of the grid.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ecamp_fast.kernels.launch import Backend, choose, normalise, wide

CLIP = (0.25, 4.0)
EMPTY = 1e-6  # a grid whose mean is below holds no attention
CHUNK_VALUES = 2**26  # on a GPU: values of one chunk, 256 MiB in float32
CHUNK_VALUES_CPU = 2**18  # one sample of 224 x 224 x 3: stays in the second-level cache


@dataclass(frozen=True)
class Window:
    """The square that counts. origin: (B, 2) integers, first cell (row, column)   extent: cells   cell: pixels."""

    origin: Tensor
    extent: int
    cell: int


Guide = Tensor | Window | None


def soft_weights(attention: Tensor) -> Tensor:
    """g: relative attention. attention: (B, G, G), >= 0   returns (B, G, G) float32 or wider, in [0.25, 4]."""
    grid = wide(attention)
    mean = grid.mean((1, 2), keepdim=True)
    return torch.where(mean < EMPTY, torch.ones_like(grid), (grid / mean.clamp_min(EMPTY)).clamp(*CLIP))


def pixel_weights(guide: Guide, batch: int, channels: int, size: int, device: torch.device) -> Tensor:
    """W of the formula: (B, 1, S, S), or what broadcasts to it. float32 (float64 for a float64 grid)."""
    if guide is None:
        return torch.full((1, 1, 1, 1), 1 / (batch * channels * size * size), device=device)
    if isinstance(guide, Window):
        pixel = torch.arange(size, device=device)
        first = guide.origin.to(pixel.dtype) * guide.cell
        inside = (pixel >= first[..., None]) & (pixel < first[..., None] + guide.extent * guide.cell)  # (B, 2, S)
        square = inside[:, 0, :, None] & inside[:, 1, None, :]
        return square[:, None].float() / (batch * channels * size * size)
    grid = soft_weights(guide)
    unit = torch.eye(grid.shape[-1], dtype=grid.dtype, device=device)[None]
    tents = torch.nn.functional.interpolate(unit, size=size, mode="linear", align_corners=False)[0]  # (G, S)
    weights = (tents.T @ grid @ tents)[:, None]  # bilinear is one linear map per axis
    return weights / (weights.sum((2, 3), keepdim=True) * (batch * channels))


def weighted_mse_ref(prediction: Tensor, image: Tensor, guide: Guide, mean: float, std: float) -> Tensor:
    """The definition. Any dtype, any device; sums in float32 or wider."""
    batch, channels, size, _ = prediction.shape
    error = wide(prediction) - normalise(image, mean, std)
    return (error.square() * pixel_weights(guide, batch, channels, size, prediction.device)).sum()


class _WeightedMse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, prediction: Tensor, image: Tensor, weights: Tensor, mean: float, std: float) -> Tensor:
        wants_gradient = ctx.needs_input_grad[0]
        gradient = torch.empty_like(prediction) if wants_gradient else None
        loss = wide(prediction.new_zeros(()))
        budget = CHUNK_VALUES_CPU if prediction.device.type == "cpu" else CHUNK_VALUES
        step = max(1, budget // prediction[0].numel())
        for first in range(0, prediction.shape[0], step):
            part = slice(first, first + step)
            error = wide(prediction[part]) - normalise(image[part], mean, std)
            scaled = error * (weights if weights.shape[0] == 1 else weights[part])
            loss += torch.sum(error.mul_(scaled))
            if gradient is not None:
                gradient[part] = scaled.mul_(2)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * cotangent, None, None, None, None


def weighted_mse(
    prediction: Tensor, image: Tensor, guide: Guide, mean: float, std: float, backend: Backend = "auto"
) -> Tensor:
    """The loss of the formula above; its gradient flows to the prediction.

    prediction: (B, C, S, S)   image: (B, 1, S, S) uint8, or floating and normalised already
    guide: attention grid (B, G, G), >= 0, not normalised; a ``Window``; or None   mean, std: of grey values in [0, 1]
    returns 0-d, float32 or wider.
    """
    choose(backend, "weighted_mse")
    batch, channels, size, _ = prediction.shape
    if image.shape != (batch, 1, size, size):
        raise ValueError(f"image {tuple(image.shape)} for a prediction {tuple(prediction.shape)}")
    weights = pixel_weights(guide, batch, channels, size, prediction.device)
    return _WeightedMse.apply(prediction, image, weights, mean, std)
