"""Table I of faults: every damaged or unusual picture is taken by the written rule or refused by class."""

import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.errors import DataError
from ecamp_fast.phantom import phantom
from ecamp_fast.shards.images.encode import decode, jpeg, looks_inverted, radiograph
from ecamp_fast.shards.images.limits import BadImage
from ecamp_fast.shards.load.read import ShardSet

SIDE = 64


def as_jpeg(seed, **options):
    buffer = io.BytesIO()
    Image.fromarray(phantom(3, seed, SIDE).image).save(buffer, "JPEG", **options)
    return buffer.getvalue()


# I1: truncated, foreign, empty


@pytest.mark.fault("I1.truncated")
@pytest.mark.parametrize("progressive", [False, True])
def test_i1_a_jpeg_cut_anywhere_is_refused(progressive, kind_of):
    rng = np.random.default_rng(1)
    for seed in range(4):
        data = as_jpeg(seed, progressive=progressive)
        cuts = [len(data) // 100, len(data) // 2, len(data) - 2, len(data) - 1, *rng.integers(1, len(data), 40)]
        assert {kind_of(data[:cut]) for cut in map(int, cuts)} <= {"damaged", "not-an-image"}


@pytest.mark.fault("I1.html", "I1.empty", "I1.magic")
def test_i1_what_is_no_picture(kind_of):
    assert kind_of(b"") == "damaged"
    assert kind_of(b"<html><body>404 Not Found</body></html>") == "not-an-image"
    assert kind_of(b"\x00" * 4096) == "not-an-image"
    assert kind_of(b"MZ" + as_jpeg(0)[2:]) == "not-an-image"


@pytest.fixture(scope="module")
def broken():
    """A whole JPEG of the builder's, and what may have become of it: {damage: bytes}."""
    whole = jpeg(Image.fromarray(phantom(3, 0, 2 * SIDE).image))
    cuts = {f"cut at {part}": whole[: int(len(whole) * part)] for part in (0.01, 0.05, 0.5, 0.99)}
    return whole, cuts | {
        "last 2 bytes": whole[:-2],
        "last byte": whole[:-1],
        "HTML": b"<html><body>404 Not Found</body></html>",
        "empty": b"",
        "zeros": bytes(len(whole)),
        "wrong magic": b"MZ" + whole[2:],
    }


@pytest.mark.fault("I1.checksum-first")
def test_i1_a_damaged_jpeg_is_caught_by_its_checksum_first(damaged, broken):
    """The bytes change, the manifest does not: no decoder sees them."""
    shards = ShardSet(damaged)
    shard = shards.manifest.shards[0]
    offset, size = (int(getattr(shard.members["jpg"], name)[1]) for name in ("offset", "size"))
    for damage, data in broken[1].items():
        with open(damaged / shard.name, "r+b") as file:
            os.pwrite(file.fileno(), data[:size].ljust(size, b"\0"), offset)
        with pytest.raises(DataError, match=rf"{shard.keys[1]}\.jpg at byte {offset}: damaged .CRC32 differs"):
            shards.read("train", 1)
            pytest.fail(f"read: {damage}")


@pytest.mark.fault("I1.truncated", "I1.html", "I1.empty", "I1.magic", "I1.decoders-agree")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_i1_what_the_builder_refuses_dali_refuses_too(device, broken, kind_of):
    decoder = pytest.importorskip("ecamp_fast.shards.load.decode", reason="needs DALI").JpegDecoder
    whole, damages = broken
    boxes, flipped = np.array([[0, 0, 2 * SIDE, 2 * SIDE]] * 2), np.zeros(2, bool)
    assert tuple(decoder(2, 32, device, 1).decode(["a", "b"], [whole, whole], boxes, flipped).shape) == (2, 1, 32, 32)
    for damage, data in damages.items():
        assert kind_of(data) in ("damaged", "not-an-image"), damage
        with pytest.raises(DataError, match="sample bad:"):
            decoder(2, 32, device, 1).decode(["good", "bad"], [whole, data], boxes, flipped)
            pytest.fail(f"decoded: {damage}")


@pytest.mark.fault("I1.decoders-agree")
def test_i1_a_damaged_jpeg_with_a_true_checksum_is_named_whatever_crop_is_asked_for(resealed, damaged, broken):
    """A crop of the upper rows does not reach the cut: a decoder alone would not notice."""
    from ecamp_fast.config import parse_recipe
    from ecamp_fast.shards.load.collate import Collator

    tree = {"image": {"high_size": 64, "low_size": 32, "crop_area": [0.05, 0.1]}, "loader": {"threads": 1}}
    recipe = parse_recipe(tree, "test")
    for damage, data in broken[1].items():

        def exchanged(samples, data=data):
            samples[1][1]["jpg"] = data
            return samples

        shard = resealed(damaged, exchanged)
        collate = Collator(ShardSet(damaged), "train", recipe, train=True)
        with ThreadPoolExecutor(1) as pool, pytest.raises(DataError, match=f"sample {shard.keys[1]}"):
            collate(pool, np.zeros(2, np.int64), np.arange(2))
            pytest.fail(f"prepared: {damage}")


@pytest.mark.fault("I1.decoders-agree")
def test_i1_flipped_bytes_are_refused_or_give_a_picture_that_dali_decodes():
    """The builder decodes and encodes anew, so what reaches DALI is always whole."""
    decoder = pytest.importorskip("ecamp_fast.shards.load.decode", reason="needs DALI").JpegDecoder(1, 32, "cpu", 1)

    rng = np.random.default_rng(2)
    taken = 0
    for number in range(120):
        data = bytearray(as_jpeg(number % 4))
        data[int(rng.integers(2, len(data)))] ^= 1 << int(rng.integers(8))
        try:
            image = radiograph(decode(bytes(data)), 64)
        except BadImage:
            continue
        taken += 1
        box = np.array([[0, 0, image.height, image.width]])
        view = decoder.decode(["x"], [jpeg(image)], box, np.array([False]))
        assert tuple(view.shape) == (1, 1, 32, 32)
    assert 0 < taken < 120


# I2: kinds of pixels


@pytest.mark.fault("I2.cmyk", "I2.rgba", "I2.16-bit")
@pytest.mark.parametrize(
    ("mode", "format", "value", "expected"),
    [
        ("CMYK", "TIFF", (0, 0, 0, 0), 255),
        ("RGBA", "PNG", (200, 200, 200, 0), 0),
        ("RGB", "PNG", (255, 0, 0), 76),
        ("I;16", "PNG", 257 * 100, 100),
        ("1", "PNG", 1, 255),
    ],
)
def test_i2_kinds_of_pixels_by_the_written_rule(mode, format, value, expected, grey):
    buffer = io.BytesIO()
    Image.new(mode, (9, 7), value).save(buffer, format)
    assert np.unique(grey(buffer.getvalue())).tolist() == [expected]


@pytest.mark.fault("I2.progressive", "I2.exif")
def test_i2_progressive_and_rotated(grey):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(grey(as_jpeg(1, progressive=True)), grey(as_jpeg(1)))
    assert np.array_equal(grey(as_jpeg(1, exif=exif)), np.rot90(grey(as_jpeg(1)), 3))


@pytest.mark.fault("I2.unsupported")
def test_i2_unsupported_pixels_are_refused(kind_of):
    buffer = io.BytesIO()
    Image.new("F", (4, 4), 0.5).save(buffer, "TIFF")
    assert kind_of(buffer.getvalue()) == "unsupported"


# I4: polarity


@pytest.mark.fault("I4.suspected")
def test_i4_inverted_pictures_are_suspected():
    films = [Image.fromarray(phantom(5, number, 128).image) for number in range(20)]
    assert not any(map(looks_inverted, films))
    assert all(looks_inverted(film.point(lambda value: 255 - value)) for film in films)


# I6: size and emptiness


@pytest.mark.fault("I6.bomb")
def test_i6_headers_are_judged_before_pixels_are_decoded(kind_of):
    assert kind_of(b"P5\n20000 20000\n255\n") == "too-large"
    assert kind_of(b"P5\n70000 10\n255\n") == "too-large"
    huge = bytearray(as_jpeg(0))
    at = huge.index(b"\xff\xc0")
    huge[at + 5 : at + 9] = (20000).to_bytes(2, "big") * 2
    assert kind_of(bytes(huge)) == "too-large"


@pytest.mark.fault("I6.one-pixel", "I6.aspect", "I6.constant")
def test_i6_thin_and_tiny_pictures(kind_of):
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.arange(300, dtype=np.uint8), (10, 1))).save(buffer, "PNG")
    assert radiograph(decode(buffer.getvalue()), 1024).size == (300, 10)
    for size in ((1, 1), (50, 50)):
        buffer = io.BytesIO()
        Image.new("L", size, 0).save(buffer, "PNG")
        assert kind_of(buffer.getvalue()) == "constant"
