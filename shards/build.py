"""From a source of samples to a shard set: parallel, byte-identical for any number of workers, complete or absent."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecamp_fast import __version__
from ecamp_fast.errors import DataError
from ecamp_fast.files import write_atomically
from ecamp_fast.shards.census import counts, text_statistics
from ecamp_fast.shards.format import SPLITS, TOKENIZER, Manifest, read_manifest, write_manifest
from ecamp_fast.shards.naming import assign_keys, assign_splits
from ecamp_fast.shards.output import Output
from ecamp_fast.shards.parallel import Outcome, pack_all
from ecamp_fast.shards.source import Fault, Listing, Record, Source, refuse
from ecamp_fast.shards.write import ShardSequence
from ecamp_fast.text.entities import ENTITIES_DIGEST
from ecamp_fast.text.rules import distill
from ecamp_fast.text.wordpiece import Wordpiece, load_wordpiece, train_wordpiece

Notice = Callable[[str], None]
Tick = Callable[[int, int], None]  # samples done, of


@dataclass(frozen=True, slots=True)
class Options:
    """How to build.

    short_side  pixels; larger images are reduced to it, smaller ones kept
    tokenizer   file; None: trained on the texts of the training split, at most vocab_size entries
    holdout     share of patients that goes to ``val`` where the source names no splits
    workers     processes; 0: one per available core
    shard_size  samples per shard at most (a shard also ends before 1 GiB)
    allow_bad   share of rows whose image may be missing or unreadable: those are left out and listed in the manifest
    """

    short_side: int = 1024
    tokenizer: Path | None = None
    vocab_size: int = 30000
    holdout: float = 0.1
    seed: int = 42
    workers: int = 0
    shard_size: int = 1000
    allow_bad: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """What was built, and in how many seconds."""

    out: Path
    manifest: Manifest
    seconds: float


def build(
    source: Source,
    out: str | Path,
    options: Options = Options(),
    say: Notice = lambda text: None,
    tick: Tick = lambda done, total: None,
) -> Report:
    """Build a shard set from ``source`` into the folder ``out``, which must not exist (or be empty).

    say: receives lines for a person   tick: receives progress
    Raises DataError that lists every bad row; then, as on any other fault, nothing is left of ``out``.
    """
    began = time.perf_counter()
    with Output(out) as output:
        plan = _plan(source, options)
        if plan.faults or len(plan.bad) > plan.allowed:
            say(f"{len(plan.faults) + len(plan.bad)} rows are at fault; looking at all images before giving up")
            looked = pack_all(source, plan.records, options.short_side, None, options.workers)
            bad = [item for _, item in _counted(plan.records, looked, tick) if isinstance(item, Fault)]
            raise refuse(plan.name, plan.faults + plan.bad + bad)
        tokenizer = output.folder / TOKENIZER
        wordpiece = _tokenizer(plan, options, say)
        write_atomically(tokenizer, wordpiece.to_bytes())
        packed = pack_all(source, plan.records, options.short_side, tokenizer, options.workers)
        manifest = _write(output.folder, plan, wordpiece, options, _counted(plan.records, packed, tick))
        write_manifest(output.folder, manifest)
        output.commit()
    return Report(output.out, read_manifest(output.out), time.perf_counter() - began)


def preview(source: Source, options: Options = Options()) -> dict[str, Any]:
    """What ``build`` would make, by the table alone: counts and splits. No image is opened, nothing is written.

    Raises DataError that lists every row at fault.
    """
    plan = _plan(source, options)
    if plan.faults or len(plan.bad) > plan.allowed:
        raise refuse(plan.name, plan.faults + plan.bad)
    splits = Counter(record.split for record in plan.records)
    return counts(plan.records, plan.listing.dropped_empty) | {
        "splits": {split: splits[split] for split in SPLITS if splits[split]},
        "quarantined": len(plan.bad),
        "notes": plan.listing.notes,
    }


def build_phantoms(
    studies: int,
    out: str | Path,
    *,
    seed: int = 42,
    size: int = 512,
    options: Options = Options(),
) -> Report:
    """A shard set of ``studies`` phantoms of ``size`` x ``size`` pixels; as ``build``."""
    from ecamp_fast.shards.sources.phantom import PhantomSource

    return build(PhantomSource(studies, seed, size), out, options)


@dataclass(slots=True)
class _Plan:
    """What is to be built: records in the order they will lie in, the faults found so far, the faults allowed."""

    source: Source
    listing: Listing
    records: list[Record]
    faults: list[Fault]
    bad: list[Fault]
    allowed: int

    @property
    def name(self) -> str:
        return str(self.source.description.get("file", self.source.kind))


def _plan(source: Source, options: Options) -> _Plan:
    listing = source.survey()
    records = listing.records
    assign_keys(records)
    faults = listing.faults + assign_splits(records, options.holdout, options.seed)
    rank = {split: number for number, split in enumerate(SPLITS)}
    records = sorted(records, key=lambda record: (rank.get(record.split, len(SPLITS)), record.key))
    allowed = int(options.allow_bad * (len(records) + len(listing.absent)))
    plan = _Plan(source, listing, records, faults, listing.absent, allowed)
    if not records and not faults and not plan.bad:
        raise DataError(
            f"{plan.name}: no row has a report ({listing.dropped_empty} empty ones)",
            "nothing to build: check the column",
        )
    return plan


def _tokenizer(plan: _Plan, options: Options, say: Notice) -> Wordpiece:
    """Write the missing distilled texts, then load the tokenizer or train it on the training split's texts."""
    written: dict[str, str] = {}  # views of a study share their report
    for record in plan.records:
        if record.distilled is None:
            if record.report not in written:
                written[record.report] = distill(record.report)
            record.distilled = written[record.report]
    if options.tokenizer is not None:
        return load_wordpiece(options.tokenizer)
    training = [record for record in plan.records if record.split == "train"]
    texts = dict.fromkeys(text for record in training for text in (record.report, record.distilled or "") if text)
    if not texts:
        raise DataError(f"{plan.name}: no sample in the split train to make a tokenizer from", "pass --tokenizer FILE")
    say(f"training the tokenizer on {len(texts):,} texts")
    return train_wordpiece(texts, options.vocab_size)


