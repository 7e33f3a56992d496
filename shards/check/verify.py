"""Whether a shard set is whole: every file, every header, every member, and what must hold across shards."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ecamp_fast.errors import DataError
from ecamp_fast.machine import available_cores, worker_processes
from ecamp_fast.printable import items
from ecamp_fast.shards.check.members import Damage, inspect_members
from ecamp_fast.shards.format.dali_index import index_fault
from ecamp_fast.shards.format.manifest import INDEX, MANIFEST, MERGED, PUT, Manifest, Shard, read_manifest
from ecamp_fast.shards.storage.address import parse_address
from ecamp_fast.shards.storage.presence import shard_faults, tokenizer_fault
from ecamp_fast.shards.storage.store import Store, open_store

_PARALLEL_BYTES = 256 * 2**20  # below this, starting processes takes longer than reading
_LISTED = 20

Tick = Callable[[int, int], None]  # shards done, of


@dataclass(slots=True)
class Verification:
    """What ``inspect`` found.

    path     of the set, as it was named
    shards   how many, by the manifest
    samples  how many, by the manifest
    bytes    of all shards, by the manifest
    seconds  that the reading took
    damage   all of it; none: the set is whole
    remedy   what to do about damage
    """

    path: str | Path
    shards: int = 0
    samples: int = 0
    bytes: int = 0
    seconds: float = 0.0
    damage: list[Damage] = field(default_factory=list)
    remedy: str = "restore the files from a copy, or build the set again"  # without a manifest nothing can be repaired


@dataclass(frozen=True, slots=True)
class _Findings:
    """What was found in one shard.

    shard     its entry in the manifest
    damage    all of it
    patients  a sample of each patient, by patient
    """

    shard: Shard
    damage: list[Damage]
    patients: dict[str, str]


def verify(path: str | Path, workers: int = 0, tick: Tick = lambda done, total: None) -> Verification:
    """``inspect``, and raise DataError with the first damages and their number if there are any."""
    verdict = inspect(path, workers, tick)
    if verdict.damage:
        more = [f"and {len(verdict.damage) - _LISTED} more"] if len(verdict.damage) > _LISTED else []
        listed = items([*verdict.damage[:_LISTED], *more])
        raise DataError(f"{path}: damaged:{listed}", verdict.remedy)
    return verdict


def inspect(path: str | Path, workers: int = 0, tick: Tick = lambda done, total: None) -> Verification:
    """Read a whole set and collect all damage.  path: folder or address   workers: processes, 0: one per core

    Checked: the manifest's own digest; the tokenizer's digest; per shard its size, SHA-256, and every byte by its kind:
    headers and padding are those the builder writes, contents have their CRC32; over all shards, that no key comes
    twice and no patient is in two splits; indices for DALI that lie beside shards. Nothing is extracted, and no more is
    read at once than the manifest says a member has.

    Raises DataError where a folder is named that is none, or holds neither a manifest that can be read nor shards.
    """
    began = time.perf_counter()
    verdict = Verification(path)
    try:
        store = open_store(path)
        manifest = read_manifest(store.folder)
    except DataError as error:
        if parse_address(path) is None and not any(Path(path).glob("*.tar")):
            raise  # there is nothing to verify
        verdict.damage.append(Damage(INDEX if INDEX in error.what else MANIFEST, error.what))
        return verdict
    verdict.remedy = _remedy(manifest)
    verdict.shards = len(manifest.shards)
    verdict.samples = sum(len(shard.keys) for shard in manifest.shards)
    verdict.bytes = sum(shard.bytes for shard in manifest.shards)
    verdict.damage += _files(store, manifest) + _texts(manifest)
    findings = []
    for found in _inspected(store, manifest, workers, verdict.bytes):
        findings.append(found)
        tick(len(findings), verdict.shards)
    verdict.damage += [damage for found in findings for damage in found.damage]
    verdict.damage += _twice(manifest) + _leaks(findings)
    verdict.seconds = time.perf_counter() - began
    return verdict


def _remedy(manifest: Manifest) -> str:
    """`shard repair` builds from a source, and sets that were made of others have none."""
    if MERGED in manifest.source:
        return "repair the sets that it was merged of, and merge again; or restore the files from a copy"
    if PUT in manifest.source:
        return "repair the set that was put into, and put again; or restore the files from a copy"
    return "run `ecamp-fast shard repair`, or restore the files from a copy"


def _inspected(store: Store, manifest: Manifest, workers: int, size: int) -> Iterator[_Findings]:
    workers = min(workers or available_cores(), len(manifest.shards))
    if workers <= 1 or size < _PARALLEL_BYTES:
        yield from (_inspect_shard(store, shard) for shard in manifest.shards)
        return
    with ProcessPoolExecutor(workers, worker_processes()) as pool:
        yield from pool.map(partial(_inspect_shard, store), manifest.shards)


def _files(store: Store, manifest: Manifest) -> list[Damage]:
    damage = []
    fault = tokenizer_fault(store.folder, manifest)
    if fault:
        damage.append(Damage("tokenizer.json", fault.removeprefix("tokenizer.json").lstrip(": ")))
    shards = {shard.name: shard for shard in manifest.shards}
    names = store.names()
    for name in names:
        if name.endswith(".tar") and name not in shards:
            damage.append(Damage(name, "not in the manifest"))
    for name in names:
        if name.endswith(".idx"):
            shard = shards.get(f"{name.removesuffix('.idx')}.tar")
            stale = "its shard is not in the manifest" if shard is None else _stale(store, name, shard)
            if stale:
                damage.append(Damage(name, stale))
    return damage


def _stale(store: Store, name: str, shard: Shard) -> str | None:
    with store.as_file(name) as path:
        return index_fault(path, shard)


def _inspect_shard(store: Store, shard: Shard) -> _Findings:
    faults = shard_faults(store, [shard])
    found = _Findings(shard, [Damage(shard.name, fault.what.removeprefix(f"{shard.name} ")) for fault in faults], {})
    try:
        with store.as_file(shard.name) as path:
            if path.exists() and not path.is_file():  # opening a pipe would wait for ever
                return _Findings(shard, [Damage(shard.name, "is not a regular file")], {})
            _inspect_file(path, found, right_size=not faults)
    except OSError as error:
        if not faults:
            found.damage.append(Damage(shard.name, f"cannot be read: {error.strerror}"))
    return found


def _inspect_file(path: Path, found: _Findings, right_size: bool) -> None:
    """Collect the damage inside a file.  right_size: it has the size that the manifest says"""
    with open(path, "rb") as file:
        if right_size and hashlib.file_digest(file, "sha256").hexdigest() != found.shard.sha256:
            found.damage.append(Damage(found.shard.name, "SHA-256 differs from the manifest"))
        found.damage.extend(inspect_members(file.fileno(), found.shard, found.patients))


def _texts(manifest: Manifest) -> list[Damage]:
    """A sample that has lost its text looks like an image alone, so their number must be the recorded one."""
    found, recorded = sum(shard.without_text for shard in manifest.shards), manifest.counts.get("without_text", 0)
    if found == recorded:
        return []
    return [Damage(MANIFEST, f"{found:,} samples have no text, the manifest says {recorded:,}")]


def _twice(manifest: Manifest) -> list[Damage]:
    damage = []
    first: dict[str, str] = {}
    for shard in manifest.shards:
        for key in shard.keys:
            if key in first:
                damage.append(Damage(shard.name, f"the same key is in {first[key]}", key))
            first[key] = shard.name
    return damage


def _leaks(findings: Iterable[_Findings]) -> list[Damage]:
    damage = []
    first: dict[str, tuple[str, str]] = {}
    for found in findings:
        for patient, key in found.patients.items():
            split, other = first.setdefault(patient, (found.shard.split, key))
            if split != found.shard.split:
                damage.append(Damage(found.shard.name, f"its patient is in split {split} too ({other})", key))
    return damage
