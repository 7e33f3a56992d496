"""Super-resolution and its loss (paper Eq. 5): bilinear x 2, two 3 x 3 convolutions around a residual, weighted error.

U = bilinear(x, 2);  z = conv2(relu(conv1(U)));  y = z + U, or relu(z + U) as the released code has it.
The Triton kernel (sr_tiles.py) makes loss and gradients in one pass over the prediction (300 KB a sample in bfloat16)
and the uint8 image (200 KB); eager keeps six tensors of the size of the image in float. It is bound by arithmetic, so
it works on tensor cores: 0.9 GFLOP a sample with all padding, where eager needs 0.2 on the general cores.
The PyTorch path makes its gradients in the forward too (super_resolve.py), a sample at a time on each core.
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
from ecamp_fast.kernels.dispatch import Backend, affine, choose, launch, normalise, scaled, tuned, wide
from ecamp_fast.kernels.guidance import Guide, Weighting, Window, check_guide, pixel_weights, weighting
from ecamp_fast.kernels.sr_torch import Convolutions, around, double, pull_back
from ecamp_fast.kernels.weighted_mse import weighted_mse_ref

CHUNK_VALUES = 2**26  # PyTorch path on a GPU: values of the images worked on at once, 256 MiB in float32


def sr_loss_ref(
    low: Tensor, convolutions: Convolutions, image: Tensor, guide: Guide, mean: float, std: float, final_relu: bool
) -> Tensor:
    """The definition. Any dtype, any device; sums in float32 or wider."""
    up = interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
    return weighted_mse_ref(around(up, convolutions, final_relu).high, image, guide, mean, std)


def sr_loss(
    low: Tensor,
    convolutions: Convolutions,
    image: Tensor,
    guide: Guide,
    mean: float,
    std: float,
    final_relu: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """Weighted squared error of the super-resolved prediction; gradients to the prediction and the convolutions.

    low: (B, C, S/2, S/2) prediction, any strides   image: (B, 1, S, S) uint8, or floating and normalised already
    guide: attention grid (B, G, G), ``Window`` or None (see ``weighted_mse``)   returns 0-d, float32 or wider.
    Raises ValueError for shapes that do not fit, and for ``triton`` with more than three channels.
    """
    backend = _checked(low, convolutions, image, guide, backend)
    guiding = guide.origin if isinstance(guide, Window) else guide
    tensors = {"low": low, "image": image, **convolutions._asdict()} | ({} if guiding is None else {"guide": guiding})
    runs = choose(backend, "sr_loss", **tensors)
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (low, *convolutions))
    if runs == "torch":
        if torch.compiler.is_compiling():  # torch 2.11 loses gradients that a compiled forward writes in parts
            return sr_loss_ref(low, convolutions, image, guide, mean, std, final_relu)
        plain: Tensor = _SrLoss.apply(low, *convolutions, image, guide, mean, std, final_relu, wanted)
        return plain
    weights: Weighting = weighting(guide, low.shape[0], low.shape[1], image.shape[-1], low.device)
    factor, shift = affine(image, mean, std)
    guided = (weights.table, weights.kind, weights.cells, weights.scale)
    loss: Tensor = _sr_loss(low, *convolutions, image, *guided, factor, shift, final_relu, wanted)[0]
    return loss


def _run(
    low: Tensor,
    weight_1: Tensor,
    bias_1: Tensor,
    weight_2: Tensor,
    bias_2: Tensor,
    image: Tensor,
    table: Tensor,
    kind: int,
    cells: int,
    scale: float,
    factor: float,
    shift: float,
    final_relu: bool,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """loss and, where ``gradient`` asks for them, the gradients to the first five; empty tensors otherwise."""
    convolutions = Convolutions(weight_1, bias_1, weight_2, bias_2)
    batch, channels, side, _ = low.shape
    exact = low.dtype == torch.float32  # products outside the tensor cores
    constants = tuned("sr_loss_float32" if exact else "sr_loss", low.device)
    tile = constants["TILE"]
    tiles = batch * (-(-side // tile)) ** 2
    programs = max(1, min(tiles, constants.pop("PROGRAMS") * _multiprocessors(low.device)))
    around = 2 * (tile + sr_triton.HALO)
    place, back = _placement(channels, low.device)
    constant = torch.arange(2, dtype=torch.float32, device=low.device)
    packed = torch.cat([*(t.flatten().float() for t in convolutions), constant])[place]
    scratch = low.new_empty(programs, 4, around, around, sr_triton.LANES)
    partial = low.new_empty(programs, sr_triton.PARTIALS, dtype=torch.float32)
    slope = low.new_empty(0)
    if gradient:  # tiles that a window leaves out are not written
        slope = torch.zeros_like(low) if kind == 2 else torch.empty_like(low)
    strides = (*low.stride(), *(slope.stride() if gradient else (0, 0, 0, 0)))
    launch(
        sr_triton.sr_tiles,
        (programs,) if tiles else (0,),
        *(low, image.contiguous(), table, packed, scratch, slope, partial, *strides, tiles, factor, shift, scale),
        **{
            "S": 2 * side,
            "C": channels,
            "SIDE": around,
            "LINE": triton.next_power_of_2(tile),
            "KIND": kind,
            "CELLS": cells,
            "RELU": final_relu,
        },
        **{"GRADIENT": gradient, "PRECISION": "ieee" if exact else "tf32"},
        **constants,
    )
    if not tiles:
        partial.zero_()
    sums = partial.sum(0)
    loss = sums[-1].clone()
    if not gradient:
        none = [low.new_empty(0) for _ in range(5)]
        return loss, none[0], none[1], none[2], none[3], none[4]
    slopes = sums[:-1].view(2, -1)[:, back].sum(-1)  # per convolution: its weights, then its biases
    d_weights, d_biases = slopes[:, :-channels].reshape(2, *weight_1.shape), slopes[:, -channels:]
    return (
        *(loss, slope),
        *(d_weights[0].to(weight_1.dtype, copy=True), d_biases[0].to(bias_1.dtype, copy=True)),
        *(d_weights[1].to(weight_2.dtype, copy=True), d_biases[1].to(bias_2.dtype, copy=True)),
    )


_sr_loss = torch.library.custom_op("ecamp_fast::sr_loss", _run, mutates_args=())


@_sr_loss.register_fake
def _(low: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    loss, gradient = low.new_empty((), dtype=torch.float32), rest[-1]
    made = (torch.empty_like(t) if gradient else low.new_empty(0) for t in (low, *rest[:4]))
    return loss, *made


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])
    ctx.inputs = len(inputs)


def _scale(ctx: Any, cotangent: Tensor | None, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
    """The gradients were made in the forward, for a cotangent of one."""
    none = (None,) * (ctx.inputs - 5)
    if cotangent is None:
        return (None,) * ctx.inputs
    wanted = zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
    return *(scaled(t, cotangent) if needed else None for t, needed in wanted), *none


_sr_loss.register_autograd(_scale, setup_context=_save)


class _SrLoss(torch.autograd.Function):
    """The PyTorch path, some samples at a time: of all, only the gradient to the prediction waits for the backward."""

    @staticmethod
    def forward(
        ctx: Any, low: Tensor, weight_1: Tensor, bias_1: Tensor, weight_2: Tensor, bias_2: Tensor,
        image: Tensor, guide: Guide, mean: float, std: float, final_relu: bool, wanted: bool,
    ) -> Tensor:  # fmt: skip
        leaves = (low, weight_1, bias_1, weight_2, bias_2)
        convolutions = Convolutions(*(leaf.to(low.dtype) for leaf in leaves[1:]))
        loss = wide(low.new_zeros(()))
        d_low = torch.empty_like(low) if wanted else None
        sums = [wide(torch.zeros_like(leaf)) for leaf in leaves[1:]]
        for part in _parts(low):
            weights = pixel_weights(_of(guide, part), len(low), low.shape[1], image.shape[-1], low.device)
            with torch.autocast(low.device.type, enabled=False):
                up = double(low[part].contiguous(memory_format=torch.channels_last))
                stages = around(up, convolutions, final_relu)
                error = wide(stages.high) - normalise(image[part], mean, std)
                scaled_error = error * weights
                loss += torch.sum(error.mul_(scaled_error))
                if d_low is not None:
                    slope = scaled_error.mul_(2).to(low.dtype)
                    d_low[part], made = pull_back(slope, stages, convolutions, final_relu)
                    for total, more in zip(sums, made, strict=True):
                        total += more
        if d_low is not None:
            ctx.save_for_backward(d_low, *(t.to(leaf.dtype) for t, leaf in zip(sums, leaves[1:], strict=True)))
        return loss

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        wanted = zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
        return *(scaled(t, cotangent) if needed else None for t, needed in wanted), *(None,) * 6


def _parts(low: Tensor) -> Iterator[slice]:
    """Samples that are worked on together: on a CPU one a core, which is how its convolutions share them out."""
    values = 4 * low[:1].numel()
    step = torch.get_num_threads() if low.device.type == "cpu" else max(1, CHUNK_VALUES // max(1, values))
    return (slice(first, first + step) for first in range(0, len(low), step))


def _of(guide: Guide, part: slice) -> Guide:
    """The guide of these samples."""
    if isinstance(guide, Window):
        return Window(guide.origin[part], guide.extent, guide.cell)
    return None if guide is None else guide.detach()[part]


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
    cell = torch.arange(sr_triton.MATRIX).view(4, 4, 4, 2, 2, 4)
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


def _checked(low: Tensor, convolutions: Convolutions, image: Tensor, guide: Guide, backend: Backend) -> Backend:
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
    check_guide("sr_loss", guide, batch)
    if channels < sr_triton.LANES:
        return backend
    if backend == "triton":
        raise ValueError(f"sr_loss: low has {channels} channels, the Triton kernel takes up to {sr_triton.LANES - 1}")
    return "torch"
