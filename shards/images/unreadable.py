"""Why a file that Pillow does not open is not read: its format, its depth or its coding, by name."""

import io
import re
import warnings

from PIL import TiffImagePlugin

from ecamp_fast.shards.images.limits import BadImage

_CONVERT = "convert it to PNG, or remove the row"
_SIGNATURES = (  # what a file begins with, and what it then is
    (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (rb"\xff\xd8\xff\xf7", "a JPEG-LS picture"),
    (rb"\x00\x00\x00\x0cJXL |\xff\x0a", "a JPEG XL picture"),
    (rb"RIFF....WEBP", "a WebP picture"),
    (rb"GIF8[79]a", "a GIF picture"),
    (rb"....ftyp(avif|avis)", "an AVIF picture"),
    (rb"....ftyp(hei|hev|mif1|msf1)", "a HEIF picture"),
    (rb"%PDF-", "a PDF document"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"(\x5c\x01\x00\x00.{340}|\x00\x00\x01\x5c.{340})(n\+1|ni1)\x00", "a NIfTI volume"),
)
_TIFF = re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+")
_FRAMES = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xF7: "JPEG-LS"}
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")


def reason(data: bytes) -> BadImage:
    """What to say of a file that is none of the formats that are read, or one of them in a form that is not."""
    for signature, name in _SIGNATURES:
        if re.match(signature, data, re.DOTALL):
            return BadImage(f"{name}, which is not read", _CONVERT, "unsupported")
    bad = unusual_jpeg(data)
    if bad:
        return bad
    if _TIFF.match(data):
        return _tiff(data)
    what = "not a JPEG, PNG, TIFF, BMP, PGM or DICOM picture"
    return BadImage(what, "convert it, or remove the row", "not-an-image")


def unusual_jpeg(data: bytes) -> BadImage | None:
    """What to say of a JPEG whose pixels have not 8 bits, or whose coding is none of the usual two; None for others."""
    frame = jpeg_frame(data)
    if frame is None:
        return None
    marker, bits = frame
    if bits != 8:
        return BadImage(f"a JPEG with {bits} bits a pixel, 8 are read", "save it as 16-bit PNG", "unsupported")
    if marker in _FRAMES:
        return BadImage(f"a JPEG of the kind {_FRAMES[marker]}, which is not read", _CONVERT, "unsupported")
    return None


def jpeg_frame(data: bytes) -> tuple[int, int] | None:
    """Marker and bits a pixel of a JPEG's frame header; None where there is none."""
    if not data.startswith(b"\xff\xd8"):
        return None
    at = 2
    while found := _MARKER.match(data, at):
        marker, at = data[found.start() + 1], found.end()
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return (marker, data[at + 2]) if at + 2 < len(data) else None
        at += int.from_bytes(data[at : at + 2], "big")
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
    return None


def _tiff(data: bytes) -> BadImage:
    """A TIFF that was not opened, with what its directory states."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
            file = io.BytesIO(data)
            file.seek(directory.next)
            directory.load(file)
        bits = directory.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        names = {
            "bits": "+".join(map(str, bits)),
            "photometric interpretation": directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION],
            "compression": directory.get(TiffImagePlugin.COMPRESSION, 1),
            "sample format": directory.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0],
        }
    except Exception:  # a damaged directory raises whatever it makes Pillow stumble over
        return BadImage("truncated or damaged: a TIFF without a readable directory")
    order = "big-endian" if data.startswith(b"MM") else "little-endian"
    stated = ", ".join(f"{name} {value}" for name, value in names.items())
    return BadImage(f"a TIFF of a kind that is not read: {order}, {stated}", "save it as 16-bit PNG", "unsupported")
