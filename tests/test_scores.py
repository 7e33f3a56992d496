"""The rank formula against the definition, pair by pair; intervals against the truth they are to cover."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.scores import Estimate, auroc, draw_patients, estimate, mean_auroc, weighted_mean


def by_pairs(scores: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order, ties one half; each sample ``counts`` times."""
    above, below = np.repeat(scores[positive], counts[positive]), np.repeat(scores[~positive], counts[~positive])
    difference = above[:, None] - below[None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(1, 4), st.integers(1, 50), st.integers(0, 10**6))
def test_equals_counting_pairs_with_ties(count: int, findings: int, levels: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(levels, size=(count, findings)).astype(float)
    positive = generator.random((count, findings)) < 0.4
    weights = np.stack([np.ones(count, int), generator.integers(0, 3, count)])
    plain, weighted = auroc(scores, positive), auroc(scores, positive, weights.astype(float))
    assert plain.shape == (findings,) and weighted.shape == (2, findings)
    for finding in range(findings):
        for found, counts in ((plain, weights[0]), *zip(weighted, weights, strict=True)):
            truth = positive[:, finding] & (counts > 0), ~positive[:, finding] & (counts > 0)
            if truth[0].any() and truth[1].any():
                expected = by_pairs(scores[:, finding], positive[:, finding], counts)
                assert found[finding] == pytest.approx(expected, abs=1e-12)
            else:
                assert math.isnan(found[finding])


def test_perfect_reversed_and_blind_scores() -> None:
    positive = np.array([[False], [False], [True], [True]])
    rising = np.array([[1.0], [2.0], [3.0], [4.0]])
    assert [float(auroc(s, positive)[0]) for s in (rising, -rising, np.ones((4, 1)))] == [1.0, 0.0, 0.5]


def test_mean_leaves_out_findings_with_one_class() -> None:
    scores = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    positive = np.array([[False, True], [True, True], [False, True]])
    assert mean_auroc(scores, positive) == pytest.approx(0.5)
    assert math.isnan(mean_auroc(scores, np.ones((3, 2), bool)))
    assert mean_auroc(scores, positive, np.array([[1.0, 1, 1], [2, 1, 0]])).tolist() == pytest.approx([0.5, 1.0])


def test_patients_are_drawn_whole_and_as_many_as_there_are() -> None:
    patients = ["a", "b", "a", "c", "c", "c", "d"]
    weights = draw_patients(patients, resamples=200, seed=3)
    assert weights.shape == (201, 7) and weights[0].tolist() == [1.0] * 7
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 3] == weights[:, 4]).all() and (weights[:, 4] == weights[:, 5]).all()
    assert (weights[:, [0, 1, 3, 6]].sum(1) == 4).all()
    assert np.allclose(weights[1:].mean(0), 1, atol=0.25)
    assert (draw_patients(patients, 200, 3) == weights).all() and (draw_patients(patients, 200, 4) != weights).any()


def test_an_estimate_is_the_middle_of_the_draws() -> None:
    found = estimate(np.concatenate([[50.0], np.arange(1001.0), [np.nan]]))
    assert found == Estimate(50.0, 25.0, 975.0)
    assert found.positive and not Estimate(1.0, 0.0, 2.0).positive and not Estimate(1.0, -0.1, 2.0).positive
    assert not Estimate(1.0, 1e-7, 2.0).positive and Estimate(1.0, 1e-4, 2.0).positive
    assert found.as_dict() == {"value": 50.0, "low": 25.0, "high": 975.0}


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Patients with several samples each: an interval over samples would be too narrow."""
    generator, covered, naive = np.random.default_rng(0), 0, 0
    patients = [f"p{i // 5}" for i in range(300)]
    for _ in range(200):
        values = np.repeat(generator.standard_normal(60), 5) + 0.3 * generator.standard_normal(300)
        found = estimate(weighted_mean(values, draw_patients(patients, 300)))
        covered += found.low <= 0 <= found.high
        apart = estimate(weighted_mean(values, draw_patients([str(i) for i in range(300)], 300)))
        naive += apart.low <= 0 <= apart.high
    assert 0.89 <= covered / 200 <= 0.99 and naive / 200 < 0.75


def test_a_weighted_mean() -> None:
    weights = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])
    assert weighted_mean(np.array([1.0, 2.0, 6.0]), weights).tolist() == pytest.approx([3.0, 8 / 3])
