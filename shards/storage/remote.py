"""A shard set in an object store or behind a web server, read in ranges through fsspec and a cache of blocks.

Why blocks of 512 KiB: in the order over the whole set, samples of some 340 KB are read from all over it. A shard of
hundreds of MB for each of them would never end where the set is larger than the cache; blocks cost some 2.5 times
the bytes of the sample, and nothing where the set fits, since its neighbours need the rest of it. With
``loader.shuffle: N`` every block is used up within a window, so nothing is read twice while the window fits.
Blocks that follow each other come in one request, so a sample takes one round trip; samples overlap in the loader's
threads.
"""

import errno
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from ecamp_fast.errors import DataError, PolicyError, StorageError
from ecamp_fast.files import write_atomically
from ecamp_fast.shards.format.manifest import MANIFEST, TOKENIZER, manifest_digests
from ecamp_fast.shards.format.member_index import INDEX
from ecamp_fast.shards.storage.block_cache import ELSEWHERE, Blocks, cache_folder
from ecamp_fast.shards.storage.fsspec_driver import described, lasting_fault, missing, open_filesystem, redirected

BLOCK = 512 * 1024  # bytes
TRIES = 3  # of a request, before the network is at fault
_WAIT = 0.5  # seconds before the second try; doubled before each other
_DEADLINE = 20  # seconds of a request: none asks for more than _PART
_PATIENCE = 24  # seconds of all tries: who is asked to stop while the network hangs has some 30
_AT_ONCE = 32  # requests
_PART = 8 * 2**20  # bytes of a request of a whole file
_REDIRECTED = "the server sends us on to an address without encryption"
_NETWORK = "check network and credentials; the same command goes on where it stopped"

Result = TypeVar("Result")


