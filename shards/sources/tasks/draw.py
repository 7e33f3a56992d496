"""Splits that a data set does not ship: carved from its training images by patient, by a seed."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ecamp_fast.keyed_random import Stream, sample_keys, uniform
from ecamp_fast.shards.sources.base import Listing, Record, several

_EIGHTH = 8  # a split takes at most an eighth of few images


def carve(records: Sequence[Record], wanted: Mapping[str, int], seed: int) -> dict[str, int]:
    """Move patients from train to each split of ``wanted`` until it has that many images; returns how many it has.

    Patients (studies, where they are not known) go in the order of a hash of their own names, so those of one split are
    the first, those of the next come behind: a seed gives the same patients whatever the order of rows.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.split == "train":
            groups[record.patient_id or f"study {record.study_id}"].append(record)
    names = list(groups)
    hashes = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") for name in names]
    numbers = uniform(sample_keys(seed, 0, np.array(hashes, np.uint64)), Stream.SPLIT, 1)[:, 0]
    order = iter([names[index] for index in np.argsort(numbers, kind="stable")])
    taken: Counter[str] = Counter()
    for split, count in wanted.items():
        while taken[split] < count and (name := next(order, "")):
            for record in groups[name]:
                record.split = split
            taken[split] += len(groups[name])
    return dict(taken)


def few(records: Iterable[Record], wanted: int) -> int:
    """``wanted`` images, of sets that were copied in part at most an eighth of those in train."""
    return min(wanted, sum(record.split == "train" for record in records) // _EIGHTH)


def tell(listing: Listing, taken: Mapping[str, int], seed: int) -> None:
    """Note what was carved."""
    for split, count in taken.items():
        if count:
            images = several(count, "image", "images")
            listing.notes.append(f"{images} of the split {split} carved from train by patient, seed {seed}")
