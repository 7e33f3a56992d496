"""Report files by study: a zip archive, or a folder tree. Read where they lie; nothing is ever extracted."""

import re
import zipfile
import zlib
from pathlib import Path

from ecamp_fast.errors import DataError
from ecamp_fast.shards.sources.base import RecordFault
from ecamp_fast.shards.sources.encodings import Encodings
from ecamp_fast.shards.sources.files import reason
from ecamp_fast.shards.sources.leftovers import Leftovers
from ecamp_fast.shards.sources.tree import Tree, walk
from ecamp_fast.text.reading.cleaning import read_text

MAX_BYTES = 2**20  # of one report
_NAME = re.compile(r"(?:^|[/\\])(s\d+)\.txt$", re.IGNORECASE)  # zip files of Windows may hold \


class Reports:
    """Report files named sNUMBER.txt, of an archive or below a folder, at any depth.

    faults: files with one name, folders that cannot be listed   notes: foreign encodings, what was passed over.
    Use as a context.
    Raises DataError: no archive, no folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[RecordFault] = []
        self._places: dict[str, str] = {}
        self._encodings = Encodings()
        self._tree = Tree()
        self._archive = _open(path) if path.is_file() else None
        if not self._archive:
            self._tree = _walk(path)
            self.faults += self._tree.faults
        leftovers = Leftovers()
        for place in leftovers.kept(self._archive.namelist()) if self._archive else self._tree.places:
            found = _NAME.search(place)
            if not found:
                continue
            first = self._places.setdefault(found[1].lower(), place)
            if first != place:
                self.faults.append(
                    RecordFault(f"{path.name}: {place}", f"the same study as {first}", "remove one of them")
                )
        self._passed_over = self._tree.notes + leftovers.notes

    def __enter__(self) -> "Reports":
        return self

    def __exit__(self, *error: object) -> None:
        if self._archive:
            self._archive.close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, study: str) -> bool:
        return study in self._places

    @property
    def studies(self) -> list[str]:
        """Names of all studies, in the order of their numbers."""
        return sorted(self._places, key=lambda name: int(name[1:]))

    def read(self, study: str) -> str:
        """The report of a study, as cleaned text; noted where it is not UTF-8.

        Raises KeyError: there is none.  Raises DataError: damaged, or larger than 1 MiB.
        """
        place = self._places[study]
        text, encoding = read_text(self._bytes(place))
        self._encodings.add(Path(place).name, encoding)
        return text

    @property
    def notes(self) -> list[str]:
        """What was passed over, and a line on the files read so far that are not UTF-8, if there are any."""
        return self._passed_over + self._encodings.notes

    def _bytes(self, place: str) -> bytes:
        try:
            with self._archive.open(place) if self._archive else open(self.path / place, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self.path.name}: {place}: {reason(error)}", "copy it again") from None
        if len(data) > MAX_BYTES:
            raise DataError(f"{self.path.name}: {place}: larger than 1 MiB: no report", "remove it")
        return data


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        what = f"{path}: not a readable zip archive: {reason(error)}"
        raise DataError(what, "copy it again from its source") from None


def _walk(root: Path) -> Tree:
    if not root.is_dir():
        raise DataError(f"{root}: no such archive or folder", "name the folder or the zip file of the reports")
    return walk(root, lambda name: bool(_NAME.search(name)))