class Remote:
    """A ``Store`` at an address.

    filesystem: fsspec's, for the address   cache_gb: room for all sets together, GiB; None: as in ``Blocks``

    MANIFEST.json is read anew at each opening; its digest names the folder of everything that is kept, so a set that
    was replaced never mixes with the one before. From then on a store that forbids what it gave is a StorageError:
    credentials run out, and no sample is damaged by that. A forked process opens a file system of its own.
    Raises DataError where the manifest, or the index, is missing or damaged.
    """

    cached = True
    readers = _AT_ONCE

    def __init__(self, address: str, filesystem: Any, cache_gb: float | None) -> None:
        self.place: Path | str = address
        self._held, self._cache_gb = filesystem, cache_gb
        self._process = os.getpid()
        self._opened = False
        self._root = address if address.startswith("http") else address.partition("://")[2]
        self._sizes: dict[str, int] = {}
        raw = self._manifest()
        digests = manifest_digests(raw, self.locate(MANIFEST))
        self.folder = cache_folder() / digests.manifest
        self._blocks = self._cache()
        if not _holds(self.folder / MANIFEST, raw):
            write_atomically(self.folder / MANIFEST, raw)
        if digests.tokenizer:  # a set of images alone has none
            self._keep(TOKENIZER, digests.tokenizer)
        if not self._keep(INDEX, digests.index):
            raise DataError(f"{self.locate(INDEX)} is missing, or not the one of the manifest", "copy the set again")
        self._opened = True

    def __reduce__(self) -> tuple[Any, ...]:
        """File systems hold threads; another process opens its own."""
        return _reopened, (self.place, self._cache_gb)

    def locate(self, name: str) -> str:
        return f"{self.place}/{name}"

    def sizes(self, names: Iterable[str]) -> dict[str, int | OSError]:
        """One listing for many where the store can; else a request each, many at once."""
        names = list(names)
        listed = self._listed() if len(names) > 1 else None
        if listed is None:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                sizes = dict(zip(names, pool.map(self._size, names), strict=True))
        else:
            sizes = {name: listed.get(name, missing(name)) for name in names}
        self._sizes |= {name: size for name, size in sizes.items() if isinstance(size, int)}
        return sizes

    def names(self) -> list[str]:
        return sorted(self._listed() or ())

    def read(self, name: str, offset: int, size: int, fresh: bool = False) -> bytes:
        length = self._length(name)
        stop = min(offset + size, length)
        if offset >= stop:
            return b""
        numbers = range(offset // BLOCK, -(-stop // BLOCK))
        sizes = {number: min(BLOCK, length - number * BLOCK) for number in numbers}
        blocks = {number: None if fresh else self._blocks.get(name, number, sizes[number]) for number in numbers}
        if absent := [number for number, block in blocks.items() if block is None]:
            blocks |= self._fetched(name, range(absent[0], absent[-1] + 1), length)
        data = b"".join(block or b"" for block in blocks.values())
        start = numbers[0] * BLOCK
        return data[offset - start : stop - start]

    @contextmanager
    def as_file(self, name: str) -> Iterator[Path]:
        """A copy beside the cache, gone with the context: whoever reads all of a shard reads it once."""
        with self._blocks.scratch() as folder:
            with open(folder / name, "wb", buffering=0) as file:
                for part in self._parts(name):
                    _write(file, part)
            yield folder / name

    def _cache(self) -> Blocks:
        bound = None if self._cache_gb is None else int(self._cache_gb * 2**30)
        return Blocks(self.folder.parent, self.folder, bound)

    def _filesystem(self) -> Any:
        """The file system of this process: its threads, and who holds a lock, stay behind when a process forks."""
        if self._process != os.getpid():
            self._inherited = self._held  # kept: to close its connections here would disturb our parent's
            self._held, self._blocks = open_filesystem(str(self.place)), self._cache()
            self._process = os.getpid()
        return self._held

    def _manifest(self) -> bytes:
        try:
            return b"".join(self._parts(MANIFEST))
        except FileNotFoundError:
            what = f"{self.place} is no shard set: it has no {MANIFEST}"
            raise DataError(what, "check the address; `ecamp-fast shard build` makes a set") from None
        except OSError as error:
            raise DataError(f"{self.locate(MANIFEST)}: cannot be read: {error.strerror}", _NETWORK) from None

    def _keep(self, name: str, digest: str) -> bool:
        """Whether the file in the cache is the one of the digest, fetched if need be."""
        path = self.folder / name
        for fetched in (False, True):
            try:
                if fetched:
                    write_atomically(path, b"".join(self._parts(name)))
                if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                    return True
            except OSError:  # not there, or not ours to read
                continue
        return False

    def _fetched(self, name: str, numbers: range, length: int) -> dict[int, bytes | None]:
        """Blocks from the network, in one request; whole ones are kept."""
        start, stop = numbers.start * BLOCK, min(numbers.stop * BLOCK, length)
        data = self._range(name, start, stop)
        blocks: dict[int, bytes | None] = {}
        for place, number in enumerate(numbers):
            block = blocks[number] = data[place * BLOCK : (place + 1) * BLOCK]
            if len(block) == min(BLOCK, length - number * BLOCK):
                self._blocks.put(name, number, block)
        return blocks

    def _range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes of a file; fewer where it has become shorter."""
        short = b""

        def once(**deadline: float) -> bytes:
            nonlocal short
            data: bytes = self._filesystem().cat_file(f"{self._root}/{name}", start=start, end=stop, **deadline)
            if len(data) > stop - start:
                raise _NoRangesError
            if len(data) < stop - start:
                short = data
                raise _ShortError
            return data

        try:
            return self._tried(name, once, lasting=not self._opened)
        except _ShortError:
            return short

    def _parts(self, name: str) -> Iterator[bytes]:
        """The whole file, a part at a time."""
        length = self._length(name)
        for start in range(0, length, _PART):
            yield self._range(name, start, min(start + _PART, length))

    def _length(self, name: str) -> int:
        if name not in self._sizes:
            (size,) = self.sizes([name]).values()
            if isinstance(size, OSError):
                raise size
        return self._sizes[name]

    def _listed(self) -> dict[str, int] | None:
        """Sizes by name; None where the store does not list: web servers, and buckets that only give."""
        if self._root == self.place:
            return None
        try:
            entries = self._tried("", lambda **deadline: self._filesystem().ls(self._root, detail=True, **deadline))
        except PermissionError:
            return None
        return {entry["name"].rpartition("/")[2]: int(entry.get("size") or 0) for entry in entries}

    def _size(self, name: str) -> int | OSError:
        try:
            found = self._tried(name, lambda **deadline: self._filesystem().info(f"{self._root}/{name}", **deadline))
        except OSError as error:
            return error
        if found.get("partial") is False:
            raise _no_ranges(self.locate(name))
        if found["size"] is None:
            raise StorageError(f"{self.locate(name)}: the server does not say how large it is", "use another server")
        return int(found["size"])

    def _tried(self, name: str, request: Callable[..., Result], lasting: bool = True) -> Result:
        """What ``request(timeout=seconds)`` returns.  lasting: whether what is forbidden is so for good

        Raises OSError where the file is missing or forbidden; StorageError otherwise. ``_PATIENCE`` bounds the tries.
        """
        began, fails = time.monotonic(), 0
        while True:
            left = max(0.1, began + _PATIENCE - time.monotonic())  # to fsspec, 0 is for ever
            deadline = {"timeout": min(_DEADLINE, left)} if getattr(self._filesystem(), "async_impl", False) else {}
            try:
                return request(**deadline)
            except _NoRangesError:
                raise _no_ranges(self.locate(name)) from None
            except Exception as error:
                fails += 1
                if redirected(error):
                    raise PolicyError(f"{self.locate(name)}: {_REDIRECTED}", "name the address it leads to") from None
                refused = lasting_fault(error, name)
                if refused and (lasting or not isinstance(refused, PermissionError)):
                    raise refused from None
                wait = _WAIT * 2 ** (fails - 1) * random.uniform(0.75, 1.25)  # ranks do not knock together
                if fails == TRIES or time.monotonic() + wait >= began + _PATIENCE:
                    if isinstance(error, _ShortError):
                        raise
                    why = "permission denied" if refused else described(error)
                    what = f"{self.locate(name)}: cannot be read after {_tries(fails)}: {why}"
                    raise StorageError(what, _NETWORK) from None
            time.sleep(wait)


class _ShortError(Exception):
    """An answer that is complete, but has fewer bytes than asked for."""


class _NoRangesError(Exception):
    """An answer with more bytes than asked for."""


@lru_cache(maxsize=1)
def _reopened(address: str, cache_gb: float | None) -> Remote:
    """One for all tasks of a worker process."""
    return Remote(address, open_filesystem(address), cache_gb)


def _tries(number: int) -> str:
    return f"{number} {'try' if number == 1 else 'tries'}"


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _write(file: FileIO, part: bytes) -> None:
    """A full disk here is no damage there."""
    try:
        if file.write(part) != len(part):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        what = f"{file.name}: cannot be written: {error.strerror}"
        raise StorageError(what, ELSEWHERE) from None


def _no_ranges(place: str) -> StorageError:
    return StorageError(f"{place}: the server does not give parts of files", "use one that answers range requests")
