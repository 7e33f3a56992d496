"""The skeleton as attenuation: ribs and long bones as hollow tubes, vertebrae, shoulder blades."""

import numpy as np

from ecamp_fast.phantom.anatomy import Acquisition, Anatomy
from ecamp_fast.phantom.canvas import Canvas, Plane, bump, ramp, smooth
from ecamp_fast.phantom.outline import SIDES, Outline

RIBS = 12
POSTERIOR, ANTERIOR = 10, 7  # ribs that are seen


def draw_bones(canvas: Canvas, anatomy: Anatomy, film: Acquisition, outline: Outline) -> Plane:
    """(N, N) attenuation of bone, about 0.1 for a rib."""
    bones = np.zeros_like(canvas.x)
    sway = 1.1 * abs(anatomy.spine_bend) + 0.02
    for i, side in enumerate(SIDES):
        inner, outer = sorted((-side * sway, side * (anatomy.wall + 0.04 + sway)))
        part, where = canvas.window((inner, outer))
        half = (part.x - part.rows(outline.midline)) * np.float32(side)
        bones[where] += _ribs(part, half, part.rows(outline.lateral[i] + np.float32(0.035)), anatomy)
        turned = (canvas.x - canvas.rows(outline.turned)) * np.float32(side)
        _add_shoulder(bones, canvas, turned, side, anatomy, film)
    part, where = canvas.window((-0.12 - sway, 0.12 + sway))
    bones[where] += _spine(part, part.x - part.rows(outline.midline), anatomy)
    return bones


def _ribs(canvas: Canvas, half: Plane, wall: Plane, anatomy: Anatomy) -> Plane:
    """A rib runs from the spine outwards and down to the wall, turns, and comes back further down, in front.

    All ribs of a set share one formula, linear in the rib's number, so that the number at a pixel has a closed form.
    """
    t = half / wall
    near = np.clip(t, 0, 1)
    inside = np.sqrt(np.clip(1 - near * near, 0.0004, 1))
    steep = near / (inside * wall)
    fall, lift = np.float32(anatomy.rib_fall), np.float32(0.06)
    number = (canvas.y - np.float32(anatomy.apex + 0.02)) * np.float32(1 / anatomy.ribs)
    height = fall * (0.5 * near * near + 0.5 * (1 - inside)) - lift * t
    slope = fall * (near / wall + 0.5 * steep) - lift / wall
    strength = 0.2 * anatomy.rib_contrast
    wanted = ramp(1 - t, 0.04)
    ribs = _tubes(number - height / np.float32(anatomy.ribs), slope, anatomy.rib_width, _strengths(POSTERIOR))
    ribs *= smooth((half - np.float32(0.05)) * np.float32(1 / 0.16)) * np.float32(strength)
    height = fall + np.float32(0.34) * inside * (1.2 - 0.2 * inside)
    front = _tubes(
        number - height / np.float32(anatomy.ribs), 0.34 * steep, 1.25 * anatomy.rib_width, _strengths(ANTERIOR)
    )
    front *= smooth((t - np.float32(0.34)) * np.float32(1 / 0.3)) * np.float32(0.5 * strength)
    return (ribs + front) * wanted


def _tubes(number: Plane, slope: Plane, half_width: float, strengths: Plane) -> Plane:
    """Attenuation across ribs at whole values of ``number``; slope is dy/dx along the rib."""
    nearest = np.rint(number)
    d = (number - nearest) * np.float32(1 / half_width)
    d *= d
    slope = slope * slope
    slope += 1
    d /= slope
    strength = strengths.take(np.clip(nearest, -1, RIBS).astype(np.intp) + 1)
    return _tube(d) * strength


def _tube(square: Plane) -> Plane:
    """Attenuation of a hollow cylinder over the square of the distance from its axis in radii."""
    marrow = np.sqrt(np.maximum(np.float32(0.66) - square, 0))
    out = np.sqrt(np.maximum(1 - square, 0))
    marrow *= np.float32(0.75)
    out -= marrow
    return out


def _strengths(seen: int) -> Plane:
    """Strength of rib -1 .. RIBS: the first ``seen`` ribs, the uppermost fainter."""
    numbers = np.arange(-1, RIBS + 1)
    strength = np.where((numbers >= 0) & (numbers < seen), 1.0, 0.0)
    strength[1] *= 0.7
    return strength.astype(np.float32)


def _spine(canvas: Canvas, x: Plane, anatomy: Anatomy) -> Plane:
    """Vertebral bodies with end plates, pedicles and spinous processes, larger from top to bottom."""
    y = canvas.y
    number = (y + 0.1 * y * np.abs(y) + 1.2) / np.float32(anatomy.ribs * 0.93)
    phase = number - np.rint(number)
    half = 0.075 + 0.012 * y
    body = np.sqrt(np.clip(1 - (x / half) ** 2, 0, 1)) * (0.75 + 0.25 * ramp(0.4 - np.abs(phase), 0.1))
    plates = bump(np.abs(phase), 0.38, 0.05) * ramp(half - np.abs(x), 0.02)
    pedicles = np.exp(-(((np.abs(x) - 0.045) / 0.013) ** 2) - ((phase + 0.1) / 0.16) ** 2)
    process = np.exp(-((x / 0.014) ** 2) - ((phase - 0.2) / 0.22) ** 2)
    return (0.13 * body + 0.03 * plates + 0.05 * pedicles + 0.04 * process) * np.float32(anatomy.spine_contrast)


def _add_shoulder(bones: Plane, canvas: Canvas, turned: Plane, side: int, anatomy: Anatomy, film: Acquisition) -> None:
    """Clavicle; medial border of the shoulder blade, over the lung in AP views; upper arm."""
    portable = film.view == "AP"
    flat = 0.35 if portable else 1.0
    medial_y = anatomy.apex + (0.12 if portable else 0.22)
    reach = sorted((side * 0.0, side * 1.0))
    part, where = canvas.window((reach[0], reach[1]), (medial_y - anatomy.clavicle - 0.15, medial_y + 0.15))
    half = turned[where]
    u = np.clip((half - 0.07) / 0.75, 0, 1)
    line = medial_y - anatomy.clavicle * flat * u + 0.05 * flat * np.sin(u * 2 * np.pi)
    thick = 0.034 + 0.014 * bump(u, 0.0, 0.12)
    clavicle = _tube(((part.y - line) / thick) ** 2) * ramp(half - 0.075, 0.03) * ramp(0.86 - half, 0.03)
    bones[where] += np.float32(0.2) * clavicle

    edge = anatomy.wall * (0.84 if portable else 1.02)
    reach = sorted((side * (edge - 0.1), side * 2.0))
    part, where = canvas.window((reach[0], reach[1]), (-0.95, 1.2))
    half = turned[where]
    into = half - edge - 0.12 * (part.y + 0.35) ** 2
    blade = ramp(into, 0.03) * ramp(0.3 - into, 0.2)
    blade *= smooth((part.y + 0.75) / 0.15) * smooth((0.12 - part.y - 0.5 * into) / 0.2)
    bones[where] += blade * (0.05 + 0.06 * bump(into, 0.015, 0.015))
    down = part.y - np.float32(anatomy.shoulder + 0.1)
    shaft = np.clip(down, 0, 0.9)
    width = 0.1 + 0.06 * np.exp(-8 * shaft)
    arm = ((half - 1.0 - 0.16 * shaft) ** 2 + (down - shaft) ** 2) / (width * width)
    bones[where] += np.float32(0.2) * _tube(arm)
