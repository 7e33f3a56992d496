"""What the loader hands to the model: one micro-batch on one device.

Legend: B samples, S pixels per side of the high-resolution image, G cells per side of the attention grid,
T text rows of the whole batch.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

ATTENTION_GRID = 28  # G: cells per side over the high-resolution view (binding decision on row 14)


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch; every tensor is on the same device.

    image      (B, 1, S, S) uint8   grey, cropped and flipped
    attention  (B, G, G) float32    the attention map over the same view, not normalised, >= 0; all zero: weigh every
                                    pixel alike (no map, or no positive entity)
    window     (B, 2) int32         first patch (row, column) of the super-resolution window (``sr.guidance: window_*``)
    codes      (T,) int32           text rows (``text.codes``): token id and marks; samples lie end to end
    offsets    (B + 1,) int32       rows of sample b are offsets[b] to offsets[b + 1]
    lengths    (B,) int32           real tokens of each sample, at the head of its rows; equal to the row count where
                                    text is packed, smaller where it is padded (recipe ``losses.mlm_positions: all``)
    keys       (B,) int64           key of the sample in this epoch (``draws``): masks are drawn from it
    samples    (B,) int64           index of the sample in the shard set
    """

    image: Tensor
    attention: Tensor
    window: Tensor
    codes: Tensor
    offsets: Tensor
    lengths: Tensor
    keys: Tensor
    samples: Tensor

    def __len__(self) -> int:
        return self.image.shape[0]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device; copies from pinned memory do not block."""
        return replace(self, **{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})
