"""Distilled texts and attention maps put into a finished set by key: a new set, all else of it byte for byte.

A sample for which nothing is given keeps what it has. What could not be put is told by name and count, and is an error
where it is more than the budget allows.
"""

import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import tokenizers

from ecamp_fast import __version__
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.files import missing_folder, sha256_of, write_atomically
from ecamp_fast.machine import available_cores
from ecamp_fast.shards.builder.build import Tick
from ecamp_fast.shards.builder.journal import JOURNAL, WHOLE, Done, Journal, JournalHeader, intact
from ecamp_fast.shards.builder.manifest_counts import text_statistics
from ecamp_fast.shards.builder.notice import write_notice
from ecamp_fast.shards.builder.output import Output, refuse_other, require_apart
from ecamp_fast.shards.builder.put_sample import NO_TEXT, Insert, Inserted, Inserter
from ecamp_fast.shards.builder.resume import Notice, differing, tidy
from ecamp_fast.shards.builder.workers import pack_in_order
from ecamp_fast.shards.format.manifest import FORMAT, MANIFEST, PUT, TOKENIZER, Manifest, read_manifest, write_manifest
from ecamp_fast.shards.format.tar_writer import UnitWriter
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.base import RecordFault, listed, several
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.text.reading.cleaning import clean
from ecamp_fast.text.reading.version import RULES_DIGEST

UNKNOWN_TEXT, UNKNOWN_MAP, NO_REPORT = "unknown text", "unknown map", "no report"  # kinds of faults
MAP_SUFFIX = ".pgm"
_SHARD_OF_UNIT = re.compile(r"([a-z]+-\d{6})(?:-\d+)?\.tar")
_NAMED = 5  # samples in a line of what could not be put
_MORE = "add what is missing, or pass a larger --reject-budget: samples without keep what they have"


@dataclass(frozen=True, slots=True)
class PutReport:
    """What was put.

    out       folder of the new set
    manifest  of the new set
    texts     samples whose distilled text was given
    maps      samples whose map was given
    faults    what could not be put: how many of each kind
    seconds   that it took
    resumed   samples that an earlier, interrupted run had finished
    finished  whether an earlier one had finished all of it: nothing was left to do, its shards were not looked at
    """

    out: Path
    manifest: Manifest
    texts: int
    maps: int
    faults: dict[str, int]
    seconds: float
    resumed: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True)
class _Unit:
    name: str
    split: str
    inserts: list[Insert]


@dataclass(slots=True)
class _Given:
    """What is put, by key, as far as the set has it.

    record  what the manifest will say of it
    faults  keys that the set lacks, and samples without a text
    """

    texts: dict[str, str] | None
    maps: dict[str, Path] | None
    record: dict[str, Any]
    faults: list[RecordFault]


