import math
import random

import pytest

from ecamp_fast.run.safety.spikes import Spikes


def filled(values: list[float], window: int = 64, z: float = 10.0) -> Spikes:
    spikes = Spikes(window, z)
    for value in values:
        spikes.add(value)
    return spikes


def test_few_values_judge_nothing() -> None:
    assert filled([1.0] * 15).limit == math.inf and filled([1.0] * 16).limit < 2


def test_the_limit_by_hand() -> None:
    """Of 0, 1, ..., 16: the median is 8, the median deviation 4."""
    spikes = filled([float(n) for n in range(17)], z=3.0)
    assert spikes.limit == pytest.approx(8 + 3 * 1.4826 * 4)
    assert spikes.z(20.0) == pytest.approx(12 / (1.4826 * 4))


@pytest.mark.fault("N2.ten-times")
def test_ten_times_as_much_is_seen_and_noise_is_not() -> None:
    draw = random.Random(1)
    losses = [6 * math.exp(-n / 300) * (1 + 0.05 * draw.gauss(0, 1)) for n in range(1000)]
    norms = [math.exp(0.4 * draw.gauss(0, 1)) for _ in range(1000)]
    for values in (losses, norms):
        spikes = Spikes(64, 10.0)
        for value in values:
            assert value <= spikes.limit
            spikes.add(value)
        assert 10 * values[-1] > spikes.limit or values is norms
        assert 10 * sorted(values[-64:])[32] > spikes.limit


def test_a_spike_is_what_lies_above_the_limit() -> None:
    draw = random.Random(2)
    for _ in range(200):
        middle, spread = draw.choice([-3.0, 0.0, 1.0, 5.0]), draw.choice([0.0, 0.01, 2.0])
        spikes = filled([draw.gauss(middle, spread) for _ in range(draw.randint(10, 70))], z=draw.choice([1.0, 10.0]))
        values = [draw.gauss(middle, 20 * spread + 1) for _ in range(20)]
        found = [spikes.is_spike(value) for value in (*values, spikes.limit, math.inf)]
        assert found == [value > spikes.limit for value in (*values, spikes.limit, math.inf)]


def test_spikes_in_the_window_do_not_hide_the_next() -> None:
    assert filled([1.0, 1.1] * 20 + [1000.0] * 20).limit < 100


def test_a_level_that_lasts_becomes_the_rule() -> None:
    assert filled([1.0] * 64 + [1000.0] * 40).limit > 1000


def test_what_is_not_finite_tells_nothing() -> None:
    assert filled([1.0] * 20 + [math.nan, math.inf, 1e300]).limit == filled([1.0] * 20).limit


def test_values_read_back_from_float32_give_the_same_limit() -> None:
    import numpy as np

    values = [1 + n / 7 for n in range(40)]
    assert filled(values).limit == filled([float(np.float32(value)) for value in values]).limit


def test_a_flat_curve_may_rise_a_little() -> None:
    assert filled([2.0] * 64).limit == pytest.approx(2 + 10 * 0.05 * 2)
