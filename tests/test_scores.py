"""The rank formula against the definition, pair by pair."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ecamp_fast.scores import auroc, average_ranks, mean_auroc


def by_pairs(scores: Tensor, positive: Tensor) -> float:
    """Share of (positive, negative) pairs in the right order, ties one half."""
    above, below = scores[positive].double(), scores[~positive].double()
    difference = above[:, None] - below[None, :]
    return float(((difference > 0).double() + 0.5 * (difference == 0)).mean())


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(1, 4), st.integers(1, 50), st.integers(0, 10**6))
def test_equals_counting_pairs_with_ties(count: int, findings: int, levels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (count, findings), generator=generator).float()
    positive = torch.rand(count, findings, generator=generator) < 0.4
    for found, column, truth in zip(auroc(scores, positive), scores.T, positive.T, strict=True):
        if truth.any() and not truth.all():
            assert float(found) == pytest.approx(by_pairs(column, truth), abs=1e-12)
        else:
            assert math.isnan(found)


def test_perfect_reversed_and_blind_scores() -> None:
    positive = torch.tensor([[False], [False], [True], [True]])
    rising = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    assert [float(auroc(s, positive)) for s in (rising, -rising, torch.ones(4, 1))] == [1.0, 0.0, 0.5]


def test_mean_leaves_out_findings_with_one_class() -> None:
    scores = torch.tensor([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    positive = torch.tensor([[False, True], [True, True], [False, True]])
    assert mean_auroc(scores, positive) == pytest.approx(0.5)
    assert math.isnan(mean_auroc(scores, torch.ones(3, 2, dtype=torch.bool)))


def test_ranks_share_ties() -> None:
    assert average_ranks(torch.tensor([[10.0], [30.0], [10.0], [20.0]])).T.tolist() == [[1.5, 4.0, 1.5, 3.0]]
