"""Where the files of a shard set lie: one interface for a folder of this machine and for an object store."""

import errno
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.shards.format.manifest import require_set
from ecamp_fast.shards.storage.address import parse_address

_OPEN_FILES = 256  # descriptors kept open per set, or a quarter of what the process may have
_TOO_MANY = (errno.EMFILE, errno.ENFILE)  # files are open, here or on this machine


class Store(Protocol):
    """The files of one shard set. May be shared by threads and sent to other processes.

    place    the folder, or the address
    folder   where MANIFEST.json, INDEX.bin and tokenizer.json lie on this machine
    cached   whether ``read`` may give a copy that ``fresh=True`` would replace
    readers  how many threads it takes to hide how long an answer takes
    """

    place: Path | str
    folder: Path
    cached: bool
    readers: int

    def locate(self, name: str) -> str:
        """A file's full name, for messages."""

    def sizes(self, names: Iterable[str]) -> dict[str, int | OSError]:
        """Bytes of each file, or why it cannot be read; no file is read."""

    def names(self) -> list[str]:
        """All files of the set's folder; empty where the store cannot tell."""

    def read(self, name: str, offset: int, size: int, fresh: bool = False) -> bytes:
        """Bytes of a file, fewer where it ends.  Raises OSError; StorageError where the network fails."""

    def as_file(self, name: str) -> AbstractContextManager[Path]:
        """The whole file as one of this machine, as long as the context lasts.  Raises as ``read``."""


def open_store(named: str | os.PathLike[str], cache_gb: float | None = None) -> Store:
    """The store that a path or an address names.

    cache_gb: room for what is read over a network, GiB; None: nothing is deleted to make room
    Raises PolicyError for addresses that ``parse_address`` does not allow; for a set in an object store also DataError
    where its manifest is missing or damaged, EnvironmentFault without the driver, StorageError without network.
    """
    address = parse_address(named)
    if address is None:
        return Folder(Path(named))
    from ecamp_fast.shards.storage.remote import Remote, open_filesystem

    return Remote(address, open_filesystem(address), cache_gb)


def require_set_at(named: str | os.PathLike[str]) -> None:
    """Raises what opening the set that a path or an address names would, as far as it is known at once.

    That is PolicyError for an address that is not allowed, DataError for a folder that is none or no shard set. An
    address is not opened.
    """
    if parse_address(named) is None:
        require_set(Path(named))


class Folder:
    """A folder of this machine."""

    cached = False
    readers = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place: Path | str = folder
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._max_open = min(_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Folder"], tuple[Path]]:
        return Folder, (self.folder,)

    def locate(self, name: str) -> str:
        return str(self.folder / name)

    def sizes(self, names: Iterable[str]) -> dict[str, int | OSError]:
        return {name: self._size(self.folder / name) for name in names}

    def _size(self, path: Path) -> int | OSError:
        try:
            size = path.stat().st_size
        except OSError as error:
            return error
        return size if os.access(path, os.R_OK) else PermissionError(13, "permission denied")

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def read(self, name: str, offset: int, size: int, fresh: bool = False) -> bytes:
        try:
            return self._file(name).read(offset, size)
        except OSError as error:
            if error.errno not in (errno.ESTALE, *_TOO_MANY):
                raise
        with self._lock:
            self._files.clear()  # NFS: the file was replaced on its server, and its name leads to the one there is
        try:
            return self._file(name).read(offset, size)
        except OSError as error:
            if error.errno not in _TOO_MANY:
                raise
            raise EnvironmentFault(
                f"{self.locate(name)}: {error.strerror}", "raise the limit: ulimit -n 1024"
            ) from None

    def as_file(self, name: str) -> AbstractContextManager[Path]:
        return nullcontext(self.folder / name)

    def _file(self, name: str) -> "_File":
        with self._lock:
            file = self._files.get(name)
            if file is None:
                file = self._files[name] = _File(self.folder / name)
                if len(self._files) > self._max_open:
                    self._files.popitem(last=False)
            else:
                self._files.move_to_end(name)
            return file


class _File:
    """A descriptor that closes when its last reader lets go, so that eviction cannot close it under a read."""

    __slots__ = ("descriptor",)

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset: int, size: int) -> bytes:
        data = os.pread(self.descriptor, size, offset)
        while 0 < len(data) < size:
            more = os.pread(self.descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
