"""Crops follow torchvision's algorithm; the attention map stays on its pathology through crop, flip and odd sizes."""

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ecamp_fast.geometry import ATTENTION_GRID, window_size
from ecamp_fast.keyed_random import Stream, uniform
from ecamp_fast.shards.load import crop

AREA, ASPECT = (0.2, 1.0), (0.75, 4 / 3)
sides = st.integers(1, 3000)


def torchvision_box(height, width, uniforms):
    """RandomResizedCrop.get_params, one image, fed with our numbers."""
    for share, ratio, row, column in uniforms.reshape(-1, 4).astype(float):
        area = height * width * (AREA[0] + share * (AREA[1] - AREA[0]))
        aspect = math.exp(math.log(ASPECT[0]) + ratio * (math.log(ASPECT[1]) - math.log(ASPECT[0])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(row * (height - h + 1)), int(column * (width - w + 1)), h, w
    w, h = width, height
    if width / height < ASPECT[0]:
        h = round(w / ASPECT[0])
    elif width / height > ASPECT[1]:
        w = round(h * ASPECT[1])
    return (height - h) // 2, (width - w) // 2, h, w


@given(st.lists(st.tuples(sides, sides, st.integers(-(2**62), 2**62)), min_size=1, max_size=50))
def test_boxes_are_torchvisions_and_inside(images):
    heights, widths, keys = np.array(images, np.int64).T.copy()
    boxes = crop.random_boxes(heights, widths, keys, AREA, ASPECT)
    assert boxes.dtype == np.int32
    uniforms = uniform(keys, Stream.CROP, 40)
    assert boxes.tolist() == [list(torchvision_box(*x)) for x in zip(heights, widths, uniforms, strict=True)]
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (height > 0).all() and (width > 0).all()
    assert (top + height <= heights).all() and (left + width <= widths).all()


def test_boxes_have_torchvisions_distribution():
    transforms = pytest.importorskip("torchvision.transforms")
    import torch

    torch.manual_seed(0)
    count, height, width = 2000, 700, 900
    image = torch.empty(1, height, width)
    theirs = np.array([transforms.RandomResizedCrop.get_params(image, AREA, ASPECT) for _ in range(count)], float)
    sizes = np.full(count, height), np.full(count, width)
    ours = crop.random_boxes(*sizes, np.arange(count) * 7919, AREA, ASPECT).astype(float)
    for column in range(4):
        a, b = ours[:, column], theirs[:, column]
        error = math.hypot(a.std(), b.std()) / math.sqrt(count)
        assert abs(a.mean() - b.mean()) < 4 * error
        assert abs(a.std() / b.std() - 1) < 0.08


@pytest.mark.parametrize(
    ("height", "width", "box"), [(1000, 100, (433, 0, 133, 100)), (90, 1000, (0, 440, 90, 120)), (1, 1, (0, 0, 1, 1))]
)
def test_images_too_narrow_for_any_try_get_the_largest_allowed_box(height, width, box):
    boxes = crop.random_boxes(np.full(20, height), np.full(20, width), np.arange(20), (0.9, 1.0), ASPECT)
    assert (boxes == box).all()


def test_a_box_does_not_depend_on_its_batch():
    sizes, keys = np.array([800, 512, 1024]), np.array([5, 6, 7])
    together = crop.random_boxes(sizes, sizes, keys, AREA, ASPECT)
    alone = crop.random_boxes(sizes[1:2], sizes[1:2], keys[1:2], AREA, ASPECT)
    assert np.array_equal(together[1:2], alone)
    assert len(np.unique(together[:, 2] / sizes)) == 3


def test_whole_boxes_are_centred_squares():
    assert crop.whole_boxes([100, 101, 50], [100, 60, 91]).tolist() == [
        [0, 0, 100, 100],
        [20, 0, 60, 60],
        [0, 20, 50, 50],
    ]


def test_flips_come_as_often_as_asked():
    keys = np.arange(4000) * 31
    assert abs(crop.flips(keys, 0.5).mean() - 0.5) < 0.03
    assert not crop.flips(keys, 0.0).any() and crop.flips(keys, 1.0).all()


def test_flips_are_drawn_from_a_stream_of_their_own():
    keys = np.arange(1000) * 31
    assert np.array_equal(crop.flips(keys, 0.3), uniform(keys, Stream.FLIP, 1)[:, 0] < 0.3)


def sampled(one, box, flipped, height, width):
    """Bilinear interpolation at the centre of every cell, from its definition."""
    out = np.zeros((ATTENTION_GRID, ATTENTION_GRID))
    rows, columns = one.shape
    for r in range(ATTENTION_GRID):
        for c in range(ATTENTION_GRID):
            column = ATTENTION_GRID - 1 - c if flipped else c
            y = (box[0] + (r + 0.5) * box[2] / ATTENTION_GRID) / height * rows - 0.5
            x = (box[1] + (column + 0.5) * box[3] / ATTENTION_GRID) / width * columns - 0.5
            y, x = min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)
            i, j = int(y), int(x)
            below, right = min(i + 1, rows - 1), min(j + 1, columns - 1)
            upper = one[i, j] * (1 - x + j) + one[i, right] * (x - j)
            lower = one[below, j] * (1 - x + j) + one[below, right] * (x - j)
            out[r, c] = upper * (1 - y + i) + lower * (y - i)
    return out


@pytest.mark.parametrize("chunk", [crop.CHUNK, 3])  # the second is less than there are maps
def test_maps_of_any_size_are_sampled_together_as_alone(chunk, monkeypatch):
    monkeypatch.setattr(crop, "CHUNK", chunk)
    rng = np.random.default_rng(1)
    maps = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((19, 19), (1, 1), (256, 210), (2, 40))]
    maps.insert(2, None)
    heights, widths = np.array([700, 31, 500, 1024, 333]), np.array([901, 77, 500, 860, 1000])
    boxes = crop.random_boxes(heights, widths, np.arange(5), AREA, ASPECT)
    flipped = np.array([True, False, True, False, True])
    out = crop.sample_maps(maps, boxes, flipped, heights, widths)
    assert out.shape == (5, ATTENTION_GRID, ATTENTION_GRID) and out.dtype == np.float32
    assert not out[2].any()
    for row in (0, 1, 3, 4):
        expected = sampled(maps[row].astype(float), boxes[row], flipped[row], heights[row], widths[row])
        assert np.abs(out[row] - expected).max() < 1e-3


