"""Planting findings: each alters the air, the markings or the attenuation of a thorax, and says where."""

from collections.abc import Callable

import numpy as np

from ecamp_fast.phantom.anatomy import generator
from ecamp_fast.phantom.canvas import LINE, Canvas, Plane, bump, over, ramp, shift, smooth, texture
from ecamp_fast.phantom.course import Lesion
from ecamp_fast.phantom.outline import SIDES, Outline
from ecamp_fast.phantom.thorax import Lung, Thorax

HEART_SCALE = (0.93, 1.0, 1.1)  # of an enlarged heart, by grade
RAISED = (0.04, 0.07, 0.1)  # volume loss of atelectasis, by grade


def plant(canvas: Canvas, outline: Outline, thorax: Thorax, lesion: Lesion) -> Plane:
    """Draw a lesion into ``thorax``; returns its extent, (N, N) from 0 to 1, above 0.5 inside the mask."""
    if lesion.finding == "cardiomegaly":  # the outline was drawn with the large heart
        return smooth(thorax.heart * np.float32(1.6) - np.float32(0.5)) * _above(canvas, thorax)
    extent = np.zeros_like(canvas.x)
    if lesion.finding == "edema":
        for i, lung in enumerate(thorax.lungs):
            extent[lung.where] += _edema(i, lung, outline, thorax, lesion)
        return np.minimum(extent, 1)
    i = SIDES.index(lesion.side)
    lung = thorax.lungs[i]
    extent[lung.where] = _ONE_SIDED[lesion.finding](i, lung, outline, thorax, lesion)
    return extent


def _effusion(i: int, lung: Lung, outline: Outline, thorax: Thorax, lesion: Lesion) -> Plane:
    """Fluid in the costophrenic angle with a meniscus that climbs the chest wall."""
    base = outline.base[i]
    wall = float(np.interp(base, LINE, outline.lateral[i]))
    level = base + (0.03, -0.12, -0.32)[lesion.grade]
    climb = (0.2, 0.24, 0.22)[lesion.grade]
    across = np.clip(LINE / wall, 0, 1.1)
    surface = level - climb * (across**4 - 0.25) + (0.06, 0.02, 0.0)[lesion.grade]
    down = lung.canvas.y - over(surface.astype(np.float32), lung.half)
    fluid = lung.within * smooth(down / 0.09 + 0.5)
    air, added = thorax.air[lung.where], thorax.added[lung.where]
    air *= 1 - np.float32(0.97) * fluid
    added += np.float32(0.05) * fluid
    floor = lung.canvas.y - over(outline.dome[i], lung.half)
    return fluid * ramp(0.02 - floor, 0.02)


def _consolidation(i: int, lung: Lung, outline: Outline, thorax: Thorax, lesion: Lesion) -> Plane:
    """A patch of filled airspaces with a ragged border."""
    u, v = _from(lung, outline.place(lesion.side, lesion.t, lesion.s))
    radius = (0.15, 0.2, 0.26)[lesion.grade]
    ragged = shift(texture(len(thorax.air), 18), *generator(lesion.key).random(2).tolist())[lung.where]
    far = np.sqrt(u * u + 1.4 * v * v) / radius
    extent = smooth((1 - far + np.float32(0.18) * ragged) * np.float32(1.1) + np.float32(0.45))
    extent *= lung.within * lung.above
    air, markings = thorax.air[lung.where], thorax.markings[lung.where]
    air *= 1 - np.float32(0.72) * extent
    markings *= 1 - np.float32(0.5) * extent
    return extent


def _mass(i: int, lung: Lung, outline: Outline, thorax: Thorax, lesion: Lesion) -> Plane:
    """A large dense body with a lobulated border."""
    return _ball(lung, outline, thorax, lesion, (0.1, 0.13, 0.165)[lesion.grade], density=0.5, lobes=0.09)


def _nodule(i: int, lung: Lung, outline: Outline, thorax: Thorax, lesion: Lesion) -> Plane:
    """A small round shadow."""
    return _ball(lung, outline, thorax, lesion, (0.038, 0.047, 0.058)[lesion.grade], density=0.4, lobes=0.03)


def _ball(
    lung: Lung, outline: Outline, thorax: Thorax, lesion: Lesion, radius: float, density: float, lobes: float
) -> Plane:
    u, v = _from(lung, outline.place(lesion.side, lesion.t, lesion.s))
    rng = generator(lesion.key)
    angle = np.arctan2(v, u)
    edge = sum(rng.uniform(0.4, 1) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 5))
    far = np.sqrt(u * u + v * v) * np.float32(1 / radius) * (1 + np.float32(lobes) * edge)
    extent = ramp(1 - far, 0.3) * lung.within * lung.above
    added, markings = thorax.added[lung.where], thorax.markings[lung.where]
    markings *= 1 - np.float32(0.7) * extent
    added += extent * np.sqrt(np.maximum(1.4 - far * far, 0)) * np.float32(density / 1.4)
    return extent


