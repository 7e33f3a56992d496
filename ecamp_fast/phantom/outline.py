"""The outlines of one study: body, lungs, diaphragm, mediastinum and heart as curves of x or y."""

from dataclasses import dataclass

import numpy as np

from ecamp_fast.phantom.anatomy import Acquisition, Anatomy
from ecamp_fast.phantom.canvas import LINE, Plane, bump, smooth

SIDES = (-1, 1)  # the patient's right (image left), the patient's left


@dataclass(frozen=True)
class Outline:
    """Curves tabulated on LINE. Pairs are (patient's right, patient's left), in distance from the midline.

    Functions of y: ``body`` (half width), ``midline`` (x of the spine), ``turned`` (x of what lies in front of it),
    ``lateral`` and ``medial`` borders of the lungs, ``mediastinum`` and ``heart`` borders.
    Functions of the distance from the midline: ``dome`` (y of the diaphragm).
    """

    body: Plane
    midline: Plane
    turned: Plane
    apex: float
    base: tuple[float, float]
    lateral: tuple[Plane, Plane]
    medial: Plane
    mediastinum: tuple[Plane, Plane]
    heart: tuple[Plane, Plane]
    heart_top: float
    dome: tuple[Plane, Plane]

    def place(self, side: int, t: float, s: float) -> tuple[float, float]:
        """Chest coordinates of a place in a lung: t from medial (0) to lateral (1), s from apex (0) to dome (1)."""
        i = SIDES.index(side)
        top = float(self.dome[i].min())
        y = self.apex + s * (top - self.apex)
        inner, outer, middle = (float(np.interp(y, LINE, c)) for c in (self.medial, self.lateral[i], self.midline))
        inner = max(inner, float(np.interp(y, LINE, self.mediastinum[i])))
        return middle + side * (inner + t * (outer - inner)), y


def draw_outline(anatomy: Anatomy, film: Acquisition, enlarged: bool, raised: tuple[float, float]) -> Outline:
    """The curves of a study. ``enlarged``: cardiomegaly; ``raised``: volume loss, moves a dome upwards."""
    y = LINE
    tops = (anatomy.dome[0] + film.inspiration - raised[0], anatomy.dome[1] + film.inspiration - raised[1])
    lateral = (_lateral(anatomy, tops[0]), _lateral(anatomy, tops[1]))
    midline = np.float32(anatomy.spine_bend) * np.sin((y + 0.2) * 2.6) * smooth(y + 1)
    return Outline(
        body=_body(anatomy),
        midline=midline,
        turned=midline + np.float32(film.turn * 1.5),
        apex=anatomy.apex,
        base=tops,
        lateral=lateral,
        medial=_medial(anatomy),
        mediastinum=_mediastinum(anatomy, film),
        heart_top=anatomy.knob_y + 0.15,
        heart=_heart(anatomy, film, enlarged, max(tops)),
        dome=(_dome(anatomy, tops[0], lateral[0]), _dome(anatomy, tops[1], lateral[1])),
    )


def _body(anatomy: Anatomy) -> Plane:
    y = LINE
    neck, shoulder = 0.26 + 0.12 * anatomy.habitus, 1.3
    slope = np.clip((y - anatomy.shoulder + 0.42) / 0.45, 0, 1)
    upper = neck + (shoulder - neck) * (0.3 * slope + 0.7 * slope**3)
    return upper + (anatomy.torso - shoulder) * smooth((y + 0.62) / 0.5)


def _lateral(anatomy: Anatomy, top: float) -> Plane:
    """Inner side of the chest wall: narrow at the apex, widest low down, drawn in a little at the angles."""
    bottom = top + anatomy.sulcus
    s = np.clip((LINE - anatomy.apex) / (bottom - anatomy.apex), 0, 1)
    tip = 0.4 * anatomy.wall
    breadth = np.sqrt(1 - (1 - np.clip(1.12 * s, 0, 1)) ** np.float32(anatomy.barrel))
    return (tip + (anatomy.wall - tip) * breadth * (1 - 0.05 * s**4)).astype(np.float32)


def _medial(anatomy: Anatomy) -> Plane:
    s = np.clip((LINE - anatomy.apex) / 0.3, 0, 1)
    tip, inner = 0.4 * anatomy.wall, 0.03
    return (tip - (tip - inner) * np.sqrt(1 - (1 - s) ** 2)).astype(np.float32)


def _mediastinum(anatomy: Anatomy, film: Acquisition) -> tuple[Plane, Plane]:
    """Right: brachiocephalic vessels and superior vena cava. Left: aortic knob, pulmonary trunk, descending aorta."""
    y, width = LINE, anatomy.mediastinum * (1.12 if film.view == "AP" else 1.0)
    neck = 0.05 * smooth((-0.45 - y) / 0.4)
    right = width * (0.92 + 0.12 * bump(y, -0.4, 0.2)) + neck
    left = width * 0.8 + neck + anatomy.knob * bump(y, anatomy.knob_y, 0.085)
    left += 0.06 * bump(y, anatomy.knob_y + 0.24, 0.08) + 0.03 * smooth((y - anatomy.knob_y) / 0.3)
    wobble = 0.006 * np.sin(23 * y + 40 * anatomy.knob)
    return (right + wobble).astype(np.float32), (left + wobble).astype(np.float32)


def _heart(anatomy: Anatomy, film: Acquisition, enlarged: bool, floor: float) -> tuple[Plane, Plane]:
    ratio = anatomy.enlarged_heart if enlarged else anatomy.heart
    width = 2 * anatomy.wall * ratio * (1.03 if film.view == "AP" else 1.0)
    share = anatomy.heart_tilt
    top = anatomy.knob_y + 0.2
    low = floor + 0.02  # where the left border is widest
    inner = 0.8 * anatomy.mediastinum
    g = np.clip((LINE - top) / (low - top), 0, 1)
    below = np.sqrt(np.clip(1 - (np.clip(LINE - low, 0, None) / 0.2) ** 2, 0, 1))
    left = (inner + (width * share - inner) * np.sin(g * np.pi / 2) ** (1.1 if enlarged else 1.35)) * below
    middle = 0.5 * (top + low) + 0.1
    bulge = np.sqrt(np.clip(1 - ((LINE - middle) / (0.62 * (low - top))) ** 2, 0, 1))
    right = inner + (width * (1 - share) - inner) * bulge
    return right.astype(np.float32), left.astype(np.float32)


def _dome(anatomy: Anatomy, top: float, lateral: Plane) -> Plane:
    """y of the diaphragm over the distance from the midline: highest off the middle, down into the angle."""
    wall = float(np.interp(top, LINE, lateral))
    crest = 0.46 * wall
    outward = np.clip((LINE - crest) / (wall - crest), 0, 1.6)
    inward = np.clip((crest - LINE) / crest, 0, 2)
    fall = anatomy.sulcus * (0.35 * outward**2 + 0.65 * outward**5) + 0.09 * anatomy.arch * inward**2
    return (top + fall).astype(np.float32)
