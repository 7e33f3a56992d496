"""Masks from files and run lengths, at other sizes, and as bits."""

import io

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.shards.images.limits import ANNOTATION, BadImage
from ecamp_fast.shards.images.planes import check_runs, fits, from_runs, nearest, read_mask, stack


def by_hand(text, side):
    """SIIM's rule, pixel by pixel: columns from the left, each from the top, offsets from the last end."""
    mask = [[False] * side for _ in range(side)]
    numbers, at = [int(word) for word in text.split()], 0
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        at += offset
        for _ in range(length):
            mask[at % side][at // side] = True
            at += 1
    return np.array(mask)


@pytest.mark.parametrize("text", ["0 1", "3 2 5 4", "17 16 0 8 1 1", "255 1", "0 256"])
def test_run_lengths_go_down_the_columns_from_the_last_end(text):
    assert np.array_equal(from_runs(text, 16), by_hand(text, 16))


def test_random_run_lengths():
    draw = np.random.default_rng(5)
    for _ in range(20):
        numbers = draw.integers(1, 20, 24)
        text = " ".join(map(str, numbers))
        assert np.array_equal(from_runs(text, 32), by_hand(text, 32))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "pairs"),
        ("1", "1 numbers"),
        ("1 2 3", "3 numbers"),
        ("a 2", "no whole numbers"),
        ("1.5 2", "no whole numbers"),
        (f"{'9' * 5000} 2", "no whole numbers"),
        ("1_0 2", "no whole numbers"),
        ("+1 2", "no whole numbers"),
        ("\u0661 2", "no whole numbers"),
        ("-1 2", "below 0"),
        ("3 0", "no length"),
        ("250 7", "end at pixel 257 of 256"),
        ("0 5 250 2", "end at pixel 257 of 256"),
    ],
)
def test_broken_run_lengths_say_what_is_wrong(text, fault):
    assert fault in check_runs(text, 16)
    with pytest.raises(ValueError, match=fault):
        from_runs(text, 16)


def coded(*pictures, kind="PNG", **options):
    file = io.BytesIO()
    pictures[0].save(
        file, kind, **options, **({"save_all": True, "append_images": pictures[1:]} if pictures[1:] else {})
    )
    return file.getvalue()


@pytest.mark.parametrize("channel", range(3))
@pytest.mark.parametrize("value", [1, 2, 255])
def test_what_is_not_black_is_marked_however_dark(channel, value):
    """Luminance of (0, 0, 4) rounds to 0."""
    bits = np.zeros((20, 30), bool)
    bits[4:9, 10:20] = True
    colours = np.zeros((20, 30, 3), np.uint8)
    colours[bits, channel] = value
    assert np.array_equal(read_mask(coded(Image.fromarray(colours))) != 0, bits)
    indexed = Image.fromarray(bits.astype(np.uint8), "P")
    indexed.putpalette([0, 0, 0, *(value * (at == channel) for at in range(3))])
    assert np.array_equal(read_mask(coded(indexed)) != 0, bits)


def test_transparent_masks_are_refused_and_opaque_ones_read():
    colours = np.full((20, 30, 4), 255, np.uint8)
    assert read_mask(coded(Image.fromarray(colours))).all()
    colours[:10, :, 3] = 0
    with pytest.raises(BadImage, match="transparent") as caught:
        read_mask(coded(Image.fromarray(colours)))
    assert caught.value.kind == ANNOTATION
    with pytest.raises(BadImage, match="transparent"):
        read_mask(coded(Image.fromarray(colours[..., 3]), transparency=0))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_masks_of_several_pictures_are_refused(kind):
    empty, full = (Image.fromarray(np.full((20, 30), value, np.uint8)) for value in (0, 255))
    with pytest.raises(BadImage, match="a mask of 2 pictures"):
        read_mask(coded(empty, full, kind=kind))


def test_masks_are_turned_upright_as_images_are():
    values = np.zeros((20, 30), np.uint8)
    values[0, :5] = 255
    turned = Image.Exif()
    turned[274] = 3  # upside down
    assert np.array_equal(read_mask(coded(Image.fromarray(values), exif=turned)), values[::-1, ::-1])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_masks_of_every_kind_are_read(mode, film_bytes):
    bits = np.zeros((20, 30), bool)
    bits[4:9, 10:20] = True
    if mode == "I;16":
        image = Image.fromarray(bits.astype(np.uint16) * 300)
    else:
        image = Image.fromarray(bits.astype(np.uint8) * 255).convert(mode)
    assert np.array_equal(read_mask(film_bytes(image, "PNG")) != 0, bits)


@pytest.mark.parametrize("data", [b"", b"no picture", "jpeg", "cut"])
def test_what_is_no_lossless_picture_is_no_mask(data, film, film_bytes):
    whole = {"jpeg": film_bytes(film(1)), "cut": film_bytes(film(1), "PNG")[:300]}
    with pytest.raises(BadImage) as caught:
        read_mask(whole.get(data, data))
    assert caught.value.kind == ANNOTATION


def test_masks_take_the_size_of_their_image_and_no_other_shape():
    mask = np.arange(12).reshape(3, 4) % 3 == 0
    assert np.array_equal(fits(mask, (8, 6)), mask.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(nearest(mask.repeat(2, 0).repeat(2, 1), (4, 3)), mask)
    with pytest.raises(BadImage, match="a mask of 4 x 3 pixels, its image has 6 x 8"):
        fits(mask, (6, 8))


def test_planes_are_bits_in_their_order():
    masks = [np.random.default_rng(number).random((5, 7)) < 0.5 for number in range(11)]
    planes = stack(masks)
    assert planes.dtype == np.uint16 and stack(masks[:8]).dtype == np.uint8
    for bit, mask in enumerate(masks):
        assert np.array_equal(planes >> bit & 1, mask)
