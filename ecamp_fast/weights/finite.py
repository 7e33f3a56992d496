"""Whether tensors hold numbers: what is not finite is neither saved, exported nor loaded."""

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def first_not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The name of the first tensor that holds a NaN or an infinity; an empty string where all are finite.

    Reads each tensor once and waits for the device once. Sums would overflow; the largest and the smallest do not.
    """
    extremes = {name: _extremes(tensor) for name, tensor in tensors.items() if _may_not_be(tensor)}
    if not extremes:
        return ""
    home = next(iter(extremes.values())).device
    finite = torch.stack([pair.to(home) for pair in extremes.values()]).isfinite().all(dim=1).tolist()
    return next((name for name, fine in zip(extremes, finite, strict=True) if not fine), "")


def _may_not_be(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0


def _extremes(tensor: Tensor) -> Tensor:
    """(2,) float64: NaN where the tensor holds one."""
    return torch.stack(torch.aminmax(tensor.float() if tensor.itemsize == 1 else tensor)).double()
