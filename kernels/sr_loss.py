"""Super-resolution and its loss (paper Eq. 5): bilinear x 2, two 3 x 3 convolutions around a residual, weighted error.

U = bilinear(x, 2);  z = conv2(relu(conv1(U)));  y = z + U, or relu(z + U) as the released code has it.
The Triton kernel (sr_triton.py) makes loss and gradients in one pass over the prediction (300 KB a sample in bfloat16)
and the uint8 image (200 KB); eager keeps six tensors of the size of the image in float. It is bound by arithmetic, so
it works on tensor cores: 0.9 GFLOP a sample with all padding, where eager needs 0.2 on the general cores.
The PyTorch path makes its gradients in the forward too (sr_torch.py), a sample at a time on each core.
Legend: B samples, C channels, S pixels per side of the high-resolution image, G cells per side of the attention grid.
"""

import functools
from collections.abc import Iterator
from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn.functional import interpolate

from ecamp_fast.kernels import sr_triton
from ecamp_fast.kernels.dispatch import Backend, accum_dtype, choose
from ecamp_fast.kernels.forward_grads import save_grads, scale_grads
from ecamp_fast.kernels.guidance import (
    KIND_WINDOW,
    Guidance,
    Window,
    check_guidance,
    pixel_weights,
    weighted_mse_ref,
    weighting,
)
from ecamp_fast.kernels.pixels import affine, normalise
from ecamp_fast.kernels.sr_torch import Convolutions, refine, refine_backward, upsample2x
from ecamp_fast.kernels.tuning import launch, tuned

CHUNK_VALUES = 2**26  # PyTorch path on a GPU: values of the images worked on at once, 256 MiB in float32
CORE_VALUES = 3 * 448 * 448  # of the same, for each core of a CPU: one sample of the paper, many of a small recipe


def sr_loss_ref(
    low: Tensor, convolutions: Convolutions, image: Tensor, guidance: Guidance, mean: float, std: float,
    final_relu: bool,
) -> Tensor:  # fmt: skip
    """The definition. Any dtype, any device; sums in float32 or wider."""
    up = interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
    return weighted_mse_ref(refine(up, convolutions, final_relu).high, image, guidance, mean, std)


def sr_loss(
    low: Tensor,
    convolutions: Convolutions,
    image: Tensor,
    guidance: Guidance,
    mean: float,
    std: float,
    final_relu: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """Weighted squared error of the super-resolved prediction; gradients to the prediction and the convolutions.

    low           (B, C, S/2, S/2)   the prediction, any strides
    convolutions                     their weights and biases
    image         (B, 1, S, S)       uint8, or floating and normalised already
    guidance                         where the error counts: attention (B, G, G), a ``Window`` or None
    mean, std                        of grey values in [0, 1]
    returns       0-d                float32 or wider
    Raises ValueError for shapes that do not fit, and for ``triton`` with more than three channels.
    """
    backend = _checked(low, convolutions, image, guidance, backend)
    grid = guidance.origin if isinstance(guidance, Window) else guidance
    tensors = {"low": low, "image": image, **convolutions._asdict()} | ({} if grid is None else {"guidance": grid})
    runs = choose(backend, "sr_loss", **tensors)
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (low, *convolutions))
    if runs == "torch":
        if torch.compiler.is_compiling():  # torch 2.11 loses gradients that a compiled forward writes in parts
            return sr_loss_ref(low, convolutions, image, guidance, mean, std, final_relu)
        plain: Tensor = _SrLoss.apply(low, *convolutions, image, guidance, mean, std, final_relu, wanted)
        return plain
    weights = weighting(guidance, low.shape[0], low.shape[1], image.shape[-1], low.device)
    of_weights = (weights.table, weights.kind, weights.cells, weights.scale)
    of_pixels = affine(image, mean, std)
    loss: Tensor = _op(low, *convolutions, image, *of_weights, *of_pixels, final_relu, wanted)[0]
    return loss


