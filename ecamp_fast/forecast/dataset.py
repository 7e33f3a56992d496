"""What a run would be trained on, as far as the forecast asks: a shard set, or phantoms that are still to be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecamp_fast.config import Recipe
from ecamp_fast.shards.format.manifest import DISTILLED, MANIFEST, Manifest
from ecamp_fast.shards.load.loader import require_text
from ecamp_fast.shards.load.mix import open_data, places_of, weights_of
from ecamp_fast.shards.storage.address import parse_address
from ecamp_fast.train import PHANTOM_STUDIES, PHANTOM_TRAIN

# Of `train` without --data, which always draws the same
PHANTOM_VOCABULARY, PHANTOM_TOKENS = 796, 92.4
_OF_PHANTOM = 10_000, 0.35  # bytes in a shard: of any, and for each of its pixels


@dataclass(frozen=True, slots=True)
class DataFacts:
    """A set in numbers.

    path        where it is, or will be drawn
    drawn       whether the run is to draw it first
    train, val  samples
    epoch       training samples of an epoch; of several sets by their weights
    vocabulary  entries of its tokenizer; 0: none
    tokens      of a text, on average; 0.0: there is none
    bytes       of its shards
    remote      whether it is read over a network
    maps, distilled  training samples that have an attention map, a distilled text
    lost        training samples in damaged files, for which others stand in
    digest      of its manifest; '' where it is to be drawn
    sets        of several as one, see ``weights_of``
    """

    path: str
    drawn: bool
    train: int
    epoch: int
    val: int
    vocabulary: int
    tokens: float
    bytes: int
    remote: bool
    maps: int
    distilled: int
    lost: int
    digest: str
    sets: dict[str, list[Any]] = field(default_factory=dict)


def facts_of(recipe: Recipe, data: Sequence[str], out: Path) -> DataFacts:
    """data: sets as named; none: phantoms

    Raises DataError as a run would: no set, a damaged one, or one without what the recipe reads.
    """
    drawn = out / "phantoms"
    if not data and not (drawn / MANIFEST).exists():
        return _phantoms(recipe, drawn)
    shards = open_data(data or drawn, spare=recipe.loader.quarantine, cache_gb=recipe.loader.cache_gb)
    require_text(shards, recipe, ("train", "val"))
    held = shards.manifest
    return DataFacts(
        path=str(shards.path),
        drawn=False,
        train=shards.count("train"),
        epoch=shards.epoch("train"),
        val=held.count("val"),
        vocabulary=held.vocab_size,
        tokens=float(held.text.get("tokens_mean", 0.0)),
        bytes=sum(shard.bytes for shard in held.shards),
        remote=any(parse_address(str(place)) for place in places_of(data or drawn)),
        maps=held.with_map("train"),
        distilled=_with(held, DISTILLED),
        lost=len(shards.lost),
        digest=held.digest,
        sets=weights_of(shards),
    )


def _with(held: Manifest, extension: str) -> int:
    """Training samples with such a member that is not empty."""
    return sum(
        int((shard.members[extension].size > 0).sum()) for shard in held.of("train") if extension in shard.members
    )


def _phantoms(recipe: Recipe, folder: Path) -> DataFacts:
    each = _OF_PHANTOM[0] + _OF_PHANTOM[1] * recipe.image.phantom_size**2
    return DataFacts(
        path=str(folder),
        drawn=True,
        train=PHANTOM_TRAIN,
        epoch=PHANTOM_TRAIN,
        val=PHANTOM_STUDIES - PHANTOM_TRAIN,
        vocabulary=PHANTOM_VOCABULARY,
        tokens=PHANTOM_TOKENS,
        bytes=round(PHANTOM_STUDIES * each),
        remote=False,
        maps=PHANTOM_TRAIN,
        distilled=PHANTOM_TRAIN,
        lost=0,
        digest="",
    )
