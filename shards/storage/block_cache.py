"""Blocks of remote files on the local disk, within a bound; shared by all ranks and runs of a machine without locks.

A block is written beside its place and renamed to it, so it is there whole or not at all, whoever is killed. Reading
touches it, and the blocks that were touched longest ago are deleted first, by whichever process finds the cache full.
A reader that meets a deleted block has it open already, or fetches it again. Nothing here is trusted: a block of
another length counts as absent, and what is in it is checked against the CRC32 of the manifest, as every byte is.
"""

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

from ecamp_fast.errors import StorageError

ELSEWHERE = "free space, or name another folder: ECAMP_FAST_CACHE=FOLDER"
UNBOUNDED = 100 * 2**30  # bytes held, beyond which those who may not delete keep nothing more
RESERVE = 2 * 2**30, 0.05  # bytes, share of the disk: the smaller of the two stays free for others
_LOOKS = 32  # a process looks at the whole cache each time it has written this part of the bound
_KEPT = 0.9  # of the bound, once it is reached: deleting a little more means looking less often
_COPIES = "whole"  # the folder of copies, which are no blocks
_FORSAKEN = 3600  # seconds without a write after which a temporary file or a copy is that of a killed process
_FULL = (errno.ENOSPC, errno.EDQUOT)


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
    """The blocks of one shard set, in the cache that it shares with others.

    root    folder of the cache
    folder  of this set, below ``root``
    bound   bytes of all files below ``root``, fewer where the disk has less room; None: the user named no bound, so
            nothing is deleted, and blocks are kept only while there is room

    Raises StorageError where the folder cannot be made. Reports hold private data, so it is for its owner alone.
    """

    def __init__(self, root: Path, folder: Path, bound: int | None) -> None:
        self._root, self._folder = root, folder
        self._deletes = bound is not None
        self._bound = self._limit = UNBOUNDED if bound is None else bound
        self._written: int | None = None  # since this process looked; None: it has not
        self._looked = 0  # how often it has
        self._room = True  # for blocks of those who do not delete
        self._lock = threading.Lock()
        try:
            _make_private(folder)
        except OSError as error:
            what = f"{folder}: the cache cannot be made: {error.strerror}"
            raise StorageError(what, ELSEWHERE) from None

    def get(self, name: str, number: int, size: int) -> bytes | None:
        """Block ``number`` of a file, None where it is not in the cache.  size: bytes that it must have"""
        path = self._path(name, number)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:  # absent, or deleted meanwhile: the network has it
            return None
        return data if len(data) == size else None

    def put(self, name: str, number: int, data: bytes) -> None:
        """Keep a block. A full disk is no fault: older blocks give way, else it is read over the network again."""
        self._count(len(data))
        if not self._room:
            return
        looked, path = self._looked, self._path(name, number)
        try:
            _write(path, data)
        except OSError as error:
            if error.errno not in _FULL or not self._deletes:
                return
            with self._lock:
                if self._looked == looked:  # no other thread has made room meanwhile
                    self._look(full=True)
            with suppress(OSError):
                _write(path, data)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for a copy of a whole file, which does not count as held; gone with the context.

        Those of killed processes are deleted when they are old.  Raises StorageError where it cannot be made.
        """
        copies = self._root / _COPIES
        try:
            _make_private(copies)
            for left in copies.iterdir():
                if _age(left, *left.glob("*")) > _FORSAKEN:
                    shutil.rmtree(left, ignore_errors=True)
            folder = Path(mkdtemp(dir=copies))
        except OSError as error:
            raise StorageError(f"{copies}: a copy cannot be made: {error.strerror}", ELSEWHERE) from None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _path(self, name: str, number: int) -> Path:
        return self._folder / name / f"{number:06d}"

    def _count(self, size: int) -> None:
        with self._lock:
            if self._written is None or self._written + size > self._limit / _LOOKS:
                self._written = 0
                self._look()
            self._written += size

    def _look(self, full: bool = False) -> None:
        """How much is held, and how much may be.  full: the disk, or the quota, refused a block"""
        self._looked += 1
        found = self._found()
        held = sum(size for _, size, _ in found)
        self._limit = max(0, min(self._bound, held + _free(self._root)))
        self._room = self._deletes or held < self._limit
        if self._deletes and (full or held > self._limit):
            _delete_oldest(found, held, int(min(self._limit, held) * _KEPT))

    def _found(self) -> list[tuple[int, int, str]]:
        """(time of the last use in ns, bytes, path) of every file held."""
        found = []
        for folder, folders, names in os.walk(self._root):
            if folder == str(self._root) and _COPIES in folders:
                folders.remove(_COPIES)
            for name in names:
                with suppress(OSError):  # deleted by another process
                    status = os.stat(path := os.path.join(folder, name))
                    found.append((status.st_mtime_ns, status.st_size, path))
        return found


def _delete_oldest(found: list[tuple[int, int, str]], held: int, limit: int) -> None:
    """Until ``limit`` bytes are held. Left-overs of killed processes are files like others: they grow old and go."""
    for used, size, path in sorted(found):
        if held <= limit:
            break
        folder, name = os.path.split(path)
        forsaken = ".tmp-" in name and time.time() - used / 1e9 > _FORSAKEN  # of ``write_atomically``
        if folder.endswith(".tar") or forsaken:  # manifests stay: sets that are open need them
            with suppress(OSError):
                os.unlink(path)
            held -= size


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        _make_private(path.parent)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _make_private(folder: Path) -> None:
    """Every folder that is missing, for its owner alone: ``mkdir(parents=True)`` opens those above to all."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)


def _free(folder: Path) -> int:
    """Bytes of the disk that may still be used; negative where the reserve is touched."""
    try:
        disk = os.statvfs(folder)
    except OSError:  # the cache was deleted under us: the next block makes it again
        return 0
    limit, share = RESERVE
    return int(disk.f_bavail * disk.f_frsize - min(limit, share * disk.f_blocks * disk.f_frsize))


def _age(*paths: Path) -> float:
    """Seconds since the last write to any of the paths; 0 where one is just going."""
    try:
        return time.time() - max(path.stat().st_mtime for path in paths)
    except OSError:
        return 0.0
