"""What a build is to make, as a pure function of the source's listing and the options.

Records lie in the order of their splits and keys, and are cut into units of ``shard_size`` records. A unit becomes one
shard, whatever becomes of the others: so units can be built in any order, on any machine, again after a kill, or alone
to replace a damaged shard, and have the same bytes each time.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import tokenizers
from PIL import features

from ecamp_fast import __version__
from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.naming import assign_keys, assign_splits, repeated_keys
from ecamp_fast.shards.builder.patients import doubts, name_patients
from ecamp_fast.shards.format.manifest import FORMAT, SPLITS
from ecamp_fast.shards.sources.base import Record, RecordFault, Source, over_budget, refuse
from ecamp_fast.shards.sources.files import IMAGES
from ecamp_fast.text.language import refuse_spanish
from ecamp_fast.text.reading.entities import DEFAULT, EntityList
from ecamp_fast.text.reading.version import RULES_DIGEST

_CODECS = ("pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "python-gdcm")
_NO_DICOM = tuple(ending for ending in IMAGES if ending != ".dcm")

# What the manifest records beside the source's description: its name there, and the option's. A phantom's own seed is
# part of its description.
RECORDED = {"holdout": "holdout", "split_seed": "seed", "shard_size": "shard_size", "vocab_size": "vocab_size"}


@dataclass(frozen=True, slots=True)
class Options:
    """How to build.

    short_side     pixels; larger images are reduced to it, smaller ones kept
    tokenizer      file; None: trained on the texts of the training split; a set without any text has none
    vocab_size     entries of a tokenizer that is trained, at most
    holdout        share of patients that goes to ``val`` where the source names no splits
    seed           of the draw of those patients
    workers        processes; 0: one per available core
    shard_size     samples per shard at most (a shard also ends before 1 GiB)
    reject_budget  share of rows whose image may be missing or unreadable: those are left out, the manifest lists them
    runner         where samples are packed: ``processes`` of this machine, or ``ray``: on a running cluster
    entities       what reports are read for
    """

    short_side: int = 1024
    tokenizer: Path | None = None
    vocab_size: int = 30000
    holdout: float = 0.1
    seed: int = 42
    workers: int = 0
    shard_size: int = 1000
    reject_budget: float = 0.005
    runner: str = "processes"
    entities: EntityList = DEFAULT


DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class Unit:
    """Records of one split that become the shard ``name``.tar."""

    name: str
    split: str
    records: list[Record]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a build will do.

    name           of the source, for messages
    source         what the manifest says of it: its description and the options that decide what lies where
    identity       everything else the bytes of the set depend on: rows, pixels, tokenizer, versions of what encodes
    units          in the order of the set
    faults         what must be fixed
    absent         rows without an image, which the budget may excuse
    allowed        how many rows may be left out
    dropped_empty  rows left out because their report is empty
    notes          what a person should know
    labels         see ``Listing``
    masks          see ``Listing``
    """

    name: str
    source: dict[str, Any]
    identity: dict[str, Any]
    units: list[Unit]
    faults: list[RecordFault]
    absent: list[RecordFault]
    allowed: int
    dropped_empty: int
    notes: list[str]
    labels: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()

    @property
    def records(self) -> list[Record]:
        """All records, in the order they will lie in."""
        return [record for unit in self.units for record in unit.records]

    @property
    def has_text(self) -> bool:
        """Whether any record has a report: otherwise there is nothing to tokenize."""
        return any(record.report for unit in self.units for record in unit.records)


def make_plan(source: Source, options: Options) -> Plan:
    """List the source and lay it out.  Raises DataError where it has no rows, or none with a report to read."""
    listing = source.list_records()
    records = listing.records
    assign_keys(records)
    notes = listing.notes + name_patients(records)
    stated = any(record.split for record in records)
    faults = listing.faults + repeated_keys(records) + assign_splits(records, options.holdout, options.seed)
    notes += doubts(records, stated=stated, holdout=options.holdout)
    rank = {split: number for number, split in enumerate(SPLITS)}
    records = sorted(records, key=lambda record: (rank.get(record.split, len(SPLITS)), record.key))
    name = str(source.description.get("file", source.kind))
    refuse_spanish(name, (record.report for record in records))
    if not records and not faults and not listing.absent:
        if not listing.dropped_empty:
            raise DataError(f"{name}: no rows, nothing to build", "check the tables or lists: they are empty")
        raise DataError(
            f"{name}: no row has a report ({listing.dropped_empty} empty ones)",
            "check the column, or pass --empty-reports keep for images alone",
        )
    return Plan(
        name=name,
        source=json.loads(json.dumps(source.description | recorded(options))),  # as it will be read back
        identity=_identity(records, options),
        units=_units(records, options.shard_size),
        faults=faults,
        absent=listing.absent,
        allowed=int(options.reject_budget * (len(records) + len(listing.absent))),
        dropped_empty=listing.dropped_empty,
        notes=notes,
        labels=listing.labels,
        masks=listing.masks,
    )


def listing_error(plan: Plan, bad: list[RecordFault]) -> DataError:
    """The error of a listing at fault.  bad: what is wrong with its rows, and with images that were read"""
    if plan.faults or len(plan.absent) <= plan.allowed:
        return refuse(plan.name, bad)
    rows = len(plan.records) + len(plan.absent)
    return over_budget(plan.name, bad, rows, plan.allowed, "fix these rows, or pass a larger --reject-budget")


def recorded(options: Options) -> dict[str, Any]:
    """The options that the manifest records.  vocab_size is None where a tokenizer was given."""
    stored = {name: getattr(options, option) for name, option in RECORDED.items()}
    return stored | ({"vocab_size": None} if options.tokenizer else {})


def class_of(fault: RecordFault) -> str:
    """The class a row left out is counted in."""
    return fault.kind or "unreadable"


def classes(faults: Iterable[RecordFault]) -> Counter[str]:
    """How many faults there are of each class."""
    return Counter(map(class_of, faults))


def _units(records: list[Record], shard_size: int) -> list[Unit]:
    units = []
    for split, members in groupby(records, key=lambda record: record.split):
        own = list(members)
        for number, start in enumerate(range(0, len(own), shard_size)):
            units.append(Unit(f"{split}-{number:06d}", split, own[start : start + shard_size]))
    return units


def _codecs(records: list[Record]) -> dict[str, str]:
    """Versions of what decodes DICOM, '' where it is not installed, or no image can be DICOM by its name."""
    found = dict.fromkeys(_CODECS, "")
    if all(record.place.lower().endswith(_NO_DICOM) for record in records):
        return found
    for name in _CODECS:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _identity(records: list[Record], options: Options) -> dict[str, Any]:
    """Compared key by key, so that a build that cannot go on says why."""
    rows = hashlib.sha256()
    for record in records:
        rows.update(repr(record).encode(errors="surrogatepass"))
    tokenizer = None
    if options.tokenizer and options.tokenizer.is_file():  # what is wrong with another is said when it is loaded
        tokenizer = hashlib.sha256(options.tokenizer.read_bytes()).hexdigest()
    return {
        "rows": rows.hexdigest(),
        "short_side": options.short_side,
        "tokenizer": tokenizer,
        "rules_digest": RULES_DIGEST,
        **({"entities": options.entities.tree()} if options.entities != DEFAULT else {}),
        "format": FORMAT,
        "ecamp-fast": __version__,
        "Pillow": PIL.__version__,
        "libjpeg": features.version("jpg"),
        "numpy": np.__version__,
        "tokenizers": tokenizers.__version__,
        **_codecs(records),
    }
