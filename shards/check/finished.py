"""Whether a folder holds already, and whole, what a command is asked to make there: then nothing is left to do."""

import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ecamp_fast.errors import DataError
from ecamp_fast.printable import items
from ecamp_fast.shards.builder.build import BuildReport
from ecamp_fast.shards.builder.journal import JOURNAL, WHOLE, Journal, Part, intact
from ecamp_fast.shards.builder.manifest_counts import manifest_of
from ecamp_fast.shards.builder.output import refuse_other
from ecamp_fast.shards.builder.pack import of_masks_and_boxes, stored_map, stored_place
from ecamp_fast.shards.builder.plan import Options, Plan, make_plan
from ecamp_fast.shards.builder.resume import differing
from ecamp_fast.shards.builder.workers import pack_all
from ecamp_fast.shards.check.verify import Tick, inspect
from ecamp_fast.shards.format.manifest import (
    ATTENTION,
    DISTILLED,
    MANIFEST,
    MASKS,
    METADATA,
    REPORT,
    Manifest,
    read_manifest,
)
from ecamp_fast.shards.images.limits import BadImage
from ecamp_fast.shards.images.planes import nearest
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.base import Annotating, Record, Source, SourceImage, several
from ecamp_fast.strict_json import parse_object
from ecamp_fast.text.reading.entities import EntityList
from ecamp_fast.text.reading.version import RULES_DIGEST
from ecamp_fast.text.wordpiece import load_wordpiece

_LISTED = 5  # damages, or rows, that are named
_TOLD = ("study_id", "patient_id", "labels", "split", "row", "columns")


def finished_build(
    source: Source, out: Path, options: Options, part: Part = WHOLE, tick: Tick = lambda done, total: None
) -> BuildReport | None:
    """The set, or the part, that ``build`` would make of ``source`` in ``out``, where it is there and whole; else None.

    Compared with the listing are rows, texts and what the metadata says of them, attention maps, masks, boxes, and the
    options; rows that were left out are looked at again; every byte of the set is read. Pictures are not: one whose
    file has other pixels now is not noticed. Versions of libraries that encode do not count.
    Raises ConfigError, with what differs, where ``out`` holds another set; DataError where it is damaged.
    """
    began = time.perf_counter()
    if part != WHOLE:
        return _finished_part(source, out, options, part, began)
    if not (out / MANIFEST).is_file():
        return None
    manifest = read_manifest(out)
    plan = make_plan(source, options)
    refuse_other(out, _difference(plan, options, manifest) or _other_rows(source, plan, options, out, manifest))
    require_whole(out, tick)
    return _as_it_is(out, manifest, began)


def require_whole(out: Path, tick: Tick = lambda done, total: None) -> None:
    """Raises DataError where the set in ``out`` is damaged."""
    verdict = inspect(out, tick=tick)
    if damage := verdict.damage:
        more = [f"and {len(damage) - _LISTED} more"] if len(damage) > _LISTED else []
        raise DataError(f"{out} is finished, but damaged:{items([*damage[:_LISTED], *more])}", verdict.remedy)


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
    left_out = {fault.origin for done in entries for fault in done.rejected}
    again = [record for record in plan.records if record.origin in left_out]
    refuse_other(out, _readable(_good(source, again, options)))
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
        "dropped_empty": plan.dropped_empty,
    }
    theirs = manifest.source | {
        "short_side": manifest.short_side,
        "rules_digest": manifest.rules_digest,
        "entities": manifest.entities.digest,
        "labels": manifest.labels,
        "masks": manifest.masks,
        "reject_budget": len(manifest.quarantined) <= plan.allowed,
        "dropped_empty": manifest.counts["dropped_empty"],
    }
    if options.tokenizer:
        ours["tokenizer"] = load_wordpiece(options.tokenizer).digest
        theirs["tokenizer"] = manifest.tokenizer_digest
    return differing(theirs, ours)


