"""Whether the files of a shard set are there, as large as the manifest says, and not of zeros; hardly a read."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tarfile import BLOCKSIZE

import numpy as np

from ecamp_fast.errors import DataError
from ecamp_fast.printable import items
from ecamp_fast.shards.format.manifest import TOKENIZER, Manifest, Shard
from ecamp_fast.shards.storage.store import Store

HINT = "run `ecamp-fast shard verify` on the set, then `ecamp-fast shard repair`, or restore the file"
TRAINING = "train"  # the split in which other samples may stand in for lost ones


@dataclass(frozen=True, slots=True)
class ShardFault:
    """A shard whose file is missing, unreadable or of another size.

    shard     its entry in the manifest
    readable  bytes of the file that can be read
    what      the fault, in words
    """

    shard: Shard
    readable: int
    what: str


def budget(count: int, share: float) -> int:
    """Samples of ``count`` that may be damaged or lost, where a share of them may."""
    return int(share * count)


def check_presence(store: Store, manifest: Manifest, spare: float = 0.0) -> tuple[list[ShardFault], np.ndarray]:
    """The shards at fault, and the training samples lost with them, (n,) int64 ascending.

    spare: share of the training samples that may be lost.  Raises DataError that lists every file at fault where more
    are, where a shard of another split is at fault, or the tokenizer.
    """
    faults = shard_faults(store, manifest.shards)
    lost = _lost(manifest.of(TRAINING), faults)
    tokenizer = tokenizer_fault(store.folder, manifest)
    may = budget(manifest.count(TRAINING), spare)
    strict = not may or any(fault.shard.split != TRAINING for fault in faults)
    if tokenizer or (faults and strict) or len(lost) > may:
        listed = [fault.what for fault in faults] + ([tokenizer] if tokenizer else [])
        share = (
            f"{len(lost):,} of {manifest.count(TRAINING):,} training samples are lost, {may:,} may be" if may else ""
        )
        raise DataError(f"{store.place}: {share}" + items(listed), HINT)
    return faults, lost


def shard_faults(store: Store, shards: Iterable[Shard]) -> list[ShardFault]:
    """The shards whose files are not what the manifest says, in their order; of a folder also those of zeros."""
    shards = list(shards)
    sizes = store.sizes(shard.name for shard in shards)
    found = ((shard, sizes[shard.name]) for shard in shards)
    return [
        ShardFault(shard, *fault) for shard, size in found if (fault := _fault(shard, size) or _zeroed(store, shard))
    ]


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


def _fault(shard: Shard, size: int | OSError) -> tuple[int, str] | None:
    if isinstance(size, FileNotFoundError):
        return 0, f"{shard.name} is missing"
    if isinstance(size, OSError):
        return 0, f"{shard.name} cannot be read: {size.strerror}"
    if size != shard.bytes:
        return size, f"{shard.name} has {size:,} bytes, the manifest says {shard.bytes:,}"
    return None


def _zeroed(store: Store, shard: Shard) -> tuple[int, str] | None:
    """A disk that was full or lost power leaves files of the right size without content."""
    if store.cached or not len(shard.keys):  # over a network this would cost a request for every shard
        return None
    try:
        with store.as_file(shard.name) as path, open(path, "rb") as file:
            head = file.read(2 * BLOCKSIZE)  # its header and the first of its content: one of them may be damaged
    except OSError as error:
        return 0, f"{shard.name} cannot be read: {error.strerror}"
    return None if any(head) else (0, f"{shard.name} holds zeros where its first sample should be")


def _lost(shards: Iterable[Shard], faults: Iterable[ShardFault]) -> np.ndarray:
    """Samples of a split, of which a member ends beyond what is there of its file."""
    readable = {fault.shard.name: fault.readable for fault in faults}
    lost, start = [np.zeros(0, np.int64)], 0
    for shard in shards:
        if shard.name in readable:
            ends = [np.where(m.size >= 0, m.offset.astype(np.int64) + m.size, 0) for m in shard.members.values()]
            lost.append(start + np.flatnonzero(np.max(ends, axis=0) > readable[shard.name]))
        start += len(shard.keys)
    return np.concatenate(lost)
