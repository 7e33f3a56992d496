"""The order of samples: a pure function of (seed, position), the same for every world size and worker count.

Position p of a run lies in epoch p // count; each epoch is a keyed permutation of all samples. There is no state, so
any position is found at once: resuming seeks by arithmetic. numpy only.

Of several sets, ``MixedOrder`` gives each its share of an epoch, and lets each go through permutations of its own.

A permutation of the whole split reads all over the set, which a disk or an object store behind a small cache serves
slowly. ``WindowedOrder`` keeps the reads of a while in a few shards, at the price of a shuffle that is only as wide as
its window.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from ecamp_fast.keyed_random import Stream, sample_keys, uniform_at

ROUNDS = 8  # of the Feistel network; part of the order: changing it changes every run

Order = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # positions (N,) -> epochs, samples (N,) int64


def global_samples(count: int, seed: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which sample stands at each position of the endless stream of epochs.

    count: samples in the split   positions: (N,) integers >= 0
    returns epoch (N,) int64, sample (N,) int64 in [0, count).  Raises ValueError for an empty split.

    The permutation is a Feistel network over two digits with addition modulo their sizes (Black and Rogaway 2002,
    "Ciphers with arbitrary finite domains"), walked until it falls inside the split.
    """
    if count < 1:
        raise ValueError(f"no order over {count} samples")
    positions = np.asarray(positions, np.int64)
    epoch, place = np.divmod(positions, count)
    return epoch, _permuted(place, sample_keys(seed, epoch, np.zeros_like(epoch)), count)