def test_without_any_map_all_is_zero():
    box = np.array([[0, 0, 9, 9]])
    assert not crop.sample_maps([None], box, np.array([True]), np.array([9]), np.array([9])).any()


def blobs(height, width):
    """The same smooth picture at any size: grey values as a function of the place between 0 and 1."""
    y, x = (np.arange(height)[:, None] + 0.5) / height, (np.arange(width)[None, :] + 0.5) / width
    places = ((0.2, 0.25, 0.12), (0.7, 0.6, 0.2), (0.45, 0.9, 0.15))
    grey = sum(np.exp(-((y - i) ** 2 + (x - j) ** 2) / (2 * s**2)) for i, j, s in places)
    return np.rint(grey * 200).clip(0, 255).astype(np.uint8)


def jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=98)
    return file.getvalue()


@pytest.mark.parametrize(("height", "width"), [(512, 512), (631, 1001), (977, 403)])
def test_the_map_lies_where_the_decoded_view_shows_it(height, width):
    """The brightness of the image IS its map, so a view brought down to 28 x 28 must be the sampled map."""
    from ecamp_fast.shards.load.decode import JpegDecoder

    image, stored = blobs(height, width), blobs(160, 160)
    count = 12
    heights, widths, keys = np.full(count, height), np.full(count, width), np.arange(count) * 17
    boxes = crop.random_boxes(heights, widths, keys, (0.08, 1.0), (0.4, 2.5))
    flipped = np.arange(count) % 2 == 1
    views = JpegDecoder(count, 448, "cpu", 1).decode([str(k) for k in keys], [jpeg(image)] * count, boxes, flipped)
    seen = views.numpy().reshape(count, ATTENTION_GRID, 16, ATTENTION_GRID, 16).mean((2, 4))
    out = crop.sample_maps([stored] * count, boxes, flipped, heights, widths)
    assert np.abs(seen - out).max() < 4  # of 255: JPEG, rounding, mean of a cell against its centre
    wrong = crop.sample_maps([stored] * count, boxes, ~flipped, heights, widths)
    assert np.abs(seen - wrong).max((1, 2)).min() > 12  # and the comparison can tell


@pytest.mark.parametrize(("grid", "size"), [(7, 6), (14, 12), (16, 13), (28, 24)])
def test_the_window_is_12_of_14_patches_or_less_in_proportion(grid, size):
    assert window_size(grid) == size


def window_by_hand(attention, grid):
    patches = attention.reshape(grid, ATTENTION_GRID // grid, grid, ATTENTION_GRID // grid).sum((1, 3))
    size = window_size(grid)
    sums = {
        (i, j): patches[i : i + size, j : j + size].sum()
        for i in range(grid - size + 1)
        for j in range(grid - size + 1)
    }
    return max(sums, key=sums.get)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([7, 14, 28]))
def test_windows_hold_the_most_attention(seed, grid):
    attention = np.random.default_rng(seed).random((3, ATTENTION_GRID, ATTENTION_GRID)) ** 8
    assert [tuple(w) for w in crop.windows(attention, grid)] == [window_by_hand(one, grid) for one in attention]


def test_windows_name_row_and_column_of_a_grid_that_does_not_divide():
    attention = np.full((1, ATTENTION_GRID, ATTENTION_GRID), 0.01)
    attention[0, 27, 0] = 1.0
    attention[0, 0, 0] = 0.5
    size = window_size(16)
    assert crop.windows(attention, 16).tolist() == [[16 - size, 0]]
    assert crop.windows(attention.transpose(0, 2, 1), 16).tolist() == [[0, 16 - size]]


def test_ties_and_nothing_positive_give_the_middle_window():
    attention = np.zeros((4, ATTENTION_GRID, ATTENTION_GRID), np.float32)
    attention[1] = 1 / 3
    attention[2, 12:16, 12:16] = 7.7  # inside every window
    attention[3] = crop.centre_map()
    assert crop.windows(attention, 14).tolist() == crop.middle_windows(4, 14).tolist() == [[1, 1]] * 4


def test_the_centre_map_is_the_middle_window():
    centre = crop.centre_map()
    assert (
        centre.sum() == 24**2 and np.array_equal(centre, centre[::-1, ::-1]) and centre[2, 2] == 1 == 1 - centre[1, 2]
    )
