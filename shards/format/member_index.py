"""INDEX.bin: where every member of every sample lies, for a million samples too.

One block per shard: n + 1 offsets into its keys (uint32), the keys end to end (ASCII), and per extension the columns
offset (n int64), size (n int32) and crc32 (n uint32); each part begins at a multiple of 8 bytes, little-endian. The
manifest knows every block's place and the SHA-256 of the whole file, which is checked when a set is opened. The file is
mapped, not read into memory of its own: the system may take back what nobody looks at.
"""

import hashlib
import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np

INDEX = "INDEX.bin"
ALIGNMENT = 8
LARGEST = 2**31 - 1  # bytes of a member
_PLAIN = np.zeros(256, bool)
_PLAIN[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")] = True


@dataclass(frozen=True, slots=True)
class Members:
    """One extension of one shard, a row per sample; a sample that lacks the member has offset and size -1.

    offset  (n,) int64   where its content begins, in bytes from the start of the shard
    size    (n,) int32   bytes of its content
    crc32   (n,) uint32  of its content
    """

    offset: np.ndarray
    size: np.ndarray
    crc32: np.ndarray


COLUMNS: dict[str, np.dtype[Any]] = {"offset": np.dtype("<i8"), "size": np.dtype("<i4"), "crc32": np.dtype("<u4")}
assert [field.name for field in fields(Members)] == list(COLUMNS)


class Keys(Sequence[str]):
    """The keys of a shard, decoded one at a time.

    ends: (n + 1,) where each key begins in ``text``, and where the last one ends   text: (m,) uint8 of ASCII
    """

    __slots__ = ("_ends", "_text")

    def __init__(self, ends: np.ndarray, text: np.ndarray) -> None:
        self._ends, self._text = ends, text

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[str]: ...
    def __getitem__(self, row: int | slice) -> str | Sequence[str]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        number = range(len(self))[row]  # negative ones, and IndexError
        return self._text[int(self._ends[number]) : int(self._ends[number + 1])].tobytes().decode("ascii")

    def __iter__(self) -> Iterator[str]:
        text, ends = self._text.tobytes().decode("ascii"), self._ends.tolist()
        return (text[start:end] for start, end in pairwise(ends))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (list(self),)


def pack_block(keys: Sequence[str], members: dict[str, Members]) -> bytes:
    """The block of one shard.  members: by extension, in the order in which they are read back.

    Raises ValueError for keys that are not ASCII and for a member of 2 GiB or more.
    """
    names = [key.encode("ascii") for key in keys]
    ends = np.zeros(len(names) + 1, "<u4")
    np.cumsum([len(name) for name in names], out=ends[1:])
    parts = [ends.tobytes(), b"".join(names)]
    for columns in members.values():
        if len(columns.size) and int(columns.size.max()) > LARGEST:
            raise ValueError(f"a member of {int(columns.size.max()):,} bytes")
        parts += [np.ascontiguousarray(getattr(columns, name)).astype(kind).tobytes() for name, kind in COLUMNS.items()]
    return b"".join(part + b"\0" * (-len(part) % ALIGNMENT) for part in parts)


def unpack_block(block: np.ndarray, samples: int, extensions: Iterable[str]) -> tuple[Keys, dict[str, Members]]:
    """The inverse of ``pack_block``, without a copy.  block: (m,) uint8.  Raises ValueError for any other content."""
    cursor = 0

    def take(kind: np.dtype[Any], count: int) -> np.ndarray:
        nonlocal cursor
        part = block[cursor : cursor + count * kind.itemsize]
        if len(part) != count * kind.itemsize:
            raise ValueError("the index is too short")
        cursor += len(part) + -len(part) % ALIGNMENT
        return part.view(kind)

    ends = take(np.dtype("<u4"), samples + 1)
    if ends[0] or (np.diff(ends.astype(np.int64)) < 1).any():
        raise ValueError("keys without an order")
    text = take(np.dtype("u1"), int(ends[-1]))
    if not _PLAIN[text].all():
        raise ValueError("a key with other characters than letters, digits, _ and -")
    members = {name: Members(*(take(kind, samples) for kind in COLUMNS.values())) for name in extensions}
    if cursor != len(block):
        raise ValueError("the index is too long")
    return Keys(ends, text), members


def open_index(path: Path, size: int, digest: str) -> np.ndarray:
    """(size,) uint8, the mapped file.  Raises OSError; ValueError where size or SHA-256 differ."""
    with path.open("rb") as file:
        found = file.seek(0, 2)
        if found != size:
            raise ValueError(f"{found:,} bytes, the manifest says {size:,}")
        mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8) if size else _NOTHING
    if hashlib.sha256(mapped.data).hexdigest() != digest:
        raise ValueError("damaged: its digest does not match the manifest")
    return mapped


_NOTHING = np.zeros(0, np.uint8)
