"""The pixels of chosen patches, as rows: gather first, so that patches nobody asked for are never copied.

    row[b, k, p] = image[b, keep[b, k], p]

Moves K*P*P pixels in and K*P*P out a sample: the floor. No patchified image is ever in memory. The projection that
follows stays a product of its own: its rows, 25 kB a sample in bfloat16, are still in L2 when the library's kernel
reads them.
Legend: B samples, K chosen patches, P pixels per side of a patch, H and W of the image.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecamp_fast.kernels.dispatch import Backend, choose
from ecamp_fast.kernels.pixels import check_patches, patch_pixels
from ecamp_fast.kernels.tuning import launch, tuned


def patch_gather_ref(image: Tensor, keep: Tensor, patch: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The definition: cut the whole image into rows, pick the rows."""
    batch, _, height, width = image.shape
    cells = image.reshape(batch, height // patch, patch, width // patch, patch).transpose(2, 3)
    rows = cells.reshape(batch, -1, patch * patch)
    return rows.gather(1, keep[..., None].expand(-1, -1, patch * patch)).to(dtype)


@triton.jit(do_not_specialize=["rows", "kept"])
def _fwd(
    image_ptr, keep_ptr, out_ptr,  # data
    rows, kept,  # B * K and K
    H: tl.constexpr, W: tl.constexpr, P: tl.constexpr,  # shapes
    ROWS: tl.constexpr, BLOCK: tl.constexpr,  # of a program: rows, and their pixels up to a power of two
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    pixel = tl.arange(0, BLOCK)[None, :]
    live = (row < rows) & (pixel < P * P)
    patch = tl.load(keep_ptr + row, mask=row < rows, other=0)
    sample = tl.minimum(row, rows - 1) // kept
    clamped = tl.minimum(pixel, P * P - 1) if BLOCK > P * P else pixel
    grey = patch_pixels(image_ptr, sample, patch, clamped, live, H, W, P)
    tl.store(out_ptr + row * (P * P) + pixel, grey, mask=live)


def _forward(image: Tensor, keep: Tensor, patch: int, dtype: torch.dtype) -> Tensor:
    image, keep = image.contiguous(), keep.contiguous()
    out = _fake(image, keep, patch, dtype)
    constants = tuned("patch_gather", image.device)
    launch(
        _fwd, (triton.cdiv(keep.numel(), constants["ROWS"]),), image, keep, out, keep.numel(), keep.shape[1],
        H=image.shape[2], W=image.shape[3], P=patch, BLOCK=triton.next_power_of_2(patch * patch), **constants,
    )  # fmt: skip
    return out


def _fake(image: Tensor, keep: Tensor, patch: int, dtype: torch.dtype) -> Tensor:
    return image.new_empty(*keep.shape, patch * patch, dtype=dtype)


_op = torch.library.custom_op("ecamp_fast::patch_gather", _forward, mutates_args=())
_op.register_fake(_fake)


def patch_gather(
    image: Tensor, keep: Tensor, patch: int, dtype: torch.dtype = torch.float32, backend: Backend = "auto"
) -> Tensor:
    """Pixels of the chosen patches, row by row. No gradient flows to the image.

    image: (B, 1, H, W) floating, normalised   keep: (B, K) int64, patch numbers in raster order
    returns (B, K, P*P) ``dtype``.
    """
    image = image.detach()
    check_patches("patch_gather", image, "keep", keep, patch)
    runs = choose(backend, "patch_gather", image=image, keep=keep, result=image.new_empty(0, dtype=dtype))
    if runs == "triton":
        gathered: Tensor = _op(image, keep, patch, dtype)
        return gathered
    batch, _, height, width = image.shape
    across = width // patch
    cells = image.reshape(batch, height // patch, patch, across, patch).transpose(2, 3)
    sample = torch.arange(batch, device=image.device)[:, None]
    return cells[sample, keep // across, keep % across].flatten(2).to(dtype)
