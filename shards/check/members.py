"""Every byte of a shard against its manifest entry, in bounded memory: what is wrong, where, with which sample."""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from zlib_ng.zlib_ng import crc32

from ecamp_fast.shards.format.manifest import EXTENSIONS, METADATA, OPTIONAL, TEXT, Shard
from ecamp_fast.shards.format.tar_writer import end_size, member_header
from ecamp_fast.strict_json import parse_json

_BLOCK = tarfile.BLOCKSIZE
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.GNUTYPE_LONGNAME: "a long name",
    tarfile.GNUTYPE_LONGLINK: "a long name",
    tarfile.XHDTYPE: "a PAX header",
    tarfile.XGLTYPE: "a PAX header",
    tarfile.SOLARIS_XHDTYPE: "a PAX header",
}


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong.

    file  with which file of the set
    what  in words
    key   with which sample; '' if with none in particular
    byte  from which byte of the file on; None if at none in particular
    """

    file: str
    what: str
    key: str = ""
    byte: int | None = None

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.what}" + ("" if self.byte is None else f", at byte {self.byte}")


def inspect_members(descriptor: int, shard: Shard, patients: dict[str, str]) -> list[Damage]:
    """Compare an open shard with its manifest entry; fills ``patients`` with patient -> a key.  Raises OSError."""
    walk = _Walk(descriptor, shard)
    damage = [item for row in range(len(shard.keys)) for item in walk.sample(row, patients)]
    foreign = sorted(set(shard.members) - set(EXTENSIONS))
    if foreign:
        damage.append(Damage(shard.name, f"members of unknown kind in the manifest: {', '.join(foreign)}"))
    return damage + walk.end()


class _Walk:
    """Goes from member to member, as they were written."""

    def __init__(self, descriptor: int, shard: Shard) -> None:
        self._file = descriptor
        self._shard = shard
        self._length = os.fstat(descriptor).st_size
        self._at = 0  # where the next header should lie

    def sample(self, row: int, patients: dict[str, str]) -> list[Damage]:
        """The damage of one sample: one entry for each thing that is wrong, with all members it is wrong with."""
        key = self._shard.keys[row]
        found: dict[str, tuple[list[str], int | None]] = {}
        for extension in EXTENSIONS:
            for what, byte in self._member(row, extension, patients):
                found.setdefault(what, ([], byte))[0].append(extension)
        return [
            Damage(self._shard.name, f"{', '.join(exts)} {what}", key, byte) for what, (exts, byte) in found.items()
        ]

    def end(self) -> list[Damage]:
        """What lies behind the last sample: zeros to the end of the archive."""
        name, size = self._shard.name, end_size(self._at)
        rest = self._read(self._at, size)
        if any(rest):
            byte = self._at + next(number for number, value in enumerate(rest) if value)
            block = rest[(byte - self._at) // _BLOCK * _BLOCK :][:_BLOCK]
            return [Damage(name, f"{_described(block) or 'bytes'} behind the last sample", byte=byte)]
        if self._shard.bytes != self._at + size:
            return [Damage(name, f"its samples end at byte {self._at}, the manifest says {self._shard.bytes:,} bytes")]
        return []

    def _member(self, row: int, extension: str, patients: dict[str, str]) -> Iterator[tuple[str, int | None]]:
        columns = self._shard.members.get(extension)
        size = -1 if columns is None else int(columns.size[row])
        if columns is None or size < 0:
            if extension not in OPTIONAL and not (extension in TEXT and self._shard.image_alone(row)):
                yield "missing", None
            return
        offset, key = int(columns.offset[row]), self._shard.keys[row]
        if offset != self._at + _BLOCK:
            yield f"placed by the manifest at byte {offset}, where no builder puts it", offset
        self._at = max(offset, 0) + size + -size % _BLOCK
        if offset < 0 or offset + size > self._length:
            yield f"lost (the file ends at byte {self._length})", max(offset, 0)
            return
        data = self._read(offset, size)
        if crc32(data) != columns.crc32[row]:
            yield "damaged (CRC32 differs)", offset
        elif extension == METADATA:
            fault = _metadata(data, key, self._shard.split, patients)
            if fault:
                yield fault, offset
        header = self._read(max(offset - _BLOCK, 0), _BLOCK)
        expected = member_header(f"{key}.{extension}", size)
        if header != expected:
            changed = next((n for n, pair in enumerate(zip(header, expected, strict=False)) if pair[0] != pair[1]), 0)
            described = _described(header)
            name = f"{key}.{extension}"
            wrong = (
                f"header is that of {described}" if described not in (None, f"member '{name}'") else "header damaged"
            )
            yield wrong, max(offset - _BLOCK, 0) + changed
        padding = self._read(offset + size, -size % _BLOCK)
        if any(padding):
            yield "followed by bytes that are not zero", offset + size

    def _read(self, offset: int, size: int) -> bytes:
        """At most what the file holds: sizes in a manifest are not to be trusted with memory."""
        return os.pread(self._file, min(size, max(self._length - offset, 0)), offset)


def _described(block: bytes) -> str | None:
    """What a header says it is; None if it is none."""
    try:
        entry = tarfile.TarInfo.frombuf(block, "ascii", "surrogateescape")
    except tarfile.TarError:
        return None
    kind = "" if entry.isreg() and not entry.issparse() else f", {_KINDS.get(entry.type, 'no regular file')}"
    return f"member {entry.name!r}{kind}"


def _metadata(data: bytes, key: str, split: str, patients: dict[str, str]) -> str | None:
    try:
        metadata = parse_json(data)
        patient, own = metadata["patient_id"], metadata["split"]
    except (ValueError, KeyError, TypeError):
        return "not metadata with patient_id and split"
    if patient:
        patients.setdefault(str(patient), key)
    return None if own == split else f"names the split {own}"
