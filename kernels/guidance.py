"""Where a squared error counts: the weight W of every pixel, from an attention grid, a window, or nothing.

    loss = sum_p W(p) sum_c (x(c, p) - t(p))^2

  an attention grid  W = w / (B C sum_p w): g = clip(grid / mean, 1/4, 4), all one for an empty grid; w is the bilinear
                     interpolation of g at the pixels (align_corners False, edges clamped); each sample weighs the same
  a window           W = 1 / (B C S S) inside, 0 outside: the mean over ALL pixels, as in the released code
  nothing            W = 1 / (B C S S): the plain mean
Kernels compute W where they need it (``weighting`` and ``pixel_weight``); ``pixel_weights`` is the definition.
Legend: B samples, C channels, S pixels per side, G cells per side of the grid.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecamp_fast.kernels.dispatch import accum_dtype
from ecamp_fast.kernels.pixels import normalise

CLIP = (0.25, 4.0)
EMPTY = 1e-6  # a grid whose mean is below holds no attention
KIND_EVEN, KIND_GRID, KIND_WINDOW = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)  # kinds of ``Weighting``


@dataclass(frozen=True)
class Window:
    """The square that counts. origin: (B, 2) integers, first cell (row, column)   extent: cells   cell: pixels."""

    origin: Tensor
    extent: int
    cell: int


Guidance = Tensor | Window | None  # an attention grid (B, G, G), >= 0, not normalised; a window; nothing


def soft_weights(attention: Tensor) -> Tensor:
    """g: relative attention. attention: (B, G, G), >= 0   returns (B, G, G) float32 or wider, in [0.25, 4]."""
    grid = attention.to(accum_dtype(attention))
    mean = grid.mean((1, 2), keepdim=True)
    return torch.where(mean < EMPTY, torch.ones_like(grid), (grid / mean.clamp_min(EMPTY)).clamp(*CLIP))


def pixel_weights(guidance: Guidance, batch: int, channels: int, size: int, device: torch.device) -> Tensor:
    """W of the formula: (B, 1, S, S), or what broadcasts to it. float32 (float64 for a float64 grid)."""
    if guidance is None:
        return torch.full((1, 1, 1, 1), 1 / (batch * channels * size * size), device=device)
    if isinstance(guidance, Window):
        pixel = torch.arange(size, device=device)
        first = guidance.origin.to(pixel.dtype) * guidance.cell
        inside = (pixel >= first[..., None]) & (pixel < first[..., None] + guidance.extent * guidance.cell)  # (B, 2, S)
        square = inside[:, 0, :, None] & inside[:, 1, None, :]
        return square[:, None].float() / (batch * channels * size * size)
    grid = soft_weights(guidance)
    unit = torch.eye(grid.shape[-1], dtype=grid.dtype, device=device)[None]
    interp = torch.nn.functional.interpolate(unit, size=size, mode="linear", align_corners=False)[0]  # (G, S)
    weights = (interp.T @ grid @ interp)[:, None]  # bilinear is one linear map per axis
    return weights / (weights.sum((2, 3), keepdim=True) * (batch * channels))


def weighted_mse_ref(prediction: Tensor, image: Tensor, guidance: Guidance, mean: float, std: float) -> Tensor:
    """The definition of the loss. Any dtype, any device; sums in float32 or wider.

    prediction: (B, C, S, S)   image: (B, 1, S, S) uint8, or floating and normalised already
    mean, std: of grey values in [0, 1]   returns 0-d.
    """
    batch, channels, size, _ = prediction.shape
    error = prediction.to(accum_dtype(prediction)) - normalise(image, mean, std)
    return (error.square() * pixel_weights(guidance, batch, channels, size, prediction.device)).sum()


@dataclass(frozen=True)
class Weighting:
    """Guidance as a kernel takes it: arguments of ``pixel_weight``.

    kind      table                                          cells             scale
    0 even    any                                            1                 1 / (B C S S)
    1 grid    (B, G, G) float32, whose interpolation is W    G                 1
    2 window  (B, 2) int32, first pixel (row, column)        pixels per side   1 / (B C S S)
    """

    table: Tensor
    kind: int
    cells: int
    scale: float


def weighting(guidance: Guidance, batch: int, channels: int, size: int, device: torch.device) -> Weighting:
    """W of the formula for a kernel, without a tensor of the size of the image."""
    even = 1 / (max(1, batch) * channels * size * size)
    if guidance is None:
        return Weighting(torch.ones(1, device=device), KIND_EVEN.value, 1, even)
    if isinstance(guidance, Window):
        first = (guidance.origin * guidance.cell).to(device=device, dtype=torch.int32).contiguous()
        return Weighting(first, KIND_WINDOW.value, guidance.extent * guidance.cell, even)
    grid = soft_weights(guidance.detach()).float()
    side = grid.shape[-1]
    unit = torch.eye(side, device=device)[None]
    interp = torch.nn.functional.interpolate(unit, size=size, mode="linear", align_corners=False)[0].sum(1)  # (G,)
    total = (grid * interp[:, None] * interp).sum((1, 2), keepdim=True)  # sum_p w
    return Weighting((grid / (total * (max(1, batch) * channels))).contiguous(), KIND_GRID.value, side, 1.0)


@triton.jit
def pixel_weight(table_ptr, b, y, x, scale, S: tl.constexpr, KIND: tl.constexpr, CELLS: tl.constexpr):
    """W, float32, of sample b at rows y and columns x, which broadcast; 0 outside the image. See ``Weighting``."""
    inside = (y >= 0) & (y < S) & (x >= 0) & (x < S)
    if KIND == KIND_GRID:
        # (2y + 1) G / 2S - 1/2, in integers: cell below, and the way to the next in 2S-ths
        down = (2 * tl.minimum(tl.maximum(y, 0), S - 1) + 1) * CELLS + S
        along = (2 * tl.minimum(tl.maximum(x, 0), S - 1) + 1) * CELLS + S
        low_y, low_x = down // (2 * S) - 1, along // (2 * S) - 1
        part_y, part_x = (down % (2 * S)).to(tl.float32) / (2 * S), (along % (2 * S)).to(tl.float32) / (2 * S)
        above, below = tl.maximum(low_y, 0) * CELLS, tl.minimum(low_y + 1, CELLS - 1) * CELLS
        left, right = tl.maximum(low_x, 0), tl.minimum(low_x + 1, CELLS - 1)
        cells_ptr = table_ptr + b * (CELLS * CELLS)
        upper = (1 - part_x) * tl.load(cells_ptr + (above + left), mask=inside, other=0.0)
        upper += part_x * tl.load(cells_ptr + (above + right), mask=inside, other=0.0)
        lower = (1 - part_x) * tl.load(cells_ptr + (below + left), mask=inside, other=0.0)
        lower += part_x * tl.load(cells_ptr + (below + right), mask=inside, other=0.0)
        weight = (1 - part_y) * upper + part_y * lower
    elif KIND == KIND_WINDOW:
        row, column = tl.load(table_ptr + b * 2), tl.load(table_ptr + b * 2 + 1)
        seen = (y >= row) & (y < row + CELLS) & (x >= column) & (x < column + CELLS)
        weight = tl.where(inside & seen, scale, 0.0)
    else:
        weight = tl.where(inside, scale, 0.0)
    return weight


def check_guidance(operation: str, guidance: Guidance, batch: int) -> None:
    """Raises TypeError or ValueError unless ``guidance`` fits a batch of this size."""
    if isinstance(guidance, Window):
        if guidance.origin.is_floating_point() or guidance.origin.dtype == torch.bool:
            raise TypeError(f"{operation}: guidance.origin is {guidance.origin.dtype}, must be integer")
        if guidance.origin.shape != (batch, 2):
            raise ValueError(f"{operation}: guidance.origin is {tuple(guidance.origin.shape)}, must be {(batch, 2)}")
    elif guidance is not None:
        if not guidance.is_floating_point():
            raise TypeError(f"{operation}: guidance is {guidance.dtype}, must be floating")
        if guidance.ndim != 3 or guidance.shape != (batch, guidance.shape[-1], guidance.shape[-1]):
            raise ValueError(f"{operation}: guidance is {tuple(guidance.shape)}, must be ({batch}, G, G)")
