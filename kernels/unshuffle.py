"""Visible tokens back to their places, a mask token in every other, plus the position table: the decoder's input.

Legend: B samples, K visible patches, N patches, D width.
"""

import torch
from torch import Tensor

from ecamp_fast.kernels.launch import Backend, choose


def unshuffle_ref(visible: Tensor, mask_token: Tensor, positions: Tensor, keep: Tensor) -> Tensor:
    """The definition. Any dtype, any device."""
    batch, width = visible.shape[0], visible.shape[2]
    patches = positions.shape[1] - 1
    places = keep[..., None].expand(-1, -1, width)
    full = mask_token.expand(batch, patches, width).scatter(1, places, visible[:, 1:])
    return torch.cat([visible[:, :1], full], dim=1) + positions


def unshuffle(
    visible: Tensor, mask_token: Tensor, positions: Tensor, keep: Tensor, backend: Backend = "auto"
) -> Tensor:
    """The full sequence, class token first.

    visible: (B, 1+K, D), class token first   mask_token: (1, 1, D)   positions: (1, 1+N, D)
    keep: (B, K) int64, the patch number of each visible token, no number twice   returns (B, 1+N, D).
    """
    choose(backend, "unshuffle")
    if visible.shape[1] != keep.shape[1] + 1:
        raise ValueError(f"{visible.shape[1]} visible tokens for {keep.shape[1]} patches and a class token")
    return unshuffle_ref(visible, mask_token, positions.to(visible.dtype), keep)
