"""Samples from an existing webdataset: tar files that hold an image and a text under one key, side by side.

Nothing is extracted: ``list_records`` walks the archives once and remembers where each image lies. Only plain archives
of regular members are taken, and only whole ones, because a webdataset reader does not notice what is missing. What
another writer does otherwise is put in order: members that do not follow each other, endings in capitals, members of
other kinds.
"""

import io
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format.labels import class_order
from ecamp_fast.shards.format.manifest import ATTENTION, DISTILLED, MASKS, METADATA, TOKENS
from ecamp_fast.shards.images.encode import attention_map
from ecamp_fast.shards.images.jpeg_passthrough import as_built
from ecamp_fast.shards.images.limits import BadImage, check_size
from ecamp_fast.shards.sources.base import Listing, Record, RecordFault, SourceImage, several
from ecamp_fast.shards.sources.cells import cell, is_blank
from ecamp_fast.shards.sources.encodings import Encodings
from ecamp_fast.shards.sources.files import IMAGES, named, own_name, picture
from ecamp_fast.shards.sources.leftovers import Leftovers, passed_over
from ecamp_fast.shards.sources.metadata import LeftOut, describe
from ecamp_fast.shards.sources.selection.choice import ALL, Selection
from ecamp_fast.shards.sources.selection.views import ViewFilter
from ecamp_fast.shards.sources.tar import HINT, TEXTS, Places, groups
from ecamp_fast.shards.sources.tree import walk
from ecamp_fast.text.reading.cleaning import read_text

_TEXT_BYTES = 2**20  # of a report, of metadata
_SPLIT = re.compile(r"train|val|test|dev(?![a-z])", re.IGNORECASE)  # as the name of an archive begins
_PACKED = re.compile(r"\.tar\.(?!(?:idx|index|json|txt|md5|sha\d+)$)|\.t(?:gz|bz2?|xz|zst)$", re.IGNORECASE)
_IMAGES = tuple(ending.removeprefix(".") for ending in IMAGES)
_KNOWN = frozenset({*_IMAGES, *TEXTS, DISTILLED, ATTENTION, MASKS, METADATA, TOKENS})  # tokens are made anew


