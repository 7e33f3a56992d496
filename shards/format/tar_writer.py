"""Writing one shard: a plain USTAR file whose bytes depend on its samples alone.

Owner, group and time are zero and the members have one fixed order, so equal samples give equal files on every machine.
The file bears a temporary name until it is complete and on the disk.
"""

import contextlib
import hashlib
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from zlib_ng.zlib_ng import crc32

from ecamp_fast.errors import StorageError
from ecamp_fast.files import open_private, sync
from ecamp_fast.shards.format.manifest import EXTENSIONS, Members, Shard

SHARD_BYTES = 2**30  # a shard ends before it grows beyond this
_BLOCK = tarfile.BLOCKSIZE


class ShardWriter:
    """Use as a context: leaving it with an error removes the temporary file.

    ``add`` samples, then ``close`` to get the manifest's entry. Raises StorageError when the disk refuses.
    """

    def __init__(self, folder: Path, name: str, split: str) -> None:
        self._path = folder / name
        self._temporary = folder / f".{name}.tmp"
        self._split = split
        self._keys: list[str] = []
        self._rows: dict[str, list[tuple[int, int, int]]] = {extension: [] for extension in EXTENSIONS}
        self._digest = hashlib.sha256()
        self.bytes = 0
        self._file = self._disk(lambda: open_private(self._temporary, "wb"))  # closed by close or __exit__

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._file.closed:
            with contextlib.suppress(OSError):  # what is still buffered may not fit on the disk either
                self._file.close()
            self._temporary.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Append a sample.  members: content by extension; those of ``EXTENSIONS`` that are missing are left out."""
        self._keys.append(key)
        for extension in EXTENSIONS:
            data = members.get(extension)
            if data is None:
                self._rows[extension].append((-1, -1, -1))
                continue
            header = member_header(f"{key}.{extension}", len(data))
            self._rows[extension].append((self.bytes + len(header), len(data), crc32(data)))
            self._write(header + data + bytes(-len(data) % _BLOCK))

    def close(self) -> Shard:
        """Finish the archive, bring it to the disk under its own name, and return its manifest entry."""
        self._write(bytes(end_size(self.bytes)))
        self._disk(self._commit)
        members = {
            extension: Members(*np.array(rows, np.int64).T)
            for extension, rows in self._rows.items()
            if any(size >= 0 for _, size, _ in rows)
        }
        keys = tuple(self._keys)
        return Shard(self._path.name, self._split, self.bytes, self._digest.hexdigest(), keys, members)

    def _write(self, data: bytes) -> None:
        self._disk(lambda: self._file.write(data))
        self._digest.update(data)
        self.bytes += len(data)

    def _commit(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self._path)
        sync(self._path.parent)

    def _disk(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except OSError as error:
            raise StorageError(
                f"cannot write {self._path}: {error.strerror}", "free space, or check permissions"
            ) from error


def member_header(name: str, size: int) -> bytes:
    """The 512 bytes before a member's content."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o644
    return entry.tobuf(tarfile.USTAR_FORMAT, "ascii")


def end_size(size: int) -> int:
    """Number of zero bytes that end an archive whose members take ``size`` bytes: two blocks, filled to a record."""
    return 2 * _BLOCK + -(size + 2 * _BLOCK) % tarfile.RECORDSIZE


class UnitWriter:
    """Writes the samples of one unit: into ``NAME.tar``, and into ``NAME-1.tar`` and so on where that reaches 1 GiB.

    Use as a context, as ShardWriter.
    """

    def __init__(self, folder: Path, name: str, split: str) -> None:
        self._folder = folder
        self._name = name
        self._split = split
        self._writer: ShardWriter | None = None
        self._shards: list[Shard] = []

    def __enter__(self) -> "UnitWriter":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer is not None:
            self._writer.__exit__(*error)

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Append a sample."""
        if self._writer is not None and self._writer.bytes + sum(map(len, members.values())) > SHARD_BYTES:
            self._close()
        if self._writer is None:
            suffix = f"-{len(self._shards)}" if self._shards else ""
            self._writer = ShardWriter(self._folder, f"{self._name}{suffix}.tar", self._split)
        self._writer.add(key, members)

    def finish(self) -> tuple[Shard, ...]:
        """Close the last shard; returns all, none if there was no sample."""
        self._close()
        return tuple(self._shards)

    def _close(self) -> None:
        if self._writer is not None:
            self._shards.append(self._writer.close())
            self._writer = None
