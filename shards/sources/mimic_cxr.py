"""Samples from MIMIC-CXR-JPG or MIMIC-CXR (DICOM), as PhysioNet gives them: image tree, tables, raw reports."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format.labels import class_order
from ecamp_fast.shards.images import dicom
from ecamp_fast.shards.sources.base import Listing, Record, RecordFault, SourceImage, several
from ecamp_fast.shards.sources.files import absent, own_name, picture, read_bytes
from ecamp_fast.shards.sources.mimic_tables import LABELLERS, MimicImage, Tables, numbers, read_tables
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.shards.sources.reports import Reports
from ecamp_fast.shards.sources.selection.choice import ALL, Selection
from ecamp_fast.shards.sources.selection.release import ARCHIVE, MimicRelease, find_release
from ecamp_fast.text.reading.sections import Tally, cut

_WHERE = f"reports are a file of their own, {ARCHIVE} of MIMIC-CXR on PhysioNet: name it by --reports"
_ALONE = "name a folder or archive that has it by --reports, or pass --empty-reports keep for images alone"
_SUFFIXES = (".jpg", ".dcm")


class MimicCxrSource:
    """``folder`` holds ``files/p10/p10000032/s50414267/DICOM_ID.jpg`` (or .dcm) and the tables of the release; or it is
    a folder above, as ``physionet.org`` is above ``files/mimic-cxr-jpg/2.1.0``.

    reports     archive or folder of the report files, or the folder of the archive; None: mimic-cxr-reports.zip in
                ``folder``, else the tree itself
    use_last    take the last paragraph of reports that have neither findings nor impression; else they are dropped
    keep_empty  images without a report, or whose report says nothing, are taken alone; else those without one are left
                out as absent, and the others are dropped
    """

    kind = "mimic-cxr"

    def __init__(
        self,
        folder: str | Path,
        reports: str | Path | None = None,
        *,
        use_last: bool = False,
        keep_empty: bool = False,
        selection: Selection = ALL,
    ) -> None:
        self.folder = Path(folder)
        self.reports = Path(reports) if reports else None
        self.use_last = use_last
        self.keep_empty = keep_empty
        self.selection = selection
        self.description: dict[str, Any] = {"kind": self.kind, "file": own_name(self.folder), "use_last": use_last}
        if self.reports:
            self.description["reports"] = own_name(self.reports)
        if keep_empty:
            self.description["empty_reports"] = "keep"

    def list_records(self) -> Listing:
        """A record for every image of the tables with a report, joined by dicom_id and study_id."""
        release = self._find_release()
        tables, views, tally = read_tables(self.folder), self.selection.filter(), Tally(use_last=self.use_last)
        listing = Listing([], faults=tables.faults, notes=[*release.notes, *tables.notes])
        copied = _copied_groups(tables, self.folder, listing)
        suffix = _suffix(copied, self.folder)
        images = [image for image in copied if views.takes(image.view)]
        with Reports(self._reports(release)) as reports:
            texts = self._read(reports, {image.study: image.origin for image in images}, tally, listing)
            unused = len(reports) - sum(study in reports for study in {image.study for image in tables.images})
        if unused:
            belong = several(unused, "report file belongs", "report files belong")
            listing.notes.append(f"{belong} to no image of the tables")
        for image in images:
            if image.study not in texts:  # a damaged report, or none at all: a fault already
                continue
            text = texts[image.study]
            if not text and not self.keep_empty:
                if text is None:
                    what = f"no report {image.study}.txt in {reports.path.name}"
                    listing.absent.append(RecordFault(image.origin, what, _ALONE, "no-text"))
                else:
                    listing.dropped_empty += 1
                continue
            record = _record(image, suffix, text or "", tables)
            missing = absent(record.origin, self.folder, record.place)
            if missing:
                listing.absent.append(missing)
            else:
                listing.records.append(record)
        listing.left_out = tally.left_out
        listing.labels = class_order(record.labels for record in listing.records)
        self.description |= {"images": suffix.strip("."), "sections": tally.counts}
        self.selection.finish(listing, views, self.description)
        return listing

    def texts(self) -> Listing:
        """A record without a picture for every report file, whatever the tables say."""
        tally, listing, release = Tally(use_last=self.use_last), Listing([]), self._find_release()
        with Reports(self._reports(release)) as reports:
            texts = self._read(reports, dict.fromkeys(reports.studies, reports.path.name), tally, listing)
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

    def _find_release(self) -> MimicRelease:
        """The release, whose folder is the source's own from now on."""
        release = find_release(self.folder)
        self.folder = release.root
        self.description["file"] = own_name(self.folder)
        return release

    def _reports(self, release: MimicRelease) -> Path:
        archive = (self.reports or self.folder) / ARCHIVE
        if archive.is_file():
            return archive
        if self.reports:
            return self.reports
        if len(release.archives) == 1:  # of MIMIC-CXR, beside MIMIC-CXR-JPG
            return release.archives[0]
        return self.folder / "files" if (self.folder / "files").is_dir() else self.folder

    def _read(self, reports: Reports, origins: dict[str, str], tally: Tally, listing: Listing) -> dict[str, str | None]:
        """The text of each study: '' where it says nothing, None where there is no report. What is damaged is a fault;
        so is a place without any report, unless images are to be taken alone and nobody named the place.
        """
        listing.faults += reports.faults
        if not len(reports) and (self.reports or not self.keep_empty):
            listing.faults.append(RecordFault(reports.path.name, "holds no report, no file sNUMBER.txt", _WHERE))
            origins = {}
        texts: dict[str, str | None] = {}
        for study, origin in origins.items():
            try:
                texts[study] = tally.choose(cut(reports.read(study))) if study in reports else None
            except DataError as error:
                listing.faults.append(RecordFault(origin, error.what, error.hint))
        listing.notes += [str(tally), *reports.notes]
        without = sum(text is None for text in texts.values())
        if without and self.keep_empty:
            have = several(without, "study has", "studies have")
            listing.notes.append(f"{have} no report: the images are taken alone")
        return texts


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
        images = several(elsewhere.total(), "image", "images")
        listing.notes.append(f"{images} of {names} left out: no such folder in {files.name}")
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
        labels=numbers(first),
        columns=dict(_columns(stated)),
    )


def _columns(stated: dict[str, dict[str, str]]) -> Iterator[tuple[str, str]]:
    """All values of a labeller as one column: Edema=1;Pneumonia=-1."""
    for labeller, labels in stated.items():
        yield labeller, ";".join(f"{name}={value}" for name, value in labels.items())