class WebdatasetSource:
    """``path``: a tar file, or a folder of them (read in the order of their names, those of its folders too).

    Members KEY.jpg (or .png, .dcm, ...), KEY.txt, and optionally KEY.distilled.txt, KEY.attn.pgm, KEY.masks.png (of the
    image's size, one bit for each finding), and KEY.json with study_id, patient_id, split, view, columns, image,
    labels (a list, or 1, 0 and -1 by name), boxes (each with finding, x, y, width, height in pixels), masks (names of
    the bits, alike in all samples). A split that the metadata lacks is read off the name of the archive
    (train-000000.tar) or of its folder (train/000000.tar); where some are named so, a sample of another that states no
    split is refused. Members of other kinds and other metadata are left out and counted.
    keep_empty: images without a text, or with one that says nothing, are taken alone; else they are left out
    """

    kind = "webdataset"

    def __init__(self, path: str | Path, *, keep_empty: bool = False, selection: Selection = ALL) -> None:
        self.path = Path(path)
        self.keep_empty = keep_empty
        self.selection = selection
        self.folder = self.path.parent if self.path.is_file() else self.path
        self.description: dict[str, Any] = {"kind": self.kind, "file": own_name(self.path)}
        if keep_empty:
            self.description["empty_reports"] = "keep"

    def list_records(self) -> Listing:
        """A record for every sample; every damage of an archive is a fault."""
        return self._list(with_images=True)

    def texts(self) -> Listing:
        """A record without a picture for every text; every damage of an archive is a fault."""
        return self._list(with_images=False)

    def _list(self, *, with_images: bool) -> Listing:
        listing = Listing([])
        archives = self._archives(listing)
        if not archives and not listing.faults:
            what = f"{self.path}: no .tar file{passed_over(listing.notes)}"
            raise DataError(what, "name a tar file or the folder that holds them")
        found = _Found(listing, self.keep_empty, with_images, self.selection.filter())
        for archive in archives:
            try:
                with open(self.folder / archive, "rb") as file:
                    for key, places in groups(file, archive, _KNOWN, listing, found.leftovers).items():
                        _add(found, file, archive, key, places, _split(archive))
            except OSError as error:
                listing.faults.append(
                    RecordFault(archive, f"cannot be read: {error.strerror}", "check its permissions")
                )
        found.refuse_bare()
        found.refuse_unsplit(archives)
        found.name_classes()
        if not found.seen and not listing.faults and found.leftovers.notes:
            what = f"{self.path}: no sample{passed_over(found.leftovers.notes)}"
            raise DataError(what, "names that begin with a dot are hidden, those of folders too: rename them")
        listing.notes += found.leftovers.notes + found.encodings.notes + found.left_out.notes
        self.selection.finish(listing, found.views, self.description)
        return listing

    def load(self, record: Record, short_side: int) -> SourceImage:
        """Read and decode an image, its attention map and its masks.  Raises BadImage."""
        data = self._bytes(record.place)
        loaded = picture(data, short_side)
        return self.annotate(replace(loaded, jpeg=data if as_built(data) else None), record)

    def annotate(self, loaded: SourceImage, record: Record) -> SourceImage:
        """See ``Annotating``."""
        with named("attention map"):
            attention = attention_map(self._bytes(record.attention)) if record.attention else None
        with named("masks"):
            place = next(iter(record.masks.values()), "")
            masks = _masks(self._bytes(place), loaded.size) if place else None
        return replace(
            loaded,
            attention=attention,
            masks=masks,
            mask_names=tuple(filter(None, record.masks)),
            boxes=record.boxes,
        )

    def _archives(self, listing: Listing) -> list[str]:
        """Places of the plain archives; what is packed otherwise is a fault, not something to pass over."""
        if self.path.is_file():
            return [self.path.name]
        tree = walk(self.path, lambda name: name.lower().endswith(".tar") or bool(_PACKED.search(name)))
        listing.faults += tree.faults
        listing.notes += tree.notes
        plain = [place for place in tree.places if place.lower().endswith(".tar")]
        hint = "unpack it to a plain .tar, or move it away"
        packed = sorted(set(tree.places) - set(plain))
        listing.faults += [RecordFault(place, "no plain tar: only those are read", hint) for place in packed]
        return plain

    def _bytes(self, place: str) -> bytes:
        name, offset, size = place.rsplit(":", 2)
        try:
            with open(self.folder / name, "rb") as file:
                data = os.pread(file.fileno(), int(size), int(offset))
        except OSError as error:
            raise BadImage(f"cannot be read: {error.strerror}", "check the archive", "unreadable") from None
        if len(data) < int(size):
            raise BadImage("the archive has become shorter", HINT)
        return data


@dataclass(slots=True)
class _Found:
    """What the archives hold so far.

    listing      receives records, faults and notes
    keep_empty   as the source has it
    with_images  False: texts are wanted alone
    views        which images are taken
    seen         key -> its archive
    bare         samples without metadata
    unsplit      archive -> its samples without a split
    encodings    texts that are not UTF-8
    left_out     metadata that no record takes
    leftovers    members that the operating system or an editor left
    """

    listing: Listing
    keep_empty: bool
    with_images: bool
    views: ViewFilter
    seen: dict[str, str] = field(default_factory=dict)
    bare: list[Record] = field(default_factory=list)
    unsplit: dict[str, list[Record]] = field(default_factory=dict)
    encodings: Encodings = field(default_factory=Encodings)
    left_out: LeftOut = field(default_factory=LeftOut)
    leftovers: Leftovers = field(default_factory=lambda: Leftovers("member"))

    def refuse_bare(self) -> None:
        """Where other samples state patient and split, one that has lost them is not whole."""
        if not self.with_images or not 0 < len(self.bare) < len(self.listing.records):
            return
        what = "no .json, which other samples have: its patient and split are not known"
        self.listing.absent += [RecordFault(record.origin, what, HINT, "no-metadata") for record in self.bare]
        self._drop(self.bare)

    def refuse_unsplit(self, archives: list[str]) -> None:
        """Where the names of other archives state their split, one whose samples would have none is to be named."""
        first = next((archive for archive in archives if _split(archive)), "")
        if not first or not self.with_images:
            return
        hint = "name every archive after its split, as train-*, val-* or test-*, or state it in every .json"
        for archive, records in self.unsplit.items():
            samples = several(len(records), "sample", "samples")
            what = f"its name states no split, that of {first} does; {samples} would have none"
            self.listing.faults.append(RecordFault(archive, what, hint))
            self._drop(records)

    def name_classes(self) -> None:
        """Classes and planes of the set; a sample that names its planes otherwise than the first one is at fault."""
        records = [record for record in self.listing.records if record.masks]
        first = tuple(records[0].masks) if records else ()
        for record in records:
            if tuple(record.masks) != first:
                what = f'its "masks" are not those of {records[0].origin}, in their order'
                self.listing.faults.append(RecordFault(record.origin, what, "give every sample the same planes"))
        self.listing.masks = tuple(filter(None, first))
        self.listing.labels = class_order(record.labels for record in self.listing.records)

    def _drop(self, records: list[Record]) -> None:
        lost = {record.origin for record in records}
        self.listing.records = [record for record in self.listing.records if record.origin not in lost]


