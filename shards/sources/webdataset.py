"""Samples from an existing webdataset: tar files that hold an image and a text under one key, side by side.

Nothing is extracted: survey walks the archives once and remembers where each image lies. Only plain archives of regular
members are taken, and only whole ones, because a webdataset reader does not notice what is missing.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format import ATTENTION, DISTILLED, METADATA
from ecamp_fast.shards.image import decode
from ecamp_fast.shards.refusal import BadImage
from ecamp_fast.shards.source import Fault, Listing, Picture, Record
from ecamp_fast.shards.sources.files import IMAGES, MAX_BYTES, picture
from ecamp_fast.text.cleaning import is_empty, read_text

_TEXT_BYTES = 2**20  # of a report, of metadata, of an extended header
_SPLITS = ("train", "val", "test")
_TEXTS = ("txt", "text", "report")
_MEND = "make the archive again from its source"


@dataclass(slots=True)
class _Group:
    """The members of one key, as long as they follow each other.  places: ending -> (offset, size)."""

    key: str
    places: dict[str, tuple[int, int]] = field(default_factory=dict)


class WebdatasetSource:
    """``path``: a tar file, or a folder of them (read in the order of their names).

    Members KEY.jpg (or .png, .dcm, ...), KEY.txt, and optionally KEY.distilled.txt, KEY.attn.pgm, and KEY.json with
    study_id, patient_id, split, view, labels, columns, image; masks and boxes are not taken over. A split that the
    metadata lacks is read off the archive's name (train-000000.tar), if all archives have one.
    """

    kind = "webdataset"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.folder = self.path.parent if self.path.is_file() else self.path
        self.description: dict[str, Any] = {"kind": self.kind, "file": self.path.name}

    def survey(self) -> Listing:
        """A record for every sample with an image and a report; every damage of an archive is a fault."""
        archives = [self.path] if self.path.is_file() else sorted(self.path.glob("*.tar"))
        if not archives:
            raise DataError(f"{self.path}: no .tar file", "name a tar file or the folder that holds them")
        listing = Listing([])
        seen: dict[str, str] = {}
        splits = {archive.name: _split(archive.name) for archive in archives}
        if not all(splits.values()):
            splits = {}
        for archive in archives:
            try:
                with open(archive, "rb") as file:
                    for group in _groups(file, archive.name, listing):
                        self._add(listing, file, archive.name, group, seen, splits.get(archive.name, ""))
            except OSError as error:
                listing.faults.append(Fault(archive.name, f"cannot be read: {error.strerror}", "check its permissions"))
        return listing

    def load(self, record: Record) -> Picture:
        """Read and decode an image, and its attention map, where the survey found them.  Raises BadImage."""
        loaded = picture(self._bytes(record.place))
        return replace(loaded, attention=decode(self._bytes(record.attention))) if record.attention else loaded

    def _bytes(self, place: str) -> bytes:
        name, offset, size = place.rsplit(":", 2)
        try:
            with open(self.folder / name, "rb") as file:
                data = os.pread(file.fileno(), int(size), int(offset))
        except OSError as error:
            raise BadImage(f"cannot be read: {error.strerror}", "check the archive", "unreadable") from None
        if len(data) < int(size):
            raise BadImage("the archive has become shorter", _MEND)
        return data

    def _add(
        self, listing: Listing, file: BinaryIO, archive: str, group: _Group, seen: dict[str, str], split: str
    ) -> None:
        where = f"{archive}: {group.key}"
        if group.key in seen:
            what = f"its key came before, in {seen[group.key]}: a duplicate, or members that do not follow each other"
            listing.faults.append(Fault(where, what, _MEND))
            return
        seen[group.key] = archive
        images = [ending for ending in group.places if f".{ending}" in IMAGES]
        texts = [ending for ending in _TEXTS if ending in group.places]
        if len(images) != 1 or not texts:
            what = f"{len(images)} images and {len(texts)} texts; one image and its text make a sample"
            listing.absent.append(Fault(where, what, _MEND, "missing" if not images else "no-text"))
            return
        try:
            record = Record(where, len(listing.records), group.key, Path(group.key).name, "", "", split=split)
            record.place = _place(archive, group.places[images[0]])
            record.attention = _place(archive, group.places.get(ATTENTION))
            _describe(record, listing, file, group.places, texts[0])
        except ValueError as error:
            listing.faults.append(Fault(where, str(error), _MEND))
            return
        if is_empty(record.report):
            listing.dropped_empty += 1
        else:
            listing.records.append(record)


def _groups(file: BinaryIO, name: str, listing: Listing) -> Iterator[_Group]:
    """Members that follow each other and share a key; damage becomes faults, and ends the walk."""
    size = os.fstat(file.fileno()).st_size
    group: _Group | None = None
    end = 0
    try:
        with tarfile.open(fileobj=_Capped(file), mode="r:") as archive:  # type: ignore[call-overload]
            for member in archive:
                end = max(end, archive.offset)
                if member.isdir():
                    continue
                fault = _refused(member, size)
                if fault:
                    listing.faults.append(Fault(f"{name}: {_shown(member.name)}", fault, _MEND))
                    return
                key, ending = _parts(member.name)
                if group is None or group.key != key:
                    if group:
                        yield group
                    group = _Group(key)
                if ending in group.places:
                    listing.faults.append(Fault(f"{name}: {key}", f"two members .{ending}", _MEND))
                group.places[ending] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        listing.faults.append(Fault(name, f"not a readable plain tar: {error}", _MEND))
        return
    if group:
        yield group
    else:
        listing.faults.append(Fault(name, "holds no member", _MEND))
    if not _ends(file, end, size):
        what = f"no end of archive behind byte {end:,} of {size:,}: cut off, or damaged there"
        listing.faults.append(Fault(name, what, _MEND))


class _Capped:
    """A file whose reader cannot ask for more than an extended header may hold: tar headers state their own size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        """At most ``_TEXT_BYTES``.  Raises ValueError for more."""
        if not 0 <= size <= _TEXT_BYTES:
            raise ValueError(f"an extended header of {size:,} bytes")
        return self._file.read(size)


