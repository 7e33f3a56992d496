"""Boxes as masks: of each finding the union of its boxes, as the paper segments RSNA's (SPEC 7.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def box_masks(boxes: Sequence[Tensor], labels: Sequence[Tensor], names: int, size: int) -> Tensor:
    """The share of each pixel that the largest part of a finding's box covers.

    boxes: per image (n, 4) float32, x1, y1, x2, y2 in pixels   labels: per image (n,) int64, below ``names``
    returns (B, names, size, size) float32 in 0..1, on the device of the boxes
    """
    return torch.stack([_of_image(*one, names, size) for one in zip(boxes, labels, strict=True)])


def _of_image(boxes: Tensor, labels: Tensor, names: int, size: int) -> Tensor:
    starts = torch.arange(size, device=boxes.device)
    x1, y1, x2, y2 = (side[:, None] for side in boxes.unbind(1))
    across = (torch.minimum(x2, starts + 1) - torch.maximum(x1, starts)).clamp(0, 1)
    down = (torch.minimum(y2, starts + 1) - torch.maximum(y1, starts)).clamp(0, 1)
    out = torch.zeros(names, size, size, device=boxes.device)
    for label, row, column in zip(labels.tolist(), down, across, strict=True):
        out[label] = torch.maximum(out[label], row[:, None] * column)
    return out
