"""The lists of the paper's protocol: which image is in which split, and what they say of it (SPEC 7).

Files ``train_list_1``, ``train_list_10``, ``train_list``, ``val_list`` and ``test_list``: text, a path and its labels a
line, or tables with the columns ``ImageId,EncodedPixels``, ``image_path,bbox`` or ``img_path,mask_path``.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format.labels import Labels
from ecamp_fast.shards.sources.base import Box, Listing, RecordFault, several
from ecamp_fast.shards.sources.cells import cell
from ecamp_fast.shards.sources.leftovers import is_leftover
from ecamp_fast.shards.sources.redact import redact_place
from ecamp_fast.shards.sources.table import origin, read_table, read_whole
from ecamp_fast.shards.sources.tasks.annotations import EMPTY, parse_boxes, runs_place
from ecamp_fast.shards.sources.tasks.protocol import PNEUMONIA, PNEUMOTHORAX, RIGA_PLANES, Dataset

_LIST = re.compile(r"(train|val|valid|test)_list(?:_(1|10|100))?\.(txt|csv)", re.IGNORECASE)
ORDER = ("test", "val", "train")  # where an image that is in several splits stays
_FRACTIONS = ("1", "10", "100")
_NEEDED = {
    "rle": ("ImageId", "EncodedPixels"),
    "bbox": ("image_path", "bbox"),
    "mask": ("img_path", "mask_path"),
}
_NO_MASK = "-1"
_REPAIR = "take the lists as they were published, or correct the row"


@dataclass(slots=True)
class Annotation:
    """What a list says of an image, None where it does not: labels, boxes, places of masks."""

    labels: Labels | None = None
    boxes: tuple[Box, ...] = ()
    masks: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Listed:
    """An image of the lists.

    name       as they have it
    row        where it stands first
    splits     it is in, test before val before train
    fractions  training lists it is in
    stated       of it
    """

    name: str
    row: str
    stated: Annotation
    splits: list[str] = field(default_factory=list)
    fractions: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """For messages: the row, and the image."""
        return f"{self.row} ({redact_place(self.name)})"


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    split: str
    fraction: str  # of a training list
    kind: str  # txt or csv

    @property
    def name(self) -> str:
        return self.fraction if self.split == "train" else self.split


def read_lists(folder: Path, task: Dataset, listing: Listing) -> dict[str, Listed]:
    """All images of the lists in ``folder``, by name; faults and notes go to ``listing``.

    Raises DataError where there are none, or of two kinds.
    """
    found: dict[str, Listed] = {}
    for file in _files(folder):
        rows = _text(file, task, listing) if file.kind == "txt" else read_masks(file.path, listing)
        official = task.counts.get(file.kind, {}).get(file.name)
        count = len(rows) if file.kind == "txt" else sum(number for _, _, number in rows.values())
        if official is not None and official != count:
            has = several(count, "row", "rows")
            listing.notes.append(f"{file.path.name} has {has}, the list of the paper's protocol {official:,}")
        for name, (where, stated, _) in rows.items():
            one = found.setdefault(name, Listed(name, where, stated))
            if one.stated is not stated and one.stated != stated:
                what = f"other labels, boxes or masks than in {one.origin}"
                listing.faults.append(RecordFault(f"{where} ({redact_place(name)})", what, _REPAIR))
            if file.split not in one.splits:
                one.splits.append(file.split)
            if file.fraction:
                one.fractions.append(file.fraction)
    whole = any("100" in one.fractions for one in found.values())
    for one in found.values():
        one.splits.sort(key=ORDER.index)
        one.fractions = [fraction for fraction in _FRACTIONS if fraction in one.fractions]
        if whole and one.fractions and "100" not in one.fractions:
            what = f"in the list of {one.fractions[0]} %, not in that of 100 %"
            listing.faults.append(RecordFault(one.origin, what, _REPAIR))
    return found


def _files(folder: Path) -> list[_File]:
    try:
        names = sorted(path.name for path in folder.iterdir() if not is_leftover(path.name))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}", "name the folder that holds the lists") from None
    files = []
    for name in names:
        match = _LIST.fullmatch(name)
        if match:
            split = match[1].lower().replace("valid", "val")
            fraction = (match[2] or "100") if split == "train" else ""
            files.append(_File(folder / name, split, fraction, match[3].lower()))
    if not files:
        raise DataError(
            f"{folder}: no list: train_list.txt, val_list.txt, test_list.txt or the same as .csv",
            "name the folder that holds them with --lists",
        )
    if len({file.kind for file in files}) > 1:
        raise DataError(f"{folder}: lists as .txt and as .csv: two tasks", "name a folder with those of one")
    return files


ListRows = dict[str, tuple[str, Annotation, int]]  # by name: where it stands, what is said of it, in how many rows


def _text(file: _File, task: Dataset, listing: Listing) -> ListRows:
    """A path and its labels a line, without a header."""
    text, note = read_whole(file.path)
    listing.notes += [note] if note else []
    if not task.classes:
        raise DataError(f"{file.path}: labels of no known classes", "say which with --task")
    wanted = 1 if task.exclusive else len(task.classes)
    rows: ListRows = {}
    known: dict[tuple[str, ...], Annotation | str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = origin(file.path, number)
        name, *values = line.strip().rsplit(None, wanted)
        name = normal(name)
        if len(values) != wanted or _number(name.rsplit(None, 1)[-1]) is not None:
            expected = several(wanted, "is", "are")
            stated: Annotation | str = f"{len(line.split()) - 1} labels, {expected} expected"
        elif tuple(values) not in known:
            stated = known[tuple(values)] = _annotation(values, task)
        else:
            stated = known[tuple(values)]
        fault = stated if isinstance(stated, str) else ""
        if not fault and name in rows:
            fault = f"the same image as in {rows[name][0]}"
        if fault:
            listing.faults.append(RecordFault(f"{where} ({redact_place(name)})", fault, _REPAIR))
        elif isinstance(stated, Annotation):
            rows[name] = (where, stated, 1)
    return rows


def _annotation(values: list[str], task: Dataset) -> Annotation | str:
    """What the numbers of a line say, or what is wrong with them."""
    numbers = [_number(value) for value in values]
    top = len(task.classes) - 1 if task.exclusive else 1
    if not all(number is not None and 0 <= number <= top for number in numbers):
        return f"a label that is no number from 0 to {top}"
    if task.exclusive:
        return Annotation({name: int(at == numbers[0]) for at, name in enumerate(task.classes)})
    return Annotation({name: int(number or 0) for name, number in zip(task.classes, numbers, strict=False)})


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None


def read_masks(path: Path, listing: Listing) -> ListRows:
    """A table with masks or boxes; which one, its header says.  Raises DataError."""
    header = read_whole(path)[0].split("\n", 1)[0]
    kind = next((kind for kind, names in _NEEDED.items() if names[1] in header), "rle")
    key, value = _NEEDED[kind]
    table = read_table(path, (key, value), (key, value), read=(key,))
    listing.faults += table.faults
    listing.notes += [table.note] if table.note else []
    cells: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for line, row in table.rows:
        if not cell(row[key]):
            listing.faults.append(RecordFault(origin(path, line), f"no {key}", _REPAIR))
            continue
        cells[normal(cell(row[key]))].append((line, row[value]))
    rows: ListRows = {}
    for name, lines in cells.items():
        where = origin(path, lines[0][0])
        try:
            rows[name] = (where, said_by(kind, [text for _, text in lines]), len(lines))
        except ValueError as error:
            listing.faults.append(RecordFault(f"{where} ({redact_place(name)})", str(error), _REPAIR))
    return rows


def said_by(kind: str, texts: list[str]) -> Annotation:
    """What the cells of one image say.  kind: rle, bbox or mask.  Raises ValueError."""
    if kind == "rle":
        return _runs(texts)
    if len(texts) > 1:
        raise ValueError(f"{len(texts)} rows for one image")
    if kind == "bbox":
        boxes = parse_boxes(texts[0], PNEUMONIA)
        return Annotation({PNEUMONIA: int(bool(boxes))}, boxes)
    place = cell(texts[0])
    if not place:
        raise ValueError("no mask")
    return Annotation(None, (), dict.fromkeys(RIGA_PLANES, normal(place)))


def _runs(texts: list[str]) -> Annotation:
    stripped = [text.strip() for text in texts]
    absent = [text == _NO_MASK for text in stripped]
    if any(absent) and not all(absent):
        raise ValueError("run lengths in one row, and none (-1) in another")
    place = EMPTY if all(absent) else runs_place(stripped)
    return Annotation({PNEUMOTHORAX: int(place != EMPTY)}, (), {PNEUMOTHORAX: place})


def normal(place: str) -> str:
    """A path without what says nothing: ./a//b.png is a/b.png."""
    return str(PurePosixPath(place.replace("\\", "/")))


def one_split(listed: Iterable[Listed], task: Dataset, listing: Listing) -> None:
    """Keep every image in one split: the first of test, val, train. Where the official lists do not overlap, that is a
    fault of each.
    """
    twice = [one for one in listed if len(one.splits) > 1]
    if not twice:
        return
    if task.overlaps:
        images = several(len(twice), "image is", "images are")
        listing.notes.append(f"{images} in several lists: kept in test before val before train")
    for one in twice:
        if not task.overlaps:
            what = f"in the lists of {' and '.join(one.splits)}"
            listing.faults.append(RecordFault(one.origin, what, "keep every image in one split"))
        one.splits = one.splits[:1]
        if one.splits != ["train"]:
            one.fractions = []
