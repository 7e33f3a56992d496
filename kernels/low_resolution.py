"""The low-resolution image: half the side, bicubic, normalised, in float.

    small[i, j] = sum_uv w[u] w[v] image[2i + u, 2j + v] / sum_uv w[u] w[v],   low = (small / 255 - mean) / std

At half the side the taps are the same for every pixel: 4 per side, or 8 with antialiasing (SPEC.md row 28). Taps
outside the image are clamped, with antialiasing left out. Resizing is linear and its weights sum to one, so the small
image is normalised instead of the large one. Values are not rounded back to grey levels.
Moves S*S bytes in and S*S/4 floats out a sample, once each: the floor. Pixels that taps share come from cache.
Legend: B samples, S pixels per side, even.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecamp_fast.kernels.dispatch import Backend, choose
from ecamp_fast.kernels.pixels import affine, normalise
from ecamp_fast.kernels.tuning import launch, tuned

# Keys' cubic at the half-integers, a = -0.75, in 32nds; at the odd eighths, a = -0.5, in 256ths: torch's two kernels
PLAIN = tl.constexpr((-3, 19, 19, -3))
ANTIALIASED = tl.constexpr((-3, -9, 29, 111, 111, 29, -9, -3))


def low_resolution_ref(image: Tensor, mean: float, std: float, antialias: bool) -> Tensor:
    """The definition: normalise, then resize. Any device; uint8, or floating and normalised already."""
    return _halve(normalise(image, mean, std), antialias)


@triton.jit
def _halved(image_ptr, y, x, H: tl.constexpr, W: tl.constexpr, ANTIALIAS: tl.constexpr):
    """Raw grey values, float32, of the half-size image at rows y and columns x, which broadcast.

    image_ptr: first pixel of the sample   H, W: sides of the image as it lies in memory. Nothing outside it is read,
    whatever y and x are. Sums over bytes are exact: integers.
    """
    SUM: tl.constexpr = tl.int32 if image_ptr.dtype.element_ty.is_int() else tl.float32
    WEIGHTS: tl.constexpr = ANTIALIASED if ANTIALIAS else PLAIN
    TAPS: tl.constexpr = 8 if ANTIALIAS else 4
    FIRST: tl.constexpr = 1 - TAPS // 2
    total = (y * 0 + x * 0).to(SUM)
    across = x * 0
    down = y * 0
    for i in tl.static_range(TAPS):
        row = 2 * y + (FIRST + i)
        row = row if ANTIALIAS else tl.minimum(tl.maximum(row, 0), H - 1)
        row_live = (row >= 0) & (row < H)
        down += tl.where(row_live, WEIGHTS[i], 0)
        line = (y * 0 + x * 0).to(SUM)
        for j in tl.static_range(TAPS):
            column = 2 * x + (FIRST + j)
            column = column if ANTIALIAS else tl.minimum(tl.maximum(column, 0), W - 1)
            live = (column >= 0) & (column < W)
            if i == 0:
                across += tl.where(live, WEIGHTS[j], 0)
            line += WEIGHTS[j] * tl.load(image_ptr + row * W + column, mask=row_live & live, other=0).to(SUM)
        total += WEIGHTS[i] * line
    return total.to(tl.float32) / (down * across).to(tl.float32)


@triton.jit
def _fwd(
    image_ptr, out_ptr,  # data
    SCALE: tl.constexpr, SHIFT: tl.constexpr,  # of ``affine``
    H: tl.constexpr, W: tl.constexpr,  # shapes: sides of the image
    ANTIALIAS: tl.constexpr, PIXELS: tl.constexpr,  # PIXELS of the small image are one program's
):  # fmt: skip
    SIZE: tl.constexpr = (H // 2) * (W // 2)
    TILES: tl.constexpr = (SIZE + PIXELS - 1) // PIXELS
    sample = (tl.program_id(0) // TILES).to(tl.int64)
    pixel = tl.program_id(0) % TILES * PIXELS + tl.arange(0, PIXELS)
    live = pixel < SIZE
    clamped = tl.minimum(pixel, SIZE - 1)
    grey = _halved(image_ptr + sample * (H * W), clamped // (W // 2), clamped % (W // 2), H, W, ANTIALIAS)
    tl.store(out_ptr + sample * SIZE + pixel, grey * SCALE + SHIFT, mask=live)


def _forward(image: Tensor, mean: float, std: float, antialias: bool) -> Tensor:
    image = image.contiguous()
    out = _empty(image)
    height, width = image.shape[-2:]
    scale, shift = affine(image, mean, std)
    constants = tuned("low_resolution", image.device)
    tiles = triton.cdiv(height // 2 * (width // 2), constants["PIXELS"])
    launch(
        _fwd, (len(image) * tiles,), image, out,
        SCALE=scale, SHIFT=shift, H=height, W=width, ANTIALIAS=antialias, **constants,
    )  # fmt: skip
    return out


def _fake(image: Tensor, mean: float, std: float, antialias: bool) -> Tensor:
    return _empty(image)


def _empty(image: Tensor) -> Tensor:
    dtype = image.dtype if image.is_floating_point() else torch.float32
    return image.new_empty(image.shape[0], 1, image.shape[2] // 2, image.shape[3] // 2, dtype=dtype)


_op = torch.library.custom_op("ecamp_fast::low_resolution", _forward, mutates_args=())
_op.register_fake(_fake)


def low_resolution(image: Tensor, mean: float, std: float, antialias: bool, backend: Backend = "auto") -> Tensor:
    """Bicubic to half the side (align_corners False). No gradient flows to the image.

    image: (B, 1, S, S) uint8, or floating and already normalised   mean, std: of grey values in [0, 1]
    antialias: False is what the released code does   returns (B, 1, S/2, S/2) float32 (a floating image: its dtype).
    """
    if image.ndim != 4 or image.shape[1] != 1 or image.shape[2] % 2 or image.shape[3] % 2:
        raise ValueError(f"low_resolution: image {tuple(image.shape)} cannot be halved, must be (B, 1, even, even)")
    if not (image.is_floating_point() or image.dtype == torch.uint8):
        raise ValueError(f"low_resolution: image is {image.dtype}, must be uint8 or floating")
    image = image.detach()
    runs = choose(backend, "low_resolution", image=image)
    if runs == "triton":
        low: Tensor = _op(image, float(mean), float(std), bool(antialias))
        return low
    if image.is_floating_point():
        return _halve(image, antialias)
    return _halve(image.float(), antialias).mul_(1 / (255 * std)).sub_(mean / std)


def _halve(image: Tensor, antialias: bool) -> Tensor:
    size = (image.shape[-2] // 2, image.shape[-1] // 2)
    return torch.nn.functional.interpolate(image, size=size, mode="bicubic", antialias=antialias, align_corners=False)
