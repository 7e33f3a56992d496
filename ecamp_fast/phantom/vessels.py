"""Vascular markings: trees that branch out of the hila."""

import numpy as np
from PIL import Image, ImageDraw

from ecamp_fast.phantom.anatomy import Anatomy, generator
from ecamp_fast.phantom.canvas import Canvas, Plane
from ecamp_fast.phantom.outline import SIDES

LEVELS = 5
STEMS = 8
OVERSAMPLE = 2


def hilum(anatomy: Anatomy, side: int) -> tuple[float, float]:
    """Chest coordinates of a hilum; the left one lies higher."""
    return side * (anatomy.mediastinum + 0.045), anatomy.knob_y + (0.33 if side < 0 else 0.27)


def draw_vessels(canvas: Canvas, seed: int, anatomy: Anatomy) -> Plane:
    """(N, N) attenuation of vessels, about 0 to 1."""
    size = OVERSAMPLE * canvas.size
    picture = Image.new("L", (size, size))
    pen = ImageDraw.Draw(picture)
    for side in SIDES:
        rng = generator(seed, 4, anatomy.number, side + 1)
        for segments, width, grey in _tree(rng, anatomy, side):
            pixels = canvas.pixels(segments).reshape(-1, 6) * OVERSAMPLE
            pen_width = max(1, round(width * size / 2))
            for segment in pixels.tolist():
                pen.line(segment, fill=grey, width=pen_width)
    return np.asarray(picture.reduce(OVERSAMPLE), dtype=np.float32) * np.float32(1 / 255)


def _tree(rng: np.random.Generator, anatomy: Anatomy, side: int) -> list[tuple[Plane, float, int]]:
    """Bent segments (K, 3, 2) by level, thickest last, with their width in chest units and their grey value."""
    x, y = hilum(anatomy, side)
    angle = np.linspace(-1.25, 1.35, STEMS) + rng.normal(0, 0.1, STEMS)
    start = np.stack([np.full(STEMS, x), y + 0.07 * angle], axis=1) + rng.normal(0, 0.025, (STEMS, 2))
    reach = 0.5 * (anatomy.wall - abs(x)) * (1 + 0.25 * np.abs(np.sin(angle)))
    length = reach * rng.uniform(0.25, 0.55, STEMS)
    width, levels = 0.019, []
    for level in range(LEVELS):
        direction = np.stack([side * np.cos(angle), np.sin(angle)], axis=1)
        bend = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * rng.normal(0, 0.12, (len(angle), 1))
        middle = start + (0.5 * direction + bend) * length[:, None]
        end = start + direction * length[:, None]
        levels.append(
            (
                np.stack([start, middle, end], axis=1).astype(np.float32),
                width,
                int(min(255, anatomy.vessels * (80 - 11 * level))),
            )
        )
        start = np.repeat(end, 2, axis=0)
        spread = rng.uniform(0.15, 0.55, len(angle))
        angle = np.stack([angle - spread, angle + rng.uniform(0.1, 0.5, len(angle))], axis=1).ravel()
        angle = angle * 0.97
        length = np.repeat(length, 2) * rng.uniform(0.6, 0.95, 2 * len(length))
        width *= 0.7
    return levels[::-1]
