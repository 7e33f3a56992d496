"""The chest as attenuation: soft tissue, air in the lungs, heart, vessels and bones, put together."""

from dataclasses import dataclass

import numpy as np

from ecamp_fast.phantom.anatomy import Acquisition, Anatomy, generator
from ecamp_fast.phantom.bones import draw_bones
from ecamp_fast.phantom.canvas import LINE, Canvas, Plane, Window, over, ramp, shift, smooth, texture
from ecamp_fast.phantom.outline import SIDES, Outline
from ecamp_fast.phantom.vessels import draw_vessels, hilum

AIR = 0.78  # attenuation that a full depth of lung takes away; soft tissue of the whole body is about 1


@dataclass(frozen=True)
class Lung:
    """One side of the chest: planes over the part of the canvas that holds it (``where``).

    half    distance from the midline, positive on this side
    share   lung in the path, 0 to 1: what heart, mediastinum and diaphragm hide is left out
    within  1 between mediastinum and chest wall, above and below the diaphragm
    above   1 above the diaphragm
    """

    canvas: Canvas
    where: Window
    half: Plane
    share: Plane
    within: Plane
    above: Plane


@dataclass(frozen=True)
class Thorax:
    """A study in parts, whose planes (N, N) findings alter in place. ``lungs``: the patient's right, left."""

    lungs: tuple[Lung, Lung]
    heart: Plane
    air: Plane
    markings: Plane  # vessels and interstitium, seen only against air
    added: Plane


def draw_thorax(canvas: Canvas, seed: int, anatomy: Anatomy, outline: Outline) -> Thorax:
    """Lungs, heart and markings without any finding but cardiomegaly."""
    heart = _heart(canvas, outline)
    air = np.zeros_like(canvas.x)
    sway = 1.1 * abs(anatomy.spine_bend) + 0.03
    lungs = []
    for side in SIDES:
        inner, outer = sorted((-side * sway, side * (anatomy.wall + sway)))
        part, where = canvas.window((inner, outer))
        lungs.append(_lung(part, where, side, outline, heart[where], air))
    depth = 0.72 + 0.28 * np.sin(np.pi * np.clip((LINE - outline.apex) / 1.25, 0, 1))
    air *= canvas.rows(depth.astype(np.float32))
    markings = _markings(canvas, seed, anatomy, outline)
    return Thorax((lungs[0], lungs[1]), heart, air, markings, added=np.zeros_like(air))


def attenuation(canvas: Canvas, anatomy: Anatomy, film: Acquisition, outline: Outline, thorax: Thorax) -> Plane:
    """(N, N) attenuation along every ray: 0 in free air, about 1 through the abdomen."""
    chord = canvas.x / canvas.rows(outline.body)
    chord *= chord
    flesh = np.sqrt(np.sqrt(np.maximum(1 - chord, 0)))
    thickness = 0.86 + 0.16 * anatomy.habitus + 0.1 * smooth((LINE - 0.2) / 0.5)
    total = flesh * canvas.rows(thickness.astype(np.float32))
    for cells, strength in ((7, 0.02), (20, 0.012)):  # muscle, fat, bowel
        total += np.float32(strength) * shift(texture(canvas.size, cells), anatomy.knob, anatomy.heart)
    total += thorax.air * (np.float32(0.5) * thorax.markings - np.float32(AIR * (1 - 0.12 * anatomy.habitus)))
    total += thorax.heart * np.float32(0.1)
    total += draw_bones(canvas, anatomy, film, outline) * (1 - np.float32(0.55) * thorax.heart)
    total += thorax.added
    _open_airways(total, canvas, anatomy, outline)
    if anatomy.breast:
        _add_breasts(total, canvas, anatomy)
    if anatomy.bubble:
        _open_stomach(total, canvas, anatomy, outline)
    total *= flesh > 0
    return total


