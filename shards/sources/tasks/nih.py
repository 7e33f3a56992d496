"""ChestX-ray14 as the NIH ships it: Data_Entry_2017, train_val_list and test_list, boxes, and PNG images."""

import re
from collections import defaultdict
from pathlib import PurePosixPath

from ecamp_fast.shards.sources.base import Box, Listing, Record, RecordFault, several
from ecamp_fast.shards.sources.cells import cell, identifier
from ecamp_fast.shards.sources.joins import index
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.shards.sources.table import origin, read_table, read_whole
from ecamp_fast.shards.sources.tasks.annotations import checked
from ecamp_fast.shards.sources.tasks.base import TaskSource
from ecamp_fast.shards.sources.tasks.protocol import CANVAS, PATIENTS, TASKS
from ecamp_fast.shards.sources.tasks.tables import among, table_named

_NEEDED = ("Image Index", "Finding Labels", "Patient ID", "View Position")
_BOX = ("Bbox [x", "y", "w", "h]")
_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
_SPELLED = {"Infiltrate": "Infiltration"}  # in the table of boxes
_RELEASE = "take all files from one release"


class NihSource(TaskSource):
    """``folder``: with ``Data_Entry_2017*.csv``; the images in any folders below, as images_001/images. Without the two
    lists a fifth of the patients' images is test; val is carved from train.
    """

    kind = "nih"
    canvas = CANVAS
    classes = TASKS["nih"].classes

    def rows(self, listing: Listing) -> dict[str, Record]:
        """By the name of the file."""
        path = table_named(self.folder, r"Data_Entry_2017.*\.csv", "Data_Entry_2017_v2020.csv")
        assert path
        table = read_table(path, _NEEDED, _NEEDED)
        listing.faults += table.faults
        found, faults = index(table.rows, lambda row: cell(row[1][_NEEDED[0]]), lambda row: origin(path, row[0]))
        listing.faults += faults
        splits, boxes = self._splits(listing), self._boxes(listing)
        if not splits:
            self.shares = (("test", 0.2), ("val", 0.1))
        for names, what in ((splits, " and ".join(_LISTS)), (boxes, "the table of boxes")):
            other = len(names.keys() - found.keys())
            if other:
                images = several(other, "image", "images")
                listing.notes.append(f"{what} has {images} that {path.name} has not: left out")
        records = {}
        for name, (line, row) in found.items():
            where = f"{origin(path, line)} ({PurePosixPath(name).name})"
            try:
                if not row["Finding Labels"]:
                    raise ValueError("no Finding Labels, not even No Finding")
                labels = among(row["Finding Labels"].split("|"), self.classes)
                patient = identifier(row["Patient ID"])
                if not patient:
                    raise ValueError("no Patient ID")
                named = re.search(PATIENTS["nih"], name)
                if named and named[1] != patient.zfill(8):
                    raise ValueError(f"Patient ID {redact(patient)}, though its name says {named[1]}")
            except ValueError as error:
                listing.faults.append(RecordFault(where, str(error), _RELEASE))
                continue
            if splits and name not in splits and not self.splits.lists:
                listing.faults.append(RecordFault(where, f"in none of {', '.join(_LISTS)}", _RELEASE))
            stem = PurePosixPath(name).stem
            records[name] = Record(
                *(where, line, stem, stem, name, ""),
                patient_id=patient.zfill(8),
                split=splits.get(name, ""),
                view=cell(row["View Position"]),
                labels=labels,
                boxes=tuple(boxes.get(name, ())),
            )
        return records

    def key(self, name: str) -> str:
        """The name of the file."""
        return PurePosixPath(name).name

    def _splits(self, listing: Listing) -> dict[str, str]:
        """By image; {} where neither list is there."""
        splits: dict[str, str] = {}
        for file, split in _LISTS.items():
            path = self.folder / file
            if not path.is_file():
                continue
            for number, line in enumerate(read_whole(path)[0].splitlines(), 1):
                name = line.strip()
                if name and splits.setdefault(name, split) != split:
                    what = f"{name} is in {' and '.join(_LISTS)}"
                    listing.faults.append(RecordFault(origin(path, number), what, "keep every image in one split"))
        return splits

    def _boxes(self, listing: Listing) -> dict[str, list[Box]]:
        """By image."""
        path = table_named(self.folder, r"BBox_List_2017.*\.csv", "", required=False)
        boxes: dict[str, list[Box]] = defaultdict(list)
        if path is None:
            return boxes
        table = read_table(path, ("Image Index", "Finding Label", *_BOX))
        listing.faults += table.faults
        for line, row in table.rows:
            finding = _SPELLED.get(row["Finding Label"].strip(), row["Finding Label"].strip())
            try:
                if finding not in self.classes:
                    raise ValueError(f"a box of {redact(finding)}, which is none of {', '.join(self.classes)}")
                x, y, width, height = (float(row[name]) for name in _BOX)
                image = cell(row["Image Index"])
                boxes[image] = [*checked([*boxes[image], (finding, x, y, width, height)])]
            except ValueError as error:
                listing.faults.append(RecordFault(origin(path, line), str(error), _RELEASE))
        return boxes
