"""Samples from the Indiana University collection (Open-i): the XML of the original release, or the CSV form of it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format.labels import positives
from ecamp_fast.shards.sources.base import Listing, Record, RecordFault, SourceImage, several
from ecamp_fast.shards.sources.cells import cell, identifier
from ecamp_fast.shards.sources.encodings import Encodings
from ecamp_fast.shards.sources.files import IMAGES, absent, own_name, picture, read_bytes, reason
from ecamp_fast.shards.sources.joins import index
from ecamp_fast.shards.sources.redact import redact_place
from ecamp_fast.shards.sources.selection.choice import ALL, Selection
from ecamp_fast.shards.sources.table import origin, read_table
from ecamp_fast.shards.sources.tree import walk
from ecamp_fast.text.reading.cleaning import read_text
from ecamp_fast.text.reading.sections import Sections, Tally, left_out

_REPORTS = ("uid", "findings", "impression")
_PROJECTIONS = ("uid", "filename", "projection")
_XML_BYTES = 2**20
_DOCTYPE = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)  # a report needs none; entities can grow without bound


@dataclass(slots=True)
class _Report:
    origin: str
    row: int
    uid: str
    sections: Sections
    labels: tuple[str, ...] = ()
    images: list[tuple[str, str]] = field(default_factory=list)  # name as the release has it, view
    columns: dict[str, str] = field(default_factory=dict)


class OpeniSource:
    """``path``: a folder with indiana_reports.csv and indiana_projections.csv, or the former file; or a folder with the
    .xml reports (ecgen-radiology). Images may lie anywhere below that folder.

    The collection names no patients: a report is a study, and splits are drawn by study.

    keep_empty: images whose report says nothing are taken alone; else they are dropped
    """

    kind = "openi"

    def __init__(self, path: str | Path, *, keep_empty: bool = False, selection: Selection = ALL) -> None:
        self.path = Path(path)
        self.folder = self.path.parent if self.path.is_file() else self.path
        self.keep_empty = keep_empty
        self.selection = selection
        self.description: dict[str, Any] = {"kind": self.kind, "file": own_name(self.path)}
        if keep_empty:
            self.description["empty_reports"] = "keep"

    def list_records(self) -> Listing:
        """A record for every image of a report that says something."""
        listing, tally, views = Listing([]), Tally(), self.selection.filter()
        reports = self._reports(listing, with_images=True)
        files = self._images(listing)
        without = sum(not report.images for report in reports)
        if without:
            listing.notes.append(f"{several(without, 'report has', 'reports have')} no image in the collection")
        for report in reports:
            text = tally.choose(report.sections)
            for name, view in report.images:
                if not views.takes(view):
                    continue
                if not text and not self.keep_empty:
                    listing.dropped_empty += 1
                    continue
                places = _find(files, name)
                record = _record(report, text, name, places[0] if places else name, view)
                twice, missing = _twice(record, places), absent(record.origin, self.folder, record.place)
                if twice:
                    listing.faults.append(twice)
                elif missing:
                    listing.absent.append(missing)
                else:
                    listing.records.append(record)
        self.selection.finish(listing, views, self.description)
        return self._finish(listing, tally)

    def texts(self) -> Listing:
        """A record without a picture for every report that says something."""
        listing, tally = Listing([]), Tally()
        for report in self._reports(listing, with_images=False):
            text = tally.choose(report.sections)
            if text:
                listing.records.append(_record(report, text, "", "", ""))
            else:
                listing.dropped_empty += 1
        return self._finish(listing, tally)

    def load(self, record: Record, short_side: int) -> SourceImage:
        """Read and decode an image.  Raises BadImage."""
        return picture(read_bytes(self.folder / record.place), short_side)

    def _finish(self, listing: Listing, tally: Tally) -> Listing:
        listing.notes.append(str(tally))
        listing.left_out = tally.left_out
        self.description |= {"sections": tally.counts}
        return listing

    def _reports(self, listing: Listing, *, with_images: bool) -> list[_Report]:
        table = self.path if self.path.is_file() else self.folder / "indiana_reports.csv"
        if table.is_file():
            reports = _from_table(table, listing)
            if with_images:
                _join_projections(reports, self.folder / "indiana_projections.csv", listing)
        else:
            reports = self._from_xml_files(listing, with_images=with_images)
        if not reports and not listing.faults:
            raise DataError(
                f"{self.path}: neither indiana_reports.csv nor .xml reports", "name the folder that holds them"
            )
        found, twice = index(reports, lambda report: report.uid, lambda report: report.origin)
        listing.faults += twice
        return list(found.values())

    def _from_xml_files(self, listing: Listing, *, with_images: bool) -> list[_Report]:
        tree, encodings = walk(self.folder, lambda name: name.endswith(".xml")), Encodings()
        listing.faults += tree.faults
        reports = [report for place in tree.places for report in _from_xml(self.folder / place, listing, encodings)]
        if not with_images:  # else ``_images`` lists the same folder, and tells what it passed over
            listing.notes += tree.notes
        listing.notes += encodings.notes
        return reports

    def _images(self, listing: Listing) -> dict[str, list[str]]:
        """Places of the image files by their name with and without its ending, in small letters."""
        tree = walk(self.folder, lambda name: name.lower().endswith(IMAGES))
        listing.faults += [fault for fault in tree.faults if fault not in listing.faults]
        listing.notes += tree.notes
        found: dict[str, list[str]] = defaultdict(list)
        for place in tree.places:
            path = PurePosixPath(place.lower())
            found[path.name].append(place)
            found[path.stem].append(place)
        return found


def _from_table(path: Path, listing: Listing) -> list[_Report]:
    table = read_table(path, _REPORTS, read=(*_REPORTS, "Problems"))
    listing.faults += table.faults
    listing.notes += [table.note] if table.note else []
    return [
        _Report(
            origin=origin(path, line),
            row=line,
            uid=identifier(row["uid"]),
            sections=_sections({name: [text] for name, text in row.items()}),
            labels=_labels(row.get("Problems", "").split(";")),
            columns={name: row[name].strip() for name in ("MeSH", "indication", "comparison") if name in row},
        )
        for line, row in table.rows
    ]


def _join_projections(reports: list[_Report], path: Path, listing: Listing) -> None:
    """Give each report its images; a row of the projections that belongs to no report is a fault."""
    if not path.is_file():
        raise DataError(
            f"{path}: no such file, so no report has an image", "copy it here; `ecamp-fast shard annotate` needs none"
        )
    table = read_table(path, _PROJECTIONS)
    listing.faults += table.faults
    rows, twice = index(table.rows, lambda row: row[1]["filename"].strip(), lambda row: origin(path, row[0]))
    listing.faults += twice
    by_uid: dict[str, _Report] = {report.uid: report for report in reports}
    for name, (line, row) in rows.items():
        report = by_uid.get(identifier(row["uid"]))
        if report:
            report.images.append((name, row["projection"].strip()))
        else:
            listing.faults.append(
                RecordFault(origin(path, line), "no report has its uid", "take both tables from one release")
            )


def _from_xml(path: Path, listing: Listing, encodings: Encodings) -> Iterator[_Report]:
    """The report of a file, or none and a fault."""
    try:
        with open(path, "rb") as file:
            data = file.read(_XML_BYTES + 1)
    except OSError as error:
        listing.faults.append(RecordFault(path.name, reason(error), "check the file and its permissions"))
        return
    if len(data) > _XML_BYTES or _DOCTYPE.search(data):
        listing.faults.append(RecordFault(path.name, "larger than 1 MiB, or declares entities: no report", "remove it"))
        return
    try:
        tree = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError):
        try:  # some files of the release state UTF-8 and are not
            text, encoding = read_text(data)
            tree = ElementTree.fromstring(text)
        except (ElementTree.ParseError, ValueError) as error:
            listing.faults.append(RecordFault(path.name, f"not XML: {error}", "copy the file again from its source"))
            return
        encodings.add(path.name, encoding)
    sections: dict[str, list[str]] = defaultdict(list)
    for element in tree.iter("AbstractText"):
        sections[str(element.get("Label", "")).lower()].append("".join(element.itertext()))
    uid = tree.find(".//uId")
    yield _Report(
        origin=path.name,
        row=0,
        uid=str(uid.get("id", "")) if uid is not None else "",
        sections=_sections(sections),
        labels=_labels((element.text or "").split("/")[0] for element in tree.iterfind(".//MeSH/major")),
        images=[(str(element.get("id", "")), "") for element in tree.iter("parentImage")],
        columns={name: _joined(sections[name]) for name in ("indication", "comparison")},
    )


def _sections(parts: Mapping[str, list[str]]) -> Sections:
    """parts: the texts of a report by their names; others than these four are index terms and names of images"""
    beside = [(name, _joined(parts.get(name, ()))) for name in ("indication", "comparison")]
    findings, impression = cell(_joined(parts["findings"])), cell(_joined(parts["impression"]))
    return Sections(findings, impression, left_out=left_out(beside))


def _find(files: dict[str, list[str]], name: str) -> list[str]:
    """Where images of a name lie. PNG files begin with CXR1_, DICOM files do not."""
    low = name.lower()
    return files.get(low) or files.get(low.partition("_")[2]) or []


def _twice(record: Record, places: list[str]) -> RecordFault | None:
    """The fault of an image that lies in two places; one as DICOM and as PNG may lie beside it."""
    first: dict[str, str] = {}
    for place in places:
        other = first.setdefault(PurePosixPath(place).suffix.lower(), place)
        if other != place:
            return RecordFault(
                record.origin, f"its image is both {other} and {place}", "keep the one that it belongs to"
            )
    return None


def _record(report: _Report, text: str, name: str, place: str, view: str) -> Record:
    return Record(
        origin=f"{report.origin} ({redact_place(name)})" if name else report.origin,
        row=report.row,
        study_id=report.uid,
        stem=name.removesuffix(Path(place).suffix) if place else name,
        place=place,
        report=text,
        view=view,
        labels=positives(report.labels),
        columns=report.columns,
    )


def _labels(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _joined(parts: Iterable[str]) -> str:
    return " ".join(" ".join(parts).split())
