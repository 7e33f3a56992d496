"""CheXpert as Stanford ships it: train.csv and valid.csv, classes as 1, 0, -1 (uncertain) or blank."""

import re
from pathlib import PurePosixPath

from ecamp_fast.shards.sources.base import Listing, Record, RecordFault
from ecamp_fast.shards.sources.cells import cell
from ecamp_fast.shards.sources.redact import redact_place
from ecamp_fast.shards.sources.table import origin, read_table
from ecamp_fast.shards.sources.tasks.base import TaskSource
from ecamp_fast.shards.sources.tasks.lists import normal
from ecamp_fast.shards.sources.tasks.tables import stated, table_named

CLASSES = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)
_FRONT, _BEAM = "Frontal/Lateral", "AP/PA"
_PATH = re.compile(r"(?:.*/)?((?:train|valid|test)/(patient\d+)/(study\d+)/[^/]+)")
_FIX = "take the table as it was published, or correct the row"


class ChexpertSource(TaskSource):
    """``folder``: with ``train.csv`` and ``valid.csv``, the folders train and valid beside them.

    What is uncertain stays -1 and what is blank unknown: a task resolves both (``format.labels.targets``). The paper
    tests on valid.csv, and 5,000 images of train are carved by patient to be val; official: valid.csv is val, which is
    test as well.
    """

    kind = "chexpert"
    classes = CLASSES

    def rows(self, listing: Listing) -> dict[str, Record]:
        """By the path from ``train`` or ``valid`` on."""
        records: dict[str, Record] = {}
        for file, split in (("train", "train"), ("valid", "val" if self.splits.official else "test")):
            path = table_named(self.folder, rf"{file}\.csv", f"{file}.csv")
            assert path
            table = read_table(path, ("Path", *CLASSES))
            listing.faults += table.faults
            for line, row in table.rows:
                where = f"{origin(path, line)} ({redact_place(row['Path'])})"
                match = _PATH.fullmatch(normal(row["Path"].strip()))
                try:
                    if not match:
                        raise ValueError("no path of a patient and a study")
                    if match[1] in records:
                        raise ValueError(f"the same image as in {records[match[1]].origin}")
                    labels = stated(row, CLASSES)
                except ValueError as error:
                    listing.faults.append(RecordFault(where, str(error), _FIX))
                    continue
                records[match[1]] = Record(
                    *(where, line, f"{match[2]}_{match[3]}", PurePosixPath(match[1]).stem, match[1], ""),
                    patient_id=match[2],
                    split=split,
                    view=cell(row.get(_BEAM, "")) or cell(row.get(_FRONT, "")),
                    labels=labels,
                    columns={name: row[name] for name in ("Sex", "Age") if cell(row.get(name, ""))},
                )
        return records

    def key(self, name: str) -> str:
        """The path from ``train`` or ``valid`` on."""
        match = _PATH.fullmatch(name)
        return match[1] if match else name
