"""A CSV file as rows, plain or gzipped: strict about its quotes, its header and the length of its rows."""

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecamp_fast.errors import DataError
from ecamp_fast.shards.sources.base import RecordFault
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.text.language import refuse_padchest
from ecamp_fast.text.reading.cleaning import read_text

_FIELD_LIMIT = 16 * 2**20  # characters; csv's own limit of 131,072 refuses long reports
_TABLE_LIMIT = 2**30  # bytes of a table, inflated


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was read.

    rows     (line of the file where the row starts, value by column)
    faults   rows of another length than the header
    note     what to tell about the file's encoding, or ''
    columns  all that the header names
    """

    rows: list[tuple[int, dict[str, str]]]
    faults: list[RecordFault]
    note: str
    columns: tuple[str, ...] = ()


def read_table(path: Path, required: Sequence[str], keep: Collection[str] | None = None, hint: str = "") -> Table:
    """Read a CSV file with a header row.

    required  columns it must have
    keep      columns to return; None: all
    hint      what else could be done where the last of the required columns is missing

    Raises DataError: missing file, no CSV, a missing column, a column twice.
    """
    text, note = read_whole(path)
    rows = []
    faults = []
    header: list[str] = []
    for line, values in _records(path, text):
        if not header:
            header = [name.strip() for name in values]
            _check_header(path, header, required, hint)
        elif len(values) == len(header):
            pairs = zip(header, values, strict=True)
            rows.append((line, {name: value for name, value in pairs if keep is None or name in keep}))
        else:
            what = f"{len(values)} fields, the header has {len(header)}"
            faults.append(RecordFault(origin(path, line), what, "quote fields that hold commas or line breaks"))
    if not header:
        raise DataError(f"{path}: empty", f"write a header row: {', '.join(required)}")
    return Table(rows, faults, note, tuple(header))


def read_whole(path: Path) -> tuple[str, str]:
    """The text of a file, inflated if its name ends in .gz, and a note about its encoding ('' if it is UTF-8).

    Raises DataError if it cannot be read or is larger than 1 GiB.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data = file.read(_TABLE_LIMIT + 1)
        if len(data) > _TABLE_LIMIT:
            raise DataError(f"{path}: larger than 1 GiB", "split it")
        text, encoding = read_text(data)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(f"{path}: truncated or damaged gzip", "copy the file again from its source") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", "check the path") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", "check the path and its permissions") from None
    return text, "" if encoding == "utf-8" else f"{path.name} is not UTF-8: read as {encoding}"


def origin(path: Path, line: int) -> str:
    """How a row is named in messages; the header is row 1."""
    return f"{path.name} row {line}"


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    before = csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for values in reader:
            if values:  # not a blank line
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{origin(path, line)}: not CSV: {error}", "check the quotes from this row on") from None
    finally:
        csv.field_size_limit(before)


def _check_header(path: Path, header: list[str], required: Sequence[str], usage: str) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        what, hint = f"column {_column(header, twice[0])} appears twice", "rename or remove one of them"
        if redact(twice[0]) != twice[0]:
            what, hint = f"{what}; is this row a header?", f"write a header row: {', '.join(required)}"
        raise DataError(f"{origin(path, 1)}: {what}", hint)
    missing = [name for name in required if name not in header]
    if missing:
        refuse_padchest(origin(path, 1), header)
        close = difflib.get_close_matches(missing[0], header, n=1)
        guess = f"; is it column {_column(header, close[0])}?" if close else ""
        names = ", ".join(f"'{name}'" for name in missing)
        hint = f"name the columns {', '.join(required)}" + (f"; {usage}" if usage and required[-1] in missing else "")
        raise DataError(f"{origin(path, 1)}: no column {names}{guess}", hint)


def _column(header: list[str], name: str) -> str:
    """A column by its name; by its number where the first row may be no header but a report."""
    return f"'{name}'" if redact(name) == name else str(header.index(name) + 1)
