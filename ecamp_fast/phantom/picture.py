"""The picture of one study, with the masks, boxes and the attention map of what was planted in it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecamp_fast.geometry import ATTENTION_GRID
from ecamp_fast.phantom.anatomy import Acquisition, Anatomy, generator
from ecamp_fast.phantom.canvas import Plane, make_canvas, resize
from ecamp_fast.phantom.course import Lesion
from ecamp_fast.phantom.film import close_beam, expose
from ecamp_fast.phantom.findings import HEART_SCALE, RAISED, plant
from ecamp_fast.phantom.outline import SIDES, draw_outline
from ecamp_fast.phantom.thorax import attenuation, draw_thorax

CANVAS_SHARE = 0.5  # a film is no sharper than this: drawn at half its size, grain added at full size
MIN_CANVAS = 96

Box = tuple[str, int, int, int, int]


@dataclass(frozen=True)
class Picture:
    """See ``Phantom``."""

    image: NDArray[np.uint8]
    masks: dict[str, NDArray[np.bool_]]
    boxes: list[Box]
    attention: NDArray[np.uint8]


def draw_picture(
    seed: int, index: int, size: int, anatomy: Anatomy, film: Acquisition, lesions: tuple[Lesion, ...]
) -> Picture:
    """Draw a study at size x size pixels with these lesions."""
    hearts = [lesion.grade for lesion in lesions if lesion.finding == "cardiomegaly"]
    if hearts:
        anatomy = replace(anatomy, enlarged_heart=anatomy.enlarged_heart * HEART_SCALE[hearts[0]])
    raised = [0.0, 0.0]
    for lesion in lesions:
        if lesion.finding == "atelectasis":
            raised[SIDES.index(lesion.side)] = RAISED[lesion.grade]
    centre = (anatomy.off_centre[0] + film.shift[0], anatomy.off_centre[1] + film.shift[1])
    canvas = make_canvas(max(MIN_CANVAS, round(size * CANVAS_SHARE)), centre, film.tilt, anatomy.zoom * film.zoom)
    outline = draw_outline(anatomy, film, bool(hearts), (raised[0], raised[1]))
    thorax = draw_thorax(canvas, seed, anatomy, outline)
    extents = [plant(canvas, outline, thorax, lesion) for lesion in lesions]
    image = expose(attenuation(canvas, anatomy, film, outline, thorax), size, anatomy, film, generator(seed, 9, index))
    masks, boxes = _mark(lesions, extents, size, film)
    return Picture(image, masks, boxes, _attention(extents))


def _mark(
    lesions: tuple[Lesion, ...], extents: list[Plane], size: int, film: Acquisition
) -> tuple[dict[str, NDArray[np.bool_]], list[Box]]:
    masks: dict[str, NDArray[np.bool_]] = {}
    boxes = []
    for lesion, extent in zip(lesions, extents, strict=True):
        mask = _mask(extent, size, film)
        boxes.append((lesion.finding, *_box(mask)))
        masks[lesion.finding] = masks[lesion.finding] | mask if lesion.finding in masks else mask
    return masks, boxes


def _mask(extent: Plane, size: int, film: Acquisition) -> NDArray[np.bool_]:
    """Where the extent exceeds one half; in very small pictures at least its strongest pixel."""
    grey = np.asarray(Image.fromarray((extent * 255).astype(np.uint8)).resize((size, size), Image.Resampling.BILINEAR))
    grey = close_beam(grey.copy(), film)
    return grey >= min(128, max(int(grey.max()), 1))


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def _attention(extents: list[Plane]) -> NDArray[np.uint8]:
    """The lesions on a coarse grid, each as bright as the others, blurred."""
    grid = np.zeros((ATTENTION_GRID, ATTENTION_GRID), np.float32)
    for extent in extents:
        cells = resize(extent, ATTENTION_GRID, Image.Resampling.BOX)
        for axis in (0, 1, 0, 1):
            padded = np.pad(cells, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
            before, after = np.delete(padded, [-1, -2], axis), np.delete(padded, [0, 1], axis)
            cells = 0.25 * before + 0.5 * cells + 0.25 * after
        grid = np.maximum(grid, cells / max(float(cells.max()), 1e-6))
    return np.rint(grid * 255).astype(np.uint8)
