"""Samples from an existing webdataset: tar files that hold an image and a text under one key, side by side.

Nothing is extracted: survey walks the archives once and remembers where each image lies. Only plain archives of regular
members are taken, and only whole ones, because a webdataset reader does not notice what is missing. What another writer
does otherwise is put in order: members that do not follow each other, endings in capitals, members of other kinds.
"""

import io
import json
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format import ATTENTION, DISTILLED, MASKS, METADATA, TOKENS
from ecamp_fast.shards.image import decode
from ecamp_fast.shards.refusal import BadImage, check_size
from ecamp_fast.shards.source import BOX, Box, Fault, Listing, Picture, Record
from ecamp_fast.shards.sources.files import IMAGES, own_name, picture
from ecamp_fast.shards.sources.tar import MEND, Places, groups
from ecamp_fast.shards.verbatim import as_built
from ecamp_fast.text.cleaning import is_empty, read_text

_TEXT_BYTES = 2**20  # of a report, of metadata
_SPLITS = ("train", "val", "test")
_TEXTS = ("txt", "text", "report")
_IMAGES = tuple(ending.removeprefix(".") for ending in IMAGES)
_KNOWN = frozenset({*_IMAGES, *_TEXTS, DISTILLED, ATTENTION, MASKS, METADATA, TOKENS})  # tokens are made anew


class WebdatasetSource:
    """``path``: a tar file, or a folder of them (read in the order of their names).

    Members KEY.jpg (or .png, .dcm, ...), KEY.txt, and optionally KEY.distilled.txt, KEY.attn.pgm, KEY.masks.png (of the
    image's size, one bit for each finding), and KEY.json with study_id, patient_id, split, view, labels, columns,
    image, boxes (each with finding, x, y, width, height in pixels). A split that the metadata lacks is read off the
    archive's name (train-000000.tar), if all archives have one. Members of other kinds are left out and counted.
    keep_empty: images without a text, or with one that says nothing, are taken alone; else they are left out
    """

    kind = "webdataset"

    def __init__(self, path: str | Path, *, keep_empty: bool = False) -> None:
        self.path = Path(path)
        self.keep_empty = keep_empty
        self.folder = self.path.parent if self.path.is_file() else self.path
        self.description: dict[str, Any] = {"kind": self.kind, "file": own_name(self.path)}
        if keep_empty:
            self.description["empty_reports"] = "keep"

    def survey(self) -> Listing:
        """A record for every sample; every damage of an archive is a fault."""
        return self._list(with_images=True)

    def texts(self) -> Listing:
        """A record without a picture for every text; every damage of an archive is a fault."""
        return self._list(with_images=False)

    def _list(self, *, with_images: bool) -> Listing:
        archives = [self.path] if self.path.is_file() else sorted(self.path.glob("*.tar"))
        if not archives:
            raise DataError(f"{self.path}: no .tar file", "name a tar file or the folder that holds them")
        listing = Listing([])
        found = _Found(listing, self.keep_empty, with_images)
        splits = {archive.name: _split(archive.name) for archive in archives}
        if not all(splits.values()):
            splits = {}
        for archive in archives:
            try:
                with open(archive, "rb") as file:
                    for key, places in groups(file, archive.name, _KNOWN, listing).items():
                        _add(found, file, archive.name, key, places, splits.get(archive.name, ""))
            except OSError as error:
                listing.faults.append(Fault(archive.name, f"cannot be read: {error.strerror}", "check its permissions"))
        found.refuse_bare()
        return listing

    def load(self, record: Record, short_side: int) -> Picture:
        """Read and decode an image, its attention map and its masks, where the survey found them.  Raises BadImage."""
        data = self._bytes(record.place)
        loaded = picture(data, short_side)
        return replace(
            loaded,
            jpeg=data if as_built(data) else None,
            attention=decode(self._bytes(record.attention)) if record.attention else None,
            masks=_masks(self._bytes(record.masks), loaded.size) if record.masks else None,
            boxes=record.boxes,
        )

    def _bytes(self, place: str) -> bytes:
        name, offset, size = place.rsplit(":", 2)
        try:
            with open(self.folder / name, "rb") as file:
                data = os.pread(file.fileno(), int(size), int(offset))
        except OSError as error:
            raise BadImage(f"cannot be read: {error.strerror}", "check the archive", "unreadable") from None
        if len(data) < int(size):
            raise BadImage("the archive has become shorter", MEND)
        return data


@dataclass(slots=True)
class _Found:
    """What the archives hold so far.  seen: key -> its archive   bare: samples without metadata"""

    listing: Listing
    keep_empty: bool
    with_images: bool
    seen: dict[str, str] = field(default_factory=dict)
    bare: list[Record] = field(default_factory=list)

    def refuse_bare(self) -> None:
        """Where other samples state patient and split, one that has lost them is not whole."""
        if not self.with_images or not 0 < len(self.bare) < len(self.listing.records):
            return
        what = "no .json, which other samples have: its patient and split are not known"
        self.listing.absent += [Fault(record.origin, what, MEND, "no-metadata") for record in self.bare]
        lost = {record.origin for record in self.bare}
        self.listing.records = [record for record in self.listing.records if record.origin not in lost]


