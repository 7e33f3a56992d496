"""Linear layer and weighted cross-entropy in one: the whole logits never exist.

loss = sum_r w(r) (logsumexp(z_r) - z_r[label_r]),  z = hidden V^T + b.
A chunk of rows at a time, the forward also makes the gradients (softmax minus one-hot, times w), so the backward only
scales them. Keeps R x D and V x D numbers where eager keeps R x V twice.
Legend: R rows, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ecamp_fast.kernels.launch import Backend, choose, wide

CHUNK_LOGITS = 2**26  # logits of one chunk: 256 MiB in float32; 2,236 rows of the released vocabulary


def weighted_cross_entropy_ref(
    hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """The definition. Any dtype, any device; sums in float32 or wider."""
    logits = wide(torch.nn.functional.linear(hidden, vocabulary, bias))
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return (losses * weights).sum()


class _WeightedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor, rows: int
    ) -> Tensor:
        loss = wide(hidden.new_zeros(()))
        d_hidden = torch.empty_like(hidden)
        d_vocabulary, d_bias = wide(torch.zeros_like(vocabulary)), wide(torch.zeros_like(bias))
        wants_gradient = any(ctx.needs_input_grad)
        for first in range(0, hidden.shape[0], rows):
            part = slice(first, first + rows)
            logits = wide(torch.nn.functional.linear(hidden[part], vocabulary, bias))
            label, weight = labels[part, None], weights[part, None].to(logits.dtype)
            total = logits.logsumexp(-1, keepdim=True)
            loss += ((total - logits.gather(1, label)) * weight).sum()
            if wants_gradient:
                slope = logits.sub_(total).exp_().mul_(weight).scatter_add_(1, label, -weight)
                d_bias += slope.sum(0)
                slope = slope.to(hidden.dtype)
                d_hidden[part] = slope @ vocabulary
                d_vocabulary += slope.T @ hidden[part]
        if wants_gradient:
            ctx.save_for_backward(d_hidden, d_vocabulary.to(vocabulary.dtype), d_bias.to(bias.dtype))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        gradients = tuple(gradient * cotangent for gradient in ctx.saved_tensors)
        return *gradients, None, None, None


def weighted_cross_entropy(
    hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor, backend: Backend = "auto"
) -> Tensor:
    """Sum over the rows of weight times cross-entropy; the caller divides.

    hidden: (R, D)   vocabulary: (V, D)   bias: (V,)   labels: (R,) int64 in [0, V)   weights: (R,) float, no gradient
    R may be 0: the loss is 0   returns 0-d, float32 or wider.
    """
    choose(backend, "weighted_cross_entropy")
    if labels.shape != hidden.shape[:1] or weights.shape != labels.shape:
        raise ValueError(f"{hidden.shape[0]} rows, {tuple(labels.shape)} labels, {tuple(weights.shape)} weights")
    rows = max(1, CHUNK_LOGITS // vocabulary.shape[0])
    return _WeightedCrossEntropy.apply(hidden, vocabulary, bias, labels, weights, rows)
