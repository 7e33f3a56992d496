"""The paper's picture of a map against its steps by hand."""

import numpy as np
from matplotlib import colormaps
from PIL import Image

from ecamp_fast.downstream.visualize.overlays import paper_overlay


def test_equals_the_steps_by_hand() -> None:
    generator = np.random.default_rng(0)
    image, values = generator.integers(0, 256, (56, 56), np.uint8), generator.random((7, 7)) ** 6
    raised = np.sqrt(np.sqrt(values))
    level = ((raised - raised.min()) / (raised.max() - raised.min())).astype(np.float32)
    grown = np.asarray(Image.fromarray(level).resize((56, 56), Image.Resampling.BILINEAR))
    wanted = 0.5 * image[..., None] + 127.5 * colormaps["jet"](grown)[..., :3]
    found = paper_overlay(image, values)
    assert found.shape == (56, 56, 3) and found.dtype == np.uint8
    assert np.abs(found - wanted).max() <= 3  # Pillow's own rounding of places, at the steep colours


def test_the_peak_is_red_and_the_least_is_blue_where_they_are() -> None:
    values = np.zeros((4, 4))
    values[1, 2] = 1e-3
    found = paper_overlay(np.zeros((64, 64), np.uint8), values).astype(int)
    assert found[24, 40, 0] > 60 and found[24, 40, 2] == 0 and found[60, 4, 0] == 0 and found[60, 4, 2] > 60


def test_a_flat_map_is_one_colour() -> None:
    found = paper_overlay(np.zeros((16, 16), np.uint8), np.full((4, 4), 0.0625))
    assert (found == found[0, 0]).all()
