"""Rules every operation shares: which implementation runs, in which dtype sums are taken, how pixels become numbers."""

from typing import Literal

import torch
from torch import Tensor

Backend = Literal["auto", "triton", "torch"]


def choose(backend: Backend, operation: str) -> Literal["torch"]:
    """The implementation that runs. ``auto`` takes the fastest that exists for the operation.

    Raises ValueError for an unknown name, and for ``triton`` as long as the operation has no Triton kernel.
    """
    if backend == "triton":
        raise ValueError(f"{operation}: no Triton kernel exists yet, only backend='torch' (or 'auto')")
    if backend not in ("auto", "torch"):
        raise ValueError(f"{operation}: backend {backend!r}, must be 'auto', 'triton' or 'torch'")
    return "torch"


def wide(tensor: Tensor) -> Tensor:
    """The tensor in the dtype that sums are taken in: float32 for halves, its own otherwise."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def normalise(image: Tensor, mean: float, std: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Grey values to normalised floats: (x / 255 - mean) / std. A floating image is normalised already: unchanged.

    image: uint8 or floating, any shape   returns ``dtype`` for uint8, the image's own dtype otherwise.
    """
    if image.is_floating_point():
        return image
    if image.dtype != torch.uint8:
        raise ValueError(f"image dtype {image.dtype}, must be uint8 or floating")
    return image.to(dtype).mul_(1 / (255 * std)).sub_(mean / std)