def _lung(canvas: Canvas, where: Window, side: int, outline: Outline, heart: Plane, air: Plane) -> Lung:
    """One side; its air, also that behind the diaphragm, is added to ``air``."""
    i = SIDES.index(side)
    half = (canvas.x - canvas.rows(outline.midline)) * np.float32(side)
    front = (canvas.x - canvas.rows(outline.turned)) * np.float32(side)
    inner, outer = outline.medial, outline.lateral[i]
    z = (half - canvas.rows((inner + outer) / 2)) / canvas.rows((outer - inner) / 2 + np.float32(1e-4))
    profile = np.sqrt(np.maximum(1 - z * z, 0))
    profile = (np.float32(0.6) + np.float32(0.4) * profile) * np.sqrt(profile)
    beside = ramp(front - canvas.rows(outline.mediastinum[i]), 0.02)
    down = canvas.y - over(outline.dome[i], half)
    above = ramp(-down, 0.016)
    behind = (1 - above) * np.float32(0.2) * np.exp(np.clip(down, 0, 1) * np.float32(-9))
    profile *= beside
    profile *= canvas.rows(np.clip((LINE - np.float32(outline.apex)) / np.float32(0.02), 0, 1))
    profile *= 1 - np.float32(0.82) * heart
    air[where] += profile * (above + behind)
    edge = ramp(1 - np.abs(z), 0.03)
    edge *= beside
    return Lung(canvas, where, half, profile * above, edge, above)


def _heart(canvas: Canvas, outline: Outline) -> Plane:
    right, left = outline.heart
    centre, reach = (left - right) / 2 + outline.turned, np.maximum((left + right) / 2, np.float32(1e-4))
    z = (canvas.x - canvas.rows(centre)) / canvas.rows(reach)
    z *= z
    extent = smooth((LINE - outline.heart_top) / 0.15) * smooth((max(outline.base) + 0.16 - LINE) / 0.14)
    return np.sqrt(np.sqrt(np.maximum(1 - z, 0))) * canvas.rows(extent.astype(np.float32))


def _markings(canvas: Canvas, seed: int, anatomy: Anatomy, outline: Outline) -> Plane:
    """Vessels, hilar shadows and the fine texture of the interstitium."""
    rng = generator(seed, 7, anatomy.number)
    markings = draw_vessels(canvas, seed, anatomy)
    for side in SIDES:
        x, y = hilum(anatomy, side)
        part, where = canvas.window((x - 0.2, x + 0.2), (y - 0.35, y + 0.35))
        near = ((part.x - x + 0.02 * side) / 0.075) ** 2 + ((part.y - y) / 0.13) ** 2
        markings[where] += np.float32(0.5) * np.exp(-near)
    for cells, strength in ((7, 0.05), (20, 0.03), (48, 0.045), (90, 0.05)):
        down, right = rng.random(2).tolist()
        markings += np.float32(strength) * shift(texture(canvas.size, cells), down, right)
    return markings


def _open_airways(total: Plane, full: Canvas, anatomy: Anatomy, outline: Outline) -> None:
    """Trachea and main bronchi as dark bands."""
    canvas, where = full.window((-0.4, 0.4), (-9, 0.1))
    split = anatomy.knob_y + 0.16
    x, y = canvas.x - canvas.rows(outline.turned) + np.float32(0.012), canvas.y
    tube = np.sqrt(np.clip(1 - (x / 0.04) ** 2, 0, 1)) * ramp(split - y, 0.05)
    for side, slope in ((-1, 1.0), (1, 0.62)):
        along = x * side
        line = split - 0.02 + slope * along
        bronchus = np.sqrt(np.clip(1 - ((y - line) / 0.035) ** 2, 0, 1))
        tube = np.maximum(tube, bronchus * ramp(along, 0.03) * ramp(0.17 - along, 0.06) * 0.7)
    total[where] -= np.float32(0.17) * tube


def _add_breasts(total: Plane, full: Canvas, anatomy: Anatomy) -> None:
    for side in SIDES:
        middle = 0.58 * side * anatomy.wall
        canvas, where = full.window((middle - 0.36, middle + 0.36), (-0.3, 0.5))
        across = (canvas.x - middle) / 0.36
        down = (canvas.y - 0.2) / np.where(canvas.y > 0.2, np.float32(0.3), np.float32(0.5))
        total[where] += anatomy.breast * np.sqrt(np.clip(1 - across * across - down * down, 0, 1))


def _open_stomach(total: Plane, full: Canvas, anatomy: Anatomy, outline: Outline) -> None:
    """Gas in the stomach below the left dome."""
    y = outline.base[1] + 0.05 + 0.6 * anatomy.bubble
    x, breadth = 0.48 * anatomy.wall, 1.5 * anatomy.bubble
    canvas, where = full.window((x - breadth, x + breadth), (y - anatomy.bubble, y + anatomy.bubble))
    across = (canvas.x - x) / breadth
    down = (canvas.y - y) / np.where(canvas.y > y, np.float32(0.4), np.float32(0.8))
    total[where] -= np.float32(0.22) * np.sqrt(np.clip(1 - across**2 - (down / anatomy.bubble) ** 2, 0, 1))
