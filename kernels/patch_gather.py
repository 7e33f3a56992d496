"""The pixels of chosen patches, as rows: gather first, so that patches nobody asked for are never copied.

    row[b, k, p] = image[b, cell(keep[b, k]), p], normalised; with ``halve`` the image is first made half as large

Moves K*P*P pixels in (four times as many with ``halve``, and the neighbours that the taps reach) and K*P*P out a
sample: the floor. Neither a patchified image nor a half-size one is ever in memory. The projection that follows stays a
product of its own: its rows, 25 kB a sample in bfloat16, are still in L2 when the library's kernel reads them.
Legend: B samples, K chosen patches, P pixels per side of a patch, H and W of the image that patches are cut from.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecamp_fast.kernels.dispatch import Backend, affine, check_indices, choose, launch, normalise, tuned
from ecamp_fast.kernels.low_resolution import halved, low_resolution, low_resolution_ref


def patch_gather_ref(
    image: Tensor,
    keep: Tensor,
    patch: int,
    mean: float,
    std: float,
    dtype: torch.dtype = torch.float32,
    halve: bool = False,
    antialias: bool = False,
) -> Tensor:
    """The definition: cut the whole normalised image into rows, pick the rows."""
    pixels = normalise(image, mean, std, torch.promote_types(dtype, torch.float32))
    if halve:
        pixels = low_resolution_ref(pixels, mean, std, antialias)
    batch, _, height, width = pixels.shape
    cells = pixels.reshape(batch, height // patch, patch, width // patch, patch).transpose(2, 3)
    rows = cells.reshape(batch, -1, patch * patch)
    return rows.gather(1, keep[..., None].expand(-1, -1, patch * patch)).to(dtype)


@triton.jit
def pixels(
    image_ptr, sample, cell, place, live,
    SCALE: tl.constexpr, SHIFT: tl.constexpr, H: tl.constexpr, W: tl.constexpr, P: tl.constexpr,
    HALVE: tl.constexpr, ANTIALIAS: tl.constexpr,
):  # fmt: skip
    """Pixel ``place`` of patch ``cell`` of ``sample``, normalised, float32; NaN where there is no such patch.

    sample: int64, cell: integers, place: int32 in [0, P*P) where ``live``; they broadcast.
    """
    there = (cell >= 0) & (cell < (H // P) * (W // P))
    inside = tl.where(there, cell, 0).to(tl.int32)
    y = inside // (W // P) * P + place // P
    x = inside % (W // P) * P + place % P
    if HALVE:
        grey = halved(image_ptr + sample * (4 * H * W), y, x, 2 * H, 2 * W, ANTIALIAS)
    else:
        grey = tl.load(image_ptr + sample * (H * W) + (y * W + x), mask=live & there, other=0).to(tl.float32)
    return tl.where(there, grey * SCALE + SHIFT, float("nan"))


@triton.jit(do_not_specialize=["rows", "kept"])
def _fwd(
    image_ptr, keep_ptr, out_ptr, rows, kept,
    SCALE: tl.constexpr, SHIFT: tl.constexpr, H: tl.constexpr, W: tl.constexpr, P: tl.constexpr,
    HALVE: tl.constexpr, ANTIALIAS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    place = tl.arange(0, BLOCK)[None, :]
    live = (row < rows) & (place < P * P)
    cell = tl.load(keep_ptr + row, mask=row < rows, other=0)
    sample = tl.minimum(row, rows - 1) // kept
    inside = tl.minimum(place, P * P - 1) if BLOCK > P * P else place
    row_pixels = pixels(image_ptr, sample, cell, inside, live, SCALE, SHIFT, H, W, P, HALVE, ANTIALIAS)
    tl.store(out_ptr + row * (P * P) + place, row_pixels, mask=live)


def _forward(
    image: Tensor, keep: Tensor, patch: int, mean: float, std: float, dtype: torch.dtype, halve: bool, antialias: bool
) -> Tensor:
    image, keep = image.contiguous(), keep.contiguous()
    out = _fake(image, keep, patch, mean, std, dtype, halve, antialias)
    scale, shift = affine(image, mean, std)
    shrink = 2 if halve else 1
    constants = tuned("patch_gather_halve" if halve else "patch_gather", image.device)
    launch(
        _fwd, (triton.cdiv(keep.numel(), constants["ROWS"]),), image, keep, out, keep.numel(), keep.shape[1],
        SCALE=scale, SHIFT=shift, H=image.shape[2] // shrink, W=image.shape[3] // shrink, P=patch,
        HALVE=halve, ANTIALIAS=antialias, BLOCK=triton.next_power_of_2(patch * patch), **constants,
    )  # fmt: skip
    return out


def _fake(
    image: Tensor, keep: Tensor, patch: int, mean: float, std: float, dtype: torch.dtype, halve: bool, antialias: bool
) -> Tensor:
    return image.new_empty(*keep.shape, patch * patch, dtype=dtype)


_op = torch.library.custom_op("ecamp_fast::patch_gather", _forward, mutates_args=())
_op.register_fake(_fake)


def patch_gather(
    image: Tensor,
    keep: Tensor,
    patch: int,
    mean: float = 0.0,
    std: float = 1.0,
    dtype: torch.dtype = torch.float32,
    halve: bool = False,
    antialias: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """Normalised pixels of the chosen patches, row by row. No gradient flows to the image.

    image: (B, 1, H, W) floating and normalised, or uint8 (then mean and std of grey values in [0, 1] apply)
    keep: (B, K) int64, patch numbers in raster order   returns (B, K, P*P) ``dtype``.
    halve: the image is (B, 1, 2H, 2W); the patches are those of ``low_resolution(image, mean, std, antialias)``.
    """
    image = image.detach()
    check_patches("patch_gather", image, "keep", keep, patch, halve)
    runs = choose(backend, "patch_gather", image=image, keep=keep, result=image.new_empty(0, dtype=dtype))
    if runs == "triton":
        gathered: Tensor = _op(image, keep, patch, float(mean), float(std), dtype, bool(halve), bool(antialias))
        return gathered
    if halve:
        image = low_resolution(image, mean, std, antialias, backend="torch")
    batch, _, height, width = image.shape
    across = width // patch
    cells = image.reshape(batch, height // patch, patch, across, patch).transpose(2, 3)
    sample = torch.arange(batch, device=image.device)[:, None]
    rows = cells[sample, keep // across, keep % across].flatten(2)
    return normalise(rows, mean, std, torch.promote_types(dtype, torch.float32)).to(dtype)


def check_patches(operation: str, image: Tensor, name: str, numbers: Tensor, patch: int, halve: bool) -> None:
    """Raises ValueError or TypeError unless ``image`` has whole patches, twice as large ones with ``halve``, and
    ``numbers`` (B, K) are int64 numbers of them. Values are not looked at while torch.compile traces.
    """
    side = 2 * patch if halve else patch
    if image.ndim != 4 or image.shape[1] != 1 or side < 1 or image.shape[2] % side or image.shape[3] % side:
        raise ValueError(
            f"{operation}: image {tuple(image.shape)} is not (B, 1, H, W), one channel of whole {side} x {side} patches"
        )
    if not (image.is_floating_point() or image.dtype == torch.uint8):
        raise ValueError(f"{operation}: image is {image.dtype}, must be uint8 or floating")
    if numbers.ndim != 2 or len(numbers) != len(image):
        raise ValueError(f"{operation}: {name} is {tuple(numbers.shape)}, must be ({len(image)}, patches per sample)")
    if numbers.dtype != torch.int64 or not torch.compiler.is_compiling():
        check_indices(operation, name, numbers, image.shape[2] // side * (image.shape[3] // side))
