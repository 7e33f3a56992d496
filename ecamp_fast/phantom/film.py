"""From attenuation to a film: detector processing, grain, borders, the lead letter."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ecamp_fast.phantom.anatomy import Acquisition, Anatomy
from ecamp_fast.phantom.canvas import Plane, resize


def expose(total: Plane, size: int, anatomy: Anatomy, film: Acquisition, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(N, N) attenuation to a (size, size) uint8 picture, bright where little passes."""
    level = 0.62 + anatomy.exposure + film.exposure
    value = total - np.float32(level)
    local = value - resize(resize(value, max(8, len(value) // 16), Image.Resampling.BOX), len(value))
    value += np.float32(film.local) * local
    value *= np.float32(-4.2 * film.contrast)
    np.exp(value, out=value)
    value += np.float32(1)
    np.reciprocal(value, out=value)
    picture = resize((value - np.float32(0.05)) * np.float32(245), size)
    grain = rng.standard_normal((size, size), dtype=np.float32)
    grain *= np.float32(film.noise)
    grain += picture
    if film.marker:
        _stamp(grain, film.marker)
    out = np.clip(grain, 0, 255, out=grain).astype(np.uint8)
    return close_beam(out, film)


def close_beam(picture: NDArray[np.uint8], film: Acquisition) -> NDArray[np.uint8]:
    """Set to 0 what lies outside the collimated beam, in place."""
    for turns, share in enumerate(film.collimation):
        width = round(share * len(picture))
        if width:
            np.rot90(picture, turns)[:, :width] = 0  # a view
    return picture


def _stamp(picture: Plane, place: tuple[float, float]) -> None:
    """Lay the letter L of the patient's left side over the picture."""
    size = len(picture)
    letter = _letter(max(8, size // 20))
    height, width = letter.shape
    top, left = (int((c + 1) / 2 * (size - n)) for c, n in ((place[1], height), (place[0], width)))
    view = picture[top : top + height, left : left + width]
    np.maximum(view, letter * np.float32(235), out=view)


@lru_cache(maxsize=8)
def _letter(height: int) -> Plane:
    picture = Image.new("L", (height, height))
    ImageDraw.Draw(picture).text((height * 0.2, 0), "L", fill=255, font=ImageFont.load_default(height * 0.8))
    return np.asarray(picture, np.float32) / 255
