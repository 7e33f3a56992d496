"""The CPU's resize is as close to float64 as Pillow's, whatever the sizes."""

import numpy as np
import pytest
import torch
from PIL import Image

from ecamp_fast.shards.load.resize import resize


def smooth(height, width):
    grain = np.random.default_rng(height * width).integers(0, 256, (height // 5 + 2, width // 5 + 2), dtype=np.uint8)
    return np.array(Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC))


def exact(image, size):
    image = torch.from_numpy(image.astype(np.float64))[None, None]
    return torch.nn.functional.interpolate(image, (size, size), mode="bicubic", antialias=True).clamp(0, 255)[0, 0]


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(200, 200, 96), (97, 301, 64), (301, 97, 64), (50, 47, 112), (64, 200, 64), (1, 1, 8), (3, 9, 5), (64, 64, 64)],
)
def test_as_close_to_float64_as_pillow(height, width, size):
    image = smooth(height, width)
    reference = exact(image, size).numpy()
    pillow = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    ours, theirs = (np.abs(found - reference) for found in (resize(image, size), pillow))
    # both clamp between their passes, which they make in another order
    assert ours.max() <= theirs.max() + 2 and ours.mean() <= theirs.mean() + 0.1


def test_a_flip_mirrors_left_and_right():
    image = smooth(120, 150)
    assert np.array_equal(resize(image, 64, flipped=True), resize(image, 64)[:, ::-1])


def test_a_view_of_a_larger_picture_may_be_given_and_stays_as_it_was():
    picture = smooth(200, 230)
    before = picture.copy()
    assert np.array_equal(resize(picture[20:150, 31:140], 64), resize(picture[20:150, 31:140].copy(), 64))
    assert np.array_equal(picture, before)


def test_the_result_belongs_to_the_caller():
    image = smooth(64, 64)  # of the target size already
    before = image.copy()
    resize(image, 64)[:] = 0
    assert np.array_equal(image, before)


def test_fewer_than_four_pixels_are_refused():
    with pytest.raises(ValueError, match="a size of 3"):
        resize(smooth(64, 64), 3)


@pytest.mark.parametrize(("height", "width"), [(1024, 1024), (1030, 514), (517, 1000)])
def test_hard_edges_err_no_more_than_pillows(height, width):
    image = smooth(height, width)
    image[100:140, 60:200:7] = 255  # a burnt-in mark
    image[141:150, 60:200:3] = 0
    reference = exact(image, 448).numpy()
    pillow = np.asarray(Image.fromarray(image).resize((448, 448), Image.Resampling.BICUBIC))
    ours, theirs = (np.sqrt(np.mean((found - reference) ** 2)) for found in (resize(image, 448), pillow))
    assert ours < 1.1 * theirs + 0.05
