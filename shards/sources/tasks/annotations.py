"""Masks and boxes beside a picture: cells of tables to records, and records to what is loaded."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ecamp_fast.shards.format.manifest import PLANES
from ecamp_fast.shards.images.limits import ANNOTATION, BadImage
from ecamp_fast.shards.images.planes import check_runs, fits, from_runs, read_mask, stack
from ecamp_fast.shards.sources.base import BOX, Box, Listing, Record, RecordFault, SourceImage
from ecamp_fast.shards.sources.cells import cell
from ecamp_fast.shards.sources.files import read_bytes
from ecamp_fast.shards.sources.redact import redact_place
from ecamp_fast.shards.sources.tasks.protocol import CANVAS, RIGA_CUP, RIGA_PLANES
from ecamp_fast.strict_json import parse_json

EMPTY = "empty"  # a place: the mask is known, and nothing is there
_RUNS = "runs:"  # a place that is the mask itself, as run lengths; several are parted by |
_NEAR = 1.0  # pixels that a box may stand out, of those that it is stated in: edges are rounded


def annotated(loaded: SourceImage, record: Record, folder: Path, names: Sequence[str], canvas: int = 0) -> SourceImage:
    """A picture with the masks and the boxes of its record.

    folder  that places of masks are relative to
    names   planes of the set, in order; of a record with masks, those it does not name are empty
    canvas  pixels a side that boxes refer to, however large the picture is; 0: the picture's own
    Raises BadImage, of the kind ``ANNOTATION``: an unreadable mask, one of another shape, a box outside.
    """
    boxes = tuple(_placed(box, loaded.size, canvas) for box in record.boxes)
    if not record.masks or not names:  # no names: there are too many, which the listing tells
        return replace(loaded, boxes=boxes)
    read: dict[str, np.ndarray] = {}
    planes = []
    for name in names:
        place = record.masks.get(name, EMPTY)
        if place not in read and place != EMPTY:
            read[place] = _mask(place, folder, loaded.size)
        mask = read.get(place)
        planes.append(np.zeros(loaded.size[::-1], bool) if mask is None else _plane(name, mask, names))
    return replace(loaded, boxes=boxes, masks=stack(planes), mask_names=tuple(names))


def _mask(place: str, folder: Path, size: tuple[int, int]) -> np.ndarray:
    if place.startswith(_RUNS):
        return fits(np.logical_or.reduce([from_runs(text, CANVAS) for text in place[len(_RUNS) :].split("|")]), size)
    try:
        return fits(read_mask(read_bytes(folder / place)), size)
    except BadImage as bad:
        raise BadImage(f"mask {redact_place(place)}: {bad.what}", bad.hint, ANNOTATION) from None


def _plane(name: str, mask: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """RIGA has two planes in one picture of grey values; every other mask is what is not black."""
    return mask == RIGA_CUP if tuple(names) == RIGA_PLANES and name == RIGA_PLANES[1] else mask != 0


def _placed(box: Box, size: tuple[int, int], canvas: int) -> Box:
    """A box in pixels of the picture.  Raises BadImage where it is not within."""
    finding, x, y, width, height = box
    across, down = (canvas, canvas) if canvas else size
    if min(x, y) < -_NEAR or x + width > across + _NEAR or y + height > down + _NEAR:
        corners = f"{x:g}, {y:g} to {x + width:g}, {y + height:g}"
        raise BadImage(f"a box outside: {corners} of {across} x {down}", "correct or remove it", ANNOTATION)
    return finding, x * size[0] / across, y * size[1] / down, width * size[0] / across, height * size[1] / down


def runs_place(texts: Sequence[str]) -> str:
    """The place of a mask that is the union of run lengths.  Raises ValueError where they are broken."""
    for text in texts:
        fault = check_runs(text, CANVAS)
        if fault:
            raise ValueError(fault)
    return _RUNS + "|".join(dict.fromkeys(texts))


def parse_boxes(text: str, finding: str) -> tuple[Box, ...]:
    """The boxes of a cell: a list of [x1, y1, x2, y2], of objects with finding, x, y, width, height, or nothing.

    text: as the table has it: a list of nan is no empty cell, but boxes that are broken
    finding: of boxes that name none. A box of zeros is none, as in the lists of RSNA.  Raises ValueError.
    """
    if not cell(text) and "[" not in text:
        return ()
    try:
        listed = parse_json(text)
        if not isinstance(listed, list):
            raise TypeError
        boxes = [_box(one, finding) for one in listed]
    except (TypeError, KeyError, ValueError, OverflowError, RecursionError):
        raise ValueError("boxes that are no list of [x1, y1, x2, y2]") from None
    return checked(box for box in boxes if any(box[1:]))


def checked(boxes: Any) -> tuple[Box, ...]:
    """The boxes themselves.  Raises ValueError where one has no extent, is not finite or comes twice."""
    listed = tuple(boxes)
    if not all(math.isfinite(sum(box[1:])) and min(box[3:]) > 0 for box in listed):
        raise ValueError("a box without width and height")
    if len({*listed}) < len(listed):
        raise ValueError("the same box twice")
    return listed


def _box(tree: Any, finding: str) -> Box:
    """A box of a list.  Raises TypeError, KeyError, ValueError, OverflowError where it is none."""
    if isinstance(tree, dict):
        name = tree.get("finding", finding)
        if not isinstance(name, str) or not name.strip():
            raise TypeError
        x, y, width, height = (_number(tree[side]) for side in BOX)
        return name.strip(), x, y, width, height
    if not isinstance(tree, list):  # a text of four digits has four parts too
        raise TypeError
    x1, y1, x2, y2 = map(_number, tree)
    return finding, x1, y1, x2 - x1, y2 - y1


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError
    return float(value)


def name_planes(listing: Listing, order: Sequence[str] = ()) -> tuple[str, ...]:
    """The planes of all records, in ``order`` first, then as they come; more than 16 are a fault of the listing."""
    names = dict.fromkeys(order)
    for record in listing.records:
        names.update(dict.fromkeys(record.masks))
    if len(names) > PLANES:
        what = f"{len(names)} kinds of masks, a pixel has room for {PLANES}"
        listing.faults.append(RecordFault("masks", what, "leave some out"))
        return ()
    return tuple(names)
