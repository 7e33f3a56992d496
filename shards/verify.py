"""Whether a shard set is whole: every file, every header, every member, and what must hold across shards."""

import hashlib
import json
import os
import tarfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format import METADATA, OPTIONAL, Manifest, Shard, read_manifest
from ecamp_fast.shards.parallel import available_cores
from ecamp_fast.shards.read import file_fault, tokenizer_fault

_PARALLEL_BYTES = 256 * 2**20  # below this, starting processes takes longer than reading
_LISTED = 20

Tick = Callable[[int, int], None]  # shards done, of


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong: in which file, with which sample ('' if with none in particular)."""

    file: str
    what: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.what}" if self.key else f"{self.file}: {self.what}"


@dataclass(slots=True)
class Verdict:
    """What ``inspect`` found.  bytes: of all shards, by the manifest."""

    path: Path
    shards: int = 0
    samples: int = 0
    bytes: int = 0
    seconds: float = 0.0
    damage: list[Damage] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Findings:
    """Of one shard.  patients: a sample of each patient."""

    shard: Shard
    damage: list[Damage]
    patients: dict[str, str]


def verify(path: str | Path, workers: int = 0, tick: Tick = lambda done, total: None) -> Verdict:
    """``inspect``, and raise DataError with the first damages and their number if there are any."""
    verdict = inspect(path, workers, tick)
    if verdict.damage:
        listed = "".join(f"\n  - {damage}" for damage in verdict.damage[:_LISTED])
        more = f"\n  - and {len(verdict.damage) - _LISTED} more" if len(verdict.damage) > _LISTED else ""
        raise DataError(f"{path}: damaged:{listed}{more}", "restore these files from a copy, or build the set again")
    return verdict


def inspect(path: str | Path, workers: int = 0, tick: Tick = lambda done, total: None) -> Verdict:
    """Read a whole set and collect all damage.  workers: processes, 0: one per available core.

    Checked: the manifest's own digest; the tokenizer's digest; per shard its size, SHA-256, tar structure (the expected
    regular members at their places and nothing else) and the CRC32 of every member; over all shards, that no key comes
    twice and no patient is in two splits.
    """
    began = time.perf_counter()
    verdict = Verdict(Path(path))
    try:
        manifest = read_manifest(verdict.path)
    except DataError as error:
        verdict.damage.append(Damage("MANIFEST.json", error.what))
        return verdict
    verdict.shards = len(manifest.shards)
    verdict.samples = sum(len(shard.keys) for shard in manifest.shards)
    verdict.bytes = sum(shard.bytes for shard in manifest.shards)
    verdict.damage += _files(verdict.path, manifest)
    findings = []
    for found in _inspected(verdict.path, manifest, workers, verdict.bytes):
        findings.append(found)
        tick(len(findings), verdict.shards)
    verdict.damage += [damage for found in findings for damage in found.damage]
    verdict.damage += _twice(manifest) + _leaks(findings)
    verdict.seconds = time.perf_counter() - began
    return verdict


def _inspected(folder: Path, manifest: Manifest, workers: int, size: int) -> Iterator[_Findings]:
    workers = min(workers or available_cores(), len(manifest.shards))
    if workers <= 1 or size < _PARALLEL_BYTES:
        yield from (_inspect_shard(folder, shard) for shard in manifest.shards)
        return
    with ProcessPoolExecutor(workers, get_context("forkserver")) as pool:
        yield from pool.map(partial(_inspect_shard, folder), manifest.shards)


def _files(folder: Path, manifest: Manifest) -> list[Damage]:
    damage = []
    fault = tokenizer_fault(folder, manifest)
    if fault:
        damage.append(Damage("tokenizer.json", fault.removeprefix("tokenizer.json").lstrip(": ")))
    known = {shard.name for shard in manifest.shards}
    for entry in sorted(folder.glob("*.tar")):
        if entry.name not in known:
            damage.append(Damage(entry.name, "not in the manifest"))
    return damage


def _inspect_shard(folder: Path, shard: Shard) -> _Findings:
    path = folder / shard.name
    fault = file_fault(folder, shard)
    damage = [Damage(shard.name, fault.removeprefix(f"{shard.name} "))] if fault else []
    patients: dict[str, str] = {}
    try:
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                damage.append(Damage(shard.name, "SHA-256 differs from the manifest"))
            file.seek(0)
            damage += _structure(file, shard)
            damage += _contents(file.fileno(), shard, patients)
    except OSError as error:
        if not fault:
            damage.append(Damage(shard.name, f"cannot be read: {error.strerror}"))
    return _Findings(shard, damage, patients)


def _structure(file: object, shard: Shard) -> list[Damage]:
    """Walk the archive as ``tar`` would, and compare with the manifest. Nothing is extracted."""
    damage = []
    expected = {f"{key}.{ext}": place for key, ext, place in _places(shard)}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:  # type: ignore[call-overload]
            for entry in archive:
                place = expected.pop(entry.name, None)
                if place is None:
                    damage.append(Damage(shard.name, f"member {entry.name!r} does not belong here"))
                elif not entry.isreg() or entry.issparse():
                    damage.append(Damage(shard.name, f"member {entry.name!r} is not a regular file"))
                elif (entry.offset_data, entry.size) != place:
                    damage.append(Damage(shard.name, f"member {entry.name!r} is not where the manifest says"))
    except (tarfile.TarError, OSError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        damage.append(Damage(shard.name, f"not a readable tar: {error}"))
    if expected:
        name, (offset, _) = min(expected.items(), key=lambda item: item[1])
        damage.append(Damage(shard.name, f"{len(expected)} members cannot be found, from {name} at byte {offset} on"))
    return damage


def _contents(descriptor: int, shard: Shard, patients: dict[str, str]) -> list[Damage]:
    """CRC32 of every member, one damage per sample; fills ``patients`` with patient -> a key."""
    damage = []
    length = os.fstat(descriptor).st_size
    for row, key in enumerate(shard.keys):
        faults: dict[str, list[str]] = {}
        for extension, columns in shard.members.items():
            offset, size = int(columns.offset[row]), int(columns.size[row])
            if size < 0:
                if extension not in OPTIONAL:
                    faults.setdefault("missing", []).append(extension)
                continue
            data = os.pread(descriptor, size, offset)
            if len(data) < size:
                faults.setdefault(f"lost (the file ends at byte {length})", []).append(extension)
            elif zlib.crc32(data) != columns.crc32[row]:
                faults.setdefault("damaged (CRC32 differs)", []).append(extension)
            elif extension == METADATA:
                fault = _metadata(data, key, shard.split, patients)
                if fault:
                    faults.setdefault(fault, []).append(extension)
        damage += [Damage(shard.name, f"{', '.join(exts)} {fault}", key) for fault, exts in faults.items()]
    return damage


def _metadata(data: bytes, key: str, split: str, patients: dict[str, str]) -> str | None:
    try:
        metadata = json.loads(data)
        patient, own = metadata["patient_id"], metadata["split"]
    except (ValueError, KeyError, TypeError):
        return "not metadata with patient_id and split"
    if patient:
        patients.setdefault(str(patient), key)
    return None if own == split else f"names the split {own}"


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


def _places(shard: Shard) -> Iterator[tuple[str, str, tuple[int, int]]]:
    for extension, columns in shard.members.items():
        for key, offset, size in zip(shard.keys, columns.offset.tolist(), columns.size.tolist(), strict=True):
            if size >= 0:
                yield key, extension, (offset, size)
