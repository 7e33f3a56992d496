"""The order is a permutation of every epoch, and differs between epochs and seeds."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecamp_fast.shards.load.order import WindowedOrder, global_samples

counts = st.integers(1, 3000)
seeds = st.integers(0, 2**63 - 1)


@given(count=counts, seed=seeds, epoch=st.integers(0, 10**6))
def test_each_epoch_is_a_permutation(count, seed, epoch):
    epochs, samples = global_samples(count, seed, np.arange(epoch * count, (epoch + 1) * count))
    assert (epochs == epoch).all()
    assert np.array_equal(np.sort(samples), np.arange(count))


@given(count=st.integers(50, 3000), seed=seeds)
def test_epochs_and_seeds_differ(count, seed):
    _, samples = global_samples(count, seed, np.arange(3 * count))
    first, second, third = samples.reshape(3, count)
    _, other = global_samples(count, seed + 1, np.arange(count))
    for a, b in ((first, second), (second, third), (first, third), (first, other)):
        assert (a != b).mean() > 0.5


@given(count=counts, seed=seeds, start=st.integers(0, 10**12), length=st.integers(1, 200), drop=st.integers(0, 200))
def test_seeking_drops_a_prefix(count, seed, start, length, drop):
    whole = global_samples(count, seed, np.arange(start, start + length))
    rest = global_samples(count, seed, np.arange(start + drop, start + max(length, drop)))
    assert np.array_equal(whole[0][drop:], rest[0]) and np.array_equal(whole[1][drop:], rest[1])


def test_no_order_over_nothing():
    with pytest.raises(ValueError):
        global_samples(0, 0, np.arange(1))


def test_the_order_is_part_of_the_format():
    """Frozen values: another order would make a resumed run see other pictures."""
    epochs, samples = global_samples(10, 42, np.arange(8, 22))
    assert epochs.tolist() == [0] * 2 + [1] * 10 + [2] * 2
    assert samples.tolist() == [1, 0, 4, 2, 3, 7, 8, 6, 0, 1, 5, 9, 7, 9]
    _, samples = global_samples(377_110, 42, np.arange(10**6))
    digest = hashlib.sha256(samples.astype("<i8").tobytes()).hexdigest()
    assert digest == "240cef5b688d25332a7ec11ab605af19bb123cf98ff3d6224e45a7ffa79f3fdf"


def test_all_permutations_are_about_equally_likely():
    orders = np.stack([global_samples(4, seed, np.arange(4))[1] for seed in range(2400)])
    _, times = np.unique(orders @ np.array([64, 16, 4, 1]), return_counts=True)
    assert len(times) == 24
    assert ((times - 100) ** 2 / 100).sum() < 50  # chi-square, 23 degrees of freedom: p = 0.001


def test_neighbours_do_not_stay_neighbours():
    _, samples = global_samples(20000, 5, np.arange(20000))
    assert abs(np.corrcoef(samples[:-1], samples[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(np.arange(20000), samples)[0, 1]) < 0.03


def test_a_million_positions_take_less_than_a_second(least_seconds):
    assert least_seconds(lambda: global_samples(377_110, 1, np.arange(10**6))) < 1.0


shard_sizes = st.lists(st.integers(1, 60), min_size=1, max_size=40)
windows = st.integers(1, 3000)


@given(sizes=shard_sizes, window=windows, seed=seeds, epoch=st.integers(0, 10**6))
def test_each_windowed_epoch_is_a_permutation(sizes, window, seed, epoch):
    count = sum(sizes)
    epochs, samples = WindowedOrder(sizes, seed, window)(np.arange(epoch * count, (epoch + 1) * count))
    assert (epochs == epoch).all()
    assert np.array_equal(np.sort(samples), np.arange(count))


@given(sizes=shard_sizes, window=windows, seed=seeds, start=st.integers(0, 10**12), length=st.integers(1, 200))
def test_any_part_of_a_windowed_order_is_found_by_itself(sizes, window, seed, start, length):
    positions = np.arange(start, start + length)
    epochs, samples = WindowedOrder(sizes, seed, window)(positions)
    backwards = [WindowedOrder(sizes, seed, window)(positions[n : n + 1]) for n in reversed(range(length))]
    assert epochs.tolist() == [int(epoch[0]) for epoch, _ in backwards[::-1]]
    assert samples.tolist() == [int(sample[0]) for _, sample in backwards[::-1]]


@given(sizes=shard_sizes, window=st.integers(1, 300), seed=seeds)
def test_a_window_lies_in_few_shards(sizes, window, seed):
    count = sum(sizes)
    _, samples = WindowedOrder(sizes, seed, window)(np.arange(count))
    shard = np.searchsorted(np.cumsum(sizes), samples, side="right")
    max_shards = -(-window // min(sizes)) + 1
    assert all(len(np.unique(shard[start : start + window])) <= max_shards for start in range(0, count, window))


def test_windows_shards_and_epochs_are_shuffled():
    sizes, window = [100] * 50, 1000
    order = WindowedOrder(sizes, 3, window)
    _, samples = order(np.arange(10_000))
    first, second = samples.reshape(2, 5000)
    assert (first != second).mean() > 0.99
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.3  # windows differ in their mean, neighbours do not follow
    shards = first.reshape(5, window) // 100
    assert len({tuple(np.unique(row)) for row in shards}) == 5
    _, other = WindowedOrder(sizes, 4, window)(np.arange(5000))
    assert (first != other).mean() > 0.99


def test_a_windowed_order_is_part_of_the_format():
    epochs, samples = WindowedOrder([3, 4, 3], 42, 5)(np.arange(8, 22))
    assert epochs.tolist() == [0] * 2 + [1] * 10 + [2] * 2
    assert samples.tolist() == [8, 9, 3, 9, 8, 4, 7, 5, 6, 0, 1, 2, 2, 0]


def test_no_windowed_order_over_nothing():
    with pytest.raises(ValueError):
        WindowedOrder([], 0, 5)


def test_a_step_far_into_a_million_samples_is_found_at_once(least_seconds):
    orders = iter([WindowedOrder([1000] * 1000, 1, 20_000) for _ in range(3)])  # each finds it for the first time
    assert least_seconds(lambda: next(orders)(np.arange(77_777_777, 77_777_777 + 8192))) < 0.05
