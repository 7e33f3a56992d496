"""Squared error of an image against a grey target, weighted by where to look: loss and gradient in one pass.

loss = sum_p W(p) sum_c (x(c, p) - t(p))^2, where W comes from a guide (guide.py).
The gradient 2 W e is made in the forward, in the dtype of the prediction, so neither the error, nor a float copy of the
target, nor W exists for the whole batch.
The kernel reads prediction and image and writes the gradient: 4 C + 1 bytes a pixel in bfloat16, the floor of a pass.
The backward scales that gradient by the cotangent: 4 C more.
Legend: B samples, C channels, S pixels per side, G cells per side of an attention grid.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from ecamp_fast.kernels.dispatch import Backend, affine, choose, launch, normalise, scaled, tuned, wide
from ecamp_fast.kernels.guidance import Guide, Window, check_guide, pixel_weight, pixel_weights, weighting

CHUNK_VALUES = 2**26  # on a GPU: values of one chunk, 256 MiB in float32
CHUNK_VALUES_CPU = 2**18  # one sample of 224 x 224 x 3: stays in the second-level cache


def weighted_mse_ref(prediction: Tensor, image: Tensor, guide: Guide, mean: float, std: float) -> Tensor:
    """The definition. Any dtype, any device; sums in float32 or wider."""
    batch, channels, size, _ = prediction.shape
    error = wide(prediction) - normalise(image, mean, std)
    return (error.square() * pixel_weights(guide, batch, channels, size, prediction.device)).sum()


@triton.jit
def _fwd(
    prediction_ptr, image_ptr, table_ptr, partial_ptr, slope_ptr,
    s_b, s_c, s_y, s_x, d_b, d_c, d_y, d_x, factor, shift, scale,
    S: tl.constexpr, C: tl.constexpr, LANES: tl.constexpr, KIND: tl.constexpr, CELLS: tl.constexpr,
    GRADIENT: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """PIXELS pixels of one sample, all their channels: their loss, and 2 W e."""
    TILES: tl.constexpr = (S * S + PIXELS - 1) // PIXELS
    b = (tl.program_id(0) // TILES).to(tl.int64)
    pixel = tl.program_id(0) % TILES * PIXELS + tl.arange(0, PIXELS)
    y, x = pixel // S, pixel % S
    c = tl.arange(0, LANES)[None, :]
    live = (y < S)[:, None] & (c < C)
    target = tl.load(image_ptr + b * (S * S) + pixel, mask=y < S, other=0).to(tl.float32) * factor + shift
    place = b * s_b + (y.to(tl.int64) * s_y + x * s_x)[:, None] + c * s_c
    value = tl.load(prediction_ptr + place, mask=live, other=0.0).to(tl.float32)
    error = tl.where(live, value - target[:, None], 0.0)
    scaled = error * pixel_weight(table_ptr, b, y, x, scale, S, KIND, CELLS)[:, None]
    tl.store(partial_ptr + tl.program_id(0), tl.sum(tl.sum(scaled * error, axis=1), axis=0))
    if GRADIENT:
        to = b * d_b + (y.to(tl.int64) * d_y + x * d_x)[:, None] + c * d_c
        tl.store(slope_ptr + to, (2 * scaled).to(slope_ptr.dtype.element_ty), mask=live)


def _run(
    prediction: Tensor, image: Tensor, table: Tensor, kind: int, cells: int, scale: float,
    factor: float, shift: float, gradient: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The loss and, where ``gradient`` asks for it, 2 W e; else an empty tensor."""
    batch, channels, size, _ = prediction.shape
    constants = tuned("weighted_mse", prediction.device)
    programs = batch * triton.cdiv(size * size, constants["PIXELS"])
    partial = prediction.new_empty(programs, dtype=torch.float32)
    slope = torch.empty_like(prediction) if gradient else prediction.new_empty(0)
    launch(
        _fwd,
        (programs,),
        *(prediction, image.contiguous(), table, partial, slope),
        *prediction.stride(),
        *(slope.stride() if gradient else (0, 0, 0, 0)),
        *(factor, shift, scale),
        **{"S": size, "C": channels, "LANES": triton.next_power_of_2(channels), "KIND": kind, "CELLS": cells},
        GRADIENT=gradient,
        **constants,
    )
    return partial.sum(), slope


