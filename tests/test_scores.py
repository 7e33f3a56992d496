"""The rank formula against the definition, pair by pair; intervals against the truth they are to cover."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast import scores
from ecamp_fast.scores import (
    Estimate,
    auroc,
    auroc_of_parts,
    dice,
    draw_patients,
    estimate,
    inside,
    mean_auroc,
    mean_over,
    pointing_game,
    weighted_mean,
)


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


def test_a_finding_of_which_nothing_is_known_has_no_area() -> None:
    nothing = np.empty((0, 2))
    assert np.isnan(auroc(nothing, nothing > 0)).all()
    assert np.isnan(auroc(nothing, nothing > 0, np.ones((3, 0)))).all()
    assert auroc(nothing, nothing > 0, np.ones((3, 0))).shape == (3, 2)


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


def test_parts_of_samples_are_drawn_together() -> None:
    """Against the plain formula with every part's weight written out; with ties, and samples of one kind alone."""
    generator = np.random.default_rng(5)
    owners = generator.integers(0, 9, 300)
    values, positive = generator.integers(0, 6, (300, 3)).astype(float), generator.random((300, 3)) < 0.3
    positive[owners == 2] = False
    positive[owners == 4] = True
    positive[:, 2] = False
    weights = draw_patients([str(n // 2) for n in range(10)], 40)  # the last sample has no parts
    expected = auroc(values, positive, weights[:, owners])
    assert np.allclose(auroc_of_parts(values, positive, owners, weights), expected, rtol=1e-12, equal_nan=True)
    assert np.isnan(expected[:, 2]).all() and not np.isnan(expected[0, :2]).any()


def test_pairs_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(6)
    owners, weights = np.repeat(np.arange(7), 5), generator.integers(0, 3, (4, 7)).astype(float)
    values, positive = generator.random((35, 1)), generator.random((35, 1)) < 0.5
    whole = auroc_of_parts(values, positive, owners, weights)
    monkeypatch.setattr(scores, "BLOCK", 3)
    assert np.allclose(auroc_of_parts(values, positive, owners, weights), whole, rtol=1e-12)


def dice_by_hand(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Pixel by pixel, as the released code scores an image (SPEC 7.2)."""
    found = {(y, x) for y, x in np.ndindex(predicted.shape) if predicted[y, x]}
    there = {(y, x) for y, x in np.ndindex(truth.shape) if truth[y, x]}
    if not there:
        return 0.0 if found else 1.0
    return 2 * len(found & there) / (len(found) + len(there))


def test_dice_equals_counting_pixels_with_empty_masks() -> None:
    generator = np.random.default_rng(3)
    predicted, truth = (generator.random((6, 2, 5, 7)) < share for share in (0.4, 0.3))
    predicted[0], truth[0] = False, False
    predicted[1], truth[2] = False, False
    found = dice(predicted, truth)
    assert found.shape == (6, 2)
    for place in np.ndindex(6, 2):
        assert found[place] == pytest.approx(dice_by_hand(predicted[place], truth[place]), abs=1e-12)
    assert found[0].tolist() == [1.0, 1.0] and found[1].tolist() == found[2].tolist() == [0.0, 0.0]


def test_mean_over_positives_counts_each_as_often_as_it_was_drawn() -> None:
    values, chosen = np.array([0.5, 1.0, 0.0, 0.25]), np.array([True, False, True, True])
    weights = np.array([[1.0, 1, 1, 1], [2, 5, 0, 1], [0, 3, 0, 0]])
    found = mean_over(values, chosen, weights)
    assert mean_over(values, chosen) == pytest.approx(0.25)
    assert found[:2].tolist() == pytest.approx([0.25, (0.5 * 2 + 0.25) / 3]) and math.isnan(found[2])


def test_points_lie_in_boxes_as_pixels_do() -> None:
    """Against drawing the boxes: the centre of each pixel, and the edges, of which the upper ones are outside."""
    boxes = np.array([[1.0, 2.0, 4.0, 3.0], [3.0, 0.0, 5.0, 5.0]])
    drawn = np.zeros((6, 6), bool)
    for x1, y1, x2, y2 in boxes.astype(int):
        drawn[y1:y2, x1:x2] = True
    y, x = np.mgrid[:6, :6]
    for shift in (0.0, 0.5):
        points = np.stack([x.ravel() + shift, y.ravel() + shift], 1)
        assert inside(points, boxes).tolist() == drawn.ravel().tolist()
    assert not inside(points, np.zeros((0, 4))).any()


def test_the_peak_of_a_map_is_in_the_box_or_not_and_a_flat_map_is_a_blind_guess() -> None:
    points = np.array([[x + 0.5, y + 0.5] for y in range(4) for x in range(4)])
    maps = np.zeros((4, 16))
    maps[0, 6] = maps[1, 6] = maps[3, 6] = maps[3, 0] = 1.0  # the third is flat, the fourth has two peaks
    right, below = np.array([[2.0, 1.0, 3.0, 2.0]]), np.array([[1.0, 2.0, 2.0, 3.0]])
    found = pointing_game(maps, points, [right, below, right, right])
    assert found.tolist() == [1.0, 0.0, 1 / 16, 0.5]
