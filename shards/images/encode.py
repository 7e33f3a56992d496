"""Any radiograph file becomes one grey 8-bit JPEG, by one written rule; files that cannot are refused with a reason.

The rule, in order: DICOM as ``dicom`` says; formats JPEG, PNG, TIFF, BMP, PGM/PPM, one picture per file; at most 64
megapixels by its header; a JPEG decoded at the smallest scale of 1, 1/2, 1/4, 1/8 that is large enough; turned upright
by its EXIF orientation; palette to colour; transparency over black; CMYK to RGB; colour to luma (ITU-R 601: 0.299 R +
0.587 G + 0.114 B); deep grey of 16 bits, v to round(v / 257), or of a TIFF's 12 bits, no windowing; a TIFF whose zero
is white inverted at every depth; short side reduced to the limit by a Lanczos filter, never enlarged; then one look at
the grey that is left, whatever it came from (``radiograph``). Colour profiles are ignored.
"""

import io
import math
import re
import warnings
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from ecamp_fast.shards.images import dicom
from ecamp_fast.shards.images.limits import MAX_PIXELS, BadImage, check_size
from ecamp_fast.shards.images.unreadable import reason, unusual_jpeg

QUALITY = 95
MAP_SIDE = 256  # attention maps are stored no larger: they are resampled to a 28 x 28 grid

_BAND = 256  # rows converted at a time
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "PPM")
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_LYING = (5, 6, 7, 8)  # EXIF orientations of a picture stored on its side
_SIGNED = 2  # a TIFF's SampleFormat
_PNG_END = b"IEND\xaeB`\x82"

# What a radiograph shows lies between its 1st and its 99th percentile: a marker or a dead pixel does not count. Of 904
# real ones the darkest has its 99th at 105, the brightest its 1st at 123, the palest has 66 values between the two.
_OUTSIDE = 0.01
_DARK = 64  # of 255; what 14 bits in 16 come to
_PALE = 24  # signed values of 12 bits in 16 span 16
_FAINT = 16  # of 255, what 12 bits in 16 come to; of an attention map
_RESCALE_MAP = "scale its values to the whole range of its bits, or make it zero"
_RESCALE = "scale its values to the whole range of its bits, give a DICOM file its window, or remove the row"


def decode(data: bytes) -> Image.Image:
    """File content to a grey picture, mode L.

    Raises BadImage, and EnvironmentFault for a DICOM file where pydicom is not installed.
    """
    return decode_reduced(data, None)[0]


def decode_reduced(data: bytes, short_side: int | None) -> tuple[Image.Image, tuple[int, int]]:
    """``decode``, and the upright picture's width and height.

    short_side: pixels that are needed. A JPEG whose short side is at least two, four or eight times as large is decoded
    at a half, a quarter or an eighth of its scale, which the cosine transform gives in less than half of the time.
    None: at full scale.
    """
    if not data:
        raise BadImage("empty file")
    if dicom.is_dicom(data):
        image = dicom.read(data).image
        return image, image.size
    image = _open(data)
    check_size(*image.size)
    pictures = 1 if image.format in ("JPEG", "MPO") else _count(image)
    if pictures != 1:
        raise BadImage(f"holds {pictures} pictures", "save the one that is meant", "several-pictures")
    _check_complete(image.format, data)
    _check_signs(image)
    try:
        size = None
        if image.format == "JPEG" and short_side:
            size = image.size[::-1] if image.getexif().get(ExifTags.Base.Orientation) in _LYING else image.size
            _scale(image, short_side)
        white = _white(image)
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
        return _by_bands(image, white), size or image.size
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # on damaged files Pillow's decoders raise whatever they stumble over
        raise unusual_jpeg(data) or BadImage(f"truncated or damaged: {_words(error)}") from None


