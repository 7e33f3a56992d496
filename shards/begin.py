"""How a build begins: with what an earlier one of the same plan finished, or anew, with a tokenizer."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ecamp_fast import __version__
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.files import write_atomically
from ecamp_fast.shards.format import TOKENIZER
from ecamp_fast.shards.journal import JOURNAL, Done, Head, Journal, Part, whole
from ecamp_fast.shards.output import Output, remove
from ecamp_fast.shards.parallel import distilled
from ecamp_fast.shards.plan import Options, Plan
from ecamp_fast.text.wordpiece import Wordpiece, load_wordpiece, train_wordpiece

Notice = Callable[[str], None]


def find_journal(output: Output) -> Journal:
    """The journal lies beside the set; a part takes it along at its end, and may have been killed just then."""
    journal = Journal(output.workspace / JOURNAL)
    if (output.folder / JOURNAL).is_dir() and not journal.folder.exists():
        os.rename(output.folder / JOURNAL, journal.folder)
    return journal


def begin(
    output: Output, journal: Journal, plan: Plan, options: Options, part: Part, say: Notice
) -> tuple[Head, dict[str, Done]]:
    """Find what an earlier build of the same plan finished; otherwise start anew, with a tokenizer."""
    finished: dict[str, Done] = {}
    wordpiece = None
    before = journal.head()
    if before is not None:
        entries = [done for done in map(journal.done, before.own_units) if done]
        difference = _difference(before, plan, part)
        wordpiece = None if difference else _tokenizer(output.folder / TOKENIZER, before.tokenizer_digest)
        if wordpiece is not None:
            finished = {done.unit: done for done in whole(output.folder, entries)}
            _tidy(output.folder, finished)
        elif entries:
            reason = f"it had other {difference}" if difference else "its tokenizer is damaged"
            say(f"{output.workspace} holds {len(entries)} finished shards, but {reason}: starting over")
    if wordpiece is None:
        output.keep = False
        output.clear()
        if options.tokenizer is None:
            say("training the tokenizer")
            wordpiece = train_tokenizer(plan, options.vocab_size)
        else:
            wordpiece = load_wordpiece(options.tokenizer)
        write_atomically(output.folder / TOKENIZER, wordpiece.to_bytes())
    head = _head(plan, part, wordpiece)
    journal.begin(head)
    return head, finished


def train_tokenizer(plan: Plan, vocab_size: int) -> Wordpiece:
    """A tokenizer of all texts of the training split.  Raises DataError if it has none."""
    training = [record for unit in plan.units if unit.split == "train" for record in unit.records]
    written: dict[str, str | None] = {}  # views of a study share their report
    for record in training:
        if record.distilled is None:
            record.distilled = written.get(record.report)
            written[record.report] = distilled(record).distilled
    texts = dict.fromkeys(text for record in training for text in (record.report, record.distilled or "") if text)
    if not texts:
        raise DataError(f"{plan.name}: no sample in the split train to make a tokenizer from", "pass --tokenizer FILE")
    return train_wordpiece(texts, vocab_size)


def _head(plan: Plan, part: Part, wordpiece: Wordpiece) -> Head:
    return Head(
        part=part,
        name=plan.name,
        builder=__version__,
        source=plan.source,
        identity=plan.identity,
        tokenizer_digest=wordpiece.digest,
        vocab_size=wordpiece.vocab_size,
        dropped_empty=plan.dropped_empty,
        notes=tuple(plan.notes),
        absent=tuple(plan.absent),
        allowed=plan.allowed,
        units=tuple(unit.name for unit in plan.units),
    )


def _difference(head: Head, plan: Plan, part: Part) -> str:
    """In what an earlier build differs; '' if its shards can serve."""
    before = head.source | head.identity | {"part": list(head.part)}
    after = plan.source | plan.identity | {"part": list(part)}
    return ", ".join(name for name in sorted(before | after) if before.get(name) != after.get(name))


def _tokenizer(path: Path, digest: str) -> Wordpiece | None:
    try:
        wordpiece = load_wordpiece(path)
    except ConfigError:
        return None
    return wordpiece if wordpiece.digest == digest else None


def _tidy(folder: Path, finished: Mapping[str, Done]) -> None:
    """Remove what a killed build left half done."""
    known = {shard.name for done in finished.values() for shard in done.shards} | {TOKENIZER, JOURNAL}
    for entry in folder.iterdir():
        if entry.name not in known:
            remove(entry)
