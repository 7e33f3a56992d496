"""A CSV file as rows, plain or gzipped: strict about its quotes, its header and the length of its rows."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecamp_fast.errors import DataError
from ecamp_fast.shards.sources import columns
from ecamp_fast.shards.sources.base import RecordFault
from ecamp_fast.shards.sources.cells import is_blank
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.text.language import refuse_padchest
from ecamp_fast.text.reading.cleaning import read_text

_FIELD_LIMIT = 16 * 2**20  # characters; csv's own limit of 131,072 refuses long reports
_TABLE_LIMIT = 2**30  # bytes of a table, inflated
_BOMB = 2**26, 100  # bytes inflated beyond which no table is, and how many times the file: text packs to a fifth
_HEADER_LIMIT = 2**16  # characters that the separator is guessed from
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}  # the first of equals is taken
_STATED = re.compile(r'"?sep=([,;|\t])"?[ \t]*\n', re.IGNORECASE)  # a first line that Excel writes and reads


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was read.

    rows     (line of the file where the row starts, value by column); cells that hold nothing are ''
    faults   rows of another length than the header
    note     what to tell about the file's encoding, separator and columns without a name, or ''
    columns  all that have a name, by ours where they are known by it
    header   as the file has it
    """

    rows: list[tuple[int, dict[str, str]]]
    faults: list[RecordFault]
    note: str
    columns: tuple[str, ...] = ()
    header: tuple[str, ...] = ()


def read_table(
    path: Path,
    required: Sequence[str],
    keep: Collection[str] | None = None,
    hint: str = "",
    *,
    names: Mapping[str, str] | None = None,
    read: Collection[str] | None = None,
    likely: Collection[str] = (),
) -> Table:
    """Read a CSV file with a header row. Its separator is guessed by the header; rows without any value are no rows.

    required  columns it must have
    keep      columns to return; None: all that have a name
    hint      what else could be done where the last of the required columns is missing
    names     our name -> the table's, where they differ and a person may say so; None: they may not
    read      columns whose empty cells ('nan', 'NULL', a dash) are to be ''; None: all. Others stay as they are written
    likely    columns of which it may have one: the separator is guessed by them too

    Raises DataError: missing file, no CSV, a missing column, a column twice.
    """
    text, note = read_whole(path)
    separator = _separator(text, {*required, *likely, *(names or {}).values()})
    notes = [note] if note else []
    if separator != ",":
        notes.append(f"{path.name}: columns are parted by {_SEPARATORS[separator]}")
    rows: list[tuple[int, dict[str, str]]] = []
    faults: list[RecordFault] = []
    header: list[str] = []
    at: dict[str, int] = {}
    tail, nameless = 0, list[int]()
    filled: set[int] = set()  # of those without a name: they hold something
    for line, values in _records(path, text, separator):
        if not header:
            header = [name.strip() for name in values]
            at = columns.positions(header, names or {})
            _check_header(path, header, at, required, hint, names)
            tail, nameless = columns.tail(header), columns.nameless(header)
            continue
        what = _misfit(header, values, tail)
        if what:
            faults.append(RecordFault(origin(path, line), what, _quoting(separator)))
            continue
        filled.update(number for number in nameless if number < len(values) and values[number].strip())
        picked = ((name, values[number]) for name, number in at.items() if keep is None or name in keep)
        rows.append((line, {name: _value(value, read is None or name in read) for name, value in picked}))
    if not header:
        raise DataError(f"{path}: empty", f"write a header row: {', '.join(required)}")
    if filled:
        listed = ", ".join(str(number + 1) for number in sorted(filled))
        notes.append(f"{path.name}: columns without a name are left out, though they hold values: {listed}")
    return Table(rows, faults, "; ".join(notes), tuple(at), tuple(header))


def _misfit(header: Sequence[str], values: Sequence[str], tail: int) -> str:
    """What is wrong with the length of a row, or ''. Fields from ``tail`` on have no name and may be missing, or empty.

    A value there is what an unquoted separator has pushed out of a text.
    """
    if not tail <= len(values) <= len(header):
        return f"{len(values)} fields, the header has {len(header)}"
    number = next((number for number, value in enumerate(values[tail:], tail + 1) if value.strip()), 0)
    return f"a value in column {number}, which has no name" if number else ""