def _refused(member: tarfile.TarInfo, size: int) -> str | None:
    parts = member.name.split("/")
    if not member.isreg() or member.issparse():
        return "not a regular file"
    if member.name.startswith("/") or ".." in parts:
        return "its name leads out of the archive"
    if member.size > MAX_BYTES:
        return f"{member.size / 2**20:,.0f} MiB, the limit is {MAX_BYTES // 2**20}"
    if member.offset_data + member.size > size:
        return "the archive ends before it does"
    return None


def _ends(file: BinaryIO, end: int, size: int) -> bool:
    """Whether nothing but zeros follows byte ``end``, two blocks of them at least."""
    if size - end < 2 * tarfile.BLOCKSIZE or size - end > 2**20:
        return False
    rest = os.pread(file.fileno(), size - end, end)
    return not any(rest)


def _parts(name: str) -> tuple[str, str]:
    """Key and ending as webdataset parts them: at the first dot of the last part of the name."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return folder + slash + stem, ending.lower()


def _place(archive: str, place: tuple[int, int] | None) -> str:
    return f"{archive}:{place[0]}:{place[1]}" if place else ""


def _describe(
    record: Record, listing: Listing, file: BinaryIO, places: dict[str, tuple[int, int]], report: str
) -> None:
    """Fill in what text and metadata say.  Raises ValueError: too long, or metadata that are no JSON object."""
    record.report, encoding = _text(file, places[report])
    if encoding != "utf-8":
        listing.notes.append(f"{record.origin}.{report} is not UTF-8: read as {encoding}")
    if DISTILLED in places:
        record.distilled = _text(file, places[DISTILLED])[0] or None
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


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:20]}...")