def put(
    path: str | Path,
    out: str | Path,
    texts: Mapping[str, str] | None = None,
    maps: Path | None = None,
    *,
    origin: Mapping[str, str] | None = None,
    workers: int = 0,
    reject_budget: float = 0.005,
    say: Notice = lambda text: None,
    tick: Tick = lambda done, total, faults: None,
) -> PutReport:
    """Write the set ``path`` anew as the folder ``out``, with other distilled texts, attention maps or both.

    texts          key -> distilled text, '' where there is nothing to say. All tokens are then made anew, with the
                   set's tokenizer and entities, by the rules of this version
    maps           folder of KEY.pgm, binary and of 8 bits, each over the whole image. That of a report that states
                   nothing is emptied, and may be missing
    origin         what the manifest shall say of where they came from, beside their digests
    reject_budget  share of samples that may lack what is given to others, or have a map that is damaged; keys that the
                   set does not have count as well

    The set is only read. A run that was killed goes on where it stopped, as a build does, and the bytes are the same
    for any number of workers.
    Raises ConfigError: nothing to put, ``out`` exists or lies in the set; DataError: a damaged set, too many faults;
    StorageError, EnvironmentFault.
    """
    began = time.perf_counter()
    if texts is None and maps is None:
        raise ConfigError("there is nothing to put", "name distilled texts, attention maps, or both")
    shards = ShardSet(path)
    require_apart([shards.store.folder], Path(out))
    allowed = int(reject_budget * shards.manifest.counts["samples"])
    given = _given(shards, texts, maps, origin, allowed)
    if found := _finished(Path(os.path.realpath(out)), shards, given, began):
        return found
    units = _units(shards.manifest, given)
    with Output(out) as output:
        journal = Journal(output.workspace / JOURNAL)
        output.keep = journal.header() is not None
        finished = _resume(output, journal, shards, _head(shards, given, units, allowed), say)
        resumed = sum(len(shard.keys) for done in finished.values() for shard in done.shards)
        if finished:
            say(f"going on: {resumed:,} samples in {len(finished)} finished shards are here already")
        try:
            entries = _write(shards, output, journal, units, finished, given, workers, tick)
        except KeyboardInterrupt:
            say(f"finished shards wait in {output.workspace}: the same command goes on with them")
            raise
        faults = [*given.faults, *(fault for done in entries for fault in done.rejected)]
        _check_faults(shards, faults, allowed)
        manifest = _manifest(shards.manifest, given, entries, faults)
        for note in manifest.notes[len(shards.manifest.notes) + 1 :]:  # the first is what the caller is told at the end
            say(f"note: {note}")
        write_notice(output.folder, str(manifest.source.get("kind", "")))
        write_manifest(output.folder, manifest)
        output.commit()
    counts = len(given.texts or ()), len(given.maps or ())
    kinds = dict(Counter(fault.kind for fault in faults))
    return PutReport(output.out, read_manifest(output.out), *counts, kinds, time.perf_counter() - began, resumed)


def _given(
    shards: ShardSet,
    texts: Mapping[str, str] | None,
    maps: Path | None,
    origin: Mapping[str, str] | None,
    allowed: int,
) -> _Given:
    """What is put.  Raises DataError where more than ``allowed`` of it is at fault."""
    given = _look_at(shards, texts, maps)
    given.record |= origin or {}
    _check_faults(shards, given.faults, allowed)
    return given


def _finished(out: Path, shards: ShardSet, given: _Given, began: float) -> PutReport | None:
    """The set that would be written, where ``out`` holds it.  Raises ConfigError where it holds another."""
    if not (out / MANIFEST).is_file():
        return None
    found = read_manifest(out)
    wanted = _source(shards.manifest, given) | {"rules_digest": RULES_DIGEST if given.texts is not None else ""}
    difference = differing(
        found.source | {"rules_digest": found.rules_digest if given.texts is not None else ""}, wanted
    )
    refuse_other(out, "the set, texts or maps that were put" if PUT in difference.split(", ") else difference)
    faults = dict(Counter(fault.kind for fault in given.faults))
    counts = len(given.texts or ()), len(given.maps or ())
    seconds = time.perf_counter() - began
    return PutReport(out, found, *counts, faults, seconds, found.counts["samples"], finished=True)


def _look_at(shards: ShardSet, texts: Mapping[str, str] | None, maps: Path | None) -> _Given:
    """All that is given, against the keys of the set.  Raises DataError where nothing of it belongs to the set."""
    reports = {
        key: not shard.image_alone(row) for shard in shards.manifest.shards for row, key in enumerate(shard.keys)
    }
    given = _Given(None, None, {"set": shards.manifest.digest}, [])
    if texts is not None:
        _check_some(shards, reports, texts.keys(), "distilled text")
        given.texts = {key: _checked(key, texts[key]) for key, has in reports.items() if has and key in texts}
        given.faults += _unknown(reports, texts.keys(), UNKNOWN_TEXT)
        given.faults += [
            RecordFault(key, "an image alone, without a report", "leave its text out", NO_REPORT)
            for key, has in reports.items()
            if not has and key in texts
        ]
        given.faults += [
            RecordFault(key, "no distilled text is given", "distil its report", NO_TEXT)
            for key, has in reports.items()
            if has and key not in texts
        ]
        digest = hashlib.sha256()
        for key in sorted(given.texts):
            digest.update(f"{key}\0{given.texts[key]}\0".encode())
        given.record |= {"texts": len(given.texts), "texts_digest": digest.hexdigest()}
    if maps is not None:
        files = _map_files(maps)
        _check_some(shards, reports, files.keys(), "attention map")
        given.maps = {key: files[key] for key in reports if key in files}
        given.faults += _unknown(reports, files.keys(), UNKNOWN_MAP)
        given.record |= {"maps": len(given.maps), "maps_digest": _digest_of(given.maps)}
    return given


