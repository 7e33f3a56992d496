"""Blocks of remote files on the local disk, within a bound; shared by all ranks and runs of a machine without locks.

A block is written beside its place and renamed to it, so it is there whole or not at all, whoever is killed. Reading
touches it, and the blocks that were touched longest ago are deleted first, by whichever process finds the cache full.
A reader that meets a deleted block has it open already, or fetches it again. Nothing here is trusted: a block of
another length counts as absent, and what is in it is checked against the CRC32 of the manifest, as every byte is.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ecamp_fast.errors import StorageError

_LOOKS = 32  # a process looks at the whole cache each time it has written this part of the bound
_KEPT = 0.9  # of the bound, once it is reached: deleting a little more means looking less often


def cache_folder() -> Path:
    """``ECAMP_FAST_CACHE``, else ``ecamp-fast`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

    Raises StorageError where none of them is set and there is no home.
    """
    if named := os.environ.get("ECAMP_FAST_CACHE"):
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecamp-fast"
    except RuntimeError:
        raise StorageError("no home, so no place for a cache", "name one: ECAMP_FAST_CACHE=FOLDER") from None


class Blocks:
    """The blocks of one shard set.  folder: of the set, in ``root``   bound: bytes of all files under ``root``

    Raises StorageError where the folder cannot be made; reports hold private data, so it is for its owner alone.
    """

    def __init__(self, root: Path, folder: Path, bound: int) -> None:
        self._root, self._folder, self._bound = root, folder, bound
        self._written: int | None = None  # since this process looked; None: it has not
        self._lock = threading.Lock()
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            what = f"{folder}: the cache cannot be made: {error.strerror}"
            raise StorageError(what, "name another folder: ECAMP_FAST_CACHE=FOLDER") from None

    def get(self, name: str, number: int, size: int) -> bytes | None:
        """Block ``number`` of a file, None where it is not here.  size: bytes that it must have"""
        path = self._path(name, number)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:  # absent, or deleted meanwhile: the network has it
            return None
        return data if len(data) == size else None

    def put(self, name: str, number: int, data: bytes) -> None:
        """Keep a block. A full disk is no fault: the block is read over the network again."""
        path = self._path(name, number)
        temporary = path.with_name(f".{uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        self._count(len(data))

    def _path(self, name: str, number: int) -> Path:
        return self._folder / name / f"{number:06d}"

    def _count(self, size: int) -> None:
        with self._lock:
            if self._written is None or self._written + size > self._bound / _LOOKS:
                self._written = 0
                self._evict()
            else:
                self._written += size

    def _evict(self) -> None:
        """Left-overs of killed processes are files like others: they grow old and go."""
        found = []
        for folder, _, names in os.walk(self._root):
            for name in names:
                with suppress(OSError):  # deleted by another process
                    status = os.stat(path := os.path.join(folder, name))
                    found.append((status.st_mtime_ns, status.st_size, path))
        held = sum(size for _, size, _ in found)
        if held <= self._bound:
            return
        for _, size, path in sorted(found):
            if held <= self._bound * _KEPT:
                break
            if os.path.basename(os.path.dirname(path)).endswith(".tar"):  # manifests stay: sets that are open need them
                with suppress(OSError):
                    os.unlink(path)
                held -= size
