"""Pixels as kernels take them: grey bytes to normalised numbers, and images cut into patches.

Legend: B samples, H and W sides of the image, P pixels per side of a patch.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecamp_fast.kernels.dispatch import check_indices


def normalise(image: Tensor, mean: float, std: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Grey values to normalised floats: (x / 255 - mean) / std. A floating image is normalised already: unchanged.

    image: uint8 or floating, any shape   returns ``dtype`` for uint8, the image's own dtype otherwise.
    """
    if image.is_floating_point():
        return image
    if image.dtype != torch.uint8:
        raise ValueError(f"image dtype {image.dtype}, must be uint8 or floating")
    return image.to(dtype).mul_(1 / (255 * std)).sub_(mean / std)


def affine(image: Tensor, mean: float, std: float) -> tuple[float, float]:
    """(scale, shift) with which a kernel makes numbers of pixels: x * scale + shift; (1, 0) for a floating image."""
    return (1.0, 0.0) if image.is_floating_point() else (1 / (255 * std), -mean / std)


@triton.jit
def patch_pixels(image_ptr, sample, patch, pixel, live, H: tl.constexpr, W: tl.constexpr, P: tl.constexpr):
    """Pixel ``pixel`` of patch ``patch`` of ``sample``, float32; NaN where there is no such patch.

    sample: int64, patch: integers, pixel: int32 in [0, P*P) where ``live``; they broadcast.
    """
    valid = (patch >= 0) & (patch < (H // P) * (W // P))
    cell = tl.where(valid, patch, 0).to(tl.int32)
    y = cell // (W // P) * P + pixel // P
    x = cell % (W // P) * P + pixel % P
    grey = tl.load(image_ptr + sample * (H * W) + (y * W + x), mask=live & valid, other=0).to(tl.float32)
    return tl.where(valid, grey, float("nan"))


def check_patches(operation: str, image: Tensor, name: str, numbers: Tensor, patch: int) -> None:
    """Raises ValueError or TypeError unless ``image`` has whole patches and ``numbers`` are int64 numbers of them.

    Values of ``numbers`` (B, K) are not looked at while torch.compile traces.
    """
    if image.ndim != 4 or image.shape[1] != 1 or patch < 1 or image.shape[2] % patch or image.shape[3] % patch:
        shape, whole = tuple(image.shape), f"{patch} x {patch} patches"
        raise ValueError(f"{operation}: image {shape} is not (B, 1, H, W), one channel of whole {whole}")
    if not image.is_floating_point():
        raise ValueError(f"{operation}: image is {image.dtype}, must be floating and normalised")
    if numbers.ndim != 2 or len(numbers) != len(image):
        raise ValueError(f"{operation}: {name} is {tuple(numbers.shape)}, must be ({len(image)}, patches per sample)")
    if numbers.dtype != torch.int64 or not torch.compiler.is_compiling():
        check_indices(operation, name, numbers, image.shape[2] // patch * (image.shape[3] // patch))