def _check_some(shards: ShardSet, known: Mapping[str, bool], keys: Collection[str], what: str) -> None:
    if not any(key in known for key in keys):
        example = next(iter(known), "")
        raise DataError(f"{shards.path}: no {what} of {len(keys):,} has a key of this set", f"keys are as {example}")


def _unknown(known: Mapping[str, bool], keys: Iterable[str], kind: str) -> list[RecordFault]:
    unknown = sorted(key for key in keys if key not in known)
    return [RecordFault(redact(key), "no such sample in the set", "leave it out", kind) for key in unknown]


def _checked(key: str, text: Any) -> str:
    """A distilled text as builds keep it.  Raises DataError where it is none."""
    if not isinstance(text, str):
        raise DataError(f"{key}: its distilled text is no text", "write a text, or leave the key out")
    return clean(text).strip()


def _map_files(folder: Path) -> dict[str, Path]:
    """By key. Other files are passed over.  Raises DataError."""
    if fault := missing_folder(folder):
        raise DataError(fault, "name a folder of KEY.pgm")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(MAP_SUFFIX))
    return {name.removesuffix(MAP_SUFFIX): folder / name for name in names}


def _digest_of(maps: Mapping[str, Path]) -> str:
    """Of keys and files. One that cannot be read is told when it is put."""

    def one(path: Path) -> str:
        with suppress(OSError):
            return sha256_of(path)
        return ""

    keys = sorted(maps)
    with ThreadPoolExecutor(available_cores()) as pool:
        found = pool.map(one, (maps[key] for key in keys))
        lines = "".join(f"{key} {digest}\n" for key, digest in zip(keys, found, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _check_faults(shards: ShardSet, faults: Sequence[RecordFault], allowed: int) -> None:
    """Raises DataError that lists them where they are more than may be."""
    if len(faults) > allowed:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in Counter(fault.kind for fault in faults).items())
        samples = shards.manifest.counts["samples"]
        what = f"{len(faults):,} faults ({kinds}) in a set of {samples:,} samples, {allowed:,} may be: --reject-budget"
        raise DataError(f"{shards.path}: {what}{listed(faults)}", _MORE)


def _units(manifest: Manifest, given: _Given) -> list[_Unit]:
    """The samples by the unit that they were built as: its shards are cut anew where they reach 1 GiB."""
    units: dict[str, _Unit] = {}
    index: Counter[str] = Counter()
    for shard in manifest.shards:
        match = _SHARD_OF_UNIT.fullmatch(shard.name)
        name = match[1] if match else shard.name.removesuffix(".tar")
        unit = units.setdefault(name, _Unit(name, shard.split, []))
        for key in shard.keys:
            text, map_file = (given.texts or {}).get(key), (given.maps or {}).get(key)
            unit.inserts.append(Insert(shard.split, index[shard.split], text, map_file))
            index[shard.split] += 1
    return list(units.values())


def _head(shards: ShardSet, given: _Given, units: Sequence[_Unit], allowed: int) -> JournalHeader:
    old = shards.manifest
    versions = {"ecamp-fast": __version__, "format": FORMAT, "Pillow": PIL.__version__, "numpy": np.__version__}
    digests = {name: given.record.get(name, "") for name in ("set", "texts_digest", "maps_digest")}
    rules = {"rules_digest": RULES_DIGEST, "tokenizers": tokenizers.__version__}
    return JournalHeader(
        part=WHOLE,
        name=str(shards.path),
        builder=__version__,
        source=_source(old, given),
        identity=versions | digests | rules,
        tokenizer_digest=old.tokenizer_digest,
        vocab_size=old.vocab_size,
        dropped_empty=old.counts["dropped_empty"],
        notes=(),
        absent=tuple(given.faults),
        allowed=allowed,
        units=tuple(unit.name for unit in units),
        labels=old.labels,
        masks=old.masks,
    )


def _source(old: Manifest, given: _Given) -> dict[str, Any]:
    return old.source | {PUT: [*old.source.get(PUT, []), given.record]}


def _resume(output: Output, journal: Journal, shards: ShardSet, head: JournalHeader, say: Notice) -> dict[str, Done]:
    """What an earlier run with the same set, texts and maps finished; nothing, and a clean folder, else."""
    before = journal.header()
    if before is not None and not (difference := differing(before.identity, head.identity)):
        entries = [done for done in map(journal.done, head.units) if done]
        finished = {done.unit: done for done in intact(output.folder, entries)}
        tidy(output.folder, finished)
    else:
        if journal.begun:
            reason = f"it had other {difference}" if before is not None else "it is damaged or of another version"
            say(f"{output.workspace} holds a build, but {reason}: starting over")
        output.keep, finished = False, {}
        output.clear()
    if head.tokenizer_digest:
        write_atomically(output.folder / TOKENIZER, shards.wordpiece_path.read_bytes())
    journal.write_header(head)
    return finished


def _write(
    shards: ShardSet,
    output: Output,
    journal: Journal,
    units: Sequence[_Unit],
    finished: Mapping[str, Done],
    given: _Given,
    workers: int,
    tick: Tick,
) -> list[Done]:
    """The entries of all units in order; writes those that are missing."""
    missing = list(chain.from_iterable(unit.inserts for unit in units if unit.name not in finished))
    total = sum(len(unit.inserts) for unit in units)
    kinds = Counter(fault.kind for done in finished.values() for fault in done.rejected)
    start = partial(Inserter, shards.path, given.texts is not None, given.maps is not None)

    def counted(inserted: Generator[Inserted, None, None]) -> Generator[Inserted, None, None]:
        tick(total - len(missing), total, kinds)
        for number, item in enumerate(inserted, total - len(missing) + 1):
            kinds.update(fault.kind for fault in item.faults)
            tick(number, total, kinds)
            yield item

    entries: list[Done] = []
    with closing(pack_in_order(start, missing, workers)) as inserted:
        items = counted(inserted)
        for unit in units:
            done = finished.get(unit.name)
            if done is None:
                done = _write_unit(output.folder, unit, islice(items, len(unit.inserts)))
                journal.add(done)
                output.keep = True  # from here on there is something to go on with
            entries.append(done)
    return entries


def _write_unit(folder: Path, unit: _Unit, items: Iterable[Inserted]) -> Done:
    tokens: list[tuple[int, int]] = []
    faults: list[RecordFault] = []
    with UnitWriter(folder, unit.name, unit.split) as writer:
        for item in items:
            writer.add(item.key, item.members)
            tokens += [item.tokens] if item.tokens else []
            faults += item.faults
        shards = writer.finish()
    reports, distilled = (tuple(counts) for counts in zip(*tokens, strict=True)) if tokens else ((), ())
    return Done(unit.name, shards, (), (), reports, distilled, tuple(faults))


def _manifest(old: Manifest, given: _Given, entries: Sequence[Done], faults: Sequence[RecordFault]) -> Manifest:
    texts = given.texts is not None
    reports = [count for done in entries for count in done.report_tokens]
    distilled = [count for done in entries for count in done.distilled_tokens]
    return replace(
        old,
        builder=__version__,
        source=_source(old, given),
        rules_digest=RULES_DIGEST if texts else old.rules_digest,
        text=text_statistics(reports, distilled) if texts else old.text,
        shards=tuple(shard for done in entries for shard in done.shards),
        notes=(*old.notes, *_notes(given, faults)),
        digest="",
    )


def _notes(given: _Given, faults: Sequence[RecordFault]) -> list[str]:
    """What was put, and by kind what could not be."""
    parts = [several(len(given.texts), "distilled text", "distilled texts")] if given.texts is not None else []
    parts += [several(len(given.maps), "attention map", "attention maps")] if given.maps is not None else []
    notes = [f"put into a finished set: {' and '.join(parts)}"]
    for kind in dict.fromkeys(fault.kind for fault in faults):
        names = [fault.origin for fault in faults if fault.kind == kind]
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        notes.append(f"{len(names):,} with {kind}: {', '.join(names[:_NAMED])}{more}")
    return notes