def radiograph(image: Image.Image, short_side: int) -> Image.Image:
    """A grey picture reduced so that its short side is at most ``short_side``.

    Raises BadImage if it shows nothing: this is the one check of grey values, of whatever file they came from.
    """
    low, high = image.getextrema()
    if low == high:
        raise BadImage(f"every pixel has the same value ({low})", "remove the row", "constant")
    image = shrink(image, short_side / min(image.size), Image.Resampling.LANCZOS)
    low, high = _extent(image)
    seen = f"grey values from {low} to {high} of 255"
    if high <= _DARK:
        raise BadImage(f"almost black, {seen}: its values use few of the file's bits", _RESCALE, "dark")
    if low >= 255 - _DARK:
        raise BadImage(f"almost white, {seen}: its values use few of the file's bits", _RESCALE, "bright")
    if high - low < _PALE:
        raise BadImage(f"hardly any contrast, {seen}: its values use few of the file's bits", _RESCALE, "pale")
    return image


def attention_map(data: bytes) -> Image.Image:
    """File content to an attention map, mode L, which may be zero all over.

    Raises BadImage, also of one whose values are there and come out as nothing.
    """
    image = decode(data)
    high = stored = int(np.asarray(image).max())
    if not high and not dicom.is_dicom(data) and (opened := _open(data)).mode.startswith("I"):
        stored = int(np.asarray(opened).max())
    if stored and high <= _FAINT:
        raise BadImage(f"no value above {high} of 255: it would come out black", _RESCALE_MAP, "dark")
    return image


def _extent(image: Image.Image) -> tuple[int, int]:
    """The grey values at the 1st and the 99th percentile of the pixels; of fewer than 100 pixels, the extremes."""
    counts = np.cumsum(image.histogram())
    low, high = np.searchsorted(counts, (_OUTSIDE * counts[-1], (1 - _OUTSIDE) * counts[-1]))
    return int(low), int(high)


def _scale(image: Image.Image, short_side: int) -> None:
    """Have a JPEG decoded at the smallest scale that leaves its short side no shorter."""
    share = short_side / min(image.size)
    if share < 1:
        image.draft(None, (math.ceil(image.width * share), math.ceil(image.height * share)))


def looks_inverted(image: Image.Image) -> bool:
    """Whether a grey frontal chest radiograph seems to show air bright and bone dark: beside the neck it is brighter
    than along the spine. A hint for a person: frames and narrow crops look so too, 2 % of cxr-mini's 204 images.
    """
    some = image.resize((160, 160), Image.Resampling.NEAREST)  # to read all pixels would cost half a JPEG's encoding
    small = np.asarray(some.resize((40, 40), Image.Resampling.BOX))
    corners = np.concatenate((small[:8, :4].ravel(), small[:8, -4:].ravel()))
    return bool(np.median(corners) > np.median(small[4:36, 17:23]))


def shrink(image: Image.Image, scale: float, filter: Image.Resampling) -> Image.Image:
    """``image`` times ``scale``; unchanged where that would enlarge it."""
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), filter)


def jpeg(image: Image.Image) -> bytes:
    """A grey picture as baseline JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def pgm(image: Image.Image) -> bytes:
    """A grey picture, an attention map, as binary PGM of at most ``MAP_SIDE`` pixels a side."""
    image = shrink(image, MAP_SIDE / max(image.size), Image.Resampling.BOX)
    return b"P5\n%d %d\n255\n" % image.size + image.tobytes()


def png(values: np.ndarray) -> bytes:
    """(height, width) uint8 or uint16 as grey PNG of 8 or 16 bits."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def read_pgm(data: bytes) -> np.ndarray:
    """The inverse of ``pgm``: returns (height, width) uint8, read-only.  Raises ValueError for any other content."""
    head = re.match(rb"P5\n(\d+) (\d+)\n255\n", data)
    if not head or len(data) - head.end() != int(head[1]) * int(head[2]):
        raise ValueError("not an attention map as `pgm` writes it")
    return np.frombuffer(data, np.uint8, offset=head.end()).reshape(int(head[2]), int(head[1]))


