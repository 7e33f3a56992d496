"""Linear layer and weighted cross-entropy in one: the whole logits never exist.

loss = sum_r w(r) (logsumexp(z_r) - z_r[label_r]),  z = hidden V^T + b.
The kernel takes a chunk of rows at a time, and its forward makes the gradients too (softmax minus one-hot, times w), so
that the backward only scales them. The three products are the library's. All that happens to a chunk of logits in
between is one pass, which overwrites the logits with their gradient: it reads and writes R V numbers once (a row comes
a second time from cache); the sum over rows for b reads them once more. Eager moves R V numbers some ten times, mostly
in float32.

Memory beyond inputs, at R = 21,000, D = 768, V = 30,000 in bfloat16: the chunk of logits 256 MiB, a product of the size
of the vocabulary and the sum of all of them, in float32, 88 MiB each, the gradient to hidden 31 MiB: 463 MiB. The
definition holds three float32 tensors of R x V at its peak, 7,210 MiB: 1/15.
The PyTorch path does the same with one pass over slices of the logits that stay in a CPU's cache.
Legend: R rows, D width, V vocabulary.
"""

from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecamp_fast.kernels.dispatch import HALVES, Backend, check_indices, choose, launch, scaled, tuned, wide

CHUNK_LOGITS = 2**26  # PyTorch path: logits of one chunk, 128 MiB in bfloat16; 2,236 rows of the released vocabulary
SLICE_LOGITS = 2**19  # of these, worked on at once on a CPU: 2 MiB in float32 stay in its cache
ROWS = 128  # chunks are multiples of it, the tile of the products


