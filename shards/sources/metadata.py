"""The metadata of a sample in a webdataset, KEY.json: what a record takes of it, and what it leaves out."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from ecamp_fast.shards.format.labels import positives, read_labels
from ecamp_fast.shards.sources.base import BOX, Box, Record
from ecamp_fast.shards.sources.cells import cell, identifier
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.strict_json import parse_json

_NAMES = {"study_id": identifier, "patient_id": identifier, "split": cell, "view": cell}
_REMADE = ("row", "width", "height", "source_width", "source_height")  # stated by our own sets, and made anew
_KINDS = {"image": "no text", "labels": "no 1, 0 and -1 by name", "columns": "no object", "masks": "no names of masks"}
_EXACT = 2**53  # whole floats are exact up to here
_LISTED = 5  # fields in the note


class LeftOut:
    """Counts the fields that no record takes."""

    def __init__(self) -> None:
        self._fields: Counter[str] = Counter()

    def add(self, field: str, why: str = "") -> None:
        """why: it is left out, though its name is known"""
        self._fields[f"{redact(field)} ({why})" if why else redact(field)] += 1

    @property
    def notes(self) -> list[str]:
        """One line, or none where nothing was left out."""
        if not self._fields:
            return []
        counts = self._fields.most_common(_LISTED)
        listed = ", ".join(f"{field} of {count:,} sample{'s' if count > 1 else ''}" for field, count in counts)
        more = f" and {len(self._fields) - _LISTED:,} more fields" if len(self._fields) > _LISTED else ""
        return [f"metadata left out: {listed}{more}"]


def describe(record: Record, text: str, left_out: LeftOut) -> None:
    """Give a record what its metadata states.  Raises ValueError: no JSON object, no names, or boxes that are none."""
    try:
        tree = parse_json(text)
    except RecursionError:
        tree = None
    if not isinstance(tree, dict):
        raise ValueError("its .json is no object")
    for name, read in _NAMES.items():
        stated = read(_name(name, tree.pop(name, None)))
        if stated:
            setattr(record, name, stated)
    record.boxes = _boxes(tree.pop("boxes", []))
    for field, value in tree.items():
        if field == "image" and isinstance(value, str):
            record.stem = Path(value).stem
        elif field == "labels" and isinstance(value, list):
            record.labels = positives(filter(None, (cell(str(label)) for label in value)))
        elif field == "labels" and isinstance(value, dict) and read_labels(value) is not None:
            record.labels = value
        elif field == "masks" and isinstance(value, list) and record.masks:
            record.masks = _named(record.masks, value)
        elif field == "columns" and isinstance(value, dict):
            record.columns = {str(name): str(value) for name, value in value.items()}
        elif field in _KINDS and value is not None:
            left_out.add(field, _KINDS[field])
        elif field not in (*_KINDS, *_REMADE):
            left_out.add(field)


def _named(masks: dict[str, str], names: list[Any]) -> dict[str, str]:
    """The place of the picture of all planes under the name of each.  Raises ValueError."""
    if not all(isinstance(name, str) and name for name in names) or len({*names}) != len(names):
        raise ValueError('its "masks" are no names, or have one twice')
    return dict.fromkeys(names, *masks.values()) or masks


def _name(field: str, value: Any) -> str:
    """A name, '' where there is none; pandas writes whole numbers as 7.0.  Raises ValueError."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f'its "{field}" is neither a text nor a whole number')
    return str(value)


def _boxes(listed: Any) -> tuple[Box, ...]:
    """The boxes of the metadata.  Raises ValueError."""
    try:
        boxes = [_box(box) for box in listed]
        valid = all(
            math.isfinite(x + y + width + height) and min(width, height) > 0 for _, x, y, width, height in boxes
        )
    except (TypeError, KeyError, ValueError, OverflowError):
        valid = False
    if not valid:
        raise ValueError(f'its "boxes" have not all a finding and the numbers {", ".join(BOX)}')
    return tuple(boxes)


def _box(tree: Any) -> Box:
    x, y, width, height = (float(tree[name]) for name in BOX)
    return str(tree["finding"]), x, y, width, height
