"""Keyed draws: numpy and torch agree bit for bit, numbers are uniform, and no two uses share them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.keyed_random import Stream, sample_keys, torch_uniform, torch_uniform_at, uniform, uniform_at

BIG = 2**63 - 1
GOLDEN_KEYS = [7168271444070261764, 192102522976324184, 5748600952521301315]
GOLDEN_NUMBERS = [
    [0.07926177978515625, 0.1959977149963379],
    [0.37225818634033203, 0.9060683846473694],
    [0.856145441532135, 0.3762549161911011],
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-BIG - 1, BIG), min_size=1, max_size=8),
    st.sampled_from(list(Stream)),
    st.integers(1, 9),
)
def test_numpy_and_torch_give_the_same_bits(keys: list[int], stream: Stream, count: int) -> None:
    array = np.array(keys, dtype=np.int64)
    np.testing.assert_array_equal(uniform(array, stream, count), torch_uniform(torch.from_numpy(array), stream, count))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**39), min_size=1, max_size=8))
def test_single_draws_agree_too(index: list[int]) -> None:
    keys = sample_keys(1, 2, np.arange(len(index)))
    numbers = uniform_at(keys, Stream.WORDS, np.array(index))
    same = torch_uniform_at(torch.from_numpy(keys), Stream.WORDS, torch.tensor(index))
    np.testing.assert_array_equal(numbers, same)
    assert numbers.dtype == np.float32


def test_the_numbers_are_fixed_for_ever() -> None:
    """A run must resume under a later release: these bits are part of the checkpoint format."""
    keys = sample_keys(42, 3, np.array([0, 1, 2**40]))
    assert keys.tolist() == GOLDEN_KEYS
    np.testing.assert_array_equal(uniform(keys, Stream.CROP, 2), np.array(GOLDEN_NUMBERS, np.float32))


def test_streams_keep_their_numbers_and_share_none() -> None:
    """Two names of one number would be one member of the enumeration, which the tests below would pass over."""
    first = ["ORDER", "CROP", "FLIP", "DISTILLED", "PATCHES", "WORDS"]
    names = [*first, "ENTITIES", "SPLIT", "DROPOUT", "PHANTOM", "SUBSTITUTE", "TURN", "CAPTIONS"]
    assert {name: int(stream) for name, stream in Stream.__members__.items()} == {n: i for i, n in enumerate(names)}


@pytest.mark.parametrize("stream", list(Stream), ids=lambda stream: stream.name)
def test_uniform_in_the_unit_interval(stream: Stream) -> None:
    numbers = uniform(sample_keys(0, 0, np.arange(20_000)), stream, 4)
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, bins=64, range=(0, 1))[0]
    expected = numbers.size / 64
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 63 + 5 * np.sqrt(2 * 63)  # five standard deviations


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(Stream, 2)), ids=lambda stream: stream.name)
def test_streams_are_independent(one: Stream, other: Stream) -> None:
    keys = sample_keys(0, 0, np.arange(4_000))
    a, b = uniform(keys, one, 8), uniform(keys, other, 8)
    assert not np.isin(a, b).sum() > 4 * a.size * b.size / 2**24  # 24-bit numbers meet by chance
    assert abs(correlation(a, b)) < 5 / np.sqrt(a.size)


def test_neighbours_are_independent() -> None:
    """Seeds, epochs, samples and draws are counted up by one, and still have nothing in common."""
    samples = np.arange(20_000)
    base = uniform(sample_keys(5, 5, samples), Stream.WORDS, 2)
    others = {
        "seed": uniform(sample_keys(6, 5, samples), Stream.WORDS, 2),
        "epoch": uniform(sample_keys(5, 6, samples), Stream.WORDS, 2),
        "sample": uniform(sample_keys(5, 5, samples + 1), Stream.WORDS, 2),
        "draw": base[:, ::-1],
    }
    for name, other in others.items():
        assert abs(correlation(base, other)) < 0.02, name


def test_epoch_and_sample_do_not_trade_places() -> None:
    assert sample_keys(1, 2, np.array([3]))[0] != sample_keys(1, 3, np.array([2]))[0]
    keys = {int(key) for epoch in range(30) for key in sample_keys(0, epoch, np.arange(1_000))}
    assert len(keys) == 30_000


def test_an_epoch_per_sample() -> None:
    epochs, samples = np.array([0, 1, 1]), np.array([7, 7, 8])
    keys = sample_keys(3, epochs, samples)
    alone = [sample_keys(3, int(e), np.array([s]))[0] for e, s in zip(epochs, samples, strict=True)]
    assert keys.tolist() == alone


def test_a_draw_depends_on_its_own_index_only() -> None:
    keys = sample_keys(0, 0, np.arange(5))
    np.testing.assert_array_equal(uniform(keys, Stream.FLIP, 3), uniform(keys, Stream.FLIP, 9)[:, :3])
