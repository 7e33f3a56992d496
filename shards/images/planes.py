"""Masks as bits of a picture's pixels: from files and run lengths, stacked to planes, at another size."""

import io
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from ecamp_fast.shards.images.limits import ANNOTATION, BadImage, check_size

_LOSSLESS = ("PNG", "TIFF", "BMP", "PPM")
_GREY = ("1", "L", "P", "I;16", "I", "RGB", "RGBA", "LA")
_FIX = "write the mask as a PNG of the image's size, or remove the row"
_WHOLE = re.compile(r"-?[0-9]{1,9}")  # no canvas has more pixels
_SHARE = 0.01  # how far the sides of a mask and its image may be from one ratio


def read_mask(data: bytes) -> np.ndarray:
    """File content to the grey values of a mask: (H, W) uint8 or uint16, (H, W) bool for masks of one bit.

    Raises BadImage: no lossless picture, or a damaged one.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_LOSSLESS) as file:
            check_size(*file.size)
            if file.mode not in _GREY:
                raise BadImage(f"a mask with pixels of kind {file.mode}", _FIX, ANNOTATION)
            pictures = getattr(file, "n_frames", 1)
            if pictures != 1:
                raise BadImage(f"a mask of {pictures} pictures", _FIX, ANNOTATION)
            upright = ImageOps.exif_transpose(file)  # as its image is turned
            deep = file.mode.startswith(("I", "1"))
            values = np.array(upright) if deep else _grey(upright)
    except BadImage as bad:
        raise BadImage(bad.what, bad.hint, ANNOTATION) from None
    except Exception as error:  # on damaged files Pillow's decoders raise whatever they stumble over
        raise BadImage(f"no PNG, TIFF or BMP, or damaged: {type(error).__name__}", _FIX, ANNOTATION) from None
    return values


def _grey(file: Image.Image) -> np.ndarray:
    """Grey values of which 0 is black and nothing else: luminance alone rounds a dark blue, such as (0, 0, 2), to 0.

    Raises BadImage where pixels are transparent: whether they belong to the mask cannot be told.
    """
    colours = np.array(file.convert("RGBA"))
    if colours[..., 3].min() < 255:
        raise BadImage("a mask with transparent pixels", "write it in black and white, without transparency")
    values = np.array(file.convert("RGB").convert("L"))
    return np.where(colours[..., :3].any(-1), np.maximum(values, 1), 0).astype(np.uint8)


def fits(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask at the size of its image, width and height.  Raises BadImage where it is of another shape."""
    height, width = mask.shape
    if abs(width * size[1] / (height * size[0]) - 1) > _SHARE:
        what = f"a mask of {width} x {height} pixels, its image has {size[0]} x {size[1]}"
        raise BadImage(what, _FIX, ANNOTATION)
    return nearest(mask, size)


def check_runs(text: str, side: int) -> str:
    """What is wrong with run lengths, or ''.  See ``from_runs``."""
    words = text.split()
    if not all(_WHOLE.fullmatch(word) for word in words):
        return "run lengths that are no whole numbers"
    numbers = [int(word) for word in words]
    if not numbers or len(numbers) % 2:
        return f"{len(numbers)} numbers: run lengths are pairs of an offset and a length"
    if min(numbers) < 0 or min(numbers[1::2]) < 1:
        return "a run below 0, or of no length"
    if sum(numbers) > side * side:
        return f"runs that end at pixel {sum(numbers):,} of {side * side:,}"
    return ""


def from_runs(text: str, side: int) -> np.ndarray:
    """Run lengths as SIIM has them to a mask: (side, side) bool.

    text: pairs of the offset from the end of the run before, and a length, over a square canvas read column by column
    Raises ValueError for what ``check_runs`` finds.
    """
    fault = check_runs(text, side)
    if fault:
        raise ValueError(fault)
    flat = np.zeros(side * side, bool)
    at = 0
    numbers = [int(word) for word in text.split()]
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        at += offset
        flat[at : at + length] = True
        at += length
    return flat.reshape(side, side).T


def stack(masks: Sequence[np.ndarray]) -> np.ndarray:
    """(H, W) masks of one size, at most 16, as bits: bit i of a pixel is set where mask i is not 0.

    returns (H, W) uint8 where 8 bits suffice, else uint16
    """
    planes = np.zeros(masks[0].shape, np.uint8 if len(masks) <= 8 else np.uint16)
    for bit, mask in enumerate(masks):
        planes |= (mask != 0).astype(planes.dtype) << planes.dtype.type(bit)
    return planes


def nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) at another size, width and height, each pixel as the nearest of ``values``: bits must not blend."""
    height, width = values.shape
    if (width, height) == size:
        return values
    rows = (np.arange(size[1]) + 0.5) * height / size[1]
    columns = (np.arange(size[0]) + 0.5) * width / size[0]
    return np.asarray(values[rows.astype(int)[:, None], columns.astype(int)[None, :]])