_op = torch.library.custom_op("ecamp_fast::weighted_mse", _run, mutates_args=())


@_op.register_fake
def _(prediction: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    slope = torch.empty_like(prediction) if rest[-1] else prediction.new_empty(0)
    return prediction.new_empty((), dtype=torch.float32), slope


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])


def _scale(ctx: Any, cotangent: Tensor | None, unused: Tensor | None) -> tuple[Tensor | None, ...]:
    (slope,) = ctx.saved_tensors
    if cotangent is None or not ctx.needs_input_grad[0]:
        return (None,) * 9
    return scaled(slope, cotangent), *(None,) * 8


_op.register_autograd(_scale, setup_context=_save)


class _WeightedMse(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, prediction: Tensor, image: Tensor, weights: Tensor, mean: float, std: float, wanted: bool
    ) -> Tensor:
        gradient = torch.empty_like(prediction) if wanted else None
        loss = wide(prediction.new_zeros(()))
        budget = CHUNK_VALUES_CPU if prediction.device.type == "cpu" else CHUNK_VALUES
        step = max(1, budget // max(1, prediction.shape[1:].numel()))
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
        return scaled(gradient, cotangent), *(None,) * 5


def weighted_mse(
    prediction: Tensor, image: Tensor, guide: Guide, mean: float, std: float, backend: Backend = "auto"
) -> Tensor:
    """The loss of the formula above; its gradient flows to the prediction.

    prediction: (B, C, S, S)   image: (B, 1, S, S) uint8, or floating and normalised already
    guide: attention grid (B, G, G), >= 0, not normalised; a ``Window``; or None   mean, std: of grey values in [0, 1]
    returns 0-d, float32 or wider.
    """
    if prediction.ndim != 4 or prediction.shape[2] != prediction.shape[3]:
        raise ValueError(f"weighted_mse: prediction is {tuple(prediction.shape)}, must be (B, C, S, S)")
    batch, channels, size, _ = prediction.shape
    if image.shape != (batch, 1, size, size):
        found = f"image is {tuple(image.shape)} for a prediction {tuple(prediction.shape)}"
        raise ValueError(f"weighted_mse: {found}, must be {(batch, 1, size, size)}")
    if not prediction.is_floating_point():
        raise TypeError(f"weighted_mse: prediction is {prediction.dtype}, must be floating")
    if not (image.is_floating_point() or image.dtype == torch.uint8):
        raise TypeError(f"weighted_mse: image is {image.dtype}, must be uint8 or floating")
    check_guide("weighted_mse", guide, batch)
    guiding = guide.origin if isinstance(guide, Window) else guide
    tensors = {"prediction": prediction, "image": image} | ({} if guiding is None else {"guide": guiding})
    wanted = torch.is_grad_enabled() and prediction.requires_grad
    if choose(backend, "weighted_mse", **tensors) == "torch":
        if torch.compiler.is_compiling():  # torch 2.11 loses gradients that a compiled forward writes in parts
            return weighted_mse_ref(prediction, image, guide, mean, std)
        weights = pixel_weights(guide, max(1, batch), channels, size, prediction.device)
        plain: Tensor = _WeightedMse.apply(prediction, image, weights, mean, std, wanted)
        return plain
    made = weighting(guide, batch, channels, size, prediction.device)
    numbers = (made.kind, made.cells, made.scale, *affine(image, mean, std))
    loss: Tensor = _op(prediction, image, made.table, *numbers, wanted)[0]
    return loss
