"""Several shard sets as one: what reads a set reads these, each with its weight.

Sample numbers of a split run through the sets one behind the other. Sets stand in the order of their digests, so that
it does not matter how a command line lists them.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecamp_fast.errors import ConfigError
from ecamp_fast.shards.format.manifest import SPLITS, TOKENS, Manifest, Shard
from ecamp_fast.shards.load.alike import Named, require_alike
from ecamp_fast.shards.load.order import interleave, visits
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.storage.joined import JoinedStore
from ecamp_fast.shards.storage.presence import TRAINING
from ecamp_fast.shards.storage.weighted import Weighted, parse_data

KIND = "several"  # of the source of sets that are read as one
_LARGEST_EPOCH = 2**31  # samples of an epoch, see ``interleave``

Data = Path | str | Sequence[str]  # a folder, or what ``--data`` says, once or more often


@dataclass(frozen=True, slots=True)
class MixedSet:
    """One set of a mix.  weight: see ``Weighted``"""

    shards: ShardSet
    weight: float

    @property
    def label(self) -> str:
        """As messages call it."""
        return str(Weighted(str(self.shards.path), self.weight))

    def share(self, split: str) -> int:
        """Samples of an epoch of a split: by weight in training, at least one where there is any; else all."""
        count = self.shards.manifest.count(split)
        if split != TRAINING:
            return count
        return max(math.floor(count * self.weight + 0.5), min(count, 1))


class ShardMix(ShardSet):
    """Sets opened for reading as one.

    sources  of the sets   spare, cache_gb: as of ``ShardSet``, of each

    The manifest is a joined one: shard ``train-000000.tar`` of set 1 is called ``1/train-000000.tar``; its digest is
    that of all digests and weights. Of its counts, those of studies and patients are sums.
    Raises DataError as ``ShardSet`` and ``require_alike``, ConfigError where a set is named twice.
    """

    def __init__(self, sources: Sequence[Weighted], spare: float = 0.0, cache_gb: float | None = None) -> None:
        self._opened_with = (tuple(sources), spare, cache_gb)
        opened = [MixedSet(ShardSet(source.place, spare, cache_gb), source.weight) for source in sources]
        self.parts = tuple(sorted(opened, key=lambda part: part.shards.manifest.digest))
        for one, other in zip(self.parts, self.parts[1:], strict=False):
            if one.shards.manifest.digest == other.shards.manifest.digest:
                what = f"--data {one.label} and --data {other.label} are the same set"
                raise ConfigError(what, f"name it once; {one.shards.path}:2 takes it twice an epoch")
        require_alike([Named(str(part.shards.path), part.shards.manifest) for part in self.parts])
        sets = [part.shards for part in self.parts]
        with_text = next((one for one in sets if one.manifest.tokenizer_digest), sets[0])
        place = ", ".join(part.label for part in self.parts)
        self.store = JoinedStore([one.store for one in sets], place, with_text.store.folder)
        self.manifest = _joined(self.parts, with_text.manifest)
        self._list_samples()
        self.faults = tuple(f"{part.shards.path}: {fault}" for part in self.parts for fault in part.shards.faults)
        counts = [part.shards.manifest.count(TRAINING) for part in self.parts]
        starts = np.cumsum(counts) - counts
        self.lost = np.concatenate([one.lost + start for one, start in zip(sets, starts, strict=True)])
        if self.manifest.count(TRAINING) and self.epoch(TRAINING) >= _LARGEST_EPOCH:
            raise ConfigError(f"{place}: an epoch would have {self.epoch(TRAINING):,} samples", "take smaller weights")

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardMix, self._opened_with

    @property
    def named(self) -> str | list[str]:
        return [str(Weighted(part.shards.lasting, part.weight)) for part in self.parts]

    def shares(self, split: str) -> list[int]:
        """Samples of each set in an epoch of a split; 0 where a set has none of it."""
        return [part.share(split) for part in self.parts]

    def epoch(self, split: str) -> int:
        self.count(split)
        return sum(self.shares(split))

    def visits(self, split: str) -> int:
        pairs = zip(self.parts, self.shares(split), strict=True)
        return max(visits(part.shards.manifest.count(split), share) for part, share in pairs if share)

    def first(self, split: str, count: int) -> np.ndarray:
        """Of each set its share of ``count``, its first ones: what is looked at in part is of all sets alike."""
        counts = [part.shards.manifest.count(split) for part in self.parts]
        which, rank = interleave(counts, np.arange(min(count, self.count(split)), dtype=np.int64))
        return (np.cumsum(counts) - counts)[which] + rank


def open_data(data: Data, spare: float = 0.0, cache_gb: float | None = None) -> ShardSet:
    """The set of a run: of one folder or address, or several as one.  spare, cache_gb: as of ``ShardSet``

    Raises as ``ShardSet`` and ``ShardMix``, ConfigError for a weight that is none.
    """
    if isinstance(data, Path):
        return ShardSet(data, spare, cache_gb)
    sources = parse_data(data)
    if len(sources) == 1 and sources[0].weight == 1:
        return ShardSet(sources[0].place, spare, cache_gb)
    return ShardMix(sources, spare, cache_gb)


def places_of(data: Data) -> list[Path | str]:
    """The folders and addresses that data are named by."""
    return [data] if isinstance(data, Path) else [source.place for source in parse_data(data)]


def digest_of(digests: Sequence[str], weights: Sequence[float]) -> str:
    """The identity of sets that are read as one: which, with what weights, in any order; of one with weight 1 its own.

    digests: of their manifests
    """
    if list(weights) == [1]:
        return digests[0]
    pairs = sorted(zip(digests, weights, strict=True))
    lines = "".join(f"{digest} {float(weight)!r}\n" for digest, weight in pairs)
    return hashlib.sha256(f"several sets\n{lines}".encode()).hexdigest()


def sets_of(shards: ShardSet) -> list[ShardSet]:
    """The sets that are read as one; of one set, itself."""
    return [part.shards for part in shards.parts] if isinstance(shards, ShardMix) else [shards]


def weights_of(shards: ShardSet) -> dict[str, list[Any]]:
    """Of several sets: digest -> name without its folder, and weight; {} of one set."""
    if not isinstance(shards, ShardMix):
        return {}
    return {part.shards.manifest.digest: [Path(part.shards.path).name, part.weight] for part in shards.parts}


def describe_change(before: dict[str, list[Any]], now: dict[str, list[Any]]) -> str:
    """What differs between the data of two legs of a run, in words.  before, now: as of ``weights_of``"""
    told = [f"{_called(digest, before)} is missing" for digest in before if digest not in now]
    told += [f"{_called(digest, now)} is new" for digest in now if digest not in before]
    told += [
        f"the weight of {now[digest][0]} was {before[digest][1]:g}, is {now[digest][1]:g}"
        for digest in now
        if digest in before and before[digest][1] != now[digest][1]
    ]
    return ", ".join(told)


def _called(digest: str, sets: dict[str, list[Any]]) -> str:
    return f"{sets[digest][0] or 'a set'} ({digest[:12]})"


def _joined(parts: Sequence[MixedSet], of_text: Manifest) -> Manifest:
    """One manifest for all.  of_text: of a set that has text, if any"""
    held = [part.shards.manifest for part in parts]
    shards = tuple(
        Shard(f"{number}/{shard.name}", split, shard.bytes, shard.sha256, shard.keys, shard.members)
        for split in SPLITS
        for number, one in enumerate(held)
        for shard in one.of(split)
    )
    patients = [one.counts.get("patients", 0) for one in held]
    names = ("samples", "studies", "dropped_empty", "without_text")
    counts = {name: sum(one.counts.get(name, 0) for one in held) for name in names}
    return Manifest(
        builder=", ".join(sorted({one.builder for one in held})),
        source={"kind": KIND, "sets": [one.source for one in held]},
        short_side=min(one.short_side for one in held),
        tokenizer_digest=of_text.tokenizer_digest,
        vocab_size=of_text.vocab_size,
        rules_digest=of_text.rules_digest,
        counts=counts | {"patients": sum(patients) if all(patients) else 0},
        text=_lengths(shards),
        shards=shards,
        quarantined=tuple(row for one in held for row in one.quarantined),
        entities=of_text.entities,
        digest=digest_of([one.digest for one in held], [part.weight for part in parts]),
    )


def _lengths(shards: Sequence[Shard]) -> dict[str, float]:
    """Tokens of samples with text, [CLS] among them, by the index: as the builder counts them."""
    sizes = [shard.members[TOKENS].size for shard in shards if TOKENS in shard.members]
    found = np.concatenate([np.zeros(0, np.int32), *sizes])
    found = found[found >= 0] // 4 - 2  # three numbers come before the codes, [CLS] is not stored
    if not len(found):
        return {}
    middle, high = np.percentile(found, [50, 95], method="higher")
    return {
        "tokens_mean": round(float(found.mean()), 3),
        "tokens_p50": int(middle),
        "tokens_p95": int(high),
        "tokens_max": int(found.max()),
    }
