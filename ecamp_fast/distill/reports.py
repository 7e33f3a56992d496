"""The reports of a shard set or of a table; in what is told of one its digest stands for its text."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from ecamp_fast.errors import ConfigError, DataError, EcampError
from ecamp_fast.shards.format.manifest import METADATA, REPORT
from ecamp_fast.shards.format.metadata import read_metadata
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.base import refuse
from ecamp_fast.shards.sources.columns import parse
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.storage.address import parse_address
from ecamp_fast.text.reading.entities import DEFAULT, EntityList

T = TypeVar("T")


class Report(NamedTuple):
    """A report.  key: of its sample, or of its row   patient: '' where unknown   text: as the source has it"""

    key: str
    patient: str
    text: str


@dataclass(frozen=True)
class ReportSource:
    """What was read: all reports that say something.

    kind      of the source that they came from: of a shard set, what it was built from
    reports   in the source's own order; views of a study share theirs
    notes     what a person should know
    entities  that they are to be read by: those of the set, or those that are named for a table
    """

    kind: str
    reports: list[Report]
    notes: list[str]
    entities: EntityList

    def texts(self) -> dict[str, str]:
        """Digest to text of each that differs, in order."""
        return {report_digest(report.text): report.text for report in self.reports}


def report_digest(text: str) -> str:
    """SHA-256 of a report without the white space around it, in hexadecimal."""
    return hashlib.sha256(text.strip().encode(errors="surrogatepass")).hexdigest()


def guarded(call: Callable[..., T], report: str, *arguments: str) -> T:
    """``call(report, *arguments)``; what it raises repeats no word of the report when it leaves here."""
    try:
        return call(report, *arguments)
    except EcampError:
        raise
    except Exception as error:
        what = f"report {report_digest(report)[:16]}: {type(error).__name__} while it was read"
        raise DataError(what, "a fault of the distiller; the digest is of the report's text") from None


def read_reports(source: str, columns: Sequence[str] = (), entities: EntityList | None = None) -> ReportSource:
    """The reports of a shard set (a folder, or an address of an object store) or of a CSV table.

    columns   NAME=COLUMN, as `shard build --columns` takes them; of a table alone
    entities  None: a set's own, a table's are the paper's

    Raises ConfigError where the set is read by another list; DataError where there is no such set or
    table, a row is at fault, or no report says anything.
    """
    is_set = parse_address(source) is not None or Path(source).is_dir()
    found = _of_set(source, entities) if is_set else _of_table(Path(source), columns, entities or DEFAULT)
    if not found.reports:
        raise DataError(f"{source}: no report that says anything", "name a shard set or a table with reports")
    return found


def _of_set(source: str, entities: EntityList | None) -> ReportSource:
    shards = ShardSet(source)
    own = shards.manifest.entities
    if entities not in (None, own):
        what = f"{source}: the set is read by {'the paper' if own == DEFAULT else 'another list'}'s entities"
        raise ConfigError(what, "leave out --entities, or build the set with that list")
    reports = []
    for split in shards.splits:
        for sample in shards.samples(split, (METADATA, REPORT)):
            if text := _decoded(sample.get(REPORT, b""), sample.key).strip():
                reports.append(Report(sample.key, _patient(sample[METADATA], sample.key), text))
    notes = (
        [f"the set has a list of {len(own):,} entities of its own: reports are read by it"] if own != DEFAULT else []
    )
    return ReportSource(str(shards.manifest.source.get("kind", "")), reports, notes, own)


def _patient(data: bytes, key: str) -> str:
    """The patient of a sample."""
    return str(read_metadata(data, key)["patient_id"])


def _decoded(data: bytes, key: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DataError(f"{key}: its report is not UTF-8", "build the set again") from None


def _of_table(path: Path, columns: Iterable[str], entities: EntityList) -> ReportSource:
    source = CsvSource(path, names=parse(list(columns)))
    listing = source.texts()
    if listing.faults:
        raise refuse(path.name, listing.faults)
    reports = [
        Report(f"{record.study_id}_{record.stem}", record.patient_id, record.report.strip())
        for record in listing.records
        if record.report.strip()
    ]
    return ReportSource(source.kind, reports, listing.notes, entities)
