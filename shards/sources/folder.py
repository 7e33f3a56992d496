"""Samples from a folder: each image with its report in a .txt file of the same name beside it."""

import os
from pathlib import Path
from typing import Any

from ecamp_fast.errors import DataError
from ecamp_fast.shards.sources.base import Listing, Record, RecordFault, SourceImage
from ecamp_fast.shards.sources.cells import cell
from ecamp_fast.shards.sources.encodings import Encodings
from ecamp_fast.shards.sources.files import IMAGES, own_name, picture, read_bytes
from ecamp_fast.shards.sources.leftovers import passed_over
from ecamp_fast.shards.sources.selection.choice import ALL, Selection
from ecamp_fast.shards.sources.tree import walk
from ecamp_fast.text.reading.cleaning import read_text

_REPORT = ".txt"
_REPORT_BYTES = 2**20
_ALONE = "write it, remove the image, or pass --empty-reports keep for images alone"


class FolderSource:
    """All images below ``folder``; the text is taken as it is. A study is an image, patients are not known.

    keep_empty: images without a report, or with one that says nothing, are taken alone; else they are left out
    """

    kind = "folder"

    def __init__(self, folder: str | Path, *, keep_empty: bool = False, selection: Selection = ALL) -> None:
        self.folder = Path(folder)
        self.keep_empty = keep_empty
        self.selection = selection
        self.description: dict[str, Any] = {"kind": self.kind, "file": own_name(self.folder)}
        if keep_empty:
            self.description["empty_reports"] = "keep"

    def list_records(self) -> Listing:
        """A record for every image with a report, by name.  An image or a report alone counts as absent."""
        (images, reports), listing = self._walk()
        if not images and not reports and not listing.faults:
            what = f"{self.folder}: no image and no .txt file{passed_over(listing.notes)}"
            raise DataError(what, "name the folder that holds them")
        encodings = Encodings()
        for name in sorted(images.keys() | reports.keys()):
            places = images.get(name, [])
            if len(places) > 1:
                what = f"as {', '.join(Path(place).suffix for place in places)}: which one has the report?"
                listing.faults.append(RecordFault(name, what, "keep one of them"))
            elif not places:
                listing.absent.append(RecordFault(f"{name}.txt", "no image of that name", "add it beside", "missing"))
            elif name not in reports and self.keep_empty:
                self._append(listing, name, places[0], "")
            elif name not in reports:
                what = f"no report {Path(name).name}.txt beside it"
                listing.absent.append(RecordFault(places[0], what, _ALONE, "no-text"))
            else:
                self._add(listing, encodings, name, places[0], reports[name])
        listing.notes += encodings.notes
        self.selection.finish(listing, self.selection.filter(), self.description)
        return listing

    def texts(self) -> Listing:
        """A record without a picture for every report, by name."""
        (_, reports), listing = self._walk()
        if not reports and not listing.faults:
            what = f"{self.folder}: no .txt file{passed_over(listing.notes)}"
            raise DataError(what, "name the folder that holds the reports")
        encodings = Encodings()
        for name, report in sorted(reports.items()):
            self._add(listing, encodings, name, "", report)
        listing.notes += encodings.notes
        return listing

    def load(self, record: Record, short_side: int) -> SourceImage:
        """Read and decode an image.  Raises BadImage."""
        return picture(read_bytes(self.folder / record.place), short_side)

    def _walk(self) -> tuple[tuple[dict[str, list[str]], dict[str, str]], Listing]:
        """Images and reports (``_by_stem``), and a listing of nothing but what was wrong on the way."""
        tree = walk(self.folder, lambda name: os.path.splitext(name)[1].lower() in (*IMAGES, _REPORT))
        listing = Listing([], faults=tree.faults, notes=tree.notes)
        return _by_stem(tree.places, listing), listing

    def _add(self, listing: Listing, encodings: Encodings, name: str, image: str, report: str) -> None:
        path = self.folder / report
        try:
            with open(path, "rb") as file:
                data = file.read(_REPORT_BYTES + 1)
        except OSError as error:
            listing.faults.append(RecordFault(report, f"cannot be read: {error.strerror}", "check its permissions"))
            return
        if len(data) > _REPORT_BYTES:
            listing.faults.append(RecordFault(report, "larger than 1 MiB: no report", "remove it"))
            return
        text, encoding = read_text(data)
        encodings.add(report, encoding)
        report = cell(text)
        if report or self.keep_empty:
            self._append(listing, name, image, report)
        else:
            listing.dropped_empty += 1

    @staticmethod
    def _append(listing: Listing, name: str, image: str, report: str) -> None:
        origin = image or f"{name}.txt"
        listing.records.append(Record(origin, len(listing.records), name, Path(name).name, image, report))


def _by_stem(places: list[str], listing: Listing) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Images and reports by their path without its ending; a second report of one path (a.txt, a.TXT) is a fault."""
    images: dict[str, list[str]] = {}
    reports: dict[str, str] = {}
    for place in places:
        stem, ending = os.path.splitext(place)
        if ending.lower() == _REPORT:
            if reports.setdefault(stem, place) != place:
                listing.faults.append(
                    RecordFault(place, f"a report like {reports[stem]}: which one is meant?", "keep one")
                )
        else:
            images.setdefault(stem, []).append(place)
    return images, reports