def _run(
    low: Tensor, weight_1: Tensor, bias_1: Tensor, weight_2: Tensor, bias_2: Tensor,
    image: Tensor, table: Tensor, kind: int, cells: int, scale: float, factor: float, shift: float,
    final_relu: bool, gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The kernel's path: the loss and, where ``gradient`` asks for them, the gradients to the first five.

    table, kind, cells, scale: ``Weighting``   factor, shift: ``affine``   Without gradients their tensors are empty.
    """
    convolutions = Convolutions(weight_1, bias_1, weight_2, bias_2)
    d_low = low.new_empty(0)
    if gradient:  # tiles that a window leaves out are not written
        d_low = torch.zeros_like(low) if kind == KIND_WINDOW.value else torch.empty_like(low)
    options = {"KIND": kind, "CELLS": cells, "RELU": final_relu, "GRADIENT": gradient}
    numbers = (factor, shift, scale)
    sums = _launch(low, _packed(convolutions, low.device), image.contiguous(), table, d_low, numbers, options)
    loss = sums[-1].clone()
    if not gradient:
        d_weight_1, d_bias_1, d_weight_2, d_bias_2 = (low.new_empty(0) for _ in convolutions)
        return loss, d_low, d_weight_1, d_bias_1, d_weight_2, d_bias_2
    return loss, d_low, *_unpacked(sums[:-1], convolutions)


def _launch(
    low: Tensor, packed: Tensor, image: Tensor, table: Tensor, d_low: Tensor,
    numbers: tuple[float, float, float], options: dict[str, int],
) -> Tensor:  # fmt: skip
    """Run the kernel, which fills ``d_low`` if it is not empty. Returns (PARTIALS,) float32, over all programs."""
    batch, channels, side, _ = low.shape
    exact = low.dtype == torch.float32  # products outside the tensor cores
    constants = tuned("sr_loss_float32" if exact else "sr_loss", low.device)
    tile = constants["TILE"]
    tiles = batch * (-(-side // tile)) ** 2
    programs = max(1, min(tiles, constants.pop("PROGRAMS") * _multiprocessors(low.device)))
    area_side = 2 * (tile + sr_triton.HALO_U.value)
    scratch = low.new_empty(programs, sr_triton.AREAS.value, area_side, area_side, sr_triton.LANES.value)
    partial = low.new_empty(programs, sr_triton.PARTIALS.value, dtype=torch.float32)
    strides = (*low.stride(), *(d_low.stride() if options["GRADIENT"] else (0, 0, 0, 0)))
    launch(
        sr_triton.sr_tiles, (programs,) if tiles else (0,),
        low, image, table, packed, scratch, d_low, partial, *strides, tiles, *numbers,
        S=2 * side, C=channels, SIDE=area_side, LINE=triton.next_power_of_2(tile), **options,
        PRECISION="ieee" if exact else "tf32", **constants,
    )  # fmt: skip
    if not tiles:
        partial.zero_()
    return partial.sum(0)


_op = torch.library.custom_op("ecamp_fast::sr_loss", _run, mutates_args=())


@_op.register_fake
def _(low: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    loss, gradient = low.new_empty((), dtype=torch.float32), rest[-1]
    grads = (torch.empty_like(t) if gradient else low.new_empty(0) for t in (low, *rest[:4]))
    return loss, *grads


_op.register_autograd(scale_grads, setup_context=save_grads)


class _SrLoss(torch.autograd.Function):
    """The PyTorch path, some samples at a time: of all, only the gradient to the prediction waits for the backward."""

    @staticmethod
    def forward(
        ctx: Any, low: Tensor, weight_1: Tensor, bias_1: Tensor, weight_2: Tensor, bias_2: Tensor,
        image: Tensor, guidance: Guidance, mean: float, std: float, final_relu: bool, wanted: bool,
    ) -> Tensor:  # fmt: skip
        ctx.inputs = 11
        leaves = (low, weight_1, bias_1, weight_2, bias_2)
        convolutions = Convolutions(*(leaf.to(low.dtype) for leaf in leaves[1:]))
        loss = low.new_zeros((), dtype=accum_dtype(low))
        d_low = torch.empty_like(low) if wanted else None
        sums = [torch.zeros_like(leaf, dtype=accum_dtype(leaf)) for leaf in leaves[1:]]
        for part in _parts(low):
            weights = pixel_weights(_of(guidance, part), len(low), low.shape[1], image.shape[-1], low.device)
            with torch.autocast("cpu" if low.is_meta else low.device.type, enabled=False):
                up = upsample2x(low[part].contiguous(memory_format=torch.channels_last))
                stages = refine(up, convolutions, final_relu)
                error = stages.high.to(accum_dtype(low)) - normalise(image[part], mean, std)
                weighted = error * weights
                loss += torch.sum(error.mul_(weighted))
                if d_low is not None:
                    grad_high = weighted.mul_(2).to(low.dtype)
                    d_low[part], grads = refine_backward(grad_high, stages, convolutions, final_relu)
                    for total, more in zip(sums, grads, strict=True):
                        total += more
        if d_low is not None:
            ctx.save_for_backward(d_low, *(t.to(leaf.dtype) for t, leaf in zip(sums, leaves[1:], strict=True)))
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        return scale_grads(ctx, grad_loss)


def _parts(low: Tensor) -> Iterator[slice]:
    """Samples that are worked on together: on a CPU as many for each core, as its convolutions share them out."""
    values = max(1, 4 * low[:1].numel())
    if low.device.type == "cpu":
        step = torch.get_num_threads() * max(1, CORE_VALUES // values)
    else:
        step = max(1, CHUNK_VALUES // values)
    return (slice(first, first + step) for first in range(0, len(low), step))


def _of(guidance: Guidance, part: slice) -> Guidance:
    """The guidance of these samples."""
    if isinstance(guidance, Window):
        return Window(guidance.origin[part], guidance.extent, guidance.cell)
    return None if guidance is None else guidance.detach()[part]


def _packed(convolutions: Convolutions, device: torch.device) -> Tensor:
    """(4 * MATRIX,) float32: the kernel's matrices."""
    place, _ = _placement(len(convolutions.bias_1), device)
    constant = torch.arange(2, dtype=torch.float32, device=device)
    return torch.cat([*(t.flatten().float() for t in convolutions), constant])[place]


def _unpacked(sums: Tensor, like: Convolutions) -> Convolutions:
    """Gradients of the convolutions, in their dtypes, from those of the first two matrices (2 * MATRIX,)."""
    channels = len(like.bias_1)
    _, back = _placement(channels, sums.device)
    grads = sums.view(2, -1)[:, back].sum(-1)  # per convolution: its weights, then its biases
    weights, biases = grads[:, :-channels].reshape(2, *like.weight_1.shape), grads[:, -channels:]
    found = (weights[0], biases[0], weights[1], biases[1])
    return Convolutions(*(grad.to(leaf.dtype, copy=True) for grad, leaf in zip(found, like, strict=True)))


@functools.cache
def _placement(channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the numbers of the kernel's matrices come from, and where those of a gradient lie in a matrix's.

    Returns (4 * 64 * 16) indices into [weight 1, bias 1, weight 2, bias 2, 0, 1], and (9 C C + C, 4) into (64 * 16):
    the four pixels of a block that a weight, then a bias, serves.
    """
    size = 9 * channels * channels
    weights = torch.arange(size).view(channels, channels, 3, 3)
    biases = torch.arange(size, size + channels)
    following = size + channels  # the second convolution's numbers
    forwards = (weights, weights + following)
    backwards = [w.flip(2, 3).transpose(0, 1) for w in reversed(forwards)]
    matrices = torch.full((4, 4, 4, 4, 2, 2, 4), 2 * following)  # which; window row, column, lane; block row, ..
    cell = torch.arange(sr_triton.MATRIX.value).view(4, 4, 4, 2, 2, 4)
    back = torch.empty(following, 4, dtype=torch.int64)
    for phase in range(4):
        y, x = divmod(phase, 2)
        for which, weight in enumerate((*forwards, *backwards)):
            matrices[which, y : y + 3, x : x + 3, :channels, y, x, :channels] = weight.permute(2, 3, 1, 0)
        for which in range(2):
            matrices[which, y + 1, x + 1, 3, y, x, :channels] = biases + which * following
        matrices[0, y + 1, x + 1, 3, y, x, 3] = 2 * following + 1  # the one goes on into the next stage
        back[:size, phase] = cell[y : y + 3, x : x + 3, :channels, y, x, :channels].permute(3, 2, 0, 1).flatten()
        back[size:, phase] = cell[y + 1, x + 1, 3, y, x, :channels]
    return matrices.flatten().to(device), back.to(device)


def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _checked(low: Tensor, convolutions: Convolutions, image: Tensor, guidance: Guidance, backend: Backend) -> Backend:
    """The backend to choose from: more channels than the kernel has lanes go to PyTorch, unless Triton is asked for."""
    if low.ndim != 4 or low.shape[2] != low.shape[3] or not low.shape[2]:
        raise ValueError(f"sr_loss: low is {tuple(low.shape)}, must be (B, C, S/2, S/2)")
    batch, channels, side, _ = low.shape
    if image.shape != (batch, 1, 2 * side, 2 * side):
        raise ValueError(f"sr_loss: image is {tuple(image.shape)}, must be {(batch, 1, 2 * side, 2 * side)}")
    if not (image.is_floating_point() or image.dtype == torch.uint8):
        raise TypeError(f"sr_loss: image is {image.dtype}, must be uint8 or floating")
    if not low.is_floating_point():
        raise TypeError(f"sr_loss: low is {low.dtype}, must be floating")
    for name, tensor in convolutions._asdict().items():
        if not tensor.is_floating_point():
            raise TypeError(f"sr_loss: {name} is {tensor.dtype}, must be floating")
        shape = (channels, channels, 3, 3) if name.startswith("weight") else (channels,)
        if tensor.shape != shape:
            raise ValueError(f"sr_loss: {name} is {tuple(tensor.shape)}, must be {shape}")
    check_guidance("sr_loss", guidance, batch)
    limit = sr_triton.LANES.value - 1
    if channels <= limit:
        return backend
    if backend == "triton":
        raise ValueError(f"sr_loss: low has {channels} channels, the Triton kernel takes up to {limit}")
    return "torch"