def _add(found: _Found, file: BinaryIO, archive: str, key: str, places: Places, split: str) -> None:
    """Make a record of the members of one key, or say what is wrong with them."""
    where, listing = f"{archive}: {key}", found.listing
    if key in found.seen:
        listing.faults.append(RecordFault(where, f"its key came before, in {found.seen[key]}", HINT))
        return
    found.seen[key] = archive
    images = [ending for ending in places if ending in _IMAGES]
    texts = [ending for ending in TEXTS if ending in places]
    if not (texts or found.with_images):
        return
    if found.with_images and (len(images) != 1 or not (texts or found.keep_empty)):
        what = f"{len(images)} images and {len(texts)} texts; one image and its text make a sample"
        alone = len(images) == 1
        hint = f"{HINT}, or pass --empty-reports keep for images alone" if alone else HINT
        listing.absent.append(RecordFault(where, what, hint, "no-text" if images else "missing"))
        return
    try:
        record = Record(where, len(listing.records), key, Path(key).name, "", "", split=split)
        if found.with_images:
            record.place = _place(archive, places[images[0]])
            record.attention = _place(archive, places.get(ATTENTION))
            record.masks = {"": _place(archive, places[MASKS])} if MASKS in places else {}
        _describe(record, found, file, places, texts[:1])
    except ValueError as error:
        listing.faults.append(RecordFault(where, str(error), HINT))
        return
    if not found.views.takes(record.view):
        return
    if is_blank(record.report):
        if not found.keep_empty:
            listing.dropped_empty += 1
            return
        record.report, record.distilled = "", None
    listing.records.append(record)
    if METADATA not in places:
        found.bare.append(record)
    if not record.split:
        found.unsplit.setdefault(archive, []).append(record)


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
        raise BadImage(f"no PNG, or damaged: {type(error).__name__}", HINT) from None
    if mode not in ("L", "I;16") or values.shape != size[::-1]:
        stored = f"{values.shape[1]} x {values.shape[0]} pixels of kind {mode}"
        raise BadImage(f"{stored}; masks are grey and of the image's size, {size[0]} x {size[1]}", HINT)
    return values


def _describe(record: Record, found: _Found, file: BinaryIO, places: Places, reports: list[str]) -> None:
    """Fill in what text and metadata say.  Raises ValueError: a text too long, or metadata that are none."""
    for report in reports:
        record.report, encoding = _text(file, places[report])
        found.encodings.add(f"{record.origin}.{report}", encoding)
    if DISTILLED in places:
        distilled, encoding = _text(file, places[DISTILLED])
        record.distilled = distilled if not distilled or cell(distilled) else None
        found.encodings.add(f"{record.origin}.{DISTILLED}", encoding)
    if METADATA in places:
        describe(record, _text(file, places[METADATA])[0], found.left_out)


def _text(file: BinaryIO, place: tuple[int, int]) -> tuple[str, str]:
    """A text member and the name of its encoding.  Raises ValueError if it is longer than 1 MiB."""
    offset, size = place
    if size > _TEXT_BYTES:
        raise ValueError(f"a text of {size:,} bytes")
    text, encoding = read_text(os.pread(file.fileno(), size, offset))
    return text.strip(), encoding


def _split(place: str) -> str:
    """The split that an archive, or else the folder it lies in, is named after; '' if none."""
    named = (_SPLIT.match(part) for part in reversed(PurePosixPath(place).parts))
    return next((match[0].lower() for match in named if match), "")
