"""Samples from a CSV table: one row per image, with the report beside it."""

import csv
import difflib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecamp_fast.errors import DataError
from ecamp_fast.shards.image import BadImage, decode
from ecamp_fast.shards.source import Fault, Listing, Picture, Record
from ecamp_fast.text.cleaning import is_empty, read_text

REQUIRED = ("study_id", "image_path", "view", "report")
OPTIONAL = ("patient_id", "split", "labels", "attention_map", "distilled")
_FIELD_LIMIT = 16 * 2**20  # characters; csv's own limit of 131,072 refuses long reports


class CsvSource:
    """Rows of ``path``; image paths are relative to its folder."""

    kind = "csv"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.folder = self.path.parent
        self.description: dict[str, Any] = {"kind": self.kind, "file": self.path.name}

    def survey(self) -> Listing:
        """All rows with a report.  Row faults are collected; raises DataError where the table itself cannot be read."""
        text, note = self._read()
        listing = Listing([], notes=[note] if note else [])
        rows = self._rows(text, listing.faults)
        _, header = next(rows, (0, []))
        self._check_header(header)
        seen: dict[str, str] = {}
        for line, values in rows:
            record = self._record(line, dict(zip(header, values, strict=True)))
            faults = _row_faults(record) or self._twice(record, seen)
            listing.faults += faults
            if not faults and is_empty(record.report):
                listing.dropped_empty += 1
            elif not faults:
                absent = [fault for fault in (self._absent(record, place) for place in _files(record)) if fault]
                listing.absent += absent
                if not absent:
                    listing.records.append(record)
        return listing

    def load(self, record: Record) -> Picture:
        """Read and decode the image of a row, and its attention map.  Raises BadImage."""
        image = decode(self._bytes(record.place))
        if not record.attention:
            return Picture(image)
        try:
            return Picture(image, attention=decode(self._bytes(record.attention)))
        except BadImage as bad:
            raise BadImage(f"attention map {record.attention}: {bad.what}", bad.mend) from None

    def _read(self) -> tuple[str, str]:
        try:
            return read_text(self.path)
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file", "check the path") from None
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror}", "check the path") from None

    def _rows(self, text: str, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
        """(line of the file where the row starts, fields); a row of another length than the header is a fault."""
        before = csv.field_size_limit(_FIELD_LIMIT)
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        line, width = 1, 0
        try:
            for values in reader:
                if not width:
                    values = [name.strip() for name in values]
                width = width or len(values)
                if len(values) == width:
                    yield line, values
                elif values:
                    what = f"{len(values)} fields, the header has {width}"
                    faults.append(Fault(self._origin(line), what, "quote fields that hold commas or line breaks"))
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{self._origin(line)}: not CSV: {error}", "check the quotes from this row on") from None
        finally:
            csv.field_size_limit(before)

    def _check_header(self, header: list[str]) -> None:
        if not header:
            raise DataError(f"{self.path}: empty", f"write a header row: {', '.join(REQUIRED)}")
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(f"{self.path} row 1: column '{twice[0]}' appears twice", "rename or remove one of them")
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            close = difflib.get_close_matches(missing[0], header, n=1)
            hint = f"; is it the column '{close[0]}'?" if close else ""
            names = ", ".join(f"'{name}'" for name in missing)
            raise DataError(f"{self.path} row 1: no column {names}{hint}", f"name the columns {', '.join(REQUIRED)}")

    def _record(self, line: int, row: dict[str, str]) -> Record:
        place = row["image_path"].strip()
        distilled = row.get("distilled", "").strip()
        return Record(
            origin=self._origin(line) + (f" ({place})" if place else ""),
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

    def _absent(self, record: Record, place: str) -> Fault | None:
        try:
            kind = os.stat(self.folder / place).st_mode
        except (OSError, ValueError) as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
            return Fault(record.origin, f"{place}: {reason}", f"image paths are relative to {self.folder}")
        return None if stat.S_ISREG(kind) else Fault(record.origin, f"{place}: not a file", "name an image file")

    def _bytes(self, place: str) -> bytes:
        try:
            return (self.folder / place).read_bytes()
        except OSError as error:
            raise BadImage(f"cannot be read: {error.strerror}", "check the file and its permissions") from None

    def _origin(self, line: int) -> str:
        return f"{self.path.name} row {line}"


def _row_faults(record: Record) -> list[Fault]:
    return [
        Fault(record.origin, f"empty {name}", f"write the row's {name}")
        for name, value in (("study_id", record.study_id), ("image_path", record.place))
        if not value
    ]


def _files(record: Record) -> list[str]:
    return [record.place, record.attention] if record.attention else [record.place]
