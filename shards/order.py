"""The order of samples: a pure function of (seed, position), the same for every world size and worker count.

Position p of a run lies in epoch p // count; each epoch is a keyed permutation of all samples. There is no state, so
any position is found at once: resuming seeks by arithmetic. numpy only.
"""

import math

import numpy as np

from ecamp_fast.draws import Stream, sample_keys, uniform_at

ROUNDS = 8  # of the Feistel network; part of the order: changing it changes every run


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
    if count == 1:
        return epoch, place
    keys = sample_keys(seed, epoch, np.zeros_like(epoch))
    rows = math.isqrt(count - 1) + 1  # rows * columns is the smallest near-square that holds every sample
    columns = -(-count // rows)
    sample = _feistel(place, keys, rows, columns)
    outside = np.flatnonzero(sample >= count)
    while outside.size:
        walked = _feistel(sample[outside], keys[outside], rows, columns)
        sample[outside] = walked
        outside = outside[walked >= count]
    return epoch, sample


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
