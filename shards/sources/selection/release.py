"""Where below a folder a release of MIMIC-CXR lies: as wget mirrors PhysioNet, versions and hosts are folders too."""

import os
import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from ecamp_fast.errors import DataError
from ecamp_fast.shards.sources.leftovers import Leftovers, is_leftover
from ecamp_fast.shards.sources.mimic_tables import METADATA, RECORDS, find

ARCHIVE = "mimic-cxr-reports.zip"
_DEPTH = 5  # folders down: x/physionet.org/files/mimic-cxr-jpg/2.1.0
_FOLDERS = 2000  # looked at, at most
_GROUP = re.compile(r"p1\d")


@dataclass(slots=True)
class MimicRelease:
    """A release that was found.

    root      holds ``files`` and the tables
    archives  archives of reports above it and beside it
    notes     where it is, what was passed over
    """

    root: Path
    archives: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_release(folder: Path) -> MimicRelease:
    """The release in ``folder``, or the one below it, of which images are there rather than reports.

    Where none is found ``folder`` itself is given back: whoever reads its tables says what is missing.
    Raises DataError: several of them.
    """
    if _is_root(folder):
        return MimicRelease(folder, notes=_passed_over(folder))
    roots, archives = _below(folder)
    for better in (_has_groups, _is_jpg):
        roots = [root for root in roots if better(root)] or roots
    if len(roots) > 1:
        names = ", ".join(root.relative_to(folder).as_posix() for root in roots)
        raise DataError(f"{folder}: holds several releases: {names}", "name the folder of one of them")
    if not roots:
        return MimicRelease(folder, archives)
    note = f"the release in {roots[0].relative_to(folder).as_posix()} is read"
    return MimicRelease(roots[0], archives, [note, *_passed_over(roots[0])])


def _below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders with tables of a release, and the archives of reports, in order; no release lies within another."""
    roots, archives = [], []
    waiting, looked_at = deque([(folder, 0)]), 0
    while waiting and looked_at < _FOLDERS:
        at, depth = waiting.popleft()
        looked_at += 1
        if (at / ARCHIVE).is_file():
            archives.append(at / ARCHIVE)
        if _is_root(at):
            roots.append(at)
        elif depth < _DEPTH:
            waiting += [(inner, depth + 1) for inner in _folders(at)]
    return sorted(roots), sorted(archives)


def _folders(at: Path) -> list[Path]:
    try:
        with os.scandir(at) as entries:
            names = [entry.name for entry in entries if not is_leftover(entry.name) and entry.is_dir()]
    except OSError:  # what cannot be listed holds no release that could be read
        return []
    return [at / name for name in sorted(names) if not _GROUP.fullmatch(name)]


def _is_root(folder: Path) -> bool:
    return bool(find(folder, METADATA) or find(folder, RECORDS))


def _is_jpg(root: Path) -> bool:
    return bool(find(root, METADATA))


def _has_groups(root: Path) -> bool:
    try:
        return any(_GROUP.fullmatch(name) for name in os.listdir(root / "files"))
    except OSError:
        return False


def _passed_over(root: Path) -> list[str]:
    """Of the tables' folder; trees of images are not listed, since tables name the images."""
    leftovers = Leftovers()
    with os.scandir(root) as entries:
        for entry in entries:
            if is_leftover(entry.name):
                leftovers.add(folder=entry.is_dir())
    return leftovers.notes
