"""What the sources of tasks have in common: an owner's rows, splits by lists or by a seed, masks and boxes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ecamp_fast.shards.format.labels import Labels, class_order, targets
from ecamp_fast.shards.sources.base import Listing, Record, RecordFault, SourceImage, several
from ecamp_fast.shards.sources.files import IMAGES, own_name, picture, read_bytes
from ecamp_fast.shards.sources.redact import redact_place
from ecamp_fast.shards.sources.selection.choice import ALL, Selection
from ecamp_fast.shards.sources.tasks.annotations import annotated, name_planes
from ecamp_fast.shards.sources.tasks.draw import carve, few, tell
from ecamp_fast.shards.sources.tasks.lists import ORDER, Listed, normal, one_split, read_lists
from ecamp_fast.shards.sources.tasks.places import ImagePlaces
from ecamp_fast.shards.sources.tasks.protocol import PATIENTS, TASKS, Dataset


@dataclass(frozen=True, slots=True)
class Splits:
    """How a data set is divided.

    lists     folder of the protocol's lists; None: as the owner divides it, the rest carved by ``seed``
    official  lists and owners are taken as they are: an image in two splits becomes two samples, whose names end as the
              split does where it is not the first of test, val, train
    seed      of what is carved from train
    """

    lists: Path | None = None
    official: bool = False
    seed: int = 42


DEFAULT = Splits()


class TaskSource:
    """A data set of a task, images alone. Subclasses list what its owner ships.

    folder: with the owner's tables, and the pictures anywhere below
    """

    kind = ""
    shares: tuple[tuple[str, float], ...] = ()  # of all images that splits get, of owners who divide nothing
    canvas = 0  # pixels a side that boxes refer to; 0: the picture's own
    classes: tuple[str, ...] = ()
    planes: tuple[str, ...] = ()

    def __init__(self, folder: str | Path, splits: Splits = DEFAULT, *, selection: Selection = ALL) -> None:
        self.folder = Path(folder)
        self.splits = splits
        self.selection = selection
        self.description: dict[str, Any] = {"kind": self.kind, "file": own_name(self.folder), "seed": splits.seed}
        if splits.lists:
            self.description["lists"] = own_name(splits.lists)
        if splits.official:
            self.description["splits"] = "official"

    @property
    def name(self) -> str:
        """Of the data set in ``TASKS``; '' where there is no such."""
        return self.kind

    @property
    def task(self) -> Dataset:
        """The protocol of this data set."""
        return TASKS.get(self.name, Dataset(()))

    def rows(self, listing: Listing) -> dict[str, Record]:
        """What the owner ships: a record for each image, by ``key`` of its name, splits as the owner has them. The
        record's place is the picture's name as the table has it.  Raises DataError where there is no table.
        """
        raise NotImplementedError

    def key(self, name: str) -> str:
        """By what an image of a list is found among the rows."""
        return normal(name)

    def listed(self, name: str, one: Listed, row: int) -> Record:
        """The record of an image that lists name and no table of the owner does."""
        patient = re.search(PATIENTS[self.name], name) if self.name in PATIENTS else None
        path = PurePosixPath(normal(name))
        stem = path.stem if path.suffix.lower() in IMAGES else path.name
        return Record(
            origin=one.origin,
            row=row,
            study_id=str(path.parent / stem),
            stem=stem,
            place=name,
            report="",
            patient_id=patient[1] if patient else "",
            labels=one.stated.labels or {},
            boxes=one.stated.boxes,
            masks=one.stated.masks,
        )

    def list_records(self) -> Listing:
        """A record for every image of the tables, or of the lists."""
        listing, views = Listing([]), self.selection.filter()
        rows = self.rows(listing)
        records = self._by_lists(rows, listing) if self.splits.lists else self._by_owner(rows, listing)
        pictures = ImagePlaces(self.folder, listing, PATIENTS.get(self.name, ""))
        taken: dict[str, str] = {}
        for record in records:
            if not views.takes(record.view):
                continue
            record.place, fault = pictures.find(record.place, record.origin)
            if fault:
                listing.absent.append(fault)
            elif (first := taken.setdefault(record.place, record.origin)) != record.origin:
                what = f"{redact_place(record.place)} is the picture of {first} as well"
                listing.faults.append(RecordFault(record.origin, what, "remove one of the rows, or copy the picture"))
            else:
                listing.records.append(record)
        listing.labels = self.classes or class_order(record.labels for record in listing.records)
        self.planes = listing.masks = name_planes(listing, self.planes)
        self.selection.finish(listing, views, self.description)
        return listing

    def load(self, record: Record, short_side: int) -> SourceImage:
        """Read and decode a picture, its masks and its boxes.  Raises BadImage, EnvironmentFault without pydicom."""
        return self.annotate(picture(read_bytes(self.folder / record.place), short_side), record)

    def annotate(self, loaded: SourceImage, record: Record) -> SourceImage:
        """See ``Annotating``."""
        return annotated(loaded, record, self.folder, self.planes, self.canvas)

    def _by_owner(self, rows: Mapping[str, Record], listing: Listing) -> list[Record]:
        records = list(rows.values())
        if self.splits.official:
            return records
        for record in records:
            record.split = record.split or "train"
        self._carve(records, {split: round(share * len(records)) for split, share in self.shares}, listing)
        return records

    def _carve(self, records: Sequence[Record], wanted: dict[str, int], listing: Listing) -> None:
        """Take splits from train: the wanted ones, or val where there is none."""
        if not wanted and self.task.val and not any(record.split == "val" for record in records):
            wanted = {"val": few(records, self.task.val)}
        tell(listing, carve(records, wanted, self.splits.seed), self.splits.seed)
        for record in records:
            if record.split != "train":
                record.columns = {name: value for name, value in record.columns.items() if name != "lists"}

    def _by_lists(self, rows: Mapping[str, Record], listing: Listing) -> list[Record]:
        """The rows that lists name, in their splits."""
        assert self.splits.lists is not None
        listed = read_lists(self.splits.lists, self.task, listing)
        if not self.splits.official or (self.name and not self.task.overlaps):
            one_split(listed.values(), self.task, listing)
        records, keys = list[Record](), dict[str, str]()
        other = alone = 0
        for name, one in listed.items():
            key = self.key(name)
            first = keys.setdefault(key, one.origin)
            if first != one.origin:
                listing.faults.append(
                    RecordFault(one.origin, f"the same image as in {first}", "remove one of the rows")
                )
            elif key not in rows:
                alone += 1
                records += in_splits(self.listed(name, one, len(records)), one)
            else:
                other += not self._agree(rows[key].labels, one)
                records += in_splits(rows[key], one)
        if alone and rows:
            listing.notes.append(f"{several(alone, 'image is', 'images are')} in the lists alone: labels are theirs")
        if other:
            listing.notes.append(f"{several(other, 'image has', 'images have')} other labels in the lists: not taken")
        left = len(rows) - len({*keys} & {*rows})
        if left:
            listing.notes.append(f"{several(left, 'image is', 'images are')} in none of the lists: left out")
        if self.splits.official:
            apart(records, listing)
        else:
            self._carve(records, {}, listing)
        return records

    def _agree(self, labels: Labels, one: Listed) -> bool:
        """Whether what a list says of the classes is what the rows come to by the rule of the task."""
        stated = one.stated.labels
        if stated is None or not stated.keys() <= {*self.classes}:
            return True
        return targets(labels, list(stated), self.classes, self.kind) == [float(value) for value in stated.values()]


def in_splits(record: Record, one: Listed) -> list[Record]:
    """The record once for each of its splits, with the training lists it is in; ``apart`` gives them own names."""
    found = []
    for split in one.splits:
        columns = {"lists": " ".join(one.fractions)} if split == "train" and one.fractions else {}
        found.append(replace(record, split=split, columns=record.columns | columns))
    return found


def apart(records: Iterable[Record], listing: Listing) -> None:
    """Give images and patients that official lists have in two splits a name of their own in each but the first."""
    home: dict[str, str] = {}
    twice = 0
    for record in sorted(records, key=lambda record: ORDER.index(record.split)):
        who = f"patient {record.patient_id}" if record.patient_id else f"study {record.study_id}"
        if home.setdefault(who, record.split) != record.split:
            twice += 1
            record.study_id = f"{record.study_id}-{record.split}"
            record.patient_id = record.patient_id and f"{record.patient_id}-{record.split}"
    if twice:
        samples = several(twice, "sample is", "samples are")
        listing.notes.append(f"{samples} of an image or a patient that another split has too, as the official lists do")
