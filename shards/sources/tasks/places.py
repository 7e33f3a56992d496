"""Where the pictures that tables and lists name lie below a folder, however its owner or its user has laid it out."""

from collections import defaultdict
from pathlib import Path, PurePosixPath

from ecamp_fast.shards.sources.base import Listing, RecordFault
from ecamp_fast.shards.sources.files import IMAGES
from ecamp_fast.shards.sources.redact import redact_place
from ecamp_fast.shards.sources.tree import walk

_HINT = "name the folder above the images, or keep one of them"


class Pictures:
    """The pictures below ``folder``; what cannot be listed becomes a fault of ``listing``."""

    def __init__(self, folder: Path, listing: Listing) -> None:
        tree = walk(folder, lambda name: name.lower().endswith(IMAGES))
        listing.faults += tree.faults
        listing.notes += tree.notes
        self._places = frozenset(tree.places)
        self._stems: dict[str, list[str]] = defaultdict(list)
        for place in tree.places:
            self._stems[PurePosixPath(place).stem].append(place)

    def find(self, name: str, origin: str) -> tuple[str, RecordFault | None]:
        """The place of a picture, or its fault: none, or several.

        name: a path, of which folders in front may be others or none, and the ending may be another (.dcm for .png)
        """
        parts = PurePosixPath(name).parts
        for start in range(len(parts)):
            place = "/".join(parts[start:])
            if place in self._places:
                return place, None
        same = self._stems.get(PurePosixPath(name).name) or self._stems.get(PurePosixPath(name).stem, [])
        if len(same) == 1:
            return same[0], None
        if len(same) > 1:
            above = [place for place in same if PurePosixPath(place).parts[-2:-1] == parts[-2:-1]]
            if len(above) == 1:
                return above[0], None
            what = f"{redact_place(name)}: {len(same):,} pictures of that name, as {redact_place(same[0])}"
            return "", RecordFault(origin, what, _HINT, "missing")
        return "", RecordFault(origin, f"{redact_place(name)}: no such picture", "name the folder above it", "missing")
