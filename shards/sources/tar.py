"""The members of a plain tar archive by sample, as webdataset names them. Nothing is extracted, no damage passes."""

import os
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from typing import BinaryIO

from ecamp_fast.shards.sources.base import Listing, RecordFault, several
from ecamp_fast.shards.sources.files import IMAGES, MAX_BYTES
from ecamp_fast.shards.sources.leftovers import Leftovers, in_leftover

HINT = "make the archive again from its source"

TEXTS = ("txt", "text", "report")  # endings of a report

_HEADER_BYTES = 2**20  # of the headers before a member, extended ones too
_ENDING = re.compile(r"[a-z0-9._-]{1,20}")

_DOTS = "its name has dots; webdataset cuts at the first"

Places = dict[str, tuple[int, int]]  # of the members of one key: ending -> offset, size


def groups(
    file: BinaryIO, name: str, known: Container[str], listing: Listing, leftovers: Leftovers
) -> dict[str, Places]:
    """The members of an archive by their key, wherever they lie.

    name       of the archive
    known      endings that matter; others are counted in the notes
    leftovers  counts what the operating system or an editor left
    listing    receives notes and faults: damage, members that are no plain files, two members of one name; samples
               whose names have dots, which no reader of webdatasets finds, count as absent
    """
    found: dict[str, Places] = {}
    extras: Counter[str] = Counter()
    dotted: dict[tuple[str, str], list[str]] = defaultdict(list)  # key, name up to its ending -> endings by the key
    scattered: set[str] = set()
    last = ""
    for member in _members(file, name, listing, leftovers):
        key, ending = _parts(member.name)
        if ending not in known:
            stem = _stem(member.name, known)
            if stem:
                dotted[key, stem].append(ending)
            else:
                extras[_plain(ending)] += 1
            continue
        if key in found and key != last:
            scattered.add(key)
        last, places = key, found.setdefault(key, {})
        if ending in places:
            where = f"at byte {places[ending][0]} and at byte {member.offset_data}"
            listing.faults.append(RecordFault(f"{name}: {key}", f"two members .{ending}, {where}", HINT))
        else:
            places[ending] = (member.offset_data, member.size)
    for (key, stem), endings in dotted.items():
        if key not in found or _is_sample(endings):
            listing.absent.append(RecordFault(f"{name}: {stem}", _DOTS, 'write "_" for the dots', "dotted-name"))
        else:
            extras.update(map(_plain, endings))
    if scattered:
        samples = several(len(scattered), "sample", "samples")
        listing.notes.append(f"{name}: the members of {samples} did not follow each other")
    if extras:
        counted = ", ".join(f"{count} .{ending}" for ending, count in extras.most_common(5))
        members = several(extras.total(), "member of another kind", "members of other kinds")
        listing.notes.append(f"{name}: {members} left out ({counted})")
    return found


def _members(file: BinaryIO, name: str, listing: Listing, leftovers: Leftovers) -> Iterator[tarfile.TarInfo]:
    """The members that are files and data; damage becomes a fault, and ends the walk."""
    size = os.fstat(file.fileno()).st_size
    capped, end, count = _Capped(file), 0, 0
    try:
        with tarfile.open(fileobj=capped, mode="r:") as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members.clear()  # it would keep every header
                capped.room = _HEADER_BYTES
                end, count = max(end, archive.offset), count + 1
                if member.isdir():
                    continue
                if in_leftover(member.name):
                    leftovers.add()
                    continue
                fault = _refused(member, size)
                if fault:
                    listing.faults.append(RecordFault(f"{name}: {_shortened(member.name)}", fault, HINT))
                    return
                yield member
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        listing.faults.append(RecordFault(name, f"not a readable plain tar: {error}", HINT))
        return
    if not count:
        listing.faults.append(RecordFault(name, "holds no member", HINT))
    if not _ends(file, end, size):
        what = f"no end of archive behind byte {end:,} of {size:,}: cut off, or damaged there"
        listing.faults.append(RecordFault(name, what, HINT))


class _Capped:
    """A file whose reader gets no more than ``room`` bytes of headers before a member: they state their own size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.room = _HEADER_BYTES

    def read(self, size: int) -> bytes:
        """Raises ValueError beyond ``room``."""
        if not 0 <= size <= self.room:
            raise ValueError(f"an extended header of {size:,} bytes, or too many of them")
        self.room -= size
        return self._file.read(size)


def _refused(member: tarfile.TarInfo, size: int) -> str | None:
    parts = member.name.split("/")
    if not member.isreg() or member.issparse():
        return "not a regular file"
    if member.name.startswith("/") or ".." in parts:
        return "its name leads out of the archive"
    if member.size > MAX_BYTES:
        return f"{member.size / 2**20:,.0f} MiB, the limit is {MAX_BYTES // 2**20}"
    if member.offset_data + member.size > size:
        return "the archive ends before it does"
    return None


def _ends(file: BinaryIO, end: int, size: int) -> bool:
    """Whether nothing but zeros follows byte ``end``, two blocks of them at least."""
    if size - end < 2 * tarfile.BLOCKSIZE or size - end > 2**20:
        return False
    rest = os.pread(file.fileno(), size - end, end)
    return not any(rest)


def _parts(name: str) -> tuple[str, str]:
    """Key and ending as webdataset parts them: at the first dot of the last part of the name."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return folder + slash + stem, ending.lower()


def _plain(ending: str) -> str:
    return ending if _ENDING.fullmatch(ending) else "other"


def _stem(name: str, known: Container[str]) -> str:
    """A name up to its longest ending that is known; '' where none is."""
    folder, slash, last = name.rpartition("/")
    parts = last.split(".")
    found = (number for number in range(1, len(parts)) if ".".join(parts[number:]).lower() in known)
    return next((folder + slash + ".".join(parts[:number]) for number in found), "")


def _is_sample(endings: list[str]) -> bool:
    """Whether there are an image and a text among these endings: not so of 1.seg.png beside 1.jpg."""
    return any(ending.endswith(IMAGES) for ending in endings) and any(
        ending.endswith(tuple(f".{text}" for text in TEXTS)) for ending in endings
    )


def _shortened(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:20]}...")
