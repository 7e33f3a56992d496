"""Samples from a CSV table: one row per image, with the report beside it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecamp_fast.errors import DataError
from ecamp_fast.shards.images.encode import attention_map
from ecamp_fast.shards.sources.base import Listing, Record, RecordFault, SourceImage
from ecamp_fast.shards.sources.files import absent, named, picture, read_bytes
from ecamp_fast.shards.sources.joins import index
from ecamp_fast.shards.sources.redact import redact_place
from ecamp_fast.shards.sources.selection.choice import ALL, Selection
from ecamp_fast.shards.sources.table import Table, origin, read_table
from ecamp_fast.text.reading.cleaning import is_empty

REQUIRED = ("study_id", "image_path", "view", "report")
OPTIONAL = ("patient_id", "split", "labels", "attention_map", "distilled")
_ALONE = "--empty-reports keep takes images without one"


class CsvSource:
    """Rows of ``path``; image paths are relative to its folder.

    reports     another table with the columns image_path (relative to that table) and report, optionally distilled:
                the reports then come from there, joined by image; an image it does not name has none
    keep_empty  rows without a report become images alone, else they are dropped; then only image_path is required,
                and without study_id the image's own name is its study
    """

    kind = "csv"

    def __init__(
        self,
        path: str | Path,
        reports: str | Path | None = None,
        *,
        keep_empty: bool = False,
        selection: Selection = ALL,
    ) -> None:
        self.path = Path(path)
        self.folder = self.path.parent
        self.reports = Path(reports) if reports else None
        self.keep_empty = keep_empty
        self.selection = selection
        self.description: dict[str, Any] = {"kind": self.kind, "file": self.path.name}
        if self.reports:
            self.description["reports"] = self.reports.name
        if keep_empty:
            self.description["empty_reports"] = "keep"

    def list_records(self) -> Listing:
        """All rows, or all with a report.  Row faults are collected; raises DataError where a table cannot be read."""
        return self._list(with_images=True)

    def texts(self) -> Listing:
        """As ``list_records``, wherever the images are; records have no picture."""
        return self._list(with_images=False)

    def _list(self, *, with_images: bool) -> Listing:
        needed = REQUIRED[:-1] if self.reports else REQUIRED
        table = read_table(self.path, ("image_path",) if self.keep_empty else needed, hint=_ALONE)
        listing = Listing([], faults=table.faults, notes=[table.note] if table.note else [])
        report_rows = self._report_rows(listing, table)
        seen: dict[str, str] = {}
        views = self.selection.filter()
        for line, row in table.rows:
            record = self._record(line, row | report_rows.get(self._image(self.folder, row), {}))
            faults = _row_faults(record) or self._twice(record, seen)
            listing.faults += faults
            if faults or not views.takes(record.view):
                continue
            if is_empty(record.report):
                if not self.keep_empty:
                    listing.dropped_empty += 1
                    continue
                record.report, record.distilled = "", None
            if not with_images:
                record.place = record.attention = ""
            places = [place for place in (record.place, record.attention) if place]
            missing = [fault for fault in (absent(record.origin, self.folder, place) for place in places) if fault]
            listing.absent += missing
            if not missing:
                listing.records.append(record)
        self.selection.finish(listing, views, self.description)
        return listing

    def load(self, record: Record, short_side: int) -> SourceImage:
        """Read and decode the image of a row, and its attention map.  Raises BadImage."""
        loaded = picture(read_bytes(self.folder / record.place), short_side)
        if not record.attention:
            return loaded
        with named(f"attention map {redact_place(record.attention)}"):
            return replace(loaded, attention=attention_map(read_bytes(self.folder / record.attention)))

    def _report_rows(self, listing: Listing, table: Table) -> dict[str, dict[str, str]]:
        """By image, the columns report and distilled of the other table; {} where there is none."""
        has_report = "report" in table.columns
        if self.reports is None:
            if not has_report:
                listing.notes.append(f"{self.path.name} has no column 'report': every image is taken without text")
            return {}
        if has_report:
            what = f"{self.path} has a column 'report', and {self.reports} is to give the reports"
            raise DataError(what, "leave out --reports, or the column")
        other = read_table(self.reports, ("image_path", "report"), ("image_path", "report", "distilled"))
        listing.faults += other.faults
        listing.notes += [other.note] if other.note else []

        path = self.reports
        texts, twice = index(other.rows, lambda row: self._image(path.parent, row[1]), lambda row: origin(path, row[0]))
        images = {self._image(self.folder, row) for _, row in table.rows}
        lost = [
            RecordFault(
                origin(path, row[0]), f"its image is not in {self.path.name}", "take both files from one release"
            )
            for key, row in texts.items()
            if key not in images
        ]
        listing.faults += twice + lost
        return {
            key: {name: text for name, text in row.items() if name != "image_path"} for key, (_, row) in texts.items()
        }

    @staticmethod
    def _image(folder: Path, row: dict[str, str]) -> str:
        place = row["image_path"].strip()
        return os.path.abspath(folder / place) if place else ""

    def _record(self, line: int, row: dict[str, str]) -> Record:
        place = row["image_path"].strip()
        own_study = row["study_id"] if "study_id" in row else Path(place).stem
        distilled = row.get("distilled", "").strip()
        return Record(
            origin=origin(self.path, line) + (f" ({redact_place(place)})" if place else ""),
            row=line,
            study_id=own_study.strip(),
            stem=Path(place).stem,
            place=place,
            report=row.get("report", "").strip(),
            attention=row.get("attention_map", "").strip(),
            patient_id=row.get("patient_id", "").strip(),
            split=row.get("split", "").strip(),
            view=row.get("view", "").strip(),
            labels=tuple(label.strip() for label in row.get("labels", "").split(";") if label.strip()),
            distilled=distilled or None,
            columns={name: value for name, value in row.items() if name and name not in REQUIRED + OPTIONAL},
        )

    def _twice(self, record: Record, seen: dict[str, str]) -> list[RecordFault]:
        first = seen.setdefault(os.path.normpath(self.folder / record.place), record.origin)
        if first is record.origin:
            return []
        return [RecordFault(record.origin, f"the same image as in {first}", "remove one of the rows")]


def _row_faults(record: Record) -> list[RecordFault]:
    return [
        RecordFault(record.origin, f"empty {name}", f"write the row's {name}")
        for name, value in (("study_id", record.study_id), ("image_path", record.place))
        if not value
    ]
