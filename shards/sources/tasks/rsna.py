"""RSNA Pneumonia (stage 2) as Kaggle ships it: boxes by patient, detailed classes, and DICOM images of 1024 pixels."""

from collections import defaultdict
from pathlib import PurePosixPath

from ecamp_fast.shards.sources.base import Box, Listing, Record, RecordFault
from ecamp_fast.shards.sources.cells import cell, identifier
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.shards.sources.table import origin, read_table
from ecamp_fast.shards.sources.tasks.annotations import checked
from ecamp_fast.shards.sources.tasks.base import TaskSource
from ecamp_fast.shards.sources.tasks.protocol import CANVAS, PNEUMONIA, TASKS
from ecamp_fast.shards.sources.tasks.tables import table_named

_BOX = ("x", "y", "width", "height")
OPACITY = "lung opacity"  # the detailed class of the patients whose target is 1
OTHERS = ("normal", "no lung opacity / not normal")  # and those of the others
_FIX = "take the table as it was published, or correct the row"


class RsnaSource(TaskSource):
    """``folder``: with ``stage_2_train_labels.csv`` and, where it is there, ``stage_2_detailed_class_info.csv``; images
    below as .dcm or .png. A fifth of the images each becomes val and test, as in the paper's lists.
    """

    kind = "rsna"
    shares = (("test", 0.2), ("val", 0.2))
    canvas = CANVAS
    classes = TASKS["rsna"].classes

    def rows(self, listing: Listing) -> dict[str, Record]:
        """By patient, each of whom has one image."""
        path = table_named(self.folder, r"stage_2_train_labels\.csv", "stage_2_train_labels.csv")
        assert path
        table = read_table(path, ("patientId", *_BOX, "Target"))
        listing.faults += table.faults
        by_patient: dict[str, list[tuple[int, dict[str, str]]]] = defaultdict(list)
        for line, row in table.rows:
            by_patient[cell(row["patientId"])].append((line, row))
        details = self._details(listing)
        records = {}
        for patient, lines in by_patient.items():
            where = f"{origin(path, lines[0][0])} ({redact(patient)})"
            try:
                target, boxes = _boxes([row for _, row in lines])
                if not patient:
                    raise ValueError("no patientId")
                if details and patient not in details:
                    raise ValueError("not in the table of detailed classes")
                _require_agreement(target, details.get(patient, ""))
            except ValueError as error:
                listing.faults.append(RecordFault(where, str(error), _FIX))
                continue
            records[patient] = Record(
                *(where, lines[0][0], patient, patient, patient, ""),
                patient_id=patient,
                labels={PNEUMONIA: target},
                boxes=boxes,
                columns={"class": details[patient]} if details else {},
            )
        return records

    def key(self, name: str) -> str:
        """The patient, of whom the file has its name."""
        return PurePosixPath(name).stem

    def _details(self, listing: Listing) -> dict[str, str]:
        """Detailed class by patient; {} where there is no such table."""
        path = table_named(self.folder, r"stage_2_detailed_class_info\.csv", "", required=False)
        if path is None:
            return {}
        table = read_table(path, ("patientId", "class"))
        listing.faults += table.faults
        found: dict[str, str] = {}
        for line, row in table.rows:
            if found.setdefault(cell(row["patientId"]), cell(row["class"])) != cell(row["class"]):
                listing.faults.append(RecordFault(origin(path, line), "another class than in a row before", _FIX))
        return found


def _require_agreement(target: int, detailed: str) -> None:
    """Raises ValueError where the detailed class says otherwise; one that is none of the three says nothing."""
    says = {OPACITY: 1, **dict.fromkeys(OTHERS, 0)}.get(detailed.casefold(), target)
    if says != target:
        raise ValueError(f"target {target}, but the detailed class {detailed!r}: one of both tables is wrong")


def _boxes(rows: list[dict[str, str]]) -> tuple[int, tuple[Box, ...]]:
    """The target of a patient's rows, and a box of each where it is 1.  Raises ValueError."""
    targets = {identifier(row["Target"]) for row in rows}  # pandas writes 1.0 for 1
    if targets not in ({"0"}, {"1"}):
        raise ValueError("a target that is neither 0 nor 1, or is both")
    filled = [[cell(row[name]) for name in _BOX] for row in rows]
    if targets == {"0"}:
        if any(map(any, filled)):
            raise ValueError("a box of a patient whose target is 0")
        return 0, ()
    try:
        boxes = [(PNEUMONIA, *map(float, numbers)) for numbers in filled]
    except ValueError:
        raise ValueError("a box that is no four numbers") from None
    found = checked(boxes)
    if any(min(x, y) < 0 or max(x + width, y + height) > CANVAS for _, x, y, width, height in found):
        raise ValueError(f"a box outside {CANVAS} x {CANVAS} pixels")
    return 1, found
