"""Several sets as one stream: each set goes through its own permutations, whatever the epochs; nothing comes early."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecamp_fast.shards.load.order import MixedOrder, WindowedOrder, global_samples, interleave

VISITS = [0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 4, 4]
SAMPLES = [6, 1, 3, 7, 2, 0, 4, 0, 1, 5, 3, 2, 8, 2]

sets = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 90)), min_size=1, max_size=4)  # counts and shares


def order_of(pairs: list[tuple[int, int]], seed: int = 3) -> MixedOrder:
    orders = [partial(global_samples, count, seed + number) for number, (count, _) in enumerate(pairs)]
    return MixedOrder(orders, [count for count, _ in pairs], [share for _, share in pairs])


def split(pairs: list[tuple[int, int]], samples: np.ndarray) -> list[np.ndarray]:
    """The samples of each set by its own numbers, in the order in which they came."""
    ends = np.cumsum([count for count, _ in pairs])
    which = np.searchsorted(ends, samples, side="right")
    return [samples[which == number] - (ends[number] - pairs[number][0]) for number in range(len(pairs))]


@given(pairs=sets, epochs=st.integers(1, 12))
def test_no_sample_comes_again_before_all_others_of_its_set(pairs: list[tuple[int, int]], epochs: int) -> None:
    total = sum(share for _, share in pairs)
    _, samples = order_of(pairs)(np.arange(epochs * total))
    for (count, share), own in zip(pairs, split(pairs, samples), strict=True):
        assert len(own) == epochs * share
        for start in range(0, len(own) - count + 1, count):
            assert np.array_equal(np.sort(own[start : start + count]), np.arange(count))
        assert len(set(own[len(own) // count * count :].tolist())) == len(own) % count


@given(pairs=sets, epoch=st.integers(0, 10**6))
def test_every_epoch_has_the_share_of_each_set(pairs: list[tuple[int, int]], epoch: int) -> None:
    total = sum(share for _, share in pairs)
    _, samples = order_of(pairs)(np.arange(epoch * total, (epoch + 1) * total))
    assert [len(own) for own in split(pairs, samples)] == [share for _, share in pairs]


@given(pairs=sets, epochs=st.integers(1, 9))
def test_a_visit_has_a_number_of_its_own_that_tells_the_epoch(pairs: list[tuple[int, int]], epochs: int) -> None:
    order, total = order_of(pairs), sum(share for _, share in pairs)
    visits, samples = order(np.arange(epochs * total))
    assert len({*zip(visits.tolist(), samples.tolist(), strict=True)}) == epochs * total
    assert np.array_equal(visits // order.visits, np.repeat(np.arange(epochs), total))


@given(pairs=sets, start=st.integers(0, 10**7), length=st.integers(1, 200), drop=st.integers(0, 200))
def test_seeking_drops_a_prefix(pairs: list[tuple[int, int]], start: int, length: int, drop: int) -> None:
    order = order_of(pairs)
    whole = order(np.arange(start, start + length))
    rest = order(np.arange(start + drop, start + max(length, drop)))
    assert all(np.array_equal(one[drop:], other) for one, other in zip(whole, rest, strict=True))


@pytest.mark.parametrize("count", [1, 7, 100])
def test_one_set_that_is_taken_once_has_its_own_order(count: int) -> None:
    alone = MixedOrder([partial(global_samples, count, 5)], [count], [count])
    positions = np.arange(3 * count)
    for one, other in zip(alone(positions), global_samples(count, 5, positions), strict=True):
        assert np.array_equal(one, other)


def test_sets_that_are_taken_once_have_the_numbers_of_epochs() -> None:
    order = order_of([(30, 30), (7, 7), (11, 11)])
    visits, _ = order(np.arange(5 * 48))
    assert order.visits == 1 and np.array_equal(visits, np.repeat(np.arange(5), 48))


def test_the_order_of_a_set_is_its_own_whatever_the_others() -> None:
    """What is asked of each is the numbers 0, 1, 2 ... of its own stream, windows of shards too."""
    own = [partial(global_samples, 50, 1), WindowedOrder([10, 20], 2, 8)]
    _, samples = MixedOrder(own, [50, 30], [15, 60])(np.arange(20 * 75))
    first, second = split([(50, 15), (30, 60)], samples)
    assert np.array_equal(first, own[0](np.arange(20 * 15))[1])
    assert np.array_equal(second, own[1](np.arange(20 * 60))[1])


@given(shares=st.lists(st.integers(0, 50), min_size=1, max_size=4).filter(any))
def test_places_are_spread_evenly(shares: list[int]) -> None:
    total = sum(shares)
    which, rank = interleave(shares, np.arange(total))
    for number, share in enumerate(shares):
        places = np.flatnonzero(which == number)
        assert np.array_equal(rank[places], np.arange(share))
        seen = np.cumsum(which == number)
        assert np.abs(seen - np.arange(1, total + 1) * share / total).max() < number + 1


def test_the_order_is_part_of_the_format() -> None:
    """Frozen values: another order would make a resumed run see other pictures."""
    visits, samples = order_of([(4, 4), (5, 2)])(np.arange(14))
    assert visits.tolist() == VISITS
    assert samples.tolist() == SAMPLES


def test_many_samples_and_large_weights_stay_exact() -> None:
    pairs = [(20_000_000, 20_000_000), (1_000_000_000, 300_000_000)]
    order, total = order_of(pairs), 320_000_000
    positions = np.array([0, total - 1, 400 * total + 7])
    visits, samples = order(positions)
    assert (visits // order.visits).tolist() == [0, 0, 400]
    assert ((samples >= 0) & (samples < 1_020_000_000)).all()
