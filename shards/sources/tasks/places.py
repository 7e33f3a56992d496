"""Where the pictures that tables and lists name lie below a folder, however its owner or its user has laid it out."""

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

from ecamp_fast.shards.sources.base import Listing, RecordFault
from ecamp_fast.shards.sources.files import IMAGES
from ecamp_fast.shards.sources.redact import redact_place
from ecamp_fast.shards.sources.tree import walk

_HINT = "name the folder above the images, or keep one of them"
_DEPTH = 3  # folders and file that tell a picture: patient00001/study1/view1_frontal


class ImagePlaces:
    """The pictures below ``folder``; what cannot be listed becomes a fault of ``listing``.

    patient: what finds the patient in a path, where folders carry it: no name is met by another patient's picture
    """

    def __init__(self, folder: Path, listing: Listing, patient: str = "") -> None:
        tree = walk(folder, lambda name: name.lower().endswith(IMAGES))
        listing.faults += tree.faults
        listing.notes += tree.notes
        self._patient = re.compile(patient) if patient else None
        self._places = frozenset(tree.places)
        self._tails: list[dict[str, list[str]]] = []
        left = tree.places
        for depth in range(1, _DEPTH + 1):  # deeper only for those of one name
            tails: dict[str, list[str]] = defaultdict(list)
            for place in left:
                tails[_tail(place, depth)].append(place)
            self._tails.append(tails)
            left = [place for same in tails.values() if len(same) > 1 for place in same]

    def find(self, name: str, origin: str) -> tuple[str, RecordFault | None]:
        """The place of a picture, or its fault: none, or several.

        name: a path, of which folders in front may be others or none, and the ending may be another (.dcm for .png)
        """
        parts = PurePosixPath(name).parts
        for start in range(len(parts)):
            place = "/".join(parts[start:])
            if place in self._places and self._of_one_patient(name, place):
                return place, None
        same: list[str] = []
        for depth, tails in enumerate(self._tails, 1):
            found = tails.get(_tail(name, depth), [])
            if len(found) == 1 and self._of_one_patient(name, found[0]):
                return found[0], None
            if len(found) < 2:  # none, or another patient's
                same = [] if found else same
                break
            same = found
        if same:
            what = f"{redact_place(name)}: {len(same):,} pictures of that name, as {redact_place(same[0])}"
            return "", RecordFault(origin, what, _HINT, "missing")
        return "", RecordFault(origin, f"{redact_place(name)}: no such picture", "name the folder above it", "missing")

    def _of_one_patient(self, name: str, place: str) -> bool:
        """Whether a picture's place has the patient that the name has, where it has one."""
        named = self._patient.search(name) if self._patient else None
        if self._patient is None or named is None:
            return True
        placed = self._patient.search(place)
        return placed is not None and placed[1] == named[1]


def _tail(place: str, depth: int) -> str:
    """The last parts of a path without the ending of a picture; other dots belong to the name, as those of a UID do."""
    tail = "/".join(place.rsplit("/", depth)[-depth:])
    stem, dot, ending = tail.rpartition(".")
    return stem if dot and f".{ending.lower()}" in IMAGES else tail
