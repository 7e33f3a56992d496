"""Distilled texts that somebody else wrote, in a table by study, given to the samples of a source."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ecamp_fast.errors import DataError
from ecamp_fast.shards.sources.base import Listing, RecordFault, several
from ecamp_fast.shards.sources.cells import cell, identifier
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.shards.sources.table import origin, read_table, read_whole
from ecamp_fast.strict_json import parse_json

_STUDIES = ("study_id", "study", "uid")
_TEXTS = ("text", "distilled", "distilled_text", "distilled_report")  # a report may be the raw one
_LETTERS = {"mimic-cxr": "s", "openi": "cxr"}  # before the number of a study, as some tables write it and others do not
_HINT = f"name the columns {_STUDIES[0]} and {_TEXTS[0]}"
# Of what `shard put` takes: lines by the key of a sample, answers of `distill run`
_OF_PUT = ({"key", "text"}, {"format", "identity"}, {"report", "how", "crc32"})
_PUT = "build the set without it, then `ecamp-fast shard put SET OUT --distilled` takes it"

Row = tuple[int, str, str]  # line of the file, study as written, text


@dataclass(slots=True)
class DistilledTexts:
    """The texts of a file.

    texts   study, in the form that both sides are compared in -> text; '' where the file has none
    faults  rows without a study, and rows that give a study another text than one before
    notes   what to tell about the file
    digest  SHA-256 of its text
    """

    texts: dict[str, str] = field(default_factory=dict)
    faults: list[RecordFault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    digest: str = ""


def attach(listing: Listing, path: Path, kind: str) -> dict[str, str]:
    """Give every record with a report the distilled text of its study; returns what the manifest says of the file.

    kind: of the source
    Raises DataError: no such table, none of its studies is here, samples have distilled texts already.
    """
    found = read_distilled(path, kind)
    listing.faults += found.faults
    records = [record for record in listing.records if record.report]
    own = sum(record.distilled is not None for record in records)
    if own:
        have = several(own, "sample has", "samples have")
        what = f"{have} a distilled text already, and {path.name} is to give it"
        raise DataError(what, "leave out --distilled, or take these texts out of the source")
    studies = {record.study_id: study_key(record.study_id, kind) for record in records}
    for record in records:
        record.distilled = found.texts.get(studies[record.study_id]) or None
    known = set(studies.values())
    given = sum(1 for key in known if found.texts.get(key))
    if records and found.texts and not known & found.texts.keys():
        names = redact(records[0].study_id)
        theirs = several(len(found.texts), "study", "studies")
        raise DataError(f"{path}: of its {theirs} none is here", f"name studies as {names} is named")
    listing.notes += found.notes
    listing.notes.append(f"{path.name} has the distilled texts of {given:,} of {len(known):,} studies with a report")
    if given < len(known):
        others = several(len(known) - given, "study", "studies")
        listing.notes.append(f"those of the other {others} are written by the rules")
    unknown = len(found.texts.keys() - known)
    if unknown:
        named = several(unknown, "study is", "studies are")
        listing.notes.append(f"{path.name}: {named} not among the samples with a report: passed over")
    return {"distilled": path.name, "distilled_digest": found.digest}


def read_distilled(path: Path, kind: str = "") -> DistilledTexts:
    """The texts of a table (separator guessed) or of JSON lines, .gz too, by study.  Raises DataError."""
    if path.is_dir():
        raise DataError(f"{path} is a folder and no table of texts by study; is it the OUT of `distill run`?", _PUT)
    whole, note = read_whole(path)
    found = DistilledTexts(notes=[note] if note else [])
    found.digest = hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()
    first: dict[str, int] = {}
    rows = _json_rows(path, whole) if whole.lstrip().startswith(("{", "[")) else _table_rows(path, found)
    for line, study, text in rows:
        key = study_key(study, kind)
        text = cell(text)
        if not key:
            fault = RecordFault(origin(path, line), "its study_id is empty", "write it, or remove the row")
            found.faults.append(fault)
        elif found.texts.setdefault(key, text) != text:
            what = f"another text for {redact(study)} than in row {first[key]}"
            found.faults.append(RecordFault(origin(path, line), what, "keep one of the two"))
        first.setdefault(key, line)
    if not found.texts and not found.faults:
        raise DataError(f"{path}: no distilled text", f"{_HINT}, a row a study")
    return found


def study_key(study: str, kind: str) -> str:
    """A study in the form that two tables are compared in: no blanks around, 7 for 7.0, no letters before a number."""
    key = identifier(study)
    number = key.lower().removeprefix(_LETTERS.get(kind, ""))
    return number if number.isdecimal() else key


def _json_rows(path: Path, whole: str) -> Iterator[Row]:
    """One object a line."""
    for line, content in enumerate(whole.split("\n"), 1):
        if not content.strip():
            continue
        try:
            tree = parse_json(content)
        except ValueError:
            tree = None
        if not isinstance(tree, dict):
            raise DataError(f"{origin(path, line)}: no JSON object", "write one object a line: JSON lines")
        low = {name.lower() for name in tree}
        if not low & {*_STUDIES} and any(low >= keys for keys in _OF_PUT):
            raise DataError(f"{path}: no texts by study, but what `shard put` takes, by sample or by report", _PUT)
        names = _columns(path, line, [str(name) for name in tree])
        study, text = (tree[name] for name in names)
        if isinstance(study, bool) or not isinstance(study, str | int | float):
            raise DataError(
                f"{origin(path, line)}: '{names[0]}' is neither a text nor a number", "write the study's id"
            )
        if text is not None and not isinstance(text, str):
            raise DataError(f"{origin(path, line)}: '{names[1]}' is no text", "write a text, or null")
        yield line, str(study), text or ""


def _table_rows(path: Path, found: DistilledTexts) -> Iterator[Row]:
    table = read_table(path, (), likely=_STUDIES)
    found.faults += table.faults
    found.notes = [table.note] if table.note else []
    study, text = _columns(path, 1, list(table.header))
    for line, row in table.rows:
        yield line, row[study], row[text]


def _columns(path: Path, line: int, header: list[str]) -> tuple[str, str]:
    """The names of the columns of study and text: by their usual names, or the other one of two.  Raises DataError."""
    low = {name.lower(): name for name in reversed(header)}
    study = next((low[name] for name in _STUDIES if name in low), "")
    others = [name for name in header if name != study]
    text = next((low[name] for name in _TEXTS if name in low), others[0] if study and len(others) == 1 else "")
    for name, what in ((study, _STUDIES[0]), (text, _TEXTS[0])):
        if not name:
            raise DataError(f"{origin(path, line)}: no column '{what}'", _HINT)
    return study, text
