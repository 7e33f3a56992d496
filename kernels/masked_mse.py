"""Mean squared error of the masked patches (paper Eq. 2): only their pixels are read.

    loss = sum_bmpc (prediction[b, masked[b, m], p, c] - target[b, masked[b, m], p])^2 / (B * M * P*P * C)

A patch's values run row, column, channel. The image is grey, so its pixels are compared with all channels of the
prediction and never copied. ``norm_pix`` standardises them within their patch.
Moves M*P*P*C elements of the prediction and M*P*P pixels in a sample forward; the same in and N*P*P*C out backward,
where the zeros of visible patches are written too: the floor. No patchified target is ever in memory.
Legend: B samples, N patches, M masked patches, P pixels per side of a patch, C channels of the prediction.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecamp_fast.kernels.dispatch import Backend, accum_dtype, choose
from ecamp_fast.kernels.patch_gather import patch_gather
from ecamp_fast.kernels.pixels import check_patches, patch_pixels
from ecamp_fast.kernels.tuning import launch, tuned

EPSILON = tl.constexpr(1e-6)  # of norm_pix, as in MAE
SEARCHED = tl.constexpr(256)  # entries of masked compared at once: 147 of 196 patches are masked


def masked_mse_ref(prediction: Tensor, image: Tensor, masked: Tensor, patch: int, norm_pix: bool = False) -> Tensor:
    """The definition. Any dtype, any device; sums in float32 or wider. Without masked patches 0."""
    batch, count = masked.shape
    rows = prediction.gather(1, masked[..., None].expand(-1, -1, prediction.shape[-1])).to(accum_dtype(prediction))
    rows = rows.reshape(batch, count, patch * patch, prediction.shape[-1] // patch**2)
    target = patch_gather(image, masked, patch, rows.dtype, backend="torch")
    if norm_pix:
        target = _standardised(target, channels=rows.shape[-1])
    return (rows - target[..., None]).square().sum() / max(rows.numel(), 1)


@triton.jit
def _target(
    image_ptr, sample, patch,
    H: tl.constexpr, W: tl.constexpr, P: tl.constexpr, C: tl.constexpr, NORM_PIX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """(BLOCK,) float32: what the P*P pixels of one patch should be, for every channel."""
    pixel = tl.arange(0, BLOCK)
    live = pixel < P * P
    clamped = tl.minimum(pixel, P * P - 1) if BLOCK > P * P else pixel
    target = patch_pixels(image_ptr, sample, patch, clamped, live, H, W, P)
    if NORM_PIX:
        mean = tl.sum(tl.where(live, target, 0.0), axis=0) / (P * P)
        centred = tl.where(live, target - mean, 0.0)
        variance = tl.sum(centred * centred, axis=0) * (C / (P * P * C - 1))
        target = centred / tl.sqrt(variance + EPSILON)
    return target


@triton.jit(do_not_specialize=["count"])
def _fwd(
    prediction_ptr, image_ptr, masked_ptr, sum_ptr,  # data
    count,  # M
    H: tl.constexpr, W: tl.constexpr, P: tl.constexpr, C: tl.constexpr,  # shapes
    NORM_PIX: tl.constexpr, BLOCK: tl.constexpr,  # BLOCK: P*P up to a power of two
):  # fmt: skip
    """The sum of one masked patch."""
    N: tl.constexpr = (H // P) * (W // P)
    program = tl.program_id(0).to(tl.int64)
    sample = program // count
    patch = tl.load(masked_ptr + program)
    valid = (patch >= 0) & (patch < N)
    target = _target(image_ptr, sample, patch, H, W, P, C, NORM_PIX, BLOCK)
    first = prediction_ptr + (sample * N + patch) * (P * P * C)
    lane = tl.arange(0, BLOCK)
    squares = tl.zeros((BLOCK,), tl.float32)
    for part in tl.static_range(C):
        value = part * (P * P) + lane
        live = lane < P * P
        predicted = tl.load(first + value, mask=live & valid, other=0.0).to(tl.float32)
        error = predicted - tl.gather(target, tl.where(live, value // C, 0), axis=0)
        squares += tl.where(live, error * error, 0.0)
    tl.store(sum_ptr + program, tl.sum(squares, axis=0))


@triton.jit(do_not_specialize=["count"])
def _bwd(
    grad_loss_ptr, prediction_ptr, image_ptr, masked_ptr, d_prediction_ptr,  # data
    count, share,  # M, and 2 / (B * M * P*P * C)
    H: tl.constexpr, W: tl.constexpr, P: tl.constexpr, C: tl.constexpr,  # shapes
    NORM_PIX: tl.constexpr, BLOCK: tl.constexpr,  # as in _fwd
):  # fmt: skip
    """The gradient to one patch, masked or not."""
    N: tl.constexpr = (H // P) * (W // P)
    program = tl.program_id(0).to(tl.int64)
    sample = program // N
    patch = program % N
    times = tl.zeros((SEARCHED,), tl.int32)
    for start in range(0, count, SEARCHED):
        entry = start + tl.arange(0, SEARCHED)
        numbers = tl.load(masked_ptr + sample * count + entry, mask=entry < count, other=-1)
        times += (numbers == patch).to(tl.int32)
    weight = tl.sum(times, axis=0).to(tl.float32) * share * tl.load(grad_loss_ptr).to(tl.float32)
    visible = tl.sum(times, axis=0) == 0
    first = program * (P * P * C)
    lane = tl.arange(0, BLOCK)
    live = lane < P * P
    if visible:
        for part in tl.static_range(C):
            tl.store(d_prediction_ptr + first + part * (P * P) + lane, tl.zeros((BLOCK,), tl.float32), mask=live)
    else:
        target = _target(image_ptr, sample, patch, H, W, P, C, NORM_PIX, BLOCK)
        for part in tl.static_range(C):
            value = part * (P * P) + lane
            predicted = tl.load(prediction_ptr + first + value, mask=live, other=0.0).to(tl.float32)
            error = predicted - tl.gather(target, tl.where(live, value // C, 0), axis=0)
            tl.store(d_prediction_ptr + first + value, weight * error, mask=live)


def _forward(prediction: Tensor, image: Tensor, masked: Tensor, patch: int, norm_pix: bool) -> Tensor:
    """The sum, divided: 0-d float32."""
    prediction, image, masked = prediction.contiguous(), image.contiguous(), masked.contiguous()
    sums = prediction.new_empty(masked.numel(), dtype=torch.float32)
    constants = _constants(prediction, image, patch, norm_pix)
    launch(_fwd, (masked.numel(),), prediction, image, masked, sums, masked.shape[1], **constants)
    return sums.sum() / max(masked.numel() * prediction.shape[2], 1)


def _backward(
    grad_loss: Tensor, prediction: Tensor, image: Tensor, masked: Tensor, patch: int, norm_pix: bool
) -> Tensor:
    prediction, image, masked = prediction.contiguous(), image.contiguous(), masked.contiguous()
    d_prediction = torch.empty_like(prediction)
    constants = _constants(prediction, image, patch, norm_pix)
    share = 2.0 / max(masked.numel() * prediction.shape[2], 1)
    grid = (prediction.shape[0] * prediction.shape[1],)
    launch(_bwd, grid, grad_loss, prediction, image, masked, d_prediction, masked.shape[1], share, **constants)
    return d_prediction


def _constants(prediction: Tensor, image: Tensor, patch: int, norm_pix: bool) -> dict[str, int]:
    return {
        "H": image.shape[2],
        "W": image.shape[3],
        "P": patch,
        "C": prediction.shape[2] // patch**2,
        "NORM_PIX": norm_pix,
        "BLOCK": triton.next_power_of_2(patch * patch),
        **tuned("masked_mse", image.device),
    }


_op = torch.library.custom_op("ecamp_fast::masked_mse", _forward, mutates_args=())
_op.register_fake(lambda prediction, *_: prediction.new_empty((), dtype=torch.float32))
_op_backward = torch.library.custom_op("ecamp_fast::masked_mse_backward", _backward, mutates_args=())
_op_backward.register_fake(
    lambda _, prediction, *__: torch.empty_like(prediction, memory_format=torch.contiguous_format)
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    prediction, image, masked, *ctx.settings = inputs
    ctx.save_for_backward(prediction, image, masked)


def _gradients(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
    return _op_backward(grad_loss, *ctx.saved_tensors, *ctx.settings), None, None, None, None


_op.register_autograd(_gradients, setup_context=_save)


def masked_mse(
    prediction: Tensor, image: Tensor, masked: Tensor, patch: int, norm_pix: bool = False, backend: Backend = "auto"
) -> Tensor:
    """Mean over the pixels and channels of the masked patches; 0 without any. Gradient: of the prediction.

    prediction: (B, N, P*P*C)   image: (B, 1, H, W) floating, normalised   masked: (B, M) int64, patch numbers
    norm_pix: pixels standardised in their patch (MAE)   returns 0-d, float32 or wider.
    """
    image = image.detach()
    check_patches("masked_mse", image, "masked", masked, patch)
    _check(prediction, image, patch, norm_pix)
    runs = choose(backend, "masked_mse", prediction=prediction, image=image, masked=masked)
    if runs == "triton":
        loss: Tensor = _op(prediction, image, masked, patch, bool(norm_pix))
        return loss
    return masked_mse_ref(prediction, image, masked, patch, norm_pix)


def _check(prediction: Tensor, image: Tensor, patch: int, norm_pix: bool) -> None:
    shape = tuple(prediction.shape)
    if not prediction.is_floating_point():
        raise TypeError(f"masked_mse: prediction is {prediction.dtype}, must be floating")
    patches = image.shape[2] // patch * (image.shape[3] // patch)
    if prediction.ndim != 3 or shape[:2] != (len(image), patches):
        raise ValueError(f"masked_mse: prediction is {shape}, must be ({len(image)}, {patches}, values of a patch)")
    if shape[2] % patch**2 or not shape[2]:
        raise ValueError(f"masked_mse: prediction width {shape[2]} is not a multiple of {patch} x {patch}")
    if norm_pix and shape[2] < 2:
        raise ValueError("masked_mse: norm_pix needs patches of two values or more, prediction has one")


def _standardised(target: Tensor, channels: int) -> Tensor:
    """(t - mean) / sqrt(var + eps) per patch; var is unbiased over the P*P*C values of ``channels`` equal channels."""
    centred = target - target.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) * (channels / (channels * target.shape[-1] - 1))
    return centred / (variance + EPSILON.value).sqrt()