def _value(value: str, is_read: bool) -> str:
    return "" if is_read and is_blank(value) else value


def _quoting(separator: str) -> str:
    return f"quote fields that hold {_SEPARATORS[separator]} or line breaks"


def _separator(text: str, wanted: Collection[str]) -> str:
    """What parts the columns: what gives most of the wanted names, then most columns; a line 'sep=;' has two by it."""

    def found(separator: str) -> tuple[int, int]:
        try:
            header = next(filter(None, csv.reader(io.StringIO(text[:_HEADER_LIMIT], newline=""), delimiter=separator)))
        except (StopIteration, csv.Error):
            return 0, 0
        return len({name.strip() for name in header} & {*wanted}), len(header)

    return max(_SEPARATORS, key=found)


def read_whole(path: Path) -> tuple[str, str]:
    """The text of a file, inflated if its name ends in .gz, and a note about its encoding ('' if it is UTF-8).

    Raises DataError if it cannot be read or is larger than 1 GiB.
    """
    try:
        packed, limit = path.suffix == ".gz", _TABLE_LIMIT
        if packed:
            limit = min(limit, max(_BOMB[0], _BOMB[1] * path.stat().st_size))
        # Python takes the memory that it is asked for at once: of a plain file no more than it is long
        wanted = min(limit, path.stat().st_size) if path.is_file() and not packed else limit
        with gzip.open(path) if packed else open(path, "rb") as file:
            data = file.read(wanted + 1)
            data += file.read(limit - wanted) if len(data) > wanted else b""  # it has grown meanwhile
        if len(data) > limit:
            raise DataError(f"{path}: larger than {limit:,} bytes", "split it")
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


def _records(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    before = csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    line = 1
    try:
        for values in reader:
            blank = not any(map(str.strip, values))
            if not blank and not (line == 1 and _STATED.match(text)):
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{origin(path, line)}: not CSV: {error}", "check the quotes from this row on") from None
    finally:
        csv.field_size_limit(before)


def _check_header(
    path: Path,
    header: list[str],
    at: Mapping[str, int],
    required: Sequence[str],
    usage: str,
    names: Mapping[str, str] | None,
) -> None:
    twice = sorted({name for name in header if header.count(name) > 1 and not columns.unnamed(name)})
    if twice:
        what, hint = f"column {_column(header, twice[0])} appears twice", "rename or remove one of them"
        if redact(twice[0]) != twice[0]:
            what, hint = f"{what}; is this row a header?", f"write a header row: {', '.join(required)}"
        raise DataError(f"{origin(path, 1)}: {what}", hint)
    missing = [name for name in required if name not in at]
    if missing:
        refuse_padchest(origin(path, 1), header)
        wanted = {name: (names or {}).get(name, name) for name in missing}
        raise missing_columns(path, header, wanted, names, usage if required[-1] in missing else "")


def missing_columns(
    path: Path, header: Sequence[str], missing: Mapping[str, str], names: Mapping[str, str] | None, usage: str = ""
) -> DataError:
    """The error of columns that are not there. names: as ``read_table`` takes them.

    missing: our name -> what it is to be called
    """
    name, wanted = next(iter(missing.items()))
    close = {name: columns.meant(name, wanted, header) for name, wanted in missing.items()}
    guess = f"; is it column {_column(header, close[name])}?" if close[name] else ""
    listed = ", ".join(f"'{column}'" for column in missing.values())
    hints = [f"the columns are {columns.listing(header)}"]
    likely = {name: columns.told(column) or "COLUMN" for name, column in close.items() if column}
    if names is not None and close[name] == name:
        hints.insert(0, f"leave out {columns.option({name: wanted})}, or correct it")
    elif names is not None and likely:
        half = columns.other_half(likely.get("report", ""), header)
        more = f" (without column '{half}': for both, write one column of both)" if half else ""
        hints.insert(0, f"pass {columns.option(likely)}{more}")
    if usage:
        hints.append(usage)
    return DataError(f"{origin(path, 1)}: no column {listed}{guess}", "; ".join(hints))


def _column(header: Sequence[str], name: str) -> str:
    """A column by its name; by its number where the first row may be no header but a report."""
    return f"'{name}'" if redact(name) == name else str(header.index(name) + 1)
