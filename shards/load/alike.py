"""Whether several sets may be learned from as one: one tokenizer, one reading of reports, nobody on both sides.

By manifests and indexes alone, but for ``shared_patients``: no shard is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format.manifest import IMAGE, Manifest
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.storage.address import parse_address
from ecamp_fast.shards.storage.presence import TRAINING

LOOKED_THROUGH = 20_000  # samples: some seconds
_TEXT: dict[str, Callable[[Manifest], object]] = {  # what tokens, and the marks on them, were made with
    "tokenizer": lambda held: (held.tokenizer_digest, held.vocab_size),
    "list of entities": lambda held: held.entities.digest,
    "rules that read the reports": lambda held: held.rules_digest,
}


@dataclass(frozen=True, slots=True)
class Named:
    """A set by the name that messages call it."""

    name: str
    manifest: Manifest


def require_alike(sets: Sequence[Named]) -> None:
    """Raises DataError where sets with text were not read alike, or an image is in train here and held out there."""
    with_text = [one for one in sets if one.manifest.tokenizer_digest]
    faults = [
        f"{other.name} has another {' and another '.join(apart)} than {with_text[0].name}"
        for other in with_text[1:]
        if (apart := _apart(with_text[0].manifest, other.manifest))
    ]
    if faults:
        hint = (
            f"build it again with this version, the same --entities, and --tokenizer {with_text[0].name}/tokenizer.json"
        )
        raise DataError("sets that were not read alike: " + "; ".join(faults), hint)
    if leaks := shared_images(sets):
        told = "; ".join(f"{count:,} images of {train} (train) are held out in {held}" for train, held, count in leaks)
        raise DataError(
            f"held-out losses would be of images that were learned from: {told}",
            "leave one of the sets out, or build one set of all: its splits are by patient",
        )


def _apart(one: Manifest, other: Manifest) -> list[str]:
    return [name for name, of in _TEXT.items() if of(one) != of(other)]


def shared_images(sets: Sequence[Named]) -> list[tuple[str, str, int]]:
    """Names of two sets, and how many images the one trains on and the other holds out, where there are any.

    Images are the same where size and CRC32 of their JPEGs are.
    """
    trained = [_images(one.manifest, (TRAINING,)) for one in sets]
    held = [_images(one.manifest, [name for name in one.manifest.splits if name != TRAINING]) for one in sets]
    return [
        (sets[i].name, sets[j].name, count)
        for i in range(len(sets))
        for j in range(len(sets))
        if i != j and (count := len(np.intersect1d(trained[i], held[j])))
    ]


def _images(manifest: Manifest, splits: Sequence[str]) -> np.ndarray:
    """A number of 64 bits for each image of these splits."""
    columns = [shard.members[IMAGE] for split in splits for shard in manifest.of(split) if IMAGE in shard.members]
    none = np.zeros(0, np.uint64)
    return np.concatenate(
        [
            none,
            *(members.crc32.astype(np.uint64) << np.uint64(32) | members.size.astype(np.uint64) for members in columns),
        ]
    )


def shared_patients(sets: Sequence[ShardSet]) -> int | None:
    """How many patients, by name, one set trains on and another holds out; reads the metadata of all samples.

    None where these are more than ``LOOKED_THROUGH``, or not all on this machine. Names of two sources may be alike by
    chance.
    """
    local = all(isinstance(one.path, Path) or parse_address(one.path) is None for one in sets)
    if not local or sum(one.manifest.counts["samples"] for one in sets) > LOOKED_THROUGH:
        return None
    trained, held = ([_patients(one, train) for one in sets] for train in (True, False))
    both = [trained[i] & held[j] for i in range(len(sets)) for j in range(len(sets)) if i != j]
    return len(set[str]().union(*both))


def _patients(shards: ShardSet, train: bool) -> set[str]:
    splits = [split for split in shards.splits if (split == TRAINING) == train]
    found = {shards.metadata(split, row)["patient_id"] for split in splits for row in range(shards.count(split))}
    return found - {""}
