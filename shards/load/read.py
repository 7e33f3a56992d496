"""Reading samples of a shard set: every byte that leaves here has passed its CRC32."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from zlib_ng.zlib_ng import crc32

from ecamp_fast.errors import DataError
from ecamp_fast.fault_points import reach
from ecamp_fast.shards.format.manifest import (
    EXTENSIONS,
    METADATA,
    OPTIONAL,
    TEXT,
    TOKENIZER,
    Manifest,
    Shard,
    read_manifest,
)
from ecamp_fast.shards.format.metadata import read_metadata
from ecamp_fast.shards.storage.presence import HINT, check_presence
from ecamp_fast.shards.storage.store import Store, open_store
from ecamp_fast.shards.storage.weighted import Weighted

_IN_FLIGHT = 4  # samples per reader that are read or wait to be


class Sample(dict[str, bytes]):
    """The members of one sample by extension; one that is absent has no entry: optional, or all of ``TEXT``."""

    __slots__ = ("key", "shard")

    def __init__(self, key: str, shard: str, members: dict[str, bytes]) -> None:
        super().__init__(members)
        self.key = key
        self.shard = shard


class ShardSet:
    """A shard set opened for reading; may be shared by threads and sent to other processes.

    path      a folder, or an address s3://, gs://, https:// (``open_store``)
    spare     share of the training samples that may lie in files that are missing, unreadable or cut: ``faults`` says
              what is wrong with them, ``lost`` (n,) int64 which samples of the split train it takes
    cache_gb  room on the local disk for what is read over a network, GiB; None: what others keep there stays

    Opening checks the manifest's digest, the tokenizer's digest, and every shard by its size, see ``check_presence``.
    Raises DataError that names every file at fault; PolicyError for an address that is none of these.
    """

    def __init__(self, path: str | Path, spare: float = 0.0, cache_gb: float | None = None) -> None:
        self._arguments = (path, spare, cache_gb)
        self.store: Store = open_store(path, cache_gb)
        self.manifest: Manifest = read_manifest(self.store.folder)
        self._list_samples()
        faults, self.lost = check_presence(self.store, self.manifest, spare)
        self.faults = tuple(fault.what for fault in faults)

    def _list_samples(self) -> None:
        """By split: its shards, and the number behind the last sample of each."""
        self._shards = {split: self.manifest.of(split) for split in self.manifest.splits}
        self._ends = {split: list(accumulate(len(s.keys) for s in shards)) for split, shards in self._shards.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardSet, self._arguments

    @property
    def path(self) -> str | Path:
        """The folder, or the address."""
        return self.store.place

    def locate(self, name: str) -> str:
        """A file's full name, for messages."""
        return self.store.locate(name)

    @property
    def named(self) -> str | list[str]:
        """What opens it again from any folder, for ``open_data``."""
        return str(Weighted(self.lasting))

    @property
    def lasting(self) -> str:
        """The address, or the folder from wherever it is looked at."""
        return str(self.path.resolve() if isinstance(self.path, Path) else self.path)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that hold samples."""
        return self.manifest.splits

    @property
    def wordpiece_path(self) -> Path:
        """The tokenizer file that the stored tokens were made with."""
        return self.store.folder / TOKENIZER

    def count(self, split: str) -> int:
        """Samples of a split.  Raises DataError if the set has no such split."""
        return self._ends[self._known(split)][-1]

    def epoch(self, split: str) -> int:
        """Samples of an epoch of a split.  Raises DataError if the set has no such split."""
        return self.count(split)

    def visits(self, split: str) -> int:
        """Numbers that an epoch of a split has: how often a sample may come in it, see ``MixedOrder``."""
        return 1

    def first(self, split: str, count: int) -> np.ndarray:
        """The samples (n,) int64 that stand for a split where ``count`` of them, at most, are looked at."""
        return np.arange(min(count, self.count(split)), dtype=np.int64)

    def key(self, split: str, index: int) -> str:
        """The key of a sample."""
        shard, row = self._locate(split, index)
        return shard.keys[row]

    def has(self, split: str, index: int, extension: str) -> bool:
        """Whether a sample has a member, by the index alone.  Raises IndexError outside the split."""
        shard, row = self._locate(split, index)
        return extension in shard.members and int(shard.members[extension].size[row]) >= 0

    def read(self, split: str, index: int, extensions: Sequence[str] = EXTENSIONS) -> Sample:
        """The members ``extensions`` of sample ``index`` (0 to count - 1) of a split, CRC-checked.

        Raises DataError naming shard, key, member and byte offset; IndexError outside the split.
        """
        shard, row = self._locate(split, index)
        spans = {}
        for extension in extensions:
            columns = shard.members.get(extension)
            size = -1 if columns is None else int(columns.size[row])
            if columns is not None and size >= 0:
                spans[extension] = (int(columns.offset[row]), size, int(columns.crc32[row]))
            elif extension not in OPTIONAL and not (extension in TEXT and shard.image_alone(row)):
                raise DataError(f"{self.locate(shard.name)}: sample {shard.keys[row]} has no member .{extension}", HINT)
        return Sample(shard.keys[row], shard.name, self._read(shard, row, spans))

    def metadata(self, split: str, index: int) -> dict[str, Any]:
        """The metadata of a sample, as ``format.metadata`` gives it.  Raises as ``read``, and DataError."""
        sample = self.read(split, index, (METADATA,))
        return read_metadata(sample[METADATA], f"{self.locate(sample.shard)}: {sample.key}")

    def samples(self, split: str, extensions: Sequence[str] = EXTENSIONS) -> Iterator[Sample]:
        """All samples of a split in stored order, as ``read`` gives them; over a network many are under way at once."""
        count, readers = self.count(split), self.store.readers
        if readers == 1:
            yield from (self.read(split, index, extensions) for index in range(count))
            return
        with ThreadPoolExecutor(readers, thread_name_prefix="ecamp-fast-read") as pool:
            for start in range(0, count, _IN_FLIGHT * readers):
                some = range(start, min(start + _IN_FLIGHT * readers, count))
                yield from pool.map(lambda index: self.read(split, index, extensions), some)

    def _read(self, shard: Shard, row: int, spans: dict[str, tuple[int, int, int]]) -> dict[str, bytes]:
        """One read over all spans: the members of a sample lie end to end."""
        if not spans:
            return {}
        start = min(offset for offset, _, _ in spans.values())
        stop = max(offset + size for offset, size, _ in spans.values())
        if start < 0 or stop > shard.bytes:
            raise DataError(f"{self.locate(shard.name)}: {shard.keys[row]}: lies outside the shard", HINT)
        try:
            reach("shard.read", file=shard.name)
            return self._members(shard, row, spans, start, self.store.read(shard.name, start, stop - start))
        except OSError as error:
            raise DataError(f"{self.locate(shard.name)}: cannot be read: {error.strerror}", HINT) from None
        except DataError:
            if not self.store.cached:
                raise
        return self._again(shard, row, spans, start, stop)

    def _again(
        self, shard: Shard, row: int, spans: dict[str, tuple[int, int, int]], start: int, stop: int
    ) -> dict[str, bytes]:
        """Past the cache: what is damaged there may be whole where it came from."""
        try:
            data = self.store.read(shard.name, start, stop - start, fresh=True)
        except OSError as error:
            raise DataError(f"{self.locate(shard.name)}: cannot be read: {error.strerror}", HINT) from None
        return self._members(shard, row, spans, start, data)

    def _members(
        self, shard: Shard, row: int, spans: dict[str, tuple[int, int, int]], start: int, data: bytes
    ) -> dict[str, bytes]:
        """The members in ``data``, which begins at byte ``start`` of the shard."""
        members = {}
        for extension, (offset, size, crc) in spans.items():
            member = data[offset - start : offset - start + size]
            if len(member) != size or crc32(member) != crc:
                fault = "cut short" if len(member) != size else "damaged (CRC32 differs)"
                where = f"{self.locate(shard.name)}: {shard.keys[row]}.{extension} at byte {offset}"
                raise DataError(f"{where}: {fault}", HINT)
            members[extension] = member
        return members

    def _known(self, split: str) -> str:
        if split not in self._ends:
            raise DataError(
                f"{self.path}: no split '{split}'; it has {', '.join(self.splits) or 'none'}", "name another"
            )
        return split

    def _locate(self, split: str, index: int) -> tuple[Shard, int]:
        ends = self._ends[self._known(split)]
        if not 0 <= index < ends[-1]:
            raise IndexError(f"sample {index} of {ends[-1]} in split '{split}'")
        number = bisect_right(ends, index)
        return self._shards[split][number], index - (ends[number - 1] if number else 0)
