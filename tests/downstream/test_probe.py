"""The probe finds what is there, and only that; folds are what they say."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ecamp_fast.downstream import probe as probe_module
from ecamp_fast.downstream.probe import Probed, patient_folds, probe
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


def score(*arguments: Any, **options: Any) -> float:
    return float(probe(*arguments, **options).auroc())


def test_reads_what_is_there_and_nothing_from_noise() -> None:
    hidden, labels, patients = samples()
    assert score(features(hidden, 0.3, 1), labels, patients, seed=0) > 0.88
    assert abs(score(torch.randn(N, 16, generator=torch.Generator().manual_seed(3)), labels, patients, 0) - 0.5) < 0.09


def test_same_seed_same_number_other_seed_other_split() -> None:
    hidden, labels, patients = samples()
    noisy = features(hidden, 2.0, 1)
    assert score(noisy, labels, patients, 4) == score(noisy, labels, patients, 4)
    assert score(noisy, labels, patients, 4) != score(noisy, labels, patients, 5)


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
    by_sample = score(names, labels, [str(i) for i in range(N)], 0)
    assert by_sample > 0.75 and abs(score(names, labels, patients, 0) - 0.5) < 0.15


def test_the_ridge_is_chosen_on_patients_that_were_not_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first feature names the patient, so what every fit has seen, and what it is asked about, can be told."""
    hidden, labels, patients = samples()
    named = torch.cat([torch.arange(N)[:, None] // 2, features(hidden, 1.0, 1)], 1)
    seen: list[tuple[int, set[int], set[int]]] = []
    fit = probe_module.fit

    class Spied:
        def __init__(self, inputs: Tensor, truth: Tensor, ridges: list[float], known: Tensor | None = None) -> None:
            self.fitted, self.ridges, self.found = inputs, ridges, fit(inputs, truth, ridges)

        def logits(self, inputs: Tensor) -> Tensor:
            seen.append((len(self.ridges), set(self.fitted[:, 0].tolist()), set(inputs[:, 0].tolist())))
            return self.found.logits(inputs)

    monkeypatch.setattr(probe_module, "fit", Spied)
    monkeypatch.setattr(probe_module, "REPEATED", 1)
    score(named, labels, patients, seed=0)
    everybody = set(range(N // 2))
    for outer in range(3):
        *inner, (ridges, fitted, tested) = seen[4 * outer : 4 * outer + 4]
        assert ridges == 1 and fitted | tested == everybody and not fitted & tested
        assert [count for count, _, _ in inner] == [len(probe_module.RIDGES)] * 3
        assert all(not own & held and own | held == fitted for _, own, held in inner)
        assert set.union(*(held for _, _, held in inner)) == fitted
    assert set.union(*(tested for ridges, _, tested in seen if ridges == 1)) == everybody


def test_folds_of_few_samples_are_dealt_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold of twenty samples tells one strength from no other; several deals do, each of other folds."""
    hidden, labels, patients = samples()
    few, folds = slice(0, 60), []
    deal = probe_module.patient_folds
    monkeypatch.setattr(probe_module, "patient_folds", lambda *given: folds.append(deal(*given)) or folds[-1])
    named = features(hidden, 1.0, 1)
    probe_module.tuned(named[few], labels[few], patients[few], 0, named[60:70])
    assert len(folds) == 7 == len({tuple(one.tolist()) for one in folds})  # 400 samples are 6.7 times 60


def test_the_ridge_that_serves_best_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many features and little in them: fitted too closely they say less, and the probe finds that out by itself."""
    hidden, labels, patients = samples()
    wide = torch.cat([features(hidden, 1.5, 1), torch.randn(N, 80, generator=torch.Generator().manual_seed(9))], 1)
    chosen = score(wide, labels, patients, seed=0)
    alone = {}
    for ridge in probe_module.RIDGES:
        monkeypatch.setattr(probe_module, "RIDGES", [ridge])
        alone[ridge] = score(wide, labels, patients, seed=0)
    assert max(alone.values()) - min(alone.values()) > 0.02
    assert chosen > (max(alone.values()) + min(alone.values())) / 2


def test_folds_are_scored_apart_and_draws_count() -> None:
    """The second fold's probe is far above the first's: over both at once its negatives would beat all positives."""
    positive = np.array([[False], [True], [True], [False], [True], [False]])
    found = Probed(np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]]), positive, np.array([0, 0, 0, 1, 1, 1]))
    assert found.auroc() == pytest.approx((1.0 + 0.5) / 2)
    weights = np.array([[1.0] * 6, [1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 1, 1]])
    assert found.auroc(weights).tolist() == pytest.approx([0.75, 1.0, 0.5])


def test_too_little_data_is_said() -> None:
    _, labels, _ = samples()
    with pytest.raises(DataError, match="do not fill 3 folds"):
        patient_folds(["a", "b"], 3, seed=0)
    with pytest.raises(DataError, match="no finding with both classes"):
        score(torch.randn(N, 4), torch.zeros_like(labels), [str(i) for i in range(N)], 0)
    with pytest.raises(ValueError, match="do not match"):
        score(torch.randn(N, 4), labels[1:], [str(i) for i in range(N)], 0)
    assert math.isfinite(score(torch.ones(N, 4), labels, [str(i) for i in range(N)], 0))
