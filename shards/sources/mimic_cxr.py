"""Samples from MIMIC-CXR-JPG or MIMIC-CXR (DICOM), as PhysioNet gives them: image tree, tables, raw reports."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecamp_fast.errors import DataError
from ecamp_fast.shards.images import dicom
from ecamp_fast.shards.sources.base import Listing, Record, RecordFault, SourceImage
from ecamp_fast.shards.sources.files import absent, own_name, picture, read_bytes
from ecamp_fast.shards.sources.mimic_tables import LABELLERS, MimicImage, Tables, positive, read_tables
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.shards.sources.reports import Reports
from ecamp_fast.text.reading.sections import Tally, cut

_ARCHIVE = "mimic-cxr-reports.zip"
_WHERE = f"reports are a file of their own, {_ARCHIVE} of MIMIC-CXR on PhysioNet: name it by --reports"
_SUFFIXES = (".jpg", ".dcm")


class MimicCxrSource:
    """``folder`` holds ``files/p10/p10000032/s50414267/DICOM_ID.jpg`` (or .dcm) and the tables of the release.

    reports     archive or folder of the report files; None: mimic-cxr-reports.zip in ``folder``, else the tree itself
    use_last    take the last paragraph of reports that have neither findings nor impression; else they are dropped
    keep_empty  images whose report says nothing are taken alone; else they are dropped
    """

    kind = "mimic-cxr"

    def __init__(
        self,
        folder: str | Path,
        reports: str | Path | None = None,
        *,
        use_last: bool = False,
        keep_empty: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.reports = Path(reports) if reports else None
        self.use_last = use_last
        self.keep_empty = keep_empty
        self.description: dict[str, Any] = {"kind": self.kind, "file": own_name(self.folder), "use_last": use_last}
        if self.reports:
            self.description["reports"] = own_name(self.reports)
        if keep_empty:
            self.description["empty_reports"] = "keep"

    def list_records(self) -> Listing:
        """A record for every image of the tables with a report, joined by dicom_id and study_id."""
        tables = read_tables(self.folder)
        listing = Listing([], faults=tables.faults, notes=tables.notes)
        copied = _copied_groups(tables, self.folder, listing)
        suffix = _suffix(copied, self.folder)
        tally = Tally(use_last=self.use_last)
        with Reports(self._reports()) as reports:
            texts = _read(reports, {image.study: image.origin for image in copied}, tally, listing)
            self._note(listing, reports, tables, texts, tally)
        for image in copied:
            if image.study not in texts:
                continue
            if not texts[image.study] and not self.keep_empty:
                listing.dropped_empty += 1
                continue
            record = _record(image, suffix, texts[image.study], tables)
            missing = absent(record.origin, self.folder, record.place)
            if missing:
                listing.absent.append(missing)
            else:
                listing.records.append(record)
        listing.left_out = tally.left_out
        self.description |= {"images": suffix.strip("."), "sections": tally.counts}
        return listing

    def texts(self) -> Listing:
        """A record without a picture for every report file, whatever the tables say."""
        tally, listing = Tally(use_last=self.use_last), Listing([])
        with Reports(self._reports()) as reports:
            texts = _read(reports, dict.fromkeys(reports.studies, reports.path.name), tally, listing)
            listing.notes += [str(tally), *reports.notes]
        for row, (study, text) in enumerate(texts.items()):
            if text:
                listing.records.append(Record(f"{study}.txt", row, study, "", "", text))
            else:
                listing.dropped_empty += 1
        listing.left_out = tally.left_out
        self.description |= {"sections": tally.counts}
        return listing

    def load(self, record: Record, short_side: int) -> SourceImage:
        """Read and decode an image.  Raises BadImage, EnvironmentFault where pydicom is needed and missing."""
        return picture(read_bytes(self.folder / record.place), short_side)

    def _reports(self) -> Path:
        if self.reports:
            return self.reports
        archive = self.folder / _ARCHIVE
        if archive.is_file():
            return archive
        return self.folder / "files" if (self.folder / "files").is_dir() else self.folder

    @staticmethod
    def _note(listing: Listing, reports: Reports, tables: Tables, texts: dict[str, str], tally: Tally) -> None:
        listing.faults += reports.faults
        listing.notes += [str(tally), *reports.notes]
        unused = len(reports) - sum(study in reports for study in texts)
        if unused:
            listing.notes.append(f"{unused:,} report files belong to no image here")


def _copied_groups(tables: Tables, folder: Path, listing: Listing) -> list[MimicImage]:
    """The images of those groups (p10 to p19) whose folders exist: PhysioNet's trees are often copied in part."""
    files = folder / "files"
    try:
        with os.scandir(files) as entries:
            folders = {entry.name for entry in entries if entry.is_dir()}
    except OSError as error:
        raise DataError(f"{files}: {error.strerror}", "name the folder that holds `files`") from None
    copied = [image for image in tables.images if image.patient[:3] in folders]
    elsewhere = Counter(image.patient[:3] for image in tables.images if image.patient[:3] not in folders)
    if elsewhere:
        names = ", ".join(sorted(elsewhere))
        listing.notes.append(f"{elsewhere.total():,} images of {names} left out: no such folder in {files.name}")
    if tables.images and not copied:
        raise DataError(f"{files}: holds none of the groups {names}", "copy at least one of them")
    return copied


def _suffix(images: list[MimicImage], folder: Path) -> str:
    """.jpg or .dcm, by the first image that is there.  Raises EnvironmentFault if it is .dcm without pydicom."""
    for image, suffix in ((image, suffix) for image in images for suffix in _SUFFIXES):
        if (folder / image.folder / f"{image.dicom_id}{suffix}").is_file():
            if suffix == ".dcm":
                dicom.require()
            return suffix
    return _SUFFIXES[0]


def _read(reports: Reports, origins: dict[str, str], tally: Tally, listing: Listing) -> dict[str, str]:
    """The text of each study, '' where it is to be dropped; studies whose report is missing or damaged are faults."""
    if not len(reports):
        listing.faults.append(RecordFault(reports.path.name, "holds no report, no file sNUMBER.txt", _WHERE))
        return {}
    texts = {}
    for study, origin in origins.items():
        if study not in reports:
            hint = f"name the folder or archive with {study}.txt by --reports"
            listing.faults.append(RecordFault(origin, f"no report {study}.txt in {reports.path.name}", hint))
            continue
        try:
            texts[study] = tally.choose(cut(reports.read(study)))
        except DataError as error:
            listing.faults.append(RecordFault(origin, error.what, error.hint))
    return texts


def _record(image: MimicImage, suffix: str, text: str, tables: Tables) -> Record:
    stated = {labeller: tables.labels[labeller][image.study] for labeller in LABELLERS if labeller in tables.labels}
    first = next(iter(stated.values()), {})
    return Record(
        origin=f"{image.origin} ({image.study}/{redact(image.dicom_id)})",
        row=image.row,
        study_id=image.study,
        stem=image.dicom_id,
        place=f"{image.folder}/{image.dicom_id}{suffix}",
        report=text,
        patient_id=image.patient,
        split=image.split,
        view=image.view,
        labels=tuple(positive(first)),
        columns=dict(_columns(stated)),
    )


def _columns(stated: dict[str, dict[str, str]]) -> Iterator[tuple[str, str]]:
    """All values of a labeller as one column: Edema=1;Pneumonia=-1."""
    for labeller, labels in stated.items():
        yield labeller, ";".join(f"{name}={value}" for name, value in labels.items())
