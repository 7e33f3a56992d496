"""Whether a folder holds already, and whole, what a command is asked to make there: then nothing is left to do."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ecamp_fast.errors import DataError
from ecamp_fast.printable import items
from ecamp_fast.shards.builder.build import BuildReport
from ecamp_fast.shards.builder.journal import JOURNAL, WHOLE, Journal, Part, intact
from ecamp_fast.shards.builder.manifest_counts import manifest_of
from ecamp_fast.shards.builder.output import refuse_other
from ecamp_fast.shards.builder.plan import Options, Plan, make_plan
from ecamp_fast.shards.builder.resume import differing
from ecamp_fast.shards.check.verify import Tick, inspect
from ecamp_fast.shards.format.manifest import DISTILLED, MANIFEST, METADATA, REPORT, Manifest, read_manifest
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.base import Record, Source
from ecamp_fast.strict_json import parse_object
from ecamp_fast.text.reading.version import RULES_DIGEST
from ecamp_fast.text.wordpiece import load_wordpiece

_DAMAGED = "run `ecamp-fast shard repair`, or remove the folder and build it again"
_LISTED = 5  # damages that are named


def finished_build(
    source: Source, out: Path, options: Options, part: Part = WHOLE, tick: Tick = lambda done, total: None
) -> BuildReport | None:
    """The set, or the part, that ``build`` would make of ``source`` in ``out``, where it is there and whole; else None.

    Compared with the listing are rows, texts and what the metadata says of them, and the options; every byte of the set
    is read. Pictures are not decoded again, and versions of libraries that encode them do not count.
    Raises ConfigError, with what differs, where ``out`` holds another set; DataError where it is damaged.
    """
    began = time.perf_counter()
    if part != WHOLE:
        return _finished_part(source, out, options, part, began)
    if not (out / MANIFEST).is_file():
        return None
    manifest = read_manifest(out)
    plan = make_plan(source, options)
    refuse_other(out, _difference(plan, options, manifest) or _other_rows(plan, out, manifest))
    require_whole(out, tick)
    return _as_it_is(out, manifest, began)


def require_whole(out: Path, tick: Tick = lambda done, total: None) -> None:
    """Raises DataError where the set in ``out`` is damaged."""
    damage = inspect(out, tick=tick).damage
    if damage:
        more = [f"and {len(damage) - _LISTED} more"] if len(damage) > _LISTED else []
        raise DataError(f"{out} is finished, but damaged:{items([*damage[:_LISTED], *more])}", _DAMAGED)


def _finished_part(source: Source, out: Path, options: Options, part: Part, began: float) -> BuildReport | None:
    if not (out / JOURNAL).is_dir():
        return None
    journal = Journal(out / JOURNAL)
    head = journal.header()
    if head is None:
        raise DataError(f"{out} holds a part with a damaged {JOURNAL}, or of another version", "remove the folder")
    plan = make_plan(source, options)
    wanted = plan.source | plan.identity | {"part": list(part)}
    refuse_other(out, differing(head.source | head.identity | {"part": list(head.part)}, wanted))
    entries = [done for done in map(journal.done, head.own_units) if done]
    if len(intact(out, entries)) < len(head.own_units):
        raise DataError(f"{out} is a finished part, but damaged", "remove the folder and build the part again")
    return _as_it_is(out, manifest_of(head, entries), began)


def _as_it_is(out: Path, manifest: Manifest, began: float) -> BuildReport:
    return BuildReport(out, manifest, time.perf_counter() - began, manifest.counts["samples"], finished=True)


def _difference(plan: Plan, options: Options, manifest: Manifest) -> str:
    """Names of what differs in source and options."""
    ours: dict[str, Any] = plan.source | {
        "short_side": options.short_side,
        "rules_digest": RULES_DIGEST,
        "entities": options.entities.digest,
        "labels": plan.labels,
        "masks": plan.masks,
        "reject_budget": True,
    }
    theirs = manifest.source | {
        "short_side": manifest.short_side,
        "rules_digest": manifest.rules_digest,
        "entities": manifest.entities.digest,
        "labels": manifest.labels,
        "masks": manifest.masks,
        "reject_budget": len(manifest.quarantined) <= plan.allowed,
    }
    if options.tokenizer:
        ours["tokenizer"] = load_wordpiece(options.tokenizer).digest
        theirs["tokenizer"] = manifest.tokenizer_digest
    return differing(theirs, ours)


def _other_rows(plan: Plan, out: Path, manifest: Manifest) -> str:
    """Where the listing has other rows than the set, or says other things of them; '' where it does not."""
    left_out = {row["origin"] for row in manifest.quarantined}
    expected = [record for record in plan.records if record.origin not in left_out]
    if plan.faults or not {fault.origin for fault in plan.absent} <= left_out:
        return "rows that cannot be read"
    if [record.key for record in expected] != [key for shard in manifest.shards for key in shard.keys]:
        return f"rows: {len(expected):,} now, {manifest.counts['samples']:,} in the set, or others"
    stored = _stored(out)
    different = sum(not _says_the_same(record, next(stored)) for record in expected)
    return f"what is said of {different:,} rows: texts, labels or patients" if different else ""


def _stored(out: Path) -> Iterator[Mapping[str, bytes]]:
    """What is said of each sample, in the order of the set."""
    shards = ShardSet(out)
    for split in shards.splits:
        yield from shards.samples(split, (REPORT, DISTILLED, METADATA))


def _says_the_same(record: Record, members: Mapping[str, bytes]) -> bool:
    if record.report.encode() != members.get(REPORT, b""):
        return False
    if record.report and record.distilled is not None and record.distilled.encode() != members.get(DISTILLED):
        return False
    try:
        about = parse_object(members[METADATA])
    except (ValueError, KeyError):
        return False
    told: dict[str, Any] = {
        name: getattr(record, name) for name in ("study_id", "patient_id", "labels", "split", "row", "columns")
    }
    told |= {"view": record.view} if record.view else {}
    return all(about.get(name) == value for name, value in json.loads(json.dumps(told)).items())
