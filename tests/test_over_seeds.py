"""Intervals over training seeds and patients together: they cover the truth that they are drawn around."""

import numpy as np
import pytest

from ecamp_fast.scores import draw_patients, estimate, over_seeds, weighted_mean


def _differences(seeds: int, patients: int, between: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Differences of a score that is a plain mean over patients, of truth 0, with what a seed adds."""
    noise = rng.normal(size=patients)  # of patients, whom the seeds share
    own = between * rng.normal(size=(seeds, 1)) + noise + rng.normal(size=(seeds, patients))
    weights = draw_patients([str(n) for n in range(patients)], 300, int(rng.integers(1 << 30)))
    return np.stack([weighted_mean(one, weights) for one in own]), float(own.mean())


@pytest.mark.parametrize(("seeds", "between"), [(5, 0.0), (5, 0.5), (10, 1.0)])
def test_the_interval_over_seeds_and_patients_covers_the_truth(seeds: int, between: float) -> None:
    rng, hits, trials = np.random.default_rng(7), 0, 300
    for trial in range(trials):
        differences, _ = _differences(seeds, 40, between, rng)
        found = over_seeds(differences, trial)
        hits += found.low <= 0 <= found.high
    assert 0.86 < hits / trials <= 0.995


def test_patients_alone_would_be_too_sure_where_seeds_differ() -> None:
    rng, hits, trials = np.random.default_rng(8), {"seeds": 0, "patients": 0}, 200
    for trial in range(trials):
        differences, _ = _differences(5, 200, 0.5, rng)
        both, alone = over_seeds(differences, trial), estimate(differences.mean(0))
        hits["seeds"] += both.low <= 0 <= both.high
        hits["patients"] += alone.low <= 0 <= alone.high
    assert hits["patients"] < 0.6 * trials < 0.85 * trials < hits["seeds"]


def test_the_value_is_the_mean_and_one_seed_has_its_own_interval() -> None:
    differences, mean = _differences(4, 30, 0.3, np.random.default_rng(9))
    assert over_seeds(differences).value == pytest.approx(mean)
    assert over_seeds(differences[:1]) == estimate(differences[0])
    assert over_seeds(differences, 3) == over_seeds(differences, 3)


def test_the_spread_of_seeds_has_the_deviation_that_they_speak_for() -> None:
    """No patients to draw: the draws then have the standard error of a mean of four, s / sqrt(4), s over n - 1."""
    own = np.array([0.0, 1.0, 2.0, 5.0])
    found = over_seeds(np.repeat(own[:, None], 20001, axis=1))
    error = own.std(ddof=1) / 2
    assert found.value == 2.0 and (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.06)
