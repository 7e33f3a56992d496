"""A file that is not read is refused for the true reason: its format, depth or coding by name."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.shards.images.encode import BadImage, decode
from ecamp_fast.shards.images.unreadable import jpeg_frame

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))


def saved(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, kind, **options)
    return buffer.getvalue()


def frame(marker, bits):
    """A JPEG with another frame header."""
    data = bytearray(saved("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    return bytes(data)


def tiff(order, *, bits, photometric=1, compression=1, form=1):
    """The ramp in 16 bits under a directory of our own."""
    pixels = (RAMP * np.uint16(257)).astype(f"{order}u2").tobytes()
    tags = {256: 64, 257: 64, 258: bits, 259: compression, 262: photometric, 273: 146, 277: 1, 278: 64}
    tags |= {279: len(pixels), 339: form}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags)) + entries
    return start.ljust(146, b"\0") + pixels


CASES = {
    "JPEG of 12 bits": (frame(0xC1, 12), "12 bits a pixel", "unsupported"),
    "baseline of 12 bits": (frame(0xC0, 12), "12 bits a pixel", "unsupported"),
    "lossless of 16 bits": (frame(0xC3, 16), "16 bits a pixel", "unsupported"),
    "lossless of 8 bits": (frame(0xC3, 8), "lossless", "unsupported"),
    "hierarchical": (frame(0xC5, 8), "hierarchical", "unsupported"),
    "JPEG-LS": (frame(0xF7, 8), "JPEG-LS", "unsupported"),
    "a JPEG-LS stream": (b"\xff\xd8\xff\xf7" + bytes(60), "JPEG-LS", "unsupported"),
    "JPEG 2000": (saved("JPEG2000"), "JPEG 2000", "unsupported"),
    "JPEG 2000 stream": (b"\xff\x4f\xff\x51" + bytes(60), "JPEG 2000", "unsupported"),
    "JPEG XL": (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(60), "JPEG XL", "unsupported"),
    "GIF": (saved("GIF"), "GIF", "unsupported"),
    "WebP": (b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(60), "WebP", "unsupported"),
    "HEIF": (b"\x00\x00\x00\x18ftypheic" + bytes(60), "HEIF", "unsupported"),
    "gzip": (b"\x1f\x8b\x08" + bytes(60), "gzip", "unsupported"),
    "PDF": (b"%PDF-1.7\n" + bytes(60), "PDF", "unsupported"),
    "16-bit TIFF, big-endian, zero is white": (tiff(">", bits=16, photometric=0), "photometric interpretation 0",
                                               "unsupported"),
    "12-bit TIFF, big-endian": (tiff(">", bits=12), "big-endian, bits 12", "unsupported"),
    "TIFF of signed values, zero is white": (tiff("<", bits=16, photometric=0, form=2), "sample format 2",
                                             "unsupported"),
    "TIFF without its codec": (tiff("<", bits=16, compression=34887), "compression 34887", "unsupported"),
    "TIFF without a directory": (b"II*\0\xff\xff\xff\x00" + bytes(60), "truncated or damaged", "damaged"),
    "no picture at all": (b"hello " * 20, "not a JPEG, PNG, TIFF, BMP, PGM or DICOM picture", "not-an-image"),
    "a JPEG that is cut in its header": (saved("JPEG")[:30], "", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_true_reason(name):
    data, says, kind = CASES[name]
    with pytest.raises(BadImage) as caught:
        decode(data)
    assert says in caught.value.what and caught.value.hint
    assert caught.value.kind == kind or (name.startswith("a JPEG that") and caught.value.kind == "not-an-image")


def test_a_tiff_of_12_bits_is_read_by_its_12_bits():
    values = np.tile(np.linspace(0, 4095, 64).round().astype(np.uint32), (64, 1))
    even, odd = values[:, 0::2], values[:, 1::2]
    packed = np.stack((even >> 4, ((even & 15) << 4) | (odd >> 8), odd & 255), -1).astype(np.uint8).tobytes()
    data = tiff("<", bits=12)[:146] + packed
    grey = np.asarray(decode(data), int)
    assert np.abs(grey - values * 255 / 4095).max() <= 0.51


def test_the_frame_of_a_jpeg():
    assert jpeg_frame(saved("JPEG")) == (0xC0, 8) and jpeg_frame(saved("JPEG", progressive=True)) == (0xC2, 8)
    assert jpeg_frame(frame(0xC1, 12)) == (0xC1, 12)
    assert jpeg_frame(saved("PNG")) is None and jpeg_frame(b"\xff\xd8\xff\xd9") is None