class WindowedOrder:
    """Shards in a keyed order laid end to end, cut into windows, and permuted within each window.

    sizes: samples of each shard, none empty   window: samples, >= 1; the last of an epoch is what is left

    Epoch e has its own permutation of the shards, and a permutation of each window, by the network of
    ``global_samples``. A window of N samples lies in the shards of N neighbouring places: at most N / smallest shard,
    rounded up, and one more.  Raises ValueError for an empty split.
    """

    def __init__(self, sizes: Sequence[int], seed: int, window: int) -> None:
        self._sizes = np.asarray(sizes, np.int64)
        if not self._sizes.sum():
            raise ValueError("no order over 0 samples")
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._count, self._seed, self._window = int(self._sizes.sum()), seed, window
        self._laid = lru_cache(maxsize=4)(self._lay)  # positions that are asked for together lie in one epoch or two

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """positions: (N,) integers >= 0   returns epoch (N,) int64, sample (N,) int64 as ``global_samples``."""
        epoch, place = np.divmod(np.asarray(positions, np.int64), self._count)
        place = self._within_windows(epoch, place)
        sample = np.empty_like(place)
        for number in np.unique(epoch):
            of_epoch = epoch == number
            shards, ends = self._laid(int(number))
            at = np.searchsorted(ends, place[of_epoch], side="right")
            shard = shards[at]
            sample[of_epoch] = self._starts[shard] + place[of_epoch] - (ends[at] - self._sizes[shard])
        return epoch, sample

    def _within_windows(self, epoch: np.ndarray, place: np.ndarray) -> np.ndarray:
        window, inside = np.divmod(place, self._window)
        keys = sample_keys(self._seed, epoch, window + 1)  # 0 is the key of the shards
        rest = self._count % self._window
        last = window == self._count // self._window  # of an epoch, where it is shorter
        for short, size in ((False, self._window), (True, rest)):
            these = np.flatnonzero(last == short)
            if these.size:
                inside[these] = _permuted(inside[these], keys[these], size)
        return window * self._window + inside

    def _lay(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The shards in the order of an epoch, and the place behind the last sample of each: two (S,) int64."""
        number = np.arange(len(self._sizes))
        key = sample_keys(self._seed, np.full_like(number, epoch), np.zeros_like(number))
        shards = _permuted(number, key, len(number))
        return shards, np.cumsum(self._sizes[shards])


class MixedOrder:
    """Several sets as one stream: an epoch has a share of each, spread evenly, and each goes on where it stopped.

    orders  of each set by itself
    counts  samples of each set, at least 1
    shares  samples of each set in an epoch, at least 1

    The k-th sample that the stream has of a set is the k-th of the set's own order, whatever the epoch: none comes
    again before all others of its set have come. Samples are numbered over all sets, one set behind the other.

    A sample may come several times in an epoch, and each time has a number of its own: an epoch has ``visits`` numbers,
    e * visits to (e + 1) * visits - 1. Where all shares are the counts, that is the number of the epoch.
    """

    def __init__(self, orders: Sequence[Order], counts: Sequence[int], shares: Sequence[int]) -> None:
        self._orders, self._counts, self._shares = tuple(orders), tuple(counts), tuple(shares)
        self._starts = (np.cumsum(counts) - counts).tolist()
        self._epoch = sum(shares)
        self.visits = max(map(visits, counts, shares))

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """positions: (N,) integers >= 0   returns numbers of visits (N,) int64, samples (N,) int64."""
        epoch, place = np.divmod(np.asarray(positions, np.int64), self._epoch)
        which, rank = interleave(self._shares, place)
        visit, sample = np.empty_like(place), np.empty_like(place)
        for number, order in enumerate(self._orders):
            of = np.flatnonzero(which == number)
            first = epoch[of] * self._shares[number]
            passed, sample[of] = order(first + rank[of])
            sample[of] += self._starts[number]
            visit[of] = epoch[of] * self.visits + passed - first // self._counts[number]
        return visit, sample


def visits(count: int, share: int) -> int:
    """Passes through a set of ``count`` samples, at most, that an epoch with ``share`` of them touches."""
    latest = count - math.gcd(count, share)  # where in a pass an epoch may begin
    return (latest + share - 1) // count + 1


def interleave(shares: Sequence[int], places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which set has each place of an epoch, and how many of its places come before.

    shares: places of each set, their sum below 2^31   places: (N,) int64 in [0, sum of shares)
    returns two (N,) int64

    Any n places in a row have n * share / sum of the first set, but for less than 1; the rest are divided alike.
    """
    which, rank = np.zeros_like(places), places.copy()
    left = sum(shares)
    rest = np.arange(len(places))
    for number, share in enumerate(shares):
        place = rank[rest]
        before = place * share // max(left, 1)
        taken = (place + 1) * share // max(left, 1) > before
        rank[rest] = np.where(taken, before, place - before)
        which[rest[taken]] = number
        rest, left = rest[~taken], left - share
    return which, rank


def _permuted(place: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """The place (N,) in [0, count) that the permutation of each key (N,) puts there."""
    if count == 1:
        return place
    rows = math.isqrt(count - 1) + 1  # rows * columns is the smallest near-square that holds every sample
    columns = -(-count // rows)
    sample = _feistel(place, keys, rows, columns)
    outside = np.flatnonzero(sample >= count)
    while outside.size:
        walked = _feistel(sample[outside], keys[outside], rows, columns)
        sample[outside] = walked
        outside = outside[walked >= count]
    return sample


def _feistel(place: np.ndarray, keys: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """One pass of the network: a bijection of [0, rows * columns) for each key."""
    high, low = np.divmod(place, columns)
    for number in range(0, ROUNDS, 2):
        high = _add(high, _round(keys, number, low, rows), rows)
        low = _add(low, _round(keys, number + 1, high, columns), columns)
    return high * columns + low


def _round(keys: np.ndarray, number: int, half: np.ndarray, size: int) -> np.ndarray:
    return (uniform_at(keys, Stream.ORDER, half + (number << 32)).astype(np.float64) * size).astype(np.int64)


def _add(half: np.ndarray, amount: np.ndarray, size: int) -> np.ndarray:
    half = half + amount
    return np.where(half >= size, half - size, half)