def _other_rows(source: Source, plan: Plan, options: Options, out: Path, manifest: Manifest) -> str:
    """Where the listing has other rows than the set, or says other things of them; '' where it does not."""
    if plan.faults:
        return f"its rows, {several(len(plan.faults), 'of them is', 'of them are')} at fault now: {plan.faults[0]}"
    left_out = [row["origin"] for row in manifest.quarantined]
    absent = {fault.origin for fault in plan.absent}
    if lost := [fault for fault in plan.absent if fault.origin not in {*left_out}]:
        return f"{several(len(lost), 'row', 'rows')} without an image now: {lost[0]}"
    again = [record for record in plan.records if record.origin in {*left_out}]
    if gone := [origin for origin in left_out if origin not in absent | {record.origin for record in again}]:
        return f"rows that were left out and are not listed now: {_some(gone)}"
    if readable := _readable(_good(source, again, options)):
        return readable
    expected = [record for record in plan.records if record.origin not in {*left_out}]
    if [record.key for record in expected] != [key for shard in manifest.shards for key in shard.keys]:
        return f"rows: {len(expected):,} now, {manifest.counts['samples']:,} in the set, or others"
    return _other_samples(source, expected, out, manifest.entities)


def _good(source: Source, records: list[Record], options: Options) -> list[str]:
    """Origins of those whose picture can be read."""
    with closing(pack_all(source, records, options.short_side, None, options.workers, options.runner)) as looked_at:
        return [record.origin for record, fault in zip(records, looked_at, strict=True) if fault is None]


def _readable(origins: list[str]) -> str:
    return f"rows that were left out and can be read now: {_some(origins)}" if origins else ""


def _some(origins: list[str]) -> str:
    more = f" and {len(origins) - _LISTED:,} more" if len(origins) > _LISTED else ""
    return ", ".join(origins[:_LISTED]) + more


def _other_samples(source: Source, expected: list[Record], out: Path, entities: EntityList) -> str:
    """How many samples say something else than their records, and of what; '' if none."""
    stored = _stored(out)
    found = Counter(what for record in expected for what in _others(source, record, next(stored), entities))
    return (
        "what is said of " + ", of ".join(f"{several(count, 'row', 'rows')}: {what}" for what, count in found.items())
        if found
        else ""
    )


def _stored(out: Path) -> Iterator[Mapping[str, bytes]]:
    """What is said of each sample, in the order of the set."""
    shards = ShardSet(out)
    for split in shards.splits:
        yield from shards.samples(split, (ATTENTION, MASKS, REPORT, DISTILLED, METADATA))


def _others(source: Source, record: Record, members: Mapping[str, bytes], entities: EntityList) -> Iterator[str]:
    """What the sample has otherwise than its record."""
    try:
        about = parse_object(members[METADATA])
    except (ValueError, KeyError):
        yield "metadata"
        return
    if not _says_the_same(record, members, about):
        yield "texts, labels or patients"
    if about.get("image") != stored_place(record):
        yield "which picture it is"
    if isinstance(source, Annotating):  # others have no annotations, or those that their description decides
        yield from _other_annotations(source, record, members, about, entities)


def _says_the_same(record: Record, members: Mapping[str, bytes], about: Mapping[str, Any]) -> bool:
    if record.report.encode() != members.get(REPORT, b""):
        return False
    if record.report and record.distilled is not None and record.distilled.encode() != members.get(DISTILLED):
        return False
    told: dict[str, Any] = {name: getattr(record, name) for name in _TOLD}
    told |= {"view": record.view} if record.view else {}
    return all(about.get(name) == value for name, value in json.loads(json.dumps(told)).items())


def _other_annotations(
    source: Annotating, record: Record, members: Mapping[str, bytes], about: Mapping[str, Any], entities: EntityList
) -> Iterator[str]:
    try:
        size, stored = (about["source_width"], about["source_height"]), (about["width"], about["height"])
        wanted = source.annotate(SourceImage(None, size), record)
    except BadImage as bad:
        yield f"attention maps, masks or boxes ({bad.what})"
        return
    except KeyError:
        yield "metadata"
        return
    attention = None if wanted.attention is None else stored_map(record, wanted.attention, entities)
    if attention != members.get(ATTENTION):
        yield "attention maps"
    told = of_masks_and_boxes(wanted, stored[0])
    planes = None if wanted.masks is None else nearest(wanted.masks, stored)
    if told.get("masks") != about.get("masks") or not _same_planes(planes, members.get(MASKS)):
        yield "masks"
    if json.loads(json.dumps(told.get("boxes"))) != about.get("boxes"):
        yield "boxes"


def _same_planes(planes: np.ndarray | None, stored: bytes | None) -> bool:
    """Whether the pixels are the same; another zlib writes another file of them."""
    if planes is None or stored is None:
        return planes is None and stored is None
    with Image.open(io.BytesIO(stored), formats=("PNG",)) as file:
        return np.array_equal(np.array(file), planes)