def weighted_cross_entropy_ref(
    hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """The definition. Any dtype, any device; sums in float32 or wider."""
    logits = wide(torch.nn.functional.linear(hidden, vocabulary, bias))
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return (losses * weights).sum()


@triton.jit
def _fwd(
    logits_ptr, labels_ptr, weights_ptr, losses_ptr,
    V: tl.constexpr, GRADIENT: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One row of contiguous logits: its loss; then the row becomes w (softmax - onehot).

    A thread overwrites what it has read itself, so COLUMNS must be at least the threads of a program.
    A label out of range makes loss and row NaN.
    """
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * V
    columns = tl.arange(0, COLUMNS)
    label, weight = tl.load(labels_ptr + row), tl.load(weights_ptr + row).to(tl.float32)
    known = (label >= 0) & (label < V)
    weight = tl.where(known, weight, float("nan"))
    at_label = tl.load(logits_ptr + label, mask=known, other=0.0).to(tl.float32)
    top, total = float("-inf"), 0.0
    for first in range(0, V, COLUMNS):
        z = tl.load(logits_ptr + first + columns, mask=first + columns < V, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(top, tl.max(z, axis=0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(z - higher), axis=0)
        top = higher
    tl.store(losses_ptr + row, weight * (top + tl.log(total) - at_label))
    if GRADIENT:
        for first in range(0, V, COLUMNS):
            live = first + columns < V
            z = tl.load(logits_ptr + first + columns, mask=live, other=float("-inf")).to(tl.float32)
            share = tl.exp(z - top) / total
            slope = weight * tl.where(first + columns == label, share - 1.0, share)
            tl.store(logits_ptr + first + columns, slope.to(logits_ptr.dtype.element_ty), mask=live)


def _run(
    hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor,
    to_hidden: bool, to_vocabulary: bool, to_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The loss and the gradients that are asked for; empty tensors for the others. Autocast does not reach inside."""
    hidden, labels, weights = hidden.contiguous(), labels.contiguous(), weights.contiguous()
    constants = tuned("weighted_cross_entropy", hidden.device)
    limit, accumulate = _chunking(hidden.device)
    count, size = hidden.shape[0], vocabulary.shape[0]
    rows = _chunk(count, size * hidden.element_size(), limit)
    losses = hidden.new_empty(count, dtype=torch.float32)
    logits = hidden.new_empty(min(rows, count), size)
    d_hidden = torch.empty_like(hidden) if to_hidden else hidden.new_empty(0)
    sums = [hidden.new_zeros(t.shape if wanted else 0, dtype=torch.float32)
            for t, wanted in ((vocabulary, to_vocabulary), (bias, to_bias))]  # fmt: skip
    with torch.autocast(hidden.device.type, enabled=False):
        for first in range(0, count, rows):
            part = slice(first, min(first + rows, count))
            chunk = torch.addmm(bias, hidden[part], vocabulary.t(), out=logits[: part.stop - first])
            launch(
                _fwd, (len(chunk),), chunk, labels[part], weights[part], losses[part],
                V=size, GRADIENT=to_hidden or to_vocabulary or to_bias, **constants,
            )  # fmt: skip
            if to_hidden:
                torch.mm(chunk, vocabulary, out=d_hidden[part])
            if to_vocabulary:
                _add_product(sums[0], chunk.t(), hidden[part], accumulate)
            if to_bias:
                sums[1] += chunk.sum(0, dtype=torch.float32)
    return losses.sum(), d_hidden, sums[0].to(vocabulary.dtype), sums[1].to(bias.dtype)


def _chunking(device: torch.device) -> tuple[int, bool]:
    """Bytes of the kernel's chunk at most (see "Memory" above), and whether its product adds to the sum itself."""
    constants = tuned("vocabulary_chunks", device)
    return constants["CHUNK_MIB"] * 2**20, bool(constants["ACCUMULATE"])


def _chunk(count: int, row_bytes: int, limit: int) -> int:
    """Rows of one chunk: as few chunks as fit into ``limit`` bytes, and those alike."""
    most = max(1, limit // row_bytes)
    most = max(most // ROWS * ROWS, min(most, ROWS))
    alike = -(-count // max(1, -(-count // most)))
    return max(1, min(most, -(-alike // ROWS) * ROWS))


def _add_product(total: Tensor, a: Tensor, b: Tensor, accumulate: bool) -> None:
    """total += a b, in float32: halves are multiplied into float32 at once where the device can.

    accumulate: let the product itself add, in place of a pass over ``total``; for halves on a GPU.
    """
    if a.dtype not in HALVES or a.device.type != "cuda":
        total += wide(a @ b)
    elif accumulate:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)
    else:
        total += torch.mm(a, b, out_dtype=torch.float32)


_op = torch.library.custom_op("ecamp_fast::weighted_cross_entropy", _run, mutates_args=())


@_op.register_fake
def _(hidden: Tensor, vocabulary: Tensor, bias: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    leaves = zip((hidden, vocabulary, bias), rest[-3:], strict=True)
    loss = hidden.new_empty((), dtype=torch.float32)
    return loss, *(t.new_empty(t.shape if wanted else 0) for t, wanted in leaves)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def _scale(ctx: Any, cotangent: Tensor | None, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
    if cotangent is None:
        return (None,) * 8
    wanted = zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
    return *(scaled(gradient, cotangent) if needed else None for gradient, needed in wanted), *(None,) * 5


_op.register_autograd(_scale, setup_context=_save)


class _WeightedCrossEntropy(torch.autograd.Function):
    """The PyTorch path: the gradients that are wanted are made in the forward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor,
        wanted: tuple[bool, bool, bool],
    ) -> Tensor:  # fmt: skip
        losses = wide(hidden.new_empty(labels.shape))
        weights = weights.to(losses.dtype)
        d_hidden = torch.empty_like(hidden) if wanted[0] else None
        d_vocabulary = torch.zeros_like(vocabulary) if wanted[1] and not len(hidden) else None
        d_bias = wide(torch.zeros_like(bias)) if wanted[2] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in _parts(len(hidden), CHUNK_LOGITS // len(vocabulary)):
                slopes = torch.addmm(bias, hidden[rows], vocabulary.T)
                _pass(slopes, labels[rows], weights[rows], losses[rows], d_bias, overwrite=any(wanted))
                if d_hidden is not None:
                    torch.mm(slopes, vocabulary, out=d_hidden[rows])
                if wanted[1]:
                    product = slopes.T @ hidden[rows]
                    d_vocabulary = product if d_vocabulary is None else wide(d_vocabulary).add_(product)
        made = zip((d_hidden, d_vocabulary, d_bias), (hidden, vocabulary, bias), strict=True)
        ctx.save_for_backward(*(None if t is None else t.to(leaf.dtype) for t, leaf in made))
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return *(None if made is None else scaled(made, cotangent) for made in ctx.saved_tensors), None, None, None


def _pass(
    logits: Tensor, labels: Tensor, weights: Tensor, losses: Tensor, d_bias: Tensor | None, overwrite: bool
) -> None:
    """Losses of some rows; then their logits become w (softmax - onehot), whose sum ``d_bias`` gains.

    In slices of rows: on a CPU as many as its cache holds, elsewhere all.
    """
    step = SLICE_LOGITS // logits.shape[1] if logits.device.type == "cpu" else len(logits)
    for part in _parts(len(logits), step):
        z, label, weight = wide(logits[part]), labels[part, None], weights[part, None]
        total = z.logsumexp(1, keepdim=True)
        losses[part] = ((total - z.gather(1, label)) * weight)[:, 0]
        if not overwrite:
            continue
        slope = z.sub_(total).exp_().mul_(weight)
        slope.scatter_add_(1, label, -weight)
        if d_bias is not None:
            d_bias += slope.sum(0)
        if slope.dtype != logits.dtype:
            logits[part] = slope


def _parts(count: int, size: int) -> Iterator[slice]:
    """Slices of ``size`` that cover ``count``; a size below one is one."""
    size = max(1, size)
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def weighted_cross_entropy(
    hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor, backend: Backend = "auto"
) -> Tensor:
    """Sum over the rows of weight times cross-entropy; the caller divides.

    hidden: (R, D)   vocabulary: (V, D)   bias: (V,)   labels: (R,) int64 in [0, V)   weights: (R,) float, no gradient
    R may be 0: the loss is 0   returns 0-d, float32 or wider.
    """
    leaves = {"hidden": hidden, "vocabulary": vocabulary, "bias": bias}
    _check(**leaves, labels=labels, weights=weights)
    runs = choose(backend, "weighted_cross_entropy", **leaves, labels=labels, weights=weights)
    wanted = [torch.is_grad_enabled() and leaf.requires_grad for leaf in leaves.values()]
    if runs == "torch":
        if torch.compiler.is_compiling():  # torch 2.11 loses gradients that a compiled forward writes in parts
            return weighted_cross_entropy_ref(hidden, vocabulary, bias, labels, weights)
        plain: Tensor = _WeightedCrossEntropy.apply(hidden, vocabulary, bias, labels, weights, wanted)
        return plain
    loss: Tensor = _op(hidden, vocabulary, bias, labels, weights, *wanted)[0]
    return loss


def _check(hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor) -> None:
    """Values of the labels are not looked at while torch.compile traces."""
    name = "weighted_cross_entropy"
    if hidden.ndim != 2:
        raise ValueError(f"{name}: hidden is {tuple(hidden.shape)}, must be (R, D)")
    if vocabulary.ndim != 2 or vocabulary.shape[1] != hidden.shape[1] or not len(vocabulary):
        raise ValueError(f"{name}: vocabulary is {tuple(vocabulary.shape)}, must be (V > 0, {hidden.shape[1]})")
    if bias.shape != vocabulary.shape[:1]:
        raise ValueError(f"{name}: bias is {tuple(bias.shape)}, must be ({vocabulary.shape[0]},)")
    for other, tensor in (("labels", labels), ("weights", weights)):
        if tensor.shape != hidden.shape[:1]:
            found = f"{other} is {tuple(tensor.shape)}"
            raise ValueError(f"{name}: {found}, must be ({hidden.shape[0]},) for {hidden.shape[0]} rows")
    for other, tensor in (("vocabulary", vocabulary), ("bias", bias)):
        if tensor.dtype != hidden.dtype:
            raise TypeError(f"{name}: {other} is {tensor.dtype}, must be {hidden.dtype} as hidden")
    if not weights.is_floating_point():
        raise TypeError(f"{name}: weights is {weights.dtype}, must be floating")
    if labels.dtype != torch.int64 or not torch.compiler.is_compiling():
        check_indices(name, "labels", labels, vocabulary.shape[0])
