"""Other libraries' linear layer and cross-entropy in one, with our weights; None where a library is not installed."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def liger(labels: Tensor, weights: Tensor) -> Callable[..., Tensor] | None:
    """LinkedIn's."""
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError:
        return None

    @functools.cache
    def losses() -> Any:
        return LigerFusedLinearCrossEntropyLoss(reduction="none", accum_dtype=torch.float32)

    def baseline(hidden: Tensor, vocabulary: Tensor, bias: Tensor) -> Tensor:
        loss: Tensor = (losses()(vocabulary, hidden, labels, bias) * weights).sum()
        return loss

    return baseline


def cut(labels: Tensor, weights: Tensor) -> Callable[..., Tensor] | None:
    """Apple's. ``cce_exact`` leaves no small gradient out."""
    try:
        from cut_cross_entropy import linear_cross_entropy
    except ImportError:
        return None

    def baseline(hidden: Tensor, vocabulary: Tensor, bias: Tensor) -> Tensor:
        losses = linear_cross_entropy(hidden, vocabulary, labels, bias=bias, reduction="none", impl="cce_exact")
        loss: Tensor = (losses * weights).sum()
        return loss

    return baseline