def _write(
    folder: Path, plan: _Plan, wordpiece: Wordpiece, options: Options, packed: Iterable[tuple[Record, Outcome]]
) -> Manifest:
    """Write all shards; once too many images are bad only look at the rest, and raise DataError with all of them."""
    kept: list[Record] = []
    report_tokens: list[int] = []
    distilled_tokens: list[int] = []
    with ShardSequence(folder, options.shard_size) as sequence:
        for record, item in packed:
            if isinstance(item, Fault):
                plan.bad.append(item)
            elif item is not None and len(plan.bad) <= plan.allowed:
                sequence.add(record.split, item.key, item.members)
                kept.append(record)
                report_tokens.append(item.report_tokens)
                distilled_tokens.append(item.distilled_tokens)
        if len(plan.bad) > plan.allowed or not kept:
            raise refuse(plan.name, plan.bad)
        shards = sequence.finish()
    return Manifest(
        builder=__version__,
        source=plan.source.description | {"holdout": options.holdout, "seed": options.seed},
        short_side=options.short_side,
        tokenizer_digest=wordpiece.digest,
        vocab_size=wordpiece.vocab_size,
        entities_digest=ENTITIES_DIGEST,
        counts=counts(kept, plan.listing.dropped_empty),
        text=text_statistics(report_tokens, distilled_tokens),
        shards=shards,
        notes=tuple(plan.listing.notes),
        quarantined=tuple({"origin": fault.origin, "fault": fault.what} for fault in plan.bad),
    )


def _counted(records: list[Record], packed: Iterable[Outcome], tick: Tick) -> Iterator[tuple[Record, Outcome]]:
    """Pair each record with its outcome and report progress."""
    for done, (record, item) in enumerate(zip(records, packed, strict=True), 1):
        yield record, item
        tick(done, len(records))