def _atelectasis(i: int, lung: Lung, outline: Outline, thorax: Thorax, lesion: Lesion) -> Plane:
    """Plates of collapsed lung, in a light haze above the diaphragm; the outline was drawn with the dome raised."""
    x, y = outline.place(lesion.side, lesion.t, lesion.s)
    rng = generator(lesion.key)
    tilt = rng.uniform(-0.3, 0.2)
    plates = np.zeros_like(lung.half)
    for plate in range(2 + (lesion.grade > 0)):
        u, v = _from(lung, (x + rng.uniform(-0.09, 0.09), y + 0.045 - 0.075 * plate + rng.uniform(-0.015, 0.015)))
        along = u * lesion.side
        off = v - (tilt + rng.uniform(-0.13, 0.13)) * along + np.float32(rng.uniform(0, 0.7)) * along * along
        length, thick = rng.uniform(0.1, 0.2), rng.uniform(0.012, 0.02 + 0.004 * lesion.grade)
        shape = ramp(1 - np.abs(off) / thick, 0.9) * ramp(1 - np.abs(along) / length, 0.6)
        plates = np.maximum(plates, shape)
    plates *= lung.within * lung.above
    u, v = _from(lung, (x, y + 0.05))
    haze = smooth(1.2 - np.sqrt((u / 0.24) ** 2 + (v / 0.13) ** 2)) * lung.within
    air = thorax.air[lung.where]
    air *= 1 - np.float32(0.45) * plates
    air *= 1 - np.float32(0.16 + 0.05 * lesion.grade) * haze
    return plates


def _edema(i: int, lung: Lung, outline: Outline, thorax: Thorax, lesion: Lesion) -> Plane:
    """Haze that spreads from the hila on both sides like wings; vessels lose their edges and thicken."""
    strength = (0.36, 0.48, 0.6)[lesion.grade]
    reach = (0.27, 0.32, 0.38)[lesion.grade]
    offsets = generator(lesion.key, i).random((2, 2)).tolist()
    ragged, fine = (
        shift(texture(len(thorax.air), cells), *offset)[lung.where]
        for cells, offset in zip((12, 48), offsets, strict=True)
    )
    centre = 0.45 * outline.base[i] + 0.25 * outline.apex + 0.1
    far = ((lung.half - 0.24) / reach) ** 2 + ((lung.canvas.y - centre) / (1.25 * reach)) ** 2
    extent = smooth(1.35 - np.sqrt(far) + np.float32(0.14) * ragged) * smooth(lung.share * 3)
    markings, air = thorax.markings[lung.where], thorax.air[lung.where]
    markings += extent * (markings + np.float32(0.12) * fine)
    air *= 1 - np.float32(strength) * extent
    return extent


def _pneumothorax(i: int, lung: Lung, outline: Outline, thorax: Thorax, lesion: Lesion) -> Plane:
    """Air between chest wall and a lung that has come away from it: black, without markings, a thin line between."""
    gap = (0.1, 0.15, 0.22)[lesion.grade]
    low = smooth((outline.base[i] + 0.1 - LINE) / 0.9)
    border = outline.lateral[i] - np.float32(gap) * (0.35 + 0.65 * low)
    top = smooth((LINE - outline.apex - 1.25 * gap) / 0.3)
    border = outline.medial + (border - outline.medial) * np.sqrt(top)
    inside = lung.canvas.rows(border.astype(np.float32)) - lung.half
    chest, aired = lung.within * lung.above, smooth(lung.share * 4)
    rim = ramp(-inside, 0.012) * chest * aired
    collapsed = ramp(inside, 0.012) * chest
    air, markings, added = (plane[lung.where] for plane in (thorax.air, thorax.markings, thorax.added))
    markings *= 1 - rim
    air *= 1 + np.float32(0.22) * rim - np.float32(0.14) * collapsed
    air += np.float32(0.12) * rim
    added += np.float32(0.1) * bump(inside, 0.006, 0.007) * aired
    return rim


def _from(lung: Lung, place: tuple[float, float]) -> tuple[Plane, Plane]:
    """Offsets from a place."""
    return lung.canvas.x - np.float32(place[0]), lung.canvas.y - np.float32(place[1])


def _above(canvas: Canvas, thorax: Thorax) -> Plane:
    above = np.zeros_like(canvas.x)
    for lung in thorax.lungs:
        above[lung.where] = np.maximum(above[lung.where], lung.above)
    return above


_ONE_SIDED: dict[str, Callable[[int, Lung, Outline, Thorax, Lesion], Plane]] = {
    "atelectasis": _atelectasis,
    "consolidation": _consolidation,
    "effusion": _effusion,
    "mass": _mass,
    "nodule": _nodule,
    "pneumothorax": _pneumothorax,
}
