"""Damaged shards of a set are built again from its source, and take their place only if they have the same bytes."""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ecamp_fast import __version__
from ecamp_fast.errors import DataError, StorageError
from ecamp_fast.files import sync, write_atomically
from ecamp_fast.shards.builder.build import Tick, write_unit
from ecamp_fast.shards.builder.journal import Done
from ecamp_fast.shards.builder.output import Output
from ecamp_fast.shards.builder.pack import Outcome
from ecamp_fast.shards.builder.plan import RECORDED, Options, Plan, Unit, make_plan
from ecamp_fast.shards.builder.resume import Notice, train_tokenizer
from ecamp_fast.shards.builder.workers import pack_all
from ecamp_fast.shards.check.verify import Damage, inspect
from ecamp_fast.shards.format.manifest import MANIFEST, MERGED, PUT, TOKENIZER, Manifest, Shard, read_manifest
from ecamp_fast.shards.sources.base import Source
from ecamp_fast.shards.storage.presence import tokenizer_fault
from ecamp_fast.text.reading.version import RULES_DIGEST

_UNIT = re.compile(r"([a-z]+-\d{6})(?:-\d+)?\.tar")
_NAMES = ("file", "reports", "distilled")  # entries of a source that are names of files
_COPY = "restore it from a copy, or build the set again"


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair came to.

    files    rebuilt and put in place
    left     damage that rebuilding does not fix, such as a tar of another set
    seconds  that it took
    """

    files: tuple[str, ...]
    left: tuple[Damage, ...]
    seconds: float


def repair(
    source: Source,
    path: str | Path,
    workers: int = 0,
    say: Notice = lambda text: None,
    tick: Tick = lambda done, total, rejected: None,
) -> Repaired:
    """Build the damaged files of the set ``path`` again from the source it was made of, with the options it records.

    All damaged files are rebuilt beside the set before the first is replaced.
    Raises DataError, leaving the set as it is: the manifest is damaged, the source is another, the bytes came out
    differently.
    """
    began = time.perf_counter()
    folder = Path(os.path.realpath(path))
    manifest = read_manifest(folder)
    damage = inspect(folder, workers).damage
    known = {shard.name: shard for shard in manifest.shards}
    names = sorted({item.file for item in damage if item.file in known})
    lost_tokenizer = bool(tokenizer_fault(folder, manifest))
    if names or lost_tokenizer:
        say(f"rebuilding {len(names)} of {len(known)} shards")
        _rebuild(source, folder, manifest, [known[name] for name in names], lost_tokenizer, workers, tick)
        damage = inspect(folder, workers).damage
    files = (*names, *([TOKENIZER] if lost_tokenizer else []))
    return Repaired(files, tuple(damage), time.perf_counter() - began)


def recorded_options(manifest: Manifest, workers: int = 0) -> Options:
    """The options a set was built with.  Raises DataError if its manifest does not record them."""
    missing = [name for name in RECORDED if name not in manifest.source]
    if missing:
        raise DataError(f"{MANIFEST} does not record {', '.join(missing)}: an older version built the set", _COPY)
    stored = {option: manifest.source[name] for name, option in RECORDED.items() if manifest.source[name] is not None}
    return Options(short_side=manifest.short_side, workers=workers, entities=manifest.entities, **stored)


def _rebuild(
    source: Source,
    folder: Path,
    manifest: Manifest,
    damaged: list[Shard],
    tokenizer: bool,
    workers: int,
    tick: Tick,
) -> None:
    if MERGED in manifest.source:
        names = ", ".join(str(entry["name"]) for entry in manifest.source[MERGED])
        raise DataError(f"this set was merged of {names}: no source has all of it", "repair those, and merge again")
    options = recorded_options(manifest, workers)
    if PUT in manifest.source:
        what = "texts or maps were put into this set after it was built: its source does not have them"
        raise DataError(what, "repair the set that they were put into, and put them again")
    plan = make_plan(source, options)
    _check_source(plan, options, manifest)
    with Output(folder.with_name(f"{folder.name}.repair")) as output:  # never committed: a place to work in
        output.clear()
        if tokenizer:
            write_atomically(output.folder / TOKENIZER, _tokenizer(plan, manifest))
        at = (output.folder if tokenizer else folder) / TOKENIZER
        _build(source, _units(plan, manifest, damaged), manifest, output.folder, options, at, tick)
        try:
            for name in [shard.name for shard in damaged] + ([TOKENIZER] if tokenizer else []):
                os.replace(output.folder / name, folder / name)
            sync(folder)
        except OSError as error:
            raise StorageError(f"cannot write {folder}: {error.strerror}", "check permissions") from error


def _check_source(plan: Plan, options: Options, manifest: Manifest) -> None:
    """What files are called does not matter: the bytes will tell."""
    ours = plan.source | {"vocab_size": manifest.source["vocab_size"]}
    renamed = {name for name in _NAMES if name in ours and name in manifest.source}
    wrong = [
        name
        for name in sorted((ours | manifest.source).keys() - renamed)
        if ours.get(name) != manifest.source.get(name)
    ]
    if wrong:
        pairs = "; ".join(f"{name} is {ours.get(name)}, was {manifest.source.get(name)}" for name in wrong)
        raise DataError(f"this is not the source the set was built from: {pairs}", "name that source")


def _tokenizer(plan: Plan, manifest: Manifest) -> bytes:
    if manifest.source["vocab_size"] is None:
        raise DataError(f"{TOKENIZER} was given to the build and is damaged", "copy that file into the set")
    wordpiece = train_tokenizer(plan, manifest.source["vocab_size"], manifest.entities)
    if wordpiece.digest != manifest.tokenizer_digest:
        raise DataError(f"{TOKENIZER}: training it again gives another: the texts have changed", _COPY)
    return wordpiece.to_bytes()


def _units(plan: Plan, manifest: Manifest, damaged: Iterable[Shard]) -> list[Unit]:
    """The units of the damaged shards, without the rows that were left out then."""
    left_out = {item["origin"] for item in manifest.quarantined}
    wanted = {match[1] for shard in damaged if (match := _UNIT.fullmatch(shard.name))}
    units = []
    for unit in plan.units:
        if unit.name in wanted:
            units.append(Unit(unit.name, unit.split, [r for r in unit.records if r.origin not in left_out]))
    for unit in units:
        stored = [key for shard in manifest.shards if _of(shard, unit.name) for key in shard.keys]
        listed = [record.key for record in unit.records]
        if listed != stored:
            changed = sorted(set(listed) ^ set(stored))
            raise DataError(f"{unit.name}: the source lists other samples than the set holds: {changed[:5]}", _COPY)
    if len(units) < len(wanted):
        raise DataError(f"the source has no rows for {sorted(wanted - {unit.name for unit in units})}", _COPY)
    return units


def _build(
    source: Source,
    units: list[Unit],
    manifest: Manifest,
    folder: Path,
    options: Options,
    tokenizer: Path,
    tick: Tick,
) -> None:
    records = [record for unit in units for record in unit.records]

    def counted(packed: Iterator[Outcome]) -> Iterator[Outcome]:
        for number, item in enumerate(packed, 1):
            tick(number, len(records), {})
            yield item

    packed_all = pack_all(source, records, options.short_side, tokenizer, options.workers, entities=manifest.entities)
    with closing(packed_all) as packed:
        outcomes = counted(packed)
        for unit in units:
            done = write_unit(folder, unit, islice(outcomes, len(unit.records)))
            if done.rejected:
                raise DataError(f"{unit.name} cannot be rebuilt: {done.rejected[0]}", "restore the image, or the shard")
            _check_same(done, manifest)


def _check_same(done: Done, manifest: Manifest) -> None:
    before = [(shard.name, shard.sha256) for shard in manifest.shards if _of(shard, done.unit)]
    if [(shard.name, shard.sha256) for shard in done.shards] != before:
        built = f"the set is of ecamp-fast {manifest.builder}, this is {__version__}"
        if manifest.rules_digest != RULES_DIGEST:
            built += ", which reads reports by other rules"
        raise DataError(
            f"{done.unit}: rebuilt, it has other bytes: an image or a report has changed since, or a library that "
            f"encodes has ({built})",
            _COPY,
        )


def _of(shard: Shard, unit: str) -> bool:
    match = _UNIT.fullmatch(shard.name)
    return match is not None and match[1] == unit
