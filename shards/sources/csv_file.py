"""Samples from a CSV table: one row per image, with the report beside it."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format.labels import positives
from ecamp_fast.shards.images.encode import attention_map
from ecamp_fast.shards.sources import columns
from ecamp_fast.shards.sources.base import Listing, Record, RecordFault, SourceImage
from ecamp_fast.shards.sources.cells import cell, identifier
from ecamp_fast.shards.sources.columns import NAMES, REQUIRED
from ecamp_fast.shards.sources.files import absent, named, picture, read_bytes
from ecamp_fast.shards.sources.joins import index
from ecamp_fast.shards.sources.redact import redact_place
from ecamp_fast.shards.sources.selection.choice import ALL, Selection
from ecamp_fast.shards.sources.table import Table, missing_columns, origin, read_table
from ecamp_fast.shards.sources.tasks.annotations import annotated, name_planes
from ecamp_fast.shards.sources.tasks.beside import BOXES, NOTHING, Annotations, Beside, is_mask

_OF_REPORTS = ("image_path", "report", "distilled")  # what the other table gives
_SUGGESTED = ("patient_id", "view", "split")  # where the table may have them by another name
_READ = tuple(name for name in NAMES if name != BOXES)  # whose empty cells are ''; brackets of boxes mean something
_ALONE = "--empty-reports keep takes images without one"


class CsvSource:
    """Rows of ``path``; image paths are relative to its folder.

    reports     another table with the columns image_path (relative to that table) and report, optionally distilled:
                the reports then come from there, joined by image; an image it does not name has none
    keep_empty  rows without a report become images alone, else they are dropped; then only image_path is required,
                and without study_id the image's path, without its ending, is its study
    names       our name of a column -> the tables', where they call it otherwise
    beside      classes to read, and tables of masks and boxes. Columns ``mask`` or ``mask.NAME`` (paths of masks) and
                ``boxes`` (a list of [x1, y1, x2, y2], or of objects with finding, x, y, width, height) are read anyway.
                Where a row has any mask, those it does not have are empty; where it has none, they are unknown
    """

    kind = "csv"

    def __init__(
        self,
        path: str | Path,
        reports: str | Path | None = None,
        *,
        keep_empty: bool = False,
        names: Mapping[str, str] | None = None,
        selection: Selection = ALL,
        beside: Beside = NOTHING,
    ) -> None:
        self.beside = beside
        self.planes: tuple[str, ...] = ()
        self.path = Path(path)
        self.folder = self.path.parent
        self.reports = Path(reports) if reports else None
        self.keep_empty = keep_empty
        self.names = dict(names or {})
        self.selection = selection
        self.description: dict[str, Any] = {"kind": self.kind, "file": self.path.name}
        if self.reports:
            self.description["reports"] = self.reports.name
        if keep_empty:
            self.description["empty_reports"] = "keep"
        if self.names:
            self.description["columns"] = self.names
        if beside.classes:
            self.description["labels"] = list(beside.classes)
        self.description |= {
            name: path.name for name, path in (("masks", beside.masks), ("boxes", beside.boxes)) if path
        }

    def list_records(self) -> Listing:
        """All rows, or all with a report.  Row faults are collected; raises DataError where a table cannot be read."""
        return self._list(with_images=True)

    def texts(self) -> Listing:
        """As ``list_records``, wherever the images are; records have no picture."""
        return self._list(with_images=False)

    def _list(self, *, with_images: bool) -> Listing:
        table = self._table()
        listing = Listing([], faults=table.faults, notes=[table.note] if table.note else [])
        listing.notes += self._suggestions(table)
        report_rows = self._report_rows(listing, table)
        annotations = Annotations(self.beside, self.path, table, listing)
        seen: dict[str, str] = {}
        views = self.selection.filter()
        for line, row in table.rows:
            record = self._record(line, row | report_rows.get(self._image(self.folder, row), {}))
            faults = _row_faults(record) or self._twice(record, seen)
            faults = faults or annotations.add(record, row, with_images=with_images)
            listing.faults += faults
            if faults or not views.takes(record.view):
                continue
            if not record.report:
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
        listing.labels = self.beside.classes
        self.planes = listing.masks = name_planes(listing)
        self.selection.finish(listing, views, self.description)
        return listing

    def load(self, record: Record, short_side: int) -> SourceImage:
        """Read and decode the image of a row, and its attention map.  Raises BadImage."""
        return self.annotate(picture(read_bytes(self.folder / record.place), short_side), record)

    def annotate(self, loaded: SourceImage, record: Record) -> SourceImage:
        """See ``Annotating``."""
        loaded = annotated(loaded, record, self.folder, self.planes)
        if not record.attention:
            return loaded
        with named(f"attention map {redact_place(record.attention)}"):
            return replace(loaded, attention=attention_map(read_bytes(self.folder / record.attention)))

    def _table(self) -> Table:
        elsewhere = _OF_REPORTS[1:] if self.reports else ()
        needed = [name for name in REQUIRED if name not in elsewhere and (name == "image_path" or not self.keep_empty)]
        names = {name: column for name, column in self.names.items() if name not in elsewhere}
        table = read_table(self.path, needed, hint=_ALONE, names=names, read=_READ)
        unused = {name: column for name, column in names.items() if column not in table.header}
        if self.reports:  # either table may call it so
            unused.pop("image_path", None)
        if unused:
            raise missing_columns(self.path, table.header, unused, names)
        return table

    def _suggestions(self, table: Table) -> list[str]:
        """Columns that are not there, though another looks like them."""
        found = {name: columns.likely(name, table.columns) for name in _SUGGESTED if name not in table.columns}
        return [
            f"{self.path.name} has no column '{name}'; '{column}' looks like one: pass {columns.option({name: column})}"
            for name, column in found.items()
            if column
        ]

    def _report_rows(self, listing: Listing, table: Table) -> dict[str, dict[str, str]]:
        """By image, the columns report and distilled of the other table; {} where there is none."""
        has_report = "report" in table.columns
        if self.reports is None:
            listing.notes += self._half(table)
            if not has_report:
                listing.notes.append(f"{self.path.name} has no column 'report': every image is taken without text")
            return {}
        if has_report:
            what = f"{self.path} has a column 'report', and {self.reports} is to give the reports"
            raise DataError(what, "leave out --reports, or the column")
        names = {name: self.names[name] for name in _OF_REPORTS if name in self.names}
        other = read_table(self.reports, _OF_REPORTS[:2], _OF_REPORTS, names=names)
        unused = {name: column for name, column in names.items() if column not in (*table.header, *other.header)}
        if unused:
            raise missing_columns(self.reports, other.header, unused, names)
        listing.notes += self._half(other)
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

    def _half(self, table: Table) -> list[str]:
        """What is said where the report is a column of findings, and one of impressions stands beside it."""
        report = self.names.get("report", "")
        half = columns.other_half(report, table.header) if report in table.header else ""
        hint = "for both, write one column of both"
        return [f"column '{report}' is taken for the report, without column '{half}': {hint}"] if half else []

    def _study(self, place: str) -> str:
        """The study of an image that names none: its path without the ending, and without folders that are private."""
        path, folder = PurePath(place), os.path.abspath(self.folder)
        if path.is_relative_to(folder):
            path = path.relative_to(folder)
        if path.is_absolute():
            return f"{path.stem}-{hashlib.sha256(os.fsencode(path.parent)).hexdigest()[:8]}"
        return str(path.parent / path.stem)

    @staticmethod
    def _image(folder: Path, row: dict[str, str]) -> str:
        place = cell(row["image_path"])
        return os.path.abspath(folder / place) if place else ""

    def _record(self, line: int, row: dict[str, str]) -> Record:
        cells = {name: cell(row.get(name, "")) for name in NAMES}
        place = cells["image_path"]
        return Record(
            origin=origin(self.path, line) + (f" ({redact_place(place)})" if place else ""),
            row=line,
            study_id=identifier(row["study_id"]) if "study_id" in row else self._study(place),
            stem=Path(place).stem,
            place=place,
            report=cells["report"],
            attention=cells["attention_map"],
            patient_id=identifier(row.get("patient_id", "")),
            split=cells["split"],
            view=cells["view"],
            labels=positives(filter(None, map(cell, cells["labels"].split(";")))),
            distilled=cells["distilled"] or None,
            columns={name: value for name, value in row.items() if not self._is_read(name)},
        )

    def _is_read(self, column: str) -> bool:
        return column in NAMES or column in self.beside.classes or is_mask(column)

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
