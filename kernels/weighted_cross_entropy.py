"""Linear layer and weighted cross-entropy in one: the whole logits never exist.

loss = sum_r w(r) (logsumexp(z_r) - z_r[label_r]),  z = hidden V^T + b.
A chunk of rows is worked on at a time, and the forward makes the gradients too (softmax minus one-hot, times w), so
that the backward only scales them. The three products are the library's. All that happens to a chunk of logits in
between is the row pass, which overwrites the logits with their gradient. The kernel's reads and writes R V numbers once
(a row comes a second time from cache); the sum over rows for b reads them once more. Eager moves R V numbers some ten
times, mostly in float32.

Memory beyond inputs, at R = 21,000, D = 768, V = 30,000 in bfloat16: the chunk of logits 256 MiB, a product of the size
of the vocabulary and the sum of all of them, in float32, 88 MiB each, the gradient to hidden 31 MiB: 463 MiB. The
definition holds three float32 tensors of R x V at its peak, 7,210 MiB: 1/15.
The PyTorch path's row pass goes over slices of the logits that stay in a CPU's cache.
Legend: R rows, D width, V vocabulary.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecamp_fast.kernels.dispatch import HALVES, Backend, accum_dtype, check_indices, choose
from ecamp_fast.kernels.forward_grads import save_grads, scale_grad, scale_grads
from ecamp_fast.kernels.tuning import launch, tuned

# (logits of a chunk, its rows, their losses, d_bias or None): fills the losses, and where gradients are wanted
# overwrites the logits with theirs and adds their sum to d_bias
RowPass = Callable[[Tensor, slice, Tensor, Tensor | None], None]
# (total so far or None, a, b) -> total + a b
AddProduct = Callable[[Tensor | None, Tensor, Tensor], Tensor]

CHUNK_LOGITS = 2**26  # PyTorch path: logits of one chunk, 128 MiB in bfloat16; 2,236 rows of the released vocabulary
SLICE_LOGITS = 2**19  # of these, worked on at once on a CPU: 2 MiB in float32 stay in its cache
ROWS = 128  # chunks are multiples of it, the tile of the products


def weighted_cross_entropy_ref(
    hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """The definition. Any dtype, any device; sums in float32 or wider."""
    logits = torch.nn.functional.linear(hidden, vocabulary, bias)
    losses = torch.nn.functional.cross_entropy(logits.to(accum_dtype(logits)), labels, reduction="none")
    return (losses * weights).sum()


@triton.jit
def _fwd(
    logits_ptr, labels_ptr, weights_ptr, losses_ptr,  # data
    V: tl.constexpr, GRADIENT: tl.constexpr, COLUMNS: tl.constexpr,  # COLUMNS of a row are worked on at once
):  # fmt: skip
    """One row of contiguous logits: its loss; then the row becomes w (softmax - onehot).

    A thread overwrites what it has read itself, so COLUMNS must be at least the threads of a program.
    A label out of range makes loss and row NaN.
    """
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * V
    columns = tl.arange(0, COLUMNS)
    label, weight = tl.load(labels_ptr + row), tl.load(weights_ptr + row).to(tl.float32)
    valid = (label >= 0) & (label < V)
    weight = tl.where(valid, weight, float("nan"))
    at_label = tl.load(logits_ptr + label, mask=valid, other=0.0).to(tl.float32)
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
            grad = weight * tl.where(first + columns == label, share - 1.0, share)
            tl.store(logits_ptr + first + columns, grad.to(logits_ptr.dtype.element_ty), mask=live)


def _in_chunks(
    hidden: Tensor, vocabulary: Tensor, bias: Tensor, wanted: tuple[bool, bool, bool],
    rows: int, row_pass: RowPass, add_product: AddProduct,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """The loss and the gradients that are wanted, ``rows`` at a time. Autocast does not reach inside."""
    count = len(hidden)
    losses = hidden.new_empty(count, dtype=accum_dtype(hidden))
    logits = hidden.new_empty(min(rows, count), len(vocabulary))
    d_hidden = torch.empty_like(hidden) if wanted[0] else None
    d_vocabulary = torch.zeros_like(vocabulary) if wanted[1] and not count else None
    d_bias = torch.zeros_like(bias, dtype=accum_dtype(bias)) if wanted[2] else None
    with torch.autocast("cpu" if hidden.is_meta else hidden.device.type, enabled=False):
        for part in _parts(count, rows):
            chunk = torch.addmm(bias, hidden[part], vocabulary.T, out=logits[: part.stop - part.start])
            row_pass(chunk, part, losses[part], d_bias)
            if d_hidden is not None:
                torch.mm(chunk, vocabulary, out=d_hidden[part])
            if wanted[1]:
                d_vocabulary = add_product(d_vocabulary, chunk.T, hidden[part])
    d_vocabulary = None if d_vocabulary is None else d_vocabulary.to(vocabulary.dtype)
    return losses.sum(), d_hidden, d_vocabulary, None if d_bias is None else d_bias.to(bias.dtype)


def _parts(count: int, size: int) -> Iterator[slice]:
    """Slices of ``size`` that cover ``count``."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def _run(
    hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor,
    to_hidden: bool, to_vocabulary: bool, to_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The kernel's path: the loss and the gradients that are asked for; empty tensors for the others."""
    hidden, labels, weights = hidden.contiguous(), labels.contiguous(), weights.contiguous()
    wanted = to_hidden, to_vocabulary, to_bias
    limit, accumulate = _chunking(hidden.device)
    rows = _chunk(len(hidden), len(vocabulary) * hidden.element_size(), limit)
    constants = {"V": len(vocabulary), "GRADIENT": any(wanted), **tuned("weighted_cross_entropy", hidden.device)}
    row_pass = partial(_kernel_pass, labels, weights, constants)
    add_product = partial(_add_product, accumulate)
    loss, *grads = _in_chunks(hidden, vocabulary, bias, wanted, rows, row_pass, add_product)
    d_hidden, d_vocabulary, d_bias = (hidden.new_empty(0) if grad is None else grad for grad in grads)
    return loss, d_hidden, d_vocabulary, d_bias


