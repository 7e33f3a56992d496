"""How a build begins: with what an earlier one of the same plan finished, or anew, with a tokenizer."""

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ecamp_fast import __version__
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.files import write_atomically
from ecamp_fast.shards.builder.journal import JOURNAL, Done, Journal, JournalHeader, Part, intact
from ecamp_fast.shards.builder.output import Output, remove
from ecamp_fast.shards.builder.pack import distilled
from ecamp_fast.shards.builder.plan import Options, Plan
from ecamp_fast.shards.builder.workers import pack_all
from ecamp_fast.shards.format.manifest import TOKENIZER
from ecamp_fast.shards.sources.base import Source
from ecamp_fast.text.reading.entities import DEFAULT, EntityList
from ecamp_fast.text.wordpiece import Wordpiece, load_wordpiece, train_wordpiece

Notice = Callable[[str], None]


def find_journal(output: Output) -> Journal:
    """The journal lies beside the set; a part takes it along at its end, and may have been killed just then."""
    journal = Journal(output.workspace / JOURNAL)
    if (output.folder / JOURNAL).is_dir() and not journal.folder.exists():
        os.rename(output.folder / JOURNAL, journal.folder)
    return journal


def resume(
    source: Source, output: Output, journal: Journal, plan: Plan, options: Options, part: Part, say: Notice
) -> tuple[JournalHeader, dict[str, Done]]:
    """Find what an earlier build of the same plan finished; otherwise start anew, with a tokenizer.

    Rows that were left out are looked at again: a shard that lacks one whose image is good by now is not finished.
    """
    before = journal.header()
    if before is None and journal.begun:
        say(f"{output.workspace} holds a build that is damaged or of another version: starting over")
    if before is not None:
        entries = [done for done in map(journal.done, before.own_units) if done]
        difference = differing(
            before.source | before.identity | {"part": list(before.part)},
            plan.source | plan.identity | {"part": list(part)},
        )
        if not difference and _same_tokenizer(output.folder / TOKENIZER, before.tokenizer_digest):
            finished = _settled(source, plan, options, intact(output.folder, entries))
            tidy(output.folder, finished)
            head = _head(plan, part, before.tokenizer_digest, before.vocab_size)
            journal.write_header(head)
            return head, finished
        if entries:
            reason = f"it had other {difference}" if difference else "its tokenizer is damaged"
            say(f"{output.workspace} holds {len(entries)} finished shards, but {reason}: starting over")
    output.keep = False
    output.clear()
    wordpiece = _make_tokenizer(plan, options, say)
    if wordpiece:
        write_atomically(output.folder / TOKENIZER, wordpiece.to_bytes())
    head = _head(plan, part, wordpiece.digest if wordpiece else "", wordpiece.vocab_size if wordpiece else 0)
    journal.write_header(head)
    return head, {}


def _settled(source: Source, plan: Plan, options: Options, entries: list[Done]) -> dict[str, Done]:
    """By unit, the entries whose rows left out are at fault as they were then."""
    finished = {done.unit: done for done in entries}
    faults = {fault.origin: (done.unit, fault) for done in entries for fault in done.rejected}
    records = [record for record in plan.records if record.origin in faults]
    with closing(pack_all(source, records, options.short_side, None, options.workers, options.runner)) as looked_at:
        for record, outcome in zip(records, looked_at, strict=True):
            unit, before = faults[record.origin]
            if outcome != before:
                finished.pop(unit, None)
    return finished


def _make_tokenizer(plan: Plan, options: Options, say: Notice) -> Wordpiece | None:
    """None where there is no text."""
    if options.tokenizer:
        return load_wordpiece(options.tokenizer)
    if not plan.has_text:
        return None
    say("training the tokenizer")
    return train_tokenizer(plan, options.vocab_size, options.entities)


def train_tokenizer(plan: Plan, vocab_size: int, entities: EntityList = DEFAULT) -> Wordpiece:
    """A tokenizer of all texts of the training split.  Raises DataError if it has none."""
    training = [record for unit in plan.units if unit.split == "train" for record in unit.records if record.report]
    written: dict[str, str | None] = {}  # views of a study share their report
    for record in training:
        if record.distilled is None:
            record.distilled = written.get(record.report)
            written[record.report] = distilled(record, entities).distilled
    texts = dict.fromkeys(text for record in training for text in (record.report, record.distilled or "") if text)
    if not texts:
        raise DataError(
            f"{plan.name}: no sample in the split train has text to make a tokenizer from", "pass --tokenizer FILE"
        )
    return train_wordpiece(texts, vocab_size)


def _head(plan: Plan, part: Part, tokenizer_digest: str, vocab_size: int) -> JournalHeader:
    return JournalHeader(
        part=part,
        name=plan.name,
        builder=__version__,
        source=plan.source,
        identity=plan.identity,
        tokenizer_digest=tokenizer_digest,
        vocab_size=vocab_size,
        dropped_empty=plan.dropped_empty,
        notes=tuple(plan.notes),
        absent=tuple(plan.absent),
        allowed=plan.allowed,
        units=tuple(unit.name for unit in plan.units),
        labels=plan.labels,
        masks=plan.masks,
    )


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Names of the entries in which two plans differ; '' if the shards of one can serve the other.

    A file of distilled texts may have another name: its digest tells whether they are the same.
    """
    names = sorted({*one, *other} - {"distilled"})
    return ", ".join(name for name in names if one.get(name) != other.get(name))


def _same_tokenizer(path: Path, digest: str) -> bool:
    """digest: of the tokenizer that there should be, '' if none"""
    try:
        return not digest or load_wordpiece(path).digest == digest
    except ConfigError:
        return False


def tidy(folder: Path, finished: Mapping[str, Done]) -> None:
    """Remove what a killed build left half done."""
    known = {shard.name for done in finished.values() for shard in done.shards} | {TOKENIZER, JOURNAL}
    for entry in folder.iterdir():
        if entry.name not in known:
            remove(entry)
