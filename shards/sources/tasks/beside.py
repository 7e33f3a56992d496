"""What a person's own table says of its images: classes, masks and boxes, in columns or in tables beside it."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.sources.base import BOX, Box, Listing, Record, RecordFault
from ecamp_fast.shards.sources.cells import cell
from ecamp_fast.shards.sources.files import absent
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.shards.sources.table import Table, origin, read_table
from ecamp_fast.shards.sources.tasks.annotations import checked, parse_boxes
from ecamp_fast.shards.sources.tasks.protocol import TASKS
from ecamp_fast.shards.sources.tasks.tables import among, stated

MASK, BOXES = "mask", "boxes"  # columns; mask.NAME where there are several
_FIX = "correct the row"


@dataclass(frozen=True, slots=True)
class Beside:
    """What is to be read beside a table.

    classes  in order: each a column of 1, 0, -1 or nothing, or all of them what a column ``labels`` lists some of
    masks    table with image_path, mask_path and label, a row for each mask
    boxes    table with image_path, label, x, y, width, height, a row for each box, in pixels of the image
    Paths are relative to the table that has them.
    """

    classes: tuple[str, ...] = ()
    masks: Path | None = None
    boxes: Path | None = None


NOTHING = Beside()


def parse_classes(value: str) -> tuple[str, ...]:
    """Names with commas between, or those of a data set in ``TASKS``.  Raises ConfigError where there is none."""
    if value in TASKS:
        return TASKS[value].classes
    names = tuple(dict.fromkeys(filter(None, map(str.strip, value.split(",")))))
    if not names:
        raise ConfigError(f"--labels '{value}': no class", "name them, as --labels Edema,Mass, or leave it out")
    return names


def is_mask(column: str) -> bool:
    """Whether a column holds masks."""
    return column == MASK or column.startswith(f"{MASK}.")


def _plane(column: str) -> str:
    return column.removeprefix(f"{MASK}.")


class Annotations:
    """Classes, masks and boxes of the images of one table. Faults of the tables beside it go to the listing.

    Raises DataError: a class that the table does not have, a table beside it that cannot be read.
    """

    def __init__(self, beside: Beside, path: Path, table: Table, listing: Listing) -> None:
        self._folder = path.parent
        self._listed = "labels" in table.columns
        self._classes = beside.classes
        missing = [name for name in beside.classes if name not in table.columns]
        if missing and not (self._listed and len(missing) == len(beside.classes)):
            beside_others = ", though of others" if self._listed else ", and no column 'labels'"
            what = f"{origin(path, 1)}: no column of class {', '.join(missing)}{beside_others}"
            raise DataError(what, "name the classes with --labels as the table does")
        self._masks: dict[str, dict[str, str]] = defaultdict(dict)
        self._boxes: dict[str, list[Box]] = defaultdict(list)
        self._columns = [name for name in table.columns if is_mask(name)]
        names = [_plane(column) for column in self._columns]
        if not all(names) or len({*names}) < len(names):
            what = f"{origin(path, 1)}: columns of masks without a name, or of one: {', '.join(self._columns)}"
            raise DataError(what, "call them mask.NAME, each by another name")
        images = {os.path.abspath(self._folder / cell(row["image_path"])) for _, row in table.rows}
        if beside.masks:
            self._read_masks(beside.masks, images, listing)
        if beside.boxes:
            self._read_boxes(beside.boxes, images, listing)

    def add(self, record: Record, row: Mapping[str, str], *, with_images: bool) -> list[RecordFault]:
        """Give a record what its row and the tables beside it say; what is wrong with it."""
        image = os.path.abspath(self._folder / record.place)
        try:
            if self._classes:
                own = all(name in row for name in self._classes)
                listed = filter(None, map(cell, row.get("labels", "").split(";")))
                record.labels = stated(row, self._classes) if own else among(listed, self._classes)
            record.boxes = checked((*parse_boxes(row.get(BOXES, ""), "box"), *self._boxes.get(image, ())))
        except ValueError as error:
            return [RecordFault(record.origin, str(error), _FIX)]
        own_masks = {_plane(column): cell(row[column]) for column in self._columns if cell(row[column])}
        twice = own_masks.keys() & self._masks.get(image, {}).keys()
        if twice:
            what = f"a mask {redact(min(twice))} in its row, and one in the table of masks"
            return [RecordFault(record.origin, what, _FIX)]
        record.masks = own_masks | self._masks.get(image, {})
        if not with_images:
            return []
        faults = (absent(record.origin, self._folder, place) for place in record.masks.values())
        return [RecordFault(fault.origin, f"mask {fault.what}", fault.hint) for fault in faults if fault]

    def _read_masks(self, path: Path, images: set[str], listing: Listing) -> None:
        for where, image, label, row in _rows(path, ("image_path", "mask_path", "label"), images, listing):
            place = cell(row["mask_path"])
            if not place or label in self._masks[image]:
                what = f"a second mask {label} of its image" if place else "no mask_path"
                listing.faults.append(RecordFault(where, what, _FIX))
            else:
                self._masks[image][label] = os.path.relpath(path.parent / place, self._folder)

    def _read_boxes(self, path: Path, images: set[str], listing: Listing) -> None:
        for where, image, label, row in _rows(path, ("image_path", "label", *BOX), images, listing):
            try:
                x, y, width, height = (float(row[name]) for name in BOX)
                boxes = checked([(label, x, y, width, height)])
            except ValueError:
                listing.faults.append(RecordFault(where, f"no box: {', '.join(BOX)} as numbers", _FIX))
                continue
            if boxes[0] in self._boxes[image]:
                listing.faults.append(RecordFault(where, "the same box as in a row before", "remove one of the rows"))
            else:
                self._boxes[image] += boxes


def _rows(
    path: Path, needed: tuple[str, ...], images: set[str], listing: Listing
) -> list[tuple[str, str, str, dict[str, str]]]:
    """Where, image, label and row of a table beside; images that the first table lacks are faults."""
    table = read_table(path, needed, needed)
    listing.faults += table.faults
    listing.notes += [table.note] if table.note else []
    found = []
    for line, row in table.rows:
        where, image = origin(path, line), os.path.abspath(path.parent / cell(row["image_path"]))
        if image not in images or not cell(row["label"]):
            what = "no label" if image in images else "its image is not in the table"
            listing.faults.append(RecordFault(where, what, "take both tables of one set"))
        else:
            found.append((where, image, cell(row["label"]), row))
    return found