def _add(found: _Found, file: BinaryIO, archive: str, key: str, places: Places, split: str) -> None:
    """Make a record of the members of one key, or say what is wrong with them."""
    where, listing = f"{archive}: {key}", found.listing
    if key in found.seen:
        listing.faults.append(Fault(where, f"its key came before, in {found.seen[key]}", MEND))
        return
    found.seen[key] = archive
    images = [ending for ending in places if ending in _IMAGES]
    texts = [ending for ending in _TEXTS if ending in places]
    if not (texts or found.with_images):
        return
    if found.with_images and (len(images) != 1 or not (texts or found.keep_empty)):
        what = f"{len(images)} images and {len(texts)} texts; one image and its text make a sample"
        alone = len(images) == 1
        mend = f"{MEND}, or pass --empty-reports keep for images alone" if alone else MEND
        listing.absent.append(Fault(where, what, mend, "no-text" if images else "missing"))
        return
    try:
        record = Record(where, len(listing.records), key, Path(key).name, "", "", split=split)
        if found.with_images:
            record.place = _place(archive, places[images[0]])
            record.attention = _place(archive, places.get(ATTENTION))
            record.masks = _place(archive, places.get(MASKS))
        _describe(record, listing, file, places, texts[:1])
    except ValueError as error:
        listing.faults.append(Fault(where, str(error), MEND))
        return
    if is_empty(record.report):
        if not found.keep_empty:
            listing.dropped_empty += 1
            return
        record.report, record.distilled = "", None
    listing.records.append(record)
    if METADATA not in places:
        found.bare.append(record)


def _place(archive: str, place: tuple[int, int] | None) -> str:
    return f"{archive}:{place[0]}:{place[1]}" if place else ""


def _masks(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 or uint16 with every bit as stored.  Raises BadImage.  size: width and height of the image"""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as file:
            check_size(*file.size)
            mode, values = file.mode, np.array(file)
    except BadImage:
        raise
    except Exception as error:  # on damaged files Pillow's decoders raise whatever they stumble over
        raise BadImage(f"its masks are no PNG, or damaged: {type(error).__name__}", MEND) from None
    if mode not in ("L", "I;16") or values.shape != size[::-1]:
        shown = f"{values.shape[1]} x {values.shape[0]} pixels of kind {mode}"
        raise BadImage(f"its masks have {shown}; they are grey and of the image's size, {size[0]} x {size[1]}", MEND)
    return values


def _describe(record: Record, listing: Listing, file: BinaryIO, places: Places, reports: list[str]) -> None:
    """Fill in what text and metadata say.  Raises ValueError: too long, no JSON object, or boxes that are none."""
    for report in reports:
        record.report, encoding = _text(file, places[report])
        if encoding != "utf-8":
            listing.notes.append(f"{record.origin}.{report} is not UTF-8: read as {encoding}")
    if DISTILLED in places:
        record.distilled = _text(file, places[DISTILLED])[0]
    if METADATA not in places:
        return
    try:
        tree = json.loads(_text(file, places[METADATA])[0])
    except RecursionError:
        tree = None
    if not isinstance(tree, dict):
        raise ValueError("its .json is no object")
    for name in ("study_id", "patient_id", "split", "view"):
        value = tree.get(name)
        if isinstance(value, (str, int)) and str(value).strip():
            setattr(record, name, str(value).strip())
    if isinstance(tree.get("image"), str):
        record.stem = Path(tree["image"]).stem
    if isinstance(tree.get("labels"), list):
        record.labels = tuple(str(label) for label in tree["labels"])
    if isinstance(tree.get("columns"), dict):
        record.columns = {str(name): str(value) for name, value in tree["columns"].items()}
    record.boxes = _boxes(tree.get("boxes", []))


def _boxes(listed: Any) -> tuple[Box, ...]:
    """The boxes of the metadata.  Raises ValueError."""
    try:
        boxes = [_box(box) for box in listed]
        whole = all(
            math.isfinite(x + y + width + height) and min(width, height) > 0 for _, x, y, width, height in boxes
        )
    except (TypeError, KeyError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise ValueError(f'its "boxes" have not all a finding and the numbers {", ".join(BOX)}')
    return tuple(boxes)


def _box(tree: Any) -> Box:
    x, y, width, height = (float(tree[name]) for name in BOX)
    return str(tree["finding"]), x, y, width, height


def _text(file: BinaryIO, place: tuple[int, int]) -> tuple[str, str]:
    """A text member and the name of its encoding.  Raises ValueError if it is longer than 1 MiB."""
    offset, size = place
    if size > _TEXT_BYTES:
        raise ValueError(f"a text of {size:,} bytes")
    text, encoding = read_text(os.pread(file.fileno(), size, offset))
    return text.strip(), encoding


def _split(name: str) -> str:
    """The split an archive is named after, or ''."""
    return next((split for split in (*_SPLITS, "validate", "valid") if name.lower().startswith(split)), "")
