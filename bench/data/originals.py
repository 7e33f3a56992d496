"""Radiographs as a hospital stores them, drawn: large JPEG files of a size like MIMIC-CXR-JPG's."""

import io

import numpy as np
from PIL import Image

from ecamp_fast.phantom import phantom

HEIGHT, WIDTH = 3000, 2500  # pixels, about those of MIMIC-CXR-JPG
QUALITY = 95
NOISE = 4.0  # grey levels; without grain the files would be a third as large


def original(seed: int, number: int) -> bytes:
    """The file of phantom ``number``."""
    picture = Image.fromarray(phantom(seed, number, 512).image).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    grain = np.random.default_rng((seed, number)).normal(0, NOISE, (HEIGHT, WIDTH))
    file = io.BytesIO()
    Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
