"""Samples from a CSV table: one row per image, with the report beside it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecamp_fast.shards.image import decode
from ecamp_fast.shards.refusal import BadImage
from ecamp_fast.shards.source import Fault, Listing, Picture, Record
from ecamp_fast.shards.sources.files import absent, picture, read_bytes
from ecamp_fast.shards.sources.table import origin, read_table
from ecamp_fast.text.cleaning import is_empty

REQUIRED = ("study_id", "image_path", "view", "report")
OPTIONAL = ("patient_id", "split", "labels", "attention_map", "distilled")


class CsvSource:
    """Rows of ``path``; image paths are relative to its folder."""

    kind = "csv"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.folder = self.path.parent
        self.description: dict[str, Any] = {"kind": self.kind, "file": self.path.name}

    def survey(self) -> Listing:
        """All rows with a report.  Row faults are collected; raises DataError where the table itself cannot be read."""
        table = read_table(self.path, REQUIRED)
        listing = Listing([], faults=table.faults, notes=[table.note] if table.note else [])
        seen: dict[str, str] = {}
        for line, row in table.rows:
            record = self._record(line, row)
            faults = _row_faults(record) or self._twice(record, seen)
            listing.faults += faults
            if faults:
                continue
            if is_empty(record.report):
                listing.dropped_empty += 1
                continue
            places = [record.place, record.attention] if record.attention else [record.place]
            missing = [fault for fault in (absent(record.origin, self.folder, place) for place in places) if fault]
            listing.absent += missing
            if not missing:
                listing.records.append(record)
        return listing

    def load(self, record: Record) -> Picture:
        """Read and decode the image of a row, and its attention map.  Raises BadImage."""
        loaded = picture(read_bytes(self.folder / record.place))
        if not record.attention:
            return loaded
        try:
            return replace(loaded, attention=decode(read_bytes(self.folder / record.attention)))
        except BadImage as bad:
            raise BadImage(f"attention map {record.attention}: {bad.what}", bad.mend, bad.kind) from None

    def _record(self, line: int, row: dict[str, str]) -> Record:
        place = row["image_path"].strip()
        distilled = row.get("distilled", "").strip()
        return Record(
            origin=origin(self.path, line) + (f" ({place})" if place else ""),
            row=line,
            study_id=row["study_id"].strip(),
            stem=Path(place).stem,
            place=place,
            report=row["report"].strip(),
            attention=row.get("attention_map", "").strip(),
            patient_id=row.get("patient_id", "").strip(),
            split=row.get("split", "").strip(),
            view=row["view"].strip(),
            labels=tuple(label.strip() for label in row.get("labels", "").split(";") if label.strip()),
            distilled=distilled or None,
            columns={name: value for name, value in row.items() if name and name not in REQUIRED + OPTIONAL},
        )

    def _twice(self, record: Record, seen: dict[str, str]) -> list[Fault]:
        first = seen.setdefault(os.path.normpath(self.folder / record.place), record.origin)
        if first is record.origin:
            return []
        return [Fault(record.origin, f"the same image as in {first}", "remove one of the rows")]


def _row_faults(record: Record) -> list[Fault]:
    return [
        Fault(record.origin, f"empty {name}", f"write the row's {name}")
        for name, value in (("study_id", record.study_id), ("image_path", record.place))
        if not value
    ]
