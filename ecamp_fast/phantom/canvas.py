"""A drawing surface in chest units: planes of coordinates, and curves of one coordinate spread over them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.floating[Any]]  # float32; the stubs of numpy widen float32 times a Python number
Window = tuple[slice, slice]

REACH = 1.4  # curves are tabulated from -REACH to REACH
STEPS = 2048
LINE: Plane = np.linspace(-REACH, REACH, STEPS, dtype=np.float32)  # the coordinate along a curve


@dataclass(frozen=True)
class Canvas:
    """``x``, ``y``: (N, N) chest coordinates of the pixel centres; x grows to the patient's left, y downwards."""

    x: Plane
    y: Plane
    column: NDArray[np.intp]
    row: NDArray[np.intp]
    to_pixels: Plane  # (2, 3): chest coordinates to pixel coordinates

    @property
    def size(self) -> int:
        return len(self.x)

    def rows(self, curve: Plane) -> Plane:
        """Spread f(y), tabulated on LINE, over the plane."""
        return curve.take(self.row)

    def columns(self, curve: Plane) -> Plane:
        """Spread f(x), tabulated on LINE, over the plane."""
        return curve.take(self.column)

    def window(self, x: tuple[float, float], y: tuple[float, float] = (-9, 9)) -> tuple["Canvas", Window]:
        """The smallest part that holds everything between these coordinates, and where it lies in the planes."""
        columns = _span(self.x[[0, -1]].max(axis=0) >= x[0], self.x[[0, -1]].min(axis=0) <= x[1])
        rows = _span(self.y[:, [0, -1]].max(axis=1) >= y[0], self.y[:, [0, -1]].min(axis=1) <= y[1])
        where = (rows, columns)
        return Canvas(self.x[where], self.y[where], self.column[where], self.row[where], self.to_pixels), where

    def pixels(self, points: Plane) -> Plane:
        """(..., 2) chest coordinates to (..., 2) pixel coordinates."""
        return points @ self.to_pixels[:, :2].T + self.to_pixels[:, 2]


def make_canvas(size: int, centre: tuple[float, float], tilt: float, zoom: float) -> Canvas:
    """A canvas of size x size pixels; the chest's origin lies at ``centre`` of the film, turned by ``tilt``."""
    u, v = _film(size)
    cos, sin = np.float32(np.cos(tilt) / zoom), np.float32(np.sin(tilt) / zoom)
    u, v = u - np.float32(centre[0]), v - np.float32(centre[1])
    x = (cos * u)[None, :] + (sin * v)[:, None]
    y = (cos * v)[:, None] - (sin * u)[None, :]
    half, c, s = size / 2, np.cos(tilt) * zoom, np.sin(tilt) * zoom
    forward = [
        [half * c, -half * s, half * (1 + centre[0])],
        [half * s, half * c, half * (1 + centre[1])],
    ]
    return Canvas(x, y, _steps(x), _steps(y), np.array(forward, np.float32))


def over(curve: Plane, coordinate: Plane) -> Plane:
    """A curve tabulated on LINE, at any coordinates."""
    return curve.take(_steps(coordinate))


def ramp(distance: Plane, width: float) -> Plane:
    """0 outside, 1 inside, linear over ``width`` about distance 0."""
    out = distance * np.float32(1 / width)
    out += np.float32(0.5)
    return np.clip(out, 0, 1, out=out)


def bump(coordinate: Plane, centre: float, width: float) -> Plane:
    """A Gaussian of height 1."""
    z = (coordinate - np.float32(centre)) * np.float32(1 / width)
    return np.exp(np.float32(-0.5) * z * z)


def smooth(t: Plane) -> Plane:
    """Smoothstep of t, clipped to [0, 1]."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def resize(plane: Plane, size: int, method: Image.Resampling = Image.Resampling.BICUBIC) -> Plane:
    """Resample a float32 plane to size x size."""
    return np.asarray(Image.fromarray(plane).resize((size, size), method))


@lru_cache(maxsize=16)
def texture(size: int, cells: int) -> Plane:
    """Smooth noise of unit variance, (size, size), about ``cells`` structures across; the same pattern at every size.

    Callers shift it by drawn shares of its width (``shift``): it wraps around.
    """
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(cells)))
    coarse = np.tile(rng.standard_normal((cells, cells), dtype=np.float32), (3, 3))
    fine = resize(coarse, 3 * size)[size : 2 * size, size : 2 * size]
    return np.ascontiguousarray(fine / fine.std())


def shift(plane: Plane, down: float, right: float) -> Plane:
    """Move a plane by shares of its size; what leaves on one side enters on the other."""
    size = len(plane)
    return np.roll(plane, (int(down * size), int(right * size)), (0, 1))


def _span(after: NDArray[np.bool_], before: NDArray[np.bool_]) -> slice:
    inside = np.flatnonzero(after & before)
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)


def _steps(coordinate: Plane) -> NDArray[np.intp]:
    return np.clip((coordinate + REACH) * ((STEPS - 1) / (2 * REACH)) + 0.5, 0, STEPS - 1).astype(np.intp)


@lru_cache(maxsize=8)
def _film(size: int) -> tuple[Plane, Plane]:
    centres = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1).astype(np.float32)
    return centres, centres
