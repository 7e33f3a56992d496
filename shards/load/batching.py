"""Which samples of an optimizer step share a micro-batch: assigned by length, so that all get about as many tokens.

Packed text costs what its tokens cost: the room for a micro-batch is that of the largest, and the rank with the largest
keeps the others waiting. The samples of a step are those of ``order`` either way. A pure function of step, recipe and
manifest: without state, so any step is divided by itself, and the same for every number of ranks. numpy only.
"""

from functools import partial

import numpy as np

from ecamp_fast.config import Recipe
from ecamp_fast.keyed_random import Stream, sample_keys, uniform
from ecamp_fast.shards.format.manifest import DISTILLED, REPORT, TOKENS, Shard
from ecamp_fast.shards.load.mix import ShardMix
from ecamp_fast.shards.load.order import MixedOrder, Order, WindowedOrder, global_samples
from ecamp_fast.shards.load.read import ShardSet

ROUNDS = 16  # of assignment: more do not narrow the spread (8192 samples by 8 to 4096), and each costs some 15 us
_WORD, _HEAD = 4, 3  # bytes of a code, and numbers before the codes, in `KEY.tokens`


class MicroBatches:
    """The micro-batches of each optimizer step.

    A step sees ``batch.total`` samples that follow each other in the order, and divides them into micro-batches
    of ``batch.micro``, numbered from 0. Rank r of w computes the numbers r, r + w, r + 2w and so on.
    """

    def __init__(self, shard_set: ShardSet, split: str, recipe: Recipe) -> None:
        self._recipe = recipe
        self._order = order_of(shard_set, split, recipe)
        packed = recipe.losses.mlm and not recipe.padded_text
        self._lengths = TokenEstimate(shard_set, split, recipe) if packed and recipe.batch.balance else None

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Epochs and samples of all micro-batches of a step, N of B samples each in the order of their positions.

        returns two (N, B) int64.
        """
        total, micro = self._recipe.batch.total, self._recipe.micro
        positions = np.arange(step * total, (step + 1) * total)
        epochs, samples = self._order(positions)
        if self._lengths is None:
            return epochs.reshape(-1, micro), samples.reshape(-1, micro)
        assigned = assign(self._lengths(epochs, samples), micro)
        return epochs[assigned], samples[assigned]


def order_of(shard_set: ShardSet, split: str, recipe: Recipe) -> Order:
    """The order of a split that ``loader.shuffle`` asks for.  Raises DataError where there is no such split."""
    window = None if recipe.loader.shuffle == "set" else int(recipe.loader.shuffle)
    if not isinstance(shard_set, ShardMix):
        return _order_of_one(shard_set, split, recipe.seed, window)
    orders, counts, shares = [], [], []
    for part, share in zip(shard_set.parts, shard_set.shares(split), strict=True):
        if not share:
            continue
        own = None if window is None else -(-window * share // shard_set.epoch(split))  # so that all read as far
        orders.append(_order_of_one(part.shards, split, seed_of_set(recipe.seed, part.shards), own))
        counts.append(part.shards.count(split))
        shares.append(share)
    return MixedOrder(orders, counts, shares)


def _order_of_one(shard_set: ShardSet, split: str, seed: int, window: int | None) -> Order:
    """Of one set.  window: samples; None: the whole split"""
    count = shard_set.count(split)
    if window is None:
        return partial(global_samples, count, seed)
    sizes = [len(shard.keys) for shard in shard_set.manifest.of(split)]
    return WindowedOrder([size for size in sizes if size], seed, min(window, count))


def seed_of_set(seed: int, shard_set: ShardSet) -> int:
    """Of the order of one set among several: by its content, so that a set more or less leaves it as it is."""
    key = sample_keys(seed, 0, np.array([int(shard_set.manifest.digest[:16], 16)], np.uint64))
    return int(key.view(np.uint64)[0])


class TokenEstimate:
    """Tokens of the samples of a split as trained on, estimated from the manifest: no shard is read.

    Whether the distilled text enters is drawn as ``assemble`` draws it. The manifest tells the tokens of both texts
    together, and the bytes of each; the report's share of the tokens is taken for its share of the bytes. So the
    estimate is exact where the distilled text enters or is empty, and elsewhere off by a token or two.
    """

    def __init__(self, shard_set: ShardSet, split: str, recipe: Recipe) -> None:
        self._recipe = recipe
        shards = shard_set.manifest.of(split)
        tokens = np.maximum(_sizes(shards, TOKENS) // _WORD - _HEAD, 0)
        report, distilled = _sizes(shards, REPORT), _sizes(shards, DISTILLED)
        alone = np.rint(tokens * (report / np.maximum(report + distilled, 1)))
        max_tokens = min(recipe.text.max_tokens, np.iinfo(np.uint16).max)  # 4 bytes a sample
        self._alone, self._both = (np.minimum(1 + n, max_tokens).astype(np.uint16) for n in (alone, tokens))  # 1: [CLS]

    def __call__(self, epochs: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """epochs, samples: (N,) int64   returns (N,) int64 in [1, text.max_tokens]."""
        keys = sample_keys(self._recipe.seed, epochs, samples)
        enters = uniform(keys, Stream.DISTILLED, 1)[:, 0] < self._recipe.text.distilled_probability
        return np.where(enters, self._both[samples], self._alone[samples]).astype(np.int64)


def assign(lengths: np.ndarray, micro: int) -> np.ndarray:
    """Assign samples so that all micro-batches have as many samples and about as many tokens.

    lengths: (N * micro,) integers   returns (N, micro) int64: places of the samples of each, ascending.

    Longest first, in ``ROUNDS`` rounds: a round makes piles in a serpentine and gives the largest to the micro-batch
    that has least. Equal lengths go in the order of their places. No two micro-batches differ by more tokens than the
    longest and the shortest sample: within a round no two piles do, and opposite orders only narrow
    the difference from before.
    """
    rows = np.argsort(-lengths, kind="stable").reshape(micro, -1)
    rows[1::2] = rows[1::2, ::-1]
    sums = np.zeros(rows.shape[1], np.int64)
    assigned = []
    for round_ in np.array_split(rows, min(micro, ROUNDS)):
        piles = lengths[round_].sum(0)
        pile = np.empty_like(sums)
        pile[np.argsort(sums, kind="stable")] = np.argsort(-piles, kind="stable")
        sums += piles[pile]
        assigned.append(round_[:, pile])
    return np.sort(np.concatenate(assigned).T, axis=1)


def _sizes(shards: tuple[Shard, ...], extension: str) -> np.ndarray:
    """Bytes of a member of each sample, (n,) int64; 0 where there is none."""
    sizes = [
        shard.members[extension].size if extension in shard.members else np.zeros(len(shard.keys), np.int64)
        for shard in shards
    ]
    return np.maximum(np.concatenate(sizes), 0)
