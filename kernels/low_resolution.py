"""The low-resolution image: half the side, bicubic, normalised, in float.

Resizing is linear and its weights sum to one, so the small image is normalised instead of the large one. Reads one byte
a pixel. Values are not rounded back to grey levels.
"""

import torch
from torch import Tensor

from ecamp_fast.kernels.launch import Backend, choose, normalise


def low_resolution_ref(image: Tensor, mean: float, std: float, antialias: bool) -> Tensor:
    """The definition: normalise, then resize. Any device; uint8, or floating and normalised already."""
    return _halve(normalise(image, mean, std), antialias)


def low_resolution(image: Tensor, mean: float, std: float, antialias: bool, backend: Backend = "auto") -> Tensor:
    """Bicubic to half the side (align_corners False).

    image: (B, 1, S, S) uint8, or floating and already normalised   mean, std: of grey values in [0, 1]
    antialias: False is what the released code does   returns (B, 1, S/2, S/2) float32 (a floating image: its dtype).
    """
    choose(backend, "low_resolution")
    if image.shape[-1] % 2 or image.shape[-2] % 2:
        raise ValueError(f"image of {tuple(image.shape[-2:])} pixels cannot be halved")
    if image.is_floating_point():
        return _halve(image, antialias)
    return _halve(image.float(), antialias).mul_(1 / (255 * std)).sub_(mean / std)


def _halve(image: Tensor, antialias: bool) -> Tensor:
    size = (image.shape[-2] // 2, image.shape[-1] // 2)
    return torch.nn.functional.interpolate(image, size=size, mode="bicubic", antialias=antialias, align_corners=False)
