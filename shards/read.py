"""Reading samples of a shard set: every byte that leaves here has passed its CRC32."""

import hashlib
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from zlib_ng.zlib_ng import crc32

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format import EXTENSIONS, OPTIONAL, TEXT, TOKENIZER, Manifest, Shard, read_manifest

_OPEN_FILES = 256  # descriptors kept open per set: well below the usual limit of 1024
_MEND = "run `ecamp-fast shard verify` on the set, then `ecamp-fast shard repair`, or restore the file"


class Sample(dict[str, bytes]):
    """The members of one sample by extension; one that is absent has no entry: optional, or all of ``TEXT``."""

    __slots__ = ("key", "shard")

    def __init__(self, key: str, shard: str, members: dict[str, bytes]) -> None:
        super().__init__(members)
        self.key = key
        self.shard = shard


class ShardSet:
    """A shard set opened for reading; may be shared by threads.

    Opening checks the manifest's digest, the tokenizer's digest and the size of every shard.
    Raises DataError that names every file at fault.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest: Manifest = read_manifest(self.path)
        check_files(self.path, self.manifest)
        self._shards = {split: self.manifest.of(split) for split in self.manifest.splits}
        self._ends = {split: list(accumulate(len(s.keys) for s in shards)) for split, shards in self._shards.items()}
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> Any:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)  # type: ignore[misc]

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that hold samples."""
        return self.manifest.splits

    @property
    def wordpiece_path(self) -> Path:
        """The tokenizer file that the stored tokens were made with."""
        return self.path / TOKENIZER

    def count(self, split: str) -> int:
        """Samples of a split.  Raises DataError if the set has no such split."""
        return self._ends[self._known(split)][-1]

    def key(self, split: str, index: int) -> str:
        """The key of a sample."""
        shard, row = self._locate(split, index)
        return shard.keys[row]

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
                raise DataError(f"{self.path / shard.name}: sample {shard.keys[row]} has no member .{extension}", _MEND)
        return Sample(shard.keys[row], shard.name, self._read(shard, row, spans))

    def _read(self, shard: Shard, row: int, spans: dict[str, tuple[int, int, int]]) -> dict[str, bytes]:
        """One read over all spans: the members of a sample lie end to end."""
        if not spans:
            return {}
        start = min(offset for offset, _, _ in spans.values())
        stop = max(offset + size for offset, size, _ in spans.values())
        if start < 0 or stop > shard.bytes:
            raise DataError(f"{self.path / shard.name}: {shard.keys[row]}: lies outside the shard", _MEND)
        try:
            data = self._file(shard.name).read(start, stop - start)
        except OSError as error:
            raise DataError(f"{self.path / shard.name}: cannot be read: {error.strerror}", _MEND) from None
        members = {}
        for extension, (offset, size, crc) in spans.items():
            member = data[offset - start : offset - start + size]
            if len(member) != size or crc32(member) != crc:
                fault = "cut short" if len(member) != size else "damaged (CRC32 differs)"
                where = f"{self.path / shard.name}: {shard.keys[row]}.{extension} at byte {offset}"
                raise DataError(f"{where}: {fault}", _MEND)
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

    def _file(self, name: str) -> "_File":
        with self._lock:
            file = self._files.get(name)
            if file is None:
                file = self._files[name] = _File(self.path / name)
                if len(self._files) > _OPEN_FILES:
                    self._files.popitem(last=False)
            else:
                self._files.move_to_end(name)
            return file


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare sizes of all shards and the tokenizer's digest with the manifest, reading no shard.

    Raises DataError that lists every file at fault.
    """
    faults = [fault for fault in (file_fault(folder, shard) for shard in manifest.shards) if fault]
    tokenizer = tokenizer_fault(folder, manifest)
    if tokenizer:
        faults.append(tokenizer)
    if faults:
        raise DataError(f"{folder}: " + "".join(f"\n  - {fault}" for fault in faults), _MEND)


def file_fault(folder: Path, shard: Shard) -> str | None:
    """What is wrong with a shard's file as the folder shows it: missing, unreadable, another size; None if nothing."""
    path = folder / shard.name
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return f"{shard.name} is missing"
    except OSError as error:
        return f"{shard.name} cannot be read: {error.strerror}"
    if not os.access(path, os.R_OK):
        return f"{shard.name} cannot be read: permission denied"
    if size != shard.bytes:
        return f"{shard.name} has {size:,} bytes, the manifest says {shard.bytes:,}"
    return None


def tokenizer_fault(folder: Path, manifest: Manifest) -> str | None:
    """What is wrong with tokenizer.json; None if it is the file the tokens were made with, or there are no tokens."""
    if not manifest.tokenizer_digest:
        return None
    try:
        digest = hashlib.sha256((folder / TOKENIZER).read_bytes()).hexdigest()
    except FileNotFoundError:
        return f"{TOKENIZER} is missing"
    except OSError as error:
        return f"{TOKENIZER} cannot be read: {error.strerror}"
    return None if digest == manifest.tokenizer_digest else f"{TOKENIZER}: the tokenizer does not match the shards"


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
