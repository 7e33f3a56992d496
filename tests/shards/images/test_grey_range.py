"""One check of the grey that is left, whatever file it came from: almost black, almost white, hardly any contrast."""

import io
import struct
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.images.encode import BadImage, attention_map, decode, jpeg, radiograph
from ecamp_fast.shards.sources.webdataset import WebdatasetSource

RAMP = np.tile(np.linspace(0, 1, 64), (48, 1))  # left black, right white


def of(low: float, high: float, dtype: type = np.uint8) -> np.ndarray:
    """The ramp between two values."""
    return np.round(low + RAMP * (high - low)).astype(dtype)


def png(*planes: np.ndarray) -> bytes:
    """A PNG of 8 or 16 bits of 1 to 4 planes; Pillow writes no colour of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    values = np.stack(planes, -1)
    height, width, count = values.shape
    head = struct.pack(">2I5B", width, height, 8 * values.itemsize, (0, 4, 2, 6)[count - 1], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def saved(values: np.ndarray, kind: str, mode: str = "", **options: object) -> bytes:
    image, buffer = Image.fromarray(values), io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def palette(low: int, high: int) -> bytes:
    image, buffer = Image.fromarray(of(0, 255)).convert("P"), io.BytesIO()
    image.putpalette([value for grey in np.linspace(low, high, 256).astype(int) for value in (grey,) * 3])
    image.save(buffer, "PNG")
    return buffer.getvalue()


def with_pixels(values: np.ndarray, value: int, count: int) -> np.ndarray:
    out = values.copy()
    out.ravel()[:count] = value
    return out


LOW, DEEP, OPAQUE = of(0, 4095, np.uint16), of(0, 65535, np.uint16), of(65535, 65535, np.uint16)
HIGH = of(65535 - 4095, 65535, np.uint16)

REFUSED = {
    "16-bit grey of 12 bits": (png(LOW), "dark"),
    "one pixel above": (png(with_pixels(LOW, 4097, 1)), "dark"),
    "one white pixel": (png(with_pixels(LOW, 65535, 1)), "dark"),
    "a white marker": (png(with_pixels(LOW, 65535, 20)), "dark"),
    "13 bits": (png(of(0, 8191, np.uint16)), "dark"),
    "14 bits": (png(of(0, 16383, np.uint16)), "dark"),
    "14 bits, colour": (png(*[of(0, 16383, np.uint16)] * 3), "dark"),
    "14 bits, TIFF": (saved(of(0, 16383, np.uint16), "TIFF"), "dark"),
    "14 bits, PGM": (b"P5\n64 48\n65535\n" + of(0, 16383, np.uint16).astype(">u2").tobytes(), "dark"),
    "zero is white, 14 of 16 bits": (saved(of(0, 16383, np.uint16), "TIFF", tiffinfo={262: 0}), "bright"),
    "from 191 on": (png(of(191, 255)), "bright"),
    "up to 64": (png(of(0, 64)), "dark"),
    "10 bits": (png(of(0, 1023, np.uint16)), "dark"),
    "16-bit grey with alpha": (png(LOW, OPAQUE), "dark"),
    "16-bit colour": (png(LOW, LOW, LOW), "dark"),
    "16-bit colour with alpha": (png(LOW, LOW, LOW, OPAQUE), "dark"),
    "16-bit alpha of 12 bits": (png(DEEP, of(4095, 4095, np.uint16)), "dark"),
    "16-bit TIFF": (saved(LOW, "TIFF"), "dark"),
    "16-bit PGM": (b"P5\n64 48\n65535\n" + LOW.astype(">u2").tobytes(), "dark"),
    "8-bit grey": (png(of(0, 15)), "dark"),
    "8-bit colour": (png(*[of(0, 15)] * 3), "dark"),
    "8-bit alpha": (png(*[of(0, 255)] * 3, of(15, 15)), "dark"),
    "palette": (palette(0, 15), "dark"),
    "BMP": (saved(of(0, 20), "BMP"), "dark"),
    "JPEG": (saved(of(0, 15), "JPEG", quality=95), "dark"),
    "colour JPEG": (saved(of(0, 15), "JPEG", "RGB", quality=95), "dark"),
    "almost white, 16-bit grey": (png(HIGH), "bright"),
    "almost white, 16-bit colour": (png(HIGH, HIGH, HIGH), "bright"),
    "almost white, 16-bit alpha": (png(HIGH, OPAQUE), "bright"),
    "almost white, 8-bit grey": (png(of(240, 255)), "bright"),
    "almost white, palette": (palette(240, 255), "bright"),
    "almost white, JPEG": (saved(of(240, 255), "JPEG", quality=95), "bright"),
    "almost white, black frame of a pixel": (png(with_pixels(of(240, 255), 0, 20)), "bright"),
    "almost white, CMYK": (saved(of(240, 255), "TIFF", "CMYK"), "bright"),
    "zero is white, 12 of 16 bits": (saved(LOW, "TIFF", tiffinfo={262: 0}), "bright"),
    "in the middle of 16 bits": (png(of(32768, 32768 + 4095, np.uint16)), "pale"),
    "in the middle of 8 bits": (png(of(120, 135)), "pale"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_show_nothing_is_refused(name):
    data, kind = REFUSED[name]
    with pytest.raises(BadImage, match=r"grey values from \d+ to \d+ of 255") as caught:
        radiograph(decode(data), 1024)
    assert caught.value.kind == kind and "whole range" in caught.value.hint


TAKEN = {
    "16-bit grey": png(DEEP),
    "16-bit grey with alpha": png(DEEP, OPAQUE),
    "16-bit colour": png(DEEP, DEEP, DEEP),
    "16-bit colour with alpha": png(DEEP, DEEP, DEEP, OPAQUE),
    "8-bit grey with alpha": png(of(0, 255), of(255, 255)),
    "palette": palette(0, 255),
    "12 bits that a PGM states": b"P5\n64 48\n4095\n" + LOW.astype(">u2").tobytes(),
    "15 bits": png(of(0, 32767, np.uint16)),
    "dim": png(of(0, 90)),
    "from 190 on": png(of(190, 255)),
    "up to 66": png(of(0, 66)),
    "light": png(of(130, 255)),
    "black, with a film in a tenth of it": png(with_pixels(of(0, 1), 200, 48 * 64 // 10)),
    "1 bit": saved(of(0, 255), "PNG", "1"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_shows_something_is_taken(name):
    left, right = (np.asarray(radiograph(decode(TAKEN[name]), 1024), int)[:, part].mean() for part in (0, -1))
    assert left < right or "tenth" in name


@pytest.mark.parametrize("mode", ["L", "I;16", "1"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_zero_is_white_at_every_depth(mode, photometric, compression):
    """Pillow turns the values of 8 bits itself when it writes such a file, and leaves those of 16."""
    values = {"L": of(0, 255), "I;16": DEEP, "1": of(0, 255)}[mode]
    data = saved(values, "TIFF", "1" if mode == "1" else "", compression=compression, tiffinfo={262: photometric})
    grey = np.asarray(decode(data), int)
    turned = mode == "I;16" and photometric == 0
    expected = 255 - of(0, 255) if turned else of(0, 255) if mode != "1" else None
    assert bool(grey[:, 0].mean() > grey[:, -1].mean()) is turned
    assert expected is None or np.abs(grey - expected).max() <= 1


def test_a_jpeg_that_is_stored_as_it_is_is_checked_too(tmp_path):
    """The archive's own bytes would be kept; what they show counts all the same."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, values in (("a", of(0, 15)), ("b", of(240, 255)), ("c", of(0, 255)), ("d", of(10, 240))):
            report = {"txt": b"The lungs are clear.", "jpg": jpeg(Image.fromarray(values))}
            for extension, data in report.items():
                entry = tarfile.TarInfo(f"{name}.{extension}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    options = Options(workers=1, vocab_size=100, reject_budget=0.5)
    report = build(WebdatasetSource(tmp_path / "a.tar"), tmp_path / "set", options)
    assert report.manifest.counts["samples"] == 2
    assert {one["kind"] for one in report.manifest.quarantined} == {"dark", "bright"}


def test_an_attention_map_may_be_zero_and_not_lost():
    assert not np.asarray(attention_map(png(of(0, 0)))).any()
    assert np.asarray(attention_map(png(DEEP))).max() == 255
    for values in (LOW, of(0, 100, np.uint16), of(0, 1)):
        with pytest.raises(BadImage, match="come out black") as caught:
            attention_map(png(values))
        assert caught.value.kind == "dark"


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits"])
def test_signed_values_of_8_bits_are_refused_by_name(compression):
    data = saved(of(0, 255), "TIFF", compression=compression, tiffinfo={339: 2})
    with pytest.raises(BadImage, match="signed 8-bit") as caught:
        decode(data)
    assert caught.value.kind == "unsupported"
    decode(saved(of(0, 255), "TIFF", compression=compression, tiffinfo={339: 1}))


@pytest.mark.parametrize(("bits", "taken"), [(12, False), (13, False), (14, False), (15, True), (16, True)])
def test_a_dicom_file_of_fewer_bits_than_it_states(bits, taken):
    pydicom = pytest.importorskip("pydicom", reason="needs pydicom")
    ds, buffer = pydicom.dataset.Dataset(), io.BytesIO()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2"
    ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.Rows, ds.Columns = "MONOCHROME2", 1, 48, 64
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = of(0, 2**bits - 1, np.uint16).tobytes()
    ds.save_as(buffer, enforce_file_format=True)
    if taken:
        radiograph(decode(buffer.getvalue()), 1024)
    else:
        with pytest.raises(BadImage, match="almost black"):
            radiograph(decode(buffer.getvalue()), 1024)
