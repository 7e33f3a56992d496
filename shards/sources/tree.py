"""What lies below a folder, links to folders included; nothing that cannot be listed is passed over in silence."""

import os
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ecamp_fast.errors import DataError
from ecamp_fast.shards.sources.base import RecordFault
from ecamp_fast.shards.sources.leftovers import Leftovers, is_leftover


@dataclass(slots=True)
class Tree:
    """What ``walk`` found.

    places  paths of files, relative to the folder, with /, in order
    faults  folders that cannot be listed, and pipes
    notes   links to a folder that is read already (it is read once), and how much of no meaning was passed over
    """

    places: list[str] = field(default_factory=list)
    faults: list[RecordFault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def walk(root: Path, wanted: Callable[[str], bool]) -> Tree:
    """The files below ``root`` whose name is wanted.  Raises DataError where ``root`` itself cannot be listed.

    Links to folders are followed after all real folders, so that a folder has the name that it really has.
    """
    tree, leftovers = Tree(), Leftovers()
    folders, links = deque([""]), deque[str]()
    seen: dict[tuple[int, int], str] = {}
    while folders or links:
        place = (folders or links).popleft()
        try:
            status = os.stat(root / place)
            first = seen.setdefault((status.st_dev, status.st_ino), place)
            if first != place:
                tree.notes.append(f"{place} is the same folder as {first or root.name}: read once")
                continue
            with os.scandir(root / place) as entries:
                for entry in entries:
                    below = f"{place}/{entry.name}" if place else entry.name
                    if is_leftover(entry.name):
                        leftovers.add(folder=_is_folder(entry))
                    elif _is_folder(entry):
                        (links if entry.is_symlink() else folders).append(below)
                    elif wanted(entry.name) and _may_be_opened(entry):
                        tree.places.append(below)
                    elif wanted(entry.name):
                        tree.faults.append(RecordFault(below, "not a regular file", "remove it"))
        except OSError as error:
            if not place:
                raise DataError(
                    f"{root}: cannot be read: {error.strerror}", "name the folder that holds the data"
                ) from None
            tree.faults.append(
                RecordFault(place, f"a folder that cannot be read: {error.strerror}", "check its permissions")
            )
    tree.places.sort()
    tree.notes += leftovers.notes
    return tree


def _may_be_opened(entry: os.DirEntry[str]) -> bool:
    """Opening a pipe waits for ever. A link that leads nowhere may be opened: whoever reads it says so."""
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link that leads nowhere counts as a file: whoever reads it says so."""
    try:
        return entry.is_dir()
    except OSError:
        return False