def _kernel_pass(
    labels: Tensor, weights: Tensor, constants: dict[str, int],
    logits: Tensor, part: slice, losses: Tensor, d_bias: Tensor | None,
) -> None:  # fmt: skip
    """``RowPass`` of the kernel, behind what all chunks have in common."""
    launch(_fwd, (len(logits),), logits, labels[part], weights[part], losses, **constants)
    if d_bias is not None:
        d_bias += logits.sum(0, dtype=torch.float32)


def _chunking(device: torch.device) -> tuple[int, bool]:
    """Bytes of the kernel's chunk at most (see "Memory" above), and whether its product adds to the sum itself."""
    constants = tuned("vocabulary_chunks", device)
    return constants["CHUNK_MIB"] * 2**20, bool(constants["ACCUMULATE"])


def _chunk(count: int, row_bytes: int, limit: int) -> int:
    """Rows of one chunk: as few chunks as fit into ``limit`` bytes, and those alike."""
    max_rows = max(1, limit // row_bytes)
    max_rows = max(max_rows // ROWS * ROWS, min(max_rows, ROWS))
    alike = -(-count // max(1, -(-count // max_rows)))
    return max(1, min(max_rows, -(-alike // ROWS) * ROWS))


def _add_product(accumulate: bool, total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """``AddProduct`` in float32: halves are multiplied into float32 at once where the device can.

    accumulate: let the product itself add, in place of a pass over ``total``; for halves on a GPU.
    """
    if total is None:
        total = a.new_zeros(a.shape[0], b.shape[1], dtype=torch.float32)
    if a.dtype not in HALVES or a.device.type != "cuda":
        return total.add_(a @ b)
    if accumulate:
        return torch.addmm(total, a, b, out_dtype=torch.float32, out=total)
    return total.add_(torch.mm(a, b, out_dtype=torch.float32))


_op = torch.library.custom_op("ecamp_fast::weighted_cross_entropy", _run, mutates_args=())


@_op.register_fake
def _(hidden: Tensor, vocabulary: Tensor, bias: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    leaves = zip((hidden, vocabulary, bias), rest[-3:], strict=True)
    loss = hidden.new_empty((), dtype=torch.float32)
    return loss, *(t.new_empty(t.shape if wanted else 0) for t, wanted in leaves)


_op.register_autograd(scale_grads, setup_context=save_grads)


class _WeightedCrossEntropy(torch.autograd.Function):
    """The PyTorch path: the gradients that are wanted are made in the forward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor,
        wanted: tuple[bool, bool, bool],
    ) -> Tensor:  # fmt: skip
        row_pass = partial(_sliced_pass, labels, weights.to(accum_dtype(hidden)), any(wanted))
        rows = max(1, CHUNK_LOGITS // len(vocabulary))
        loss, *grads = _in_chunks(hidden, vocabulary, bias, wanted, rows, row_pass, _add_rounded_product)
        ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        return *(None if t is None else scale_grad(t, grad_loss) for t in ctx.saved_tensors), None, None, None


def _sliced_pass(
    labels: Tensor, weights: Tensor, gradient: bool,
    logits: Tensor, part: slice, losses: Tensor, d_bias: Tensor | None,
) -> None:  # fmt: skip
    """``RowPass`` of PyTorch, behind what all chunks have in common.

    In slices of rows: on a CPU as many as its cache holds, elsewhere all.
    """
    labels, weights = labels[part], weights[part]
    rows = max(1, SLICE_LOGITS // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    for piece in _parts(len(logits), rows):
        label, weight = labels[piece, None], weights[piece, None]
        z = logits[piece].to(accum_dtype(logits))
        total = z.logsumexp(1, keepdim=True)
        losses[piece] = ((total - z.gather(1, label)) * weight)[:, 0]
        if not gradient:
            continue
        grad = z.sub_(total).exp_().mul_(weight)
        grad.scatter_add_(1, label, -weight)
        if d_bias is not None:
            d_bias += grad.sum(0)
        if grad.dtype != logits.dtype:
            logits[piece] = grad


def _add_rounded_product(total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """``AddProduct`` of products in the dtype of the inputs; the first of them is the total."""
    product = a @ b
    return product if total is None else total.to(accum_dtype(total)).add_(product)


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
