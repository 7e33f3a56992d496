"""The pixels of chosen patches, as rows: gather first, so that patches nobody asked for are never copied.

Legend: B samples, K chosen patches, P pixels per side of a patch.
"""

import torch
from torch import Tensor

from ecamp_fast.kernels.launch import Backend, choose, normalise


def patch_gather_ref(
    image: Tensor, keep: Tensor, patch: int, mean: float, std: float, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The definition: cut the whole normalised image into rows, pick the rows."""
    pixels = normalise(image, mean, std, torch.promote_types(dtype, torch.float32))
    batch, _, height, width = pixels.shape
    cells = pixels.reshape(batch, height // patch, patch, width // patch, patch).transpose(2, 3)
    rows = cells.reshape(batch, -1, patch * patch)
    return rows.gather(1, keep[..., None].expand(-1, -1, patch * patch)).to(dtype)


def patch_gather(
    image: Tensor,
    keep: Tensor,
    patch: int,
    mean: float = 0.0,
    std: float = 1.0,
    dtype: torch.dtype = torch.float32,
    backend: Backend = "auto",
) -> Tensor:
    """Normalised pixels of the chosen patches, row by row. No gradient flows to the image.

    image: (B, 1, H, W) floating and normalised, or uint8 (then mean and std of grey values in [0, 1] apply)
    keep: (B, K) int64, patch numbers in raster order   returns (B, K, P*P) ``dtype``.
    """
    choose(backend, "patch_gather")
    batch, channels, height, width = image.shape
    if channels != 1 or height % patch or width % patch:
        raise ValueError(f"image {tuple(image.shape)} is not one channel of whole {patch} x {patch} patches")
    across = width // patch
    cells = image.detach().reshape(batch, height // patch, patch, across, patch).transpose(2, 3)
    sample = torch.arange(batch, device=image.device)[:, None]
    rows = cells[sample, keep // across, keep % across].flatten(2)
    return normalise(rows, mean, std, torch.promote_types(dtype, torch.float32)).to(dtype)
