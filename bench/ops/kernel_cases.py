"""The kernels' operations as the model calls them: inputs, the definition, what must be moved and computed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ecamp_fast.bench.ops.baselines import cut, liger
from ecamp_fast.geometry import ATTENTION_GRID
from ecamp_fast.kernels.dispatch import Backend
from ecamp_fast.kernels.low_resolution import low_resolution, low_resolution_ref
from ecamp_fast.kernels.masked_mse import masked_mse, masked_mse_ref
from ecamp_fast.kernels.patch_gather import patch_gather, patch_gather_ref
from ecamp_fast.kernels.pixels import normalise
from ecamp_fast.kernels.sr_loss import Convolutions, sr_loss, sr_loss_ref
from ecamp_fast.kernels.unshuffle import unshuffle, unshuffle_ref
from ecamp_fast.kernels.weighted_cross_entropy import weighted_cross_entropy, weighted_cross_entropy_ref

MEAN, STD = 0.4721, 0.3037  # of grey values; any would do


@dataclass(frozen=True)
class Sizes:
    """What the model fixes. high: pixels per side   kept: visible patches   text: predicted rows of a sample.

    width: of the decoder's tokens   cells: per side of the attention grid
    """

    high: int
    patch: int
    kept: int
    width: int
    text: float
    text_width: int
    vocabulary: int
    cells: int = ATTENTION_GRID

    @property
    def low(self) -> int:
        return self.high // 2

    @property
    def grid(self) -> int:
        return self.low // self.patch

    @property
    def patches(self) -> int:
        return self.grid**2


PAPER = Sizes(high=448, patch=16, kept=49, width=512, text=110 * 0.75, text_width=768, vocabulary=30_000)
SMALL = Sizes(high=32, patch=4, kept=4, width=24, text=6, text_width=20, vocabulary=150)  # for Triton's interpreter


@dataclass(frozen=True)
class KernelCase:
    """One operation on one set of inputs.

    ours: (*leaves, backend=)   definition: (*leaves, exact=), with ``exact`` on float64 numbers alone
    bytes, operations: the least that forward and backward together must move and compute, each number once
    baselines: other libraries' functions of the leaves; None: not installed.
    """

    operation: str
    leaves: dict[str, Tensor]
    ours: Callable[..., Tensor]
    definition: Callable[..., Tensor]
    bytes: float
    operations: float = 0.0
    cotangent: Tensor | None = None
    baselines: dict[str, Callable[..., Tensor] | None] = field(default_factory=dict)

    def run(self, backend: Backend) -> list[Tensor]:
        """Forward and backward: [output, gradient of each leaf]."""
        return self.both(partial(self.ours, backend=backend))

    def truth(self) -> list[Tensor]:
        """What is right, in float64."""
        return self.both(partial(self.definition, exact=True), torch.float64)

    def both(self, function: Callable[..., Tensor], dtype: torch.dtype | None = None) -> list[Tensor]:
        """Forward and backward of any function of the leaves."""
        mine = [leaf.detach().to(dtype or leaf.dtype).requires_grad_() for leaf in self.leaves.values()]
        out = function(*mine)
        if not mine:
            return [out]
        return [out.detach(), *torch.autograd.grad(out, mine, None if out.ndim == 0 else self.cotangent)]


def cases(batch: int, device: str, dtype: torch.dtype, sizes: Sizes = PAPER) -> list[KernelCase]:
    """All operations; the numbers are the same for the same arguments.  batch: samples."""
    torch.manual_seed(0)
    inputs = _Inputs(batch, torch.device(device), dtype, sizes)
    makers = (_gather, _low_resolution, _unshuffle, _masked, _sr, _vocabulary)
    return [make(inputs) for make in makers]


class _Inputs:
    """What the operations share."""

    def __init__(self, batch: int, device: torch.device, dtype: torch.dtype, sizes: Sizes) -> None:
        self.batch, self.device, self.dtype, self.sizes = batch, device, dtype, sizes
        self.image = torch.randint(0, 256, (batch, 1, sizes.high, sizes.high), dtype=torch.uint8, device=device)
        self.low = normalise(self.image[..., ::2, ::2], MEAN, STD)  # float32, as ``low_resolution`` gives it
        order = torch.rand(batch, sizes.patches, device=device).argsort(1)
        self.keep, self.masked = order[:, : sizes.kept].contiguous(), order[:, sizes.kept :].contiguous()
        self.attention = torch.rand(batch, sizes.cells, sizes.cells, device=device) ** 4
        self.element = dtype.itemsize

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, device=self.device).to(self.dtype)


def _exact(image: Tensor) -> Tensor:
    return (image.double() / 255 - MEAN) / STD


def _gather(given: _Inputs) -> KernelCase:
    sizes, low, keep = given.sizes, given.low, given.keep

    def definition(exact: bool = False) -> Tensor:
        if exact:
            return patch_gather_ref(low.double(), keep, sizes.patch, torch.float64)
        return patch_gather_ref(low, keep, sizes.patch, given.dtype)

    ours = partial(patch_gather, low, keep, sizes.patch, given.dtype)
    pixels = keep.numel() * sizes.patch**2
    moved = keep.numel() * 8 + pixels * (low.itemsize + given.element)
    return KernelCase("patch_gather", {}, ours, definition, moved)


def _low_resolution(given: _Inputs) -> KernelCase:
    image = given.image

    def definition(exact: bool = False) -> Tensor:
        return low_resolution_ref(_exact(image) if exact else image, MEAN, STD, False)

    ours = partial(low_resolution, image, MEAN, STD, False)
    pixels = image.numel() // 4
    return KernelCase("low_resolution", {}, ours, definition, pixels * (4 + 4), pixels * 2 * (16 + 4))


def _unshuffle(given: _Inputs) -> KernelCase:
    sizes, keep = given.sizes, given.keep
    leaves = {
        "visible": given.randn(given.batch, 1 + sizes.kept, sizes.width),
        "mask_token": given.randn(1, 1, sizes.width),
    }
    positions = torch.randn(1, 1 + sizes.patches, sizes.width, device=given.device)  # a buffer: float32, no gradient

    def ours(visible: Tensor, mask_token: Tensor, backend: Backend) -> Tensor:
        return unshuffle(visible, mask_token, positions, keep, backend=backend)

    def definition(visible: Tensor, mask_token: Tensor, exact: bool = False) -> Tensor:
        return unshuffle_ref(visible, mask_token, positions.to(visible.dtype), keep)

    cotangent = given.randn(given.batch, 1 + sizes.patches, sizes.width)
    moved = 2 * (leaves["visible"].numel() + cotangent.numel()) * given.element + positions.numel() * 4
    return KernelCase("unshuffle", leaves, ours, definition, moved, 2 * cotangent.numel(), cotangent)


def _masked(given: _Inputs) -> KernelCase:
    sizes, low, masked = given.sizes, given.low, given.masked
    prediction = given.randn(given.batch, sizes.patches, 3 * sizes.patch**2)

    def ours(leaf: Tensor, backend: Backend) -> Tensor:
        return masked_mse(leaf, low, masked, sizes.patch, backend=backend)

    def definition(leaf: Tensor, exact: bool = False) -> Tensor:
        return masked_mse_ref(leaf, low.double() if exact else low, masked, sizes.patch)

    pixels = masked.numel() * sizes.patch**2
    moved = pixels * (3 * given.element + low.itemsize) + masked.numel() * 8 + prediction.numel() * given.element
    return KernelCase("masked_mse", {"prediction": prediction}, ours, definition, moved, pixels * 3 * 5)


def _sr(given: _Inputs) -> KernelCase:
    image, attention = given.image, given.attention
    low = given.randn(given.batch, 3, given.sizes.low, given.sizes.low).contiguous(memory_format=torch.channels_last)
    convolutions = {
        n: given.randn(*s) * 0.3 for n, s in zip(Convolutions._fields, [(3, 3, 3, 3), (3,)] * 2, strict=True)
    }

    def ours(leaf: Tensor, *weights: Tensor, backend: Backend) -> Tensor:
        return sr_loss(leaf, Convolutions(*weights), image, attention, MEAN, STD, backend=backend)

    def definition(leaf: Tensor, *weights: Tensor, exact: bool = False) -> Tensor:
        target, guidance = (_exact(image), attention.double()) if exact else (image, attention)
        return sr_loss_ref(leaf, Convolutions(*weights), target, guidance, MEAN, STD, False)

    # per pixel two convolutions of 27 x 3 products, each thrice (values, both gradients), and the bilinear taps twice
    operations = image.numel() * (2 * 3 * 2 * 81 + 2 * 2 * 3 * 4 + 3 * 10)
    moved = image.numel() + 2 * low.numel() * given.element
    return KernelCase("sr_loss", {"low": low} | convolutions, ours, definition, moved, operations)


def _vocabulary(given: _Inputs) -> KernelCase:
    sizes, device = given.sizes, given.device
    rows = round(given.batch * sizes.text)
    leaves = {
        "hidden": given.randn(rows, sizes.text_width),
        "vocabulary": given.randn(sizes.vocabulary, sizes.text_width) * sizes.text_width**-0.5,
        "bias": given.randn(sizes.vocabulary),
    }
    labels = torch.randint(0, sizes.vocabulary, (rows,), device=device)
    weights = torch.rand(rows, device=device) / rows

    def ours(hidden: Tensor, vocabulary: Tensor, bias: Tensor, backend: Backend) -> Tensor:
        return weighted_cross_entropy(hidden, vocabulary, bias, labels, weights, backend=backend)

    def definition(hidden: Tensor, vocabulary: Tensor, bias: Tensor, exact: bool = False) -> Tensor:
        rows = weights.double() if exact else weights
        return weighted_cross_entropy_ref(hidden, vocabulary, bias, labels, rows)

    numbers = sum(leaf.numel() for leaf in leaves.values())
    return KernelCase(
        "weighted_cross_entropy",
        leaves,
        ours,
        definition,
        bytes=2 * numbers * given.element + rows * 12,
        operations=rows * sizes.vocabulary * (3 * 2 * sizes.text_width + 6),
        baselines={"liger": liger(labels, weights), "cce": cut(labels, weights)} if device.type == "cuda" else {},
    )