def _open(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that bend their format, and of sizes: our own limit is lower
            return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.UnidentifiedImageError:
        raise reason(data) from None
    except Image.DecompressionBombError:
        raise BadImage(f"more than {MAX_PIXELS // 10**6} megapixels", "reduce the picture first", "too-large") from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged header
        raise BadImage(f"truncated or damaged: {_words(error)}") from None


def _count(image: Image.Image) -> int:
    """Pictures in a file: a TIFF has a directory for each, and any of them may be damaged."""
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:
        raise BadImage(f"truncated or damaged: {_words(error)}") from None


def _check_signs(image: Image.Image) -> None:
    """Pillow takes signed values of 8 bits for unsigned ones; we do not."""
    formats = getattr(image, "tag_v2", {}).get(TiffImagePlugin.SAMPLEFORMAT, ())
    if _SIGNED in formats and not image.mode.startswith("I"):
        raise BadImage("signed 8-bit values, which are not read", "save it as 8-bit or 16-bit grey", "unsupported")


def _check_complete(kind: str | None, data: bytes) -> None:
    """Pillow accepts a JPEG that lacks its last bytes and a PNG with wrong checksums; we do not."""
    if kind in ("JPEG", "MPO") and not _jpeg_ends(data):
        raise BadImage("truncated: the JPEG has no end marker")
    if kind == "PNG":
        try:
            Image.open(io.BytesIO(data), formats=("PNG",)).verify()
        except Exception as error:
            raise BadImage(f"truncated or damaged: {_words(error)}") from None
        if _PNG_END not in data:
            raise BadImage("truncated: the PNG has no end marker")


def _jpeg_ends(data: bytes) -> bool:
    """Whether an end marker follows the scans; a walk over the segments, because thumbnails have end markers too."""
    at = 2
    while True:
        found = _MARKER.search(data, at)
        if not found:
            return False
        marker = data[found.start() + 1]
        if marker == 0xD9:
            return True
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")


def _white(image: Image.Image) -> int:
    """The value of deep grey that is shown white, below zero where zero is: a TIFF's tags say so.

    Pillow turns 8 and fewer bits itself, and leaves deeper ones as they are stored.
    """
    tags = getattr(image, "tag_v2", {})
    deepest = 4095 if tuple(tags.get(TiffImagePlugin.BITSPERSAMPLE, ())) == (12,) else 65535
    return -deepest if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 else deepest


def _by_bands(image: Image.Image, white: int) -> Image.Image:
    """The rule for pixels, some rows at a time: the largest pictures would need a gigabyte at once."""
    if image.mode == "L":
        return image
    if image.mode.startswith("I"):
        _check_range(np.asarray(image), abs(white))
    grey = Image.new("L", image.size)
    for top in range(0, image.height, _BAND):
        band = image.crop((0, top, image.width, min(top + _BAND, image.height)))
        grey.paste(_grey(band, white), (0, top))
    return grey


def _grey(image: Image.Image, white: int) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.uint32)
        if white < 0:
            values = -white - values
        return Image.fromarray(((values * 255 + abs(white) // 2) // abs(white)).astype(np.uint8))
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if image.mode in ("LA", "RGBA"):
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    if image.mode == "CMYK":
        image = image.convert("RGB")
    if image.mode not in ("1", "L", "RGB", "YCbCr"):
        raise BadImage(
            f"pixels of kind {image.mode} are not supported", "save it as 8-bit or 16-bit grey", "unsupported"
        )
    return image.convert("L")


def _check_range(values: np.ndarray, deepest: int) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > deepest:
        raise BadImage(
            f"values from {low} to {high} do not fit {deepest.bit_length()} bits",
            "save it as 8-bit or 16-bit grey",
            "unsupported",
        )


def _words(error: Any) -> str:
    return f"{error}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
