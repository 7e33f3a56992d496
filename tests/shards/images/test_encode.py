"""The rule by which any picture becomes grey 8 bits, and the files that are refused."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.shards.images import encode as rule
from ecamp_fast.shards.images.encode import BadImage, decode, decode_reduced, jpeg, pgm, radiograph, read_pgm

RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)


def grey(data):
    return np.asarray(decode(data))


def flat(mode, value, size=(4, 4)):
    return Image.new(mode, size, value)


def test_grey_png_is_kept_to_the_bit(film_bytes):
    assert np.array_equal(grey(film_bytes(Image.fromarray(RAMP), "PNG")), RAMP)


@pytest.mark.parametrize(
    "mode, value, expected",
    [
        ("RGB", (255, 0, 0), 76),  # 0.299 * 255
        ("RGB", (0, 255, 0), 150),
        ("RGB", (0, 0, 255), 29),
        ("RGBA", (200, 200, 200, 255), 200),
        ("RGBA", (200, 200, 200, 0), 0),  # transparent is black
        ("RGBA", (200, 200, 200, 51), 40),
        ("LA", (200, 51), 40),
        ("L", 77, 77),
        ("1", 1, 255),
        ("I;16", 65535, 255),
        ("I;16", 257 * 100, 100),
        ("I;16", 257 * 100 + 128, 100),
        ("I;16", 257 * 100 + 129, 101),
    ],
)
def test_colour_alpha_and_depth(mode, value, expected, film_bytes):
    assert np.unique(grey(film_bytes(flat(mode, value), "PNG"))).tolist() == [expected]


def test_bands_leave_no_seam(monkeypatch, film_bytes):
    colours = np.random.default_rng(0).integers(0, 256, (37, 11, 4), dtype=np.uint8)
    for picture in (
        Image.fromarray(colours),
        Image.fromarray(colours).quantize(16),
        Image.fromarray(colours[..., 0] * np.uint16(257)),
    ):
        whole = grey(film_bytes(picture, "PNG"))
        monkeypatch.setattr(rule, "_BAND", 5)
        assert np.array_equal(grey(film_bytes(picture, "PNG")), whole)
        monkeypatch.undo()


@pytest.mark.fault("I6.60-megapixels")
@pytest.mark.slow
def test_the_largest_pictures_fit_in_half_a_gigabyte(tmp_path):
    program = (
        "import sys; from ecamp_fast.shards.images.encode import decode, radiograph\n"
        "radiograph(decode(open(sys.argv[1], 'rb').read()), 1024)\n"
        # not ru_maxrss: that one is inherited from the process that starts the program
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    ramp = np.tile((np.arange(7900) % 256).astype(np.uint8), (7900, 1))
    Image.fromarray(ramp).convert("CMYK").save(tmp_path / "big.jpg")
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "big.jpg"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
    )
    assert int(done.stdout) < 512 * 1024


@pytest.mark.fault("I2.palette")
def test_palette_with_and_without_transparency(film_bytes):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 10, 10, 250, 250, 250])
    palette.putpixel((1, 0), 1)
    assert grey(film_bytes(palette, "PNG")).tolist() == [[10, 250]]
    assert grey(film_bytes(palette, "PNG", transparency=1)).tolist() == [[10, 0]]


@pytest.mark.fault("I2.cmyk")
def test_cmyk_jpeg(film_bytes):
    assert abs(int(grey(film_bytes(flat("CMYK", (0, 0, 0, 0), (16, 16))))[0, 0]) - 255) <= 1
    assert int(grey(film_bytes(flat("CMYK", (0, 0, 0, 200), (16, 16))))[0, 0]) in range(53, 58)


def test_progressive_jpeg_equals_baseline(film, film_bytes):
    picture = film(1)
    assert np.array_equal(grey(film_bytes(picture, progressive=True)), grey(film_bytes(picture)))


@pytest.mark.parametrize("orientation, turns", [(1, 0), (6, 3), (3, 2), (8, 1)])
def test_exif_orientation_is_applied(orientation, turns, film, film_bytes):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = grey(film_bytes(film(2)))
    assert np.array_equal(grey(film_bytes(film(2), exif=exif)), np.rot90(upright, turns))


def test_a_16_bit_tiff_and_pgm(film_bytes):
    values = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    expected = np.round(values / 257).astype(np.uint8)
    assert np.array_equal(grey(film_bytes(Image.fromarray(values), "TIFF")), expected)
    pgm16 = b"P5\n8 8\n65535\n" + values.astype(">u2").tobytes()
    assert np.array_equal(grey(pgm16), expected)


@pytest.mark.parametrize("cut", [0.01, 0.5, 0.99, -2, -1])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_truncated_jpeg_is_refused(cut, options, film, film_bytes):
    data = film_bytes(film(3, 300, 300), **options)
    data = data[: int(len(data) * cut)] if cut > 0 else data[:cut]
    with pytest.raises(BadImage):
        decode(data)


def test_a_thumbnails_end_marker_does_not_count(film, film_bytes):
    thumbnail = film_bytes(film(4, 30, 20))
    data = film_bytes(film(4, 200, 200), exif=b"Exif\0\0" + thumbnail)
    decode(data)
    with pytest.raises(BadImage, match="no end marker"):
        decode(data[:-2])


def test_bytes_after_the_end_marker_are_no_fault(film, film_bytes):
    decode(film_bytes(film(5)) + b"\0" * 100)


@pytest.mark.parametrize("cut", [0.5, 0.9, -12, -1])
def test_truncated_png_is_refused(cut, film, film_bytes):
    data = film_bytes(film(3), "PNG")
    with pytest.raises(BadImage):
        decode(data[: int(len(data) * cut)] if cut > 0 else data[:cut])


def test_flipped_png_bytes_are_refused(film, film_bytes):
    data = bytearray(film_bytes(film(3), "PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(BadImage):
        decode(bytes(data))


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty"),
        (b"<html><body>404 Not Found</body></html>", "not a JPEG"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "not a JPEG|truncated or damaged"),
        (b"\0" * 500, "not a JPEG"),
    ],
)
def test_what_is_no_picture_is_refused(data, reason):
    with pytest.raises(BadImage, match=reason):
        decode(data)


def test_huge_pictures_are_refused_by_their_header():
    header = b"P5\n20000 20000\n255\n"  # no pixels follow: a decoder that got to work would say "truncated"
    with pytest.raises(BadImage, match="megapixels"):
        decode(header)
    with pytest.raises(BadImage, match="65500 a side"):
        decode(b"P5\n70000 10\n255\n")


def test_many_pictures_in_one_file_are_refused(film, film_bytes):
    data = film_bytes(film(1), "TIFF", save_all=True, append_images=[film(2)])
    with pytest.raises(BadImage, match="2 pictures"):
        decode(data)


def test_pixels_out_of_range_are_refused(film_bytes):
    with pytest.raises(BadImage, match="do not fit"):
        decode(film_bytes(Image.fromarray(np.full((4, 4), 70000, np.int32)), "TIFF"))
    with pytest.raises(BadImage, match="kind F"):
        decode(film_bytes(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"))


def test_constant_pictures_are_refused():
    for side in (1, 50):
        with pytest.raises(BadImage, match="same value"):
            radiograph(Image.new("L", (side, side), 9), 1024)


@pytest.mark.parametrize(
    "size, limit, expected",
    [
        ((300, 200), 100, (150, 100)),
        ((200, 300), 100, (100, 150)),
        ((300, 200), 1024, (300, 200)),
        ((90, 3), 2, (60, 2)),
    ],
)
def test_short_side_is_reduced_and_never_enlarged(size, limit, expected, film):
    assert radiograph(film(1, *size), limit).size == expected


def test_the_jpeg_is_grey_baseline_and_close(film):
    picture = Image.fromarray(np.add.outer(np.arange(100), np.arange(120)).astype(np.uint8))
    data = jpeg(picture)
    again = Image.open(io.BytesIO(data))
    assert again.mode == "L" and again.format == "JPEG" and "progressive" not in again.info
    assert np.abs(np.asarray(again, int) - np.asarray(picture, int)).max() <= 2
    assert jpeg(picture) == data


def test_attention_maps_travel_as_small_pgm(film):
    small = film(1, 28, 28)
    assert np.array_equal(read_pgm(pgm(small)), np.asarray(small))
    assert decode(pgm(small)).size == (28, 28)
    assert read_pgm(pgm(film(1, 1000, 500))).shape == (128, 256)
    for wrong in (b"", pgm(small)[:-1], pgm(small) + b"\0", b"P2" + pgm(small)[2:]):
        with pytest.raises(ValueError):
            read_pgm(wrong)


def test_pillow_is_left_strict():
    from PIL import ImageFile

    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert Image.MAX_IMAGE_PIXELS is not None and rule.MAX_PIXELS < Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("short_side", "scale"), [(301, 1), (300, 1), (151, 1), (150, 2), (100, 2), (75, 4), (40, 4), (37, 8), (5, 8)]
)
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_large_jpeg_is_decoded_at_a_smaller_scale_that_is_large_enough(short_side, scale, options, film, film_bytes):
    data = film_bytes(film(3, 40, 30).resize((400, 300), Image.Resampling.BICUBIC), quality=95, **options)
    image, size = decode_reduced(data, short_side)
    assert size == (400, 300) and image.size == (-(-400 // scale), -(-300 // scale))
    ours = np.asarray(radiograph(image, short_side), float)
    full = np.asarray(radiograph(decode(data), short_side), float)
    assert ours.shape == full.shape and np.sqrt(np.mean((ours - full) ** 2)) < 4


@pytest.mark.parametrize(("kind", "scale"), [("JPEG", 2), ("PNG", 1), ("TIFF", 1)])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_scale_and_upright_size_of_a_picture_on_its_side(kind, scale, orientation, film, film_bytes):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, size = decode_reduced(film_bytes(film(3, 400, 300), kind, exif=exif), 100)
    assert size == ((300, 400) if orientation > 4 else (400, 300))
    assert image.size == (size[0] // scale, size[1] // scale)


def test_other_formats_are_decoded_whole(film, film_bytes):
    image, size = decode_reduced(film_bytes(film(3, 400, 300), "PNG"), 100)
    assert image.size == size == (400, 300)
