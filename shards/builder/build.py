"""From a source of samples to a shard set: parallel, resumable, byte-identical for any number of workers."""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.journal import JOURNAL, WHOLE, Done, Journal, JournalHeader, Part
from ecamp_fast.shards.builder.manifest_counts import check_budget, manifest_of, rejected
from ecamp_fast.shards.builder.notice import write_notice
from ecamp_fast.shards.builder.output import Output
from ecamp_fast.shards.builder.pack import Outcome
from ecamp_fast.shards.builder.plan import DEFAULTS, Options, Plan, Unit, class_of, classes, listing_error, make_plan
from ecamp_fast.shards.builder.resume import Notice, find_journal, resume
from ecamp_fast.shards.builder.workers import pack_all
from ecamp_fast.shards.format.manifest import TOKENIZER, Manifest, read_manifest, write_manifest
from ecamp_fast.shards.format.tar_writer import UnitWriter
from ecamp_fast.shards.sources.base import Record, RecordFault, Source

_MORE = "fix these rows or pass a larger --reject-budget; the same command then goes on with the finished shards"

Tick = Callable[[int, int, Mapping[str, int]], None]  # samples done, of; rows left out by class


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built.

    out       folder of the set, or of the part
    manifest  of the set, or of the part
    seconds   that the build took
    resumed   samples that an earlier, interrupted build had finished
    finished  whether an earlier one had finished all of it: nothing was left to do
    """

    out: Path
    manifest: Manifest
    seconds: float
    resumed: int = 0
    finished: bool = False


def build(
    source: Source,
    out: str | Path,
    options: Options = DEFAULTS,
    say: Notice = lambda text: None,
    tick: Tick = lambda done, total, rejected: None,
    part: Part = WHOLE,
) -> BuildReport:
    """Build a shard set from ``source`` into the folder ``out``, which must not exist (or be empty).

    A build that was killed or failed, also for more bad rows than the budget allows, goes on where it stopped when it
    is called again: finished shards wait in ``NAME.building``. They serve if rows, options, part and versions of the
    encoding libraries are the same, else ``say`` tells what differs and the build starts over. Pictures must not change
    meanwhile, but for those of rows left out: these may be fixed.

    say   receives lines for a person
    tick  receives progress
    part  build only every n-th shard, as a folder for ``merge``; its report's manifest describes this part alone

    Raises DataError that lists every bad row, StorageError, EnvironmentFault.
    """
    began = time.perf_counter()
    _check_part(part)
    with Output(out) as output:
        journal = find_journal(output)
        output.keep = journal.header() is not None
        plan = make_plan(source, options)
        if plan.faults or len(plan.absent) > plan.allowed:
            raise _look_at_all(source, plan, options, say, tick)
        head, finished = resume(source, output, journal, plan, options, part, say)
        resumed = sum(len(done.studies) for done in finished.values())
        if finished:
            say(f"going on: {resumed:,} samples in {len(finished)} finished shards are here already")
        try:
            entries = _build_units(source, output, journal, plan, head, finished, options, tick)
            check_budget(head, entries, _MORE)
        except KeyboardInterrupt:
            if output.keep:
                say(f"finished shards wait in {output.workspace}: the same command goes on with them")
            raise
        manifest = manifest_of(head, entries)
        for note in manifest.notes:
            say(f"note: {note}")
        if part == WHOLE:
            write_notice(output.folder, manifest.source["kind"])
            write_manifest(output.folder, manifest)
        else:
            os.rename(journal.folder, output.folder / JOURNAL)
        output.commit()
    if part == WHOLE:
        manifest = read_manifest(output.out)
    return BuildReport(output.out, manifest, time.perf_counter() - began, resumed)


def build_phantoms(
    studies: int,
    out: str | Path,
    *,
    seed: int = 42,
    size: int = 512,
    options: Options = DEFAULTS,
) -> BuildReport:
    """A shard set of ``studies`` phantoms of ``size`` x ``size`` pixels; as ``build``."""
    from ecamp_fast.shards.sources.phantom import PhantomSource

    return build(PhantomSource(studies, seed, size), out, options)


def write_unit(folder: Path, unit: Unit, outcomes: Iterable[Outcome]) -> Done:
    """Write the shards of a unit, without the rows whose image is bad.  outcomes: of its records, in order."""
    kept: list[Record] = []
    tokens: list[tuple[int, int]] = []
    inverted: list[str] = []
    bad: list[RecordFault] = []
    with UnitWriter(folder, unit.name, unit.split) as writer:
        for record, item in zip(unit.records, outcomes, strict=True):
            if isinstance(item, RecordFault):
                bad.append(item)
            elif item is not None:
                writer.add(item.key, item.members)
                kept.append(record)
                tokens += [item.tokens] if item.tokens else []
                inverted += [record.origin] if item.inverted else []
        shards = writer.finish()
    return Done(
        unit=unit.name,
        shards=shards,
        studies=tuple(record.study_id for record in kept),
        patients=tuple(record.patient_id for record in kept),
        report_tokens=tuple(report for report, _ in tokens),
        distilled_tokens=tuple(text for _, text in tokens),
        rejected=tuple(bad),
        inverted=tuple(inverted),
    )


def _check_part(part: Part) -> None:
    number, parts = part
    if not 1 <= number <= parts:
        raise ConfigError(
            f"--part {number}/{parts}: the number goes from 1 to {parts}", "write --part 1/4 to --part 4/4"
        )


def _packed(
    source: Source, records: list[Record], tokenizer: Path | None, options: Options
) -> Generator[Outcome, None, None]:
    return pack_all(source, records, options.short_side, tokenizer, options.workers, options.runner, options.entities)


def _look_at_all(source: Source, plan: Plan, options: Options, say: Notice, tick: Tick) -> DataError:
    """The listing is at fault already: say so, and look at every image too, so that all can be fixed at once.

    The faults are listed by the error alone, once; an interrupt ends the looking and gives it at once.
    """
    bad = plan.faults + plan.absent
    count = "1 row is" if len(bad) == 1 else f"{len(bad):,} rows are"
    records, kinds = plan.records, classes(bad)
    if records:
        say(f"{plan.name}: {count} at fault; looking at all images before giving up: interrupt for the list at once")
    with closing(_packed(source, records, None, options)) as packed, suppress(KeyboardInterrupt):
        for number, item in enumerate(packed, 1):
            if isinstance(item, RecordFault):
                bad.append(item)
                kinds[class_of(item)] += 1
            tick(number, len(records), kinds)
    return listing_error(plan, bad)


def _build_units(
    source: Source,
    output: Output,
    journal: Journal,
    plan: Plan,
    head: JournalHeader,
    finished: Mapping[str, Done],
    options: Options,
    tick: Tick,
) -> list[Done]:
    """The entries of all units of this part in order, building those that are missing."""
    own = set(head.own_units)
    units = [unit for unit in plan.units if unit.name in own]
    records = [record for unit in units if unit.name not in finished for record in unit.records]
    total = sum(len(unit.records) for unit in units)
    at = total - len(records)
    kinds = classes(rejected(head, list(finished.values())))
    tick(at, total, kinds)

    def counted(packed: Iterator[Outcome]) -> Iterator[Outcome]:
        for number, item in enumerate(packed, at + 1):
            if isinstance(item, RecordFault):
                kinds[class_of(item)] += 1
            tick(number, total, kinds)
            yield item

    entries: list[Done] = []
    with closing(_packed(source, records, output.folder / TOKENIZER, options)) as packed:
        outcomes = counted(packed)
        for unit in units:
            done = finished.get(unit.name)
            if done is None:
                done = write_unit(output.folder, unit, islice(outcomes, len(unit.records)))
                journal.add(done)
                output.keep |= bool(done.shards)  # from here on there is something to go on with
            entries.append(done)
    return entries
