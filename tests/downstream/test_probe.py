"""The probe finds what is there, and only that; pairs, folds and the interval are what they say."""

import math

import pytest
import torch
from torch import Tensor

from ecamp_fast.downstream.probe import Comparison, compare, patient_folds, probe, t_quantile
from ecamp_fast.errors import DataError

N = 180


def samples(seed: int = 0) -> tuple[Tensor, Tensor, list[str]]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, 3, generator=generator)
    labels = hidden + 0.5 * torch.randn(N, 3, generator=generator) > 0.6
    return hidden, labels, [f"patient{i // 2}" for i in range(N)]


def features(hidden: Tensor, noise: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = hidden @ torch.randn(3, 16, generator=generator)
    return mixed + noise * torch.randn(N, 16, generator=generator)


def test_reads_what_is_there_and_nothing_from_noise() -> None:
    hidden, labels, patients = samples()
    assert probe(features(hidden, 0.3, 1), labels, patients, seed=0) > 0.88
    assert abs(probe(torch.randn(N, 16, generator=torch.Generator().manual_seed(3)), labels, patients, 0) - 0.5) < 0.09


def test_same_seed_same_number_other_seed_other_split() -> None:
    hidden, labels, patients = samples()
    noisy = features(hidden, 2.0, 1)
    assert probe(noisy, labels, patients, 4) == probe(noisy, labels, patients, 4)
    assert probe(noisy, labels, patients, 4) != probe(noisy, labels, patients, 5)


def test_better_features_win_and_equal_ones_do_not() -> None:
    hidden, labels, patients = samples()
    clear = features(hidden, 0.3, 1)
    won = compare(clear, lambda seed: features(hidden, 4.0, seed), labels, patients)
    assert won.better and won.interval[0] > 0.05 and len(won.trained) == 5
    level = compare(clear, lambda seed: clear, labels, patients, seeds=range(3))
    assert level.differences == (0.0, 0.0, 0.0) and not level.better


def test_the_untrained_encoder_is_another_one_for_each_seed() -> None:
    hidden, labels, patients = samples()
    asked: list[int] = []

    def untrained(seed: int) -> Tensor:
        asked.append(seed)
        return features(hidden, 4.0, seed)

    compare(features(hidden, 0.3, 1), untrained, labels, patients, seeds=[3, 1])
    assert asked == [3, 1]


def test_no_patient_is_in_two_folds() -> None:
    _, _, patients = samples()
    fold = patient_folds(patients, 3, seed=1)
    assert all(fold[i] == fold[i + 1] for i in range(0, N, 2))
    assert fold.bincount().min() >= N // 3 - 2
    assert not torch.equal(fold, patient_folds(patients, 3, seed=2))


def test_a_patient_known_by_heart_is_no_help() -> None:
    """Features that name the patient and nothing else: a split by sample would score high, one by patient must not."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(N // 2, 2, generator=generator) < 0.4).repeat_interleave(2, 0)
    names = torch.randn(N // 2, 128, generator=generator).repeat_interleave(2, 0)
    patients = [f"patient{i // 2}" for i in range(N)]
    by_sample = probe(names, labels, [str(i) for i in range(N)], 0)
    assert by_sample > 0.75 and abs(probe(names, labels, patients, 0) - 0.5) < 0.15


def test_interval_of_known_numbers() -> None:
    found = Comparison((0.8, 0.82, 0.81, 0.85, 0.80), (0.7, 0.75, 0.71, 0.72, 0.74))
    assert found.mean == pytest.approx(0.092)
    half = 2.776445 * math.sqrt(0.00308 / 4 / 5)  # t of 4 degrees of freedom, sum of squares 0.00308
    assert found.interval == pytest.approx((0.092 - half, 0.092 + half))
    assert found.as_dict()["better"] is True


def test_t_quantiles() -> None:
    assert [t_quantile(n) for n in (1, 4, 30)] == pytest.approx([12.7062, 2.7764, 2.0423], abs=1e-4)
    assert t_quantile(31) == pytest.approx(2.039513, abs=1e-5)
    assert t_quantile(200) == pytest.approx(1.971896, abs=1e-5)


def test_too_little_data_is_said() -> None:
    _, labels, _ = samples()
    with pytest.raises(DataError, match="do not fill 3 folds"):
        patient_folds(["a", "b"], 3, seed=0)
    with pytest.raises(DataError, match="no finding with both classes"):
        probe(torch.randn(N, 4), torch.zeros_like(labels), [str(i) for i in range(N)], 0)
    with pytest.raises(ValueError, match="do not match"):
        probe(torch.randn(N, 4), labels[1:], [str(i) for i in range(N)], 0)
    assert math.isfinite(probe(torch.ones(N, 4), labels, [str(i) for i in range(N)], 0))
