"""What a build would make, and what it would cost: counts by the listing, bytes and minutes by packing some samples."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecamp_fast.machine import available_cores
from ecamp_fast.printable import paragraph
from ecamp_fast.shards.builder.journal import WHOLE, Part, own_units
from ecamp_fast.shards.builder.manifest_counts import counts
from ecamp_fast.shards.builder.pack import Packed, Packer
from ecamp_fast.shards.builder.plan import DEFAULTS, Options, Plan, classes, listing_error, make_plan
from ecamp_fast.shards.builder.resume import train_tokenizer
from ecamp_fast.shards.format.manifest import SPLITS
from ecamp_fast.shards.format.tar_writer import member_header
from ecamp_fast.shards.sources.base import Record, RecordFault, Source

_SPLIT_NAMES = {"train": "train, to learn from", "val": "val, held out", "test": "test"}
_SAMPLES = 64  # packed to measure
_SECONDS = 5.0  # at most, of packing
_TEXTS = 1000  # reports that a tokenizer is trained on to measure


def preview(source: Source, options: Options = DEFAULTS, part: Part = WHOLE) -> dict[str, Any]:
    """What ``build`` would make: counts, splits, and a ``forecast`` by samples from all over the set. Writes nothing.

    part: of which counts and forecast are; dropped_empty and quarantined are those of the whole
    Raises DataError that lists every row at fault by the listing.
    """
    plan = make_plan(source, options)
    if plan.faults or len(plan.absent) > plan.allowed or not plan.records:
        raise listing_error(plan, plan.faults + plan.absent)
    units = own_units(plan.units, part)
    records = [record for unit in units for record in unit.records]
    splits = Counter(record.split for record in records)
    without_text = sum(not record.report for record in records)
    planned = counts([r.study_id for r in records], [r.patient_id for r in records], plan.dropped_empty, without_text)
    return planned | {
        "splits": {split: splits[split] for split in SPLITS if splits[split]},
        "shards": len(units),
        "quarantined": len(plan.absent),
        "notes": plan.notes,
        "forecast": _estimate(source, plan, records, options),
    }


def describe(planned: dict[str, Any]) -> Iterator[str]:
    """Lines of a ``preview`` for a person, under heads."""
    forecast = planned["forecast"]
    yield "THE SET"
    yield from _rows(planned, {
        "samples": "samples",
        "studies": "studies",
        "patients": "patients",
        "without_text": "images without a report",
        "dropped_empty": "rows dropped: empty report",
        "quarantined": "rows left out: no image",
        "shards": "shards",
    })  # fmt: skip
    yield from ("", "SPLITS")
    yield from _rows(planned["splits"], {split: _SPLIT_NAMES[split] for split in planned["splits"]})
    yield from ("", f"FORECAST, from {forecast['measured_on']:,} samples that were packed to measure")
    yield f"  {'disk':<28}{forecast['bytes'] / 1e6:,.1f} MB"
    yield f"  {'time':<28}{forecast['minutes']:,.1f} minutes with {forecast['workers']} worker(s)"
    for kind, count in forecast["rejected"].items():
        yield from paragraph(f"{count:,} of them {kind}", f"  {'bad images':<28}")
    if planned["notes"]:
        yield from ("", "NOTES")
        for note in planned["notes"]:
            yield from paragraph(note, "  ")
    yield from ("", "Nothing was written; without --dry-run the set is built.")


def _rows(values: dict[str, Any], names: dict[str, str]) -> Iterator[str]:
    return (f"  {name:<28}{values[key]:>9,}" for key, name in names.items() if key in values)


def _estimate(source: Source, plan: Plan, records: list[Record], options: Options) -> dict[str, Any]:
    """bytes of the shards of ``records``, minutes to build them, from how many samples, and what was wrong with some
    of them.
    """
    workers = min(options.workers or available_cores(), len(records))
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, seconds = options.tokenizer, 0.0
        if tokenizer is None:
            tokenizer = Path(folder) / "tokenizer.json"
            seconds = _train(plan, options, tokenizer) if plan.has_text else 0.0
        sizes, bad, spent = _pack(Packer(source, options.short_side, tokenizer, options.entities), records)
    tried = max(1, len(sizes) + len(bad))
    good = len(records) * len(sizes) / tried
    return {
        "bytes": round(good * sum(sizes) / max(len(sizes), 1)),
        "minutes": round((seconds + spent / tried * len(records) / max(1, workers)) / 60, 2),
        "workers": workers,
        "measured_on": len(sizes) + len(bad),
        "rejected": dict(classes(bad)),
    }


def _pack(packer: Packer, records: list[Record]) -> tuple[list[int], list[RecordFault], float]:
    """Bytes in the shard of each good sample, the faults of the others, and the seconds that all took."""
    sizes: list[int] = []
    bad: list[RecordFault] = []
    if not records:
        return sizes, bad, 0.0
    count = min(_SAMPLES, len(records))
    order = sorted(range(count), key=lambda i: f"{i:b}"[::-1])  # stopped early, it has still seen all parts of the set
    packer.pack(records[0])  # not timed: the first loads libraries
    began = time.perf_counter()
    for number in order:
        item = packer.pack(records[number * len(records) // count])
        if isinstance(item, Packed):
            sizes.append(_stored(item))
        elif item is not None:
            bad.append(item)
        if time.perf_counter() - began > _SECONDS:
            break
    return sizes, bad, time.perf_counter() - began


def _stored(item: Packed) -> int:
    block = len(member_header("x", 0))
    return sum(block + len(data) + -len(data) % block for data in item.members.values())


def _train(plan: Plan, options: Options, path: Path) -> float:
    """Write a tokenizer of some texts; returns the seconds that one of all texts would take."""
    with_text = [replace(unit, records=[record for record in unit.records if record.report]) for unit in plan.units]
    texts = sum(len(unit.records) for unit in with_text)
    units = [replace(unit, records=unit.records[:: max(1, texts // _TEXTS)]) for unit in with_text]
    part = replace(plan, units=units)
    began = time.perf_counter()
    train_tokenizer(part, options.vocab_size, options.entities).save(path)
    share = sum(len(unit.records) for unit in units) / texts
    return (time.perf_counter() - began) / share
