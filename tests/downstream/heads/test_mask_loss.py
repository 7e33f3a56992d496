"""The loss of segmentation against sums over pixels in numpy, and torchvision's focal loss."""

import math

import numpy as np
import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from ecamp_fast.downstream.heads.mask_loss import focal, mask_loss, soft_dice


def by_hand(logits: np.ndarray, targets: np.ndarray) -> float:
    """Of one mask over its whole batch, pixel by pixel."""
    total, shared, both = 0.0, 0.0, 0.0
    for x, t in zip(logits.ravel(), targets.ravel(), strict=True):
        p = 1 / (1 + math.exp(-x))
        cross_entropy = -(t * math.log(p) + (1 - t) * math.log(1 - p))
        total += (1 / (1 + math.exp(x * (2 * t - 1)))) ** 2 * cross_entropy
        shared, both = shared + p * t, both + p + t
    return 10 * total / logits.size - math.log((2 * shared + 1) / (both + 1))


@pytest.mark.parametrize("kind", ["hard", "soft", "empty"])
def test_equals_the_sum_over_pixels(kind: str) -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(3, 2, 5, 5)) * 3
    soft = generator.random((3, 2, 5, 5))
    targets = {"hard": (soft > 0.7).astype(float), "soft": soft, "empty": 0 * soft}[kind]
    expected = np.mean([by_hand(logits[:, mask], targets[:, mask]) for mask in range(2)])
    assert float(mask_loss(torch.from_numpy(logits), torch.from_numpy(targets))) == pytest.approx(expected, rel=1e-12)


def test_focal_is_torchvisions_on_hard_targets() -> None:
    logits, targets = torch.randn(2, 1, 9, 9).double() * 4, (torch.rand(2, 1, 9, 9) < 0.4).double()
    theirs = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=2, reduction="mean")
    assert torch.allclose(focal(logits, targets), theirs, rtol=1e-12)


def test_a_perfect_mask_costs_nothing_and_dice_is_over_the_batch() -> None:
    targets = torch.zeros(2, 1, 4, 4)
    targets[0, 0, :2] = 1
    assert float(mask_loss((2 * targets - 1) * 40, targets)) == pytest.approx(0, abs=1e-6)
    logits = torch.full((2, 1, 4, 4), 40.0)  # everything marked: 8 of 32 pixels are right
    assert float(soft_dice(logits, targets)) == pytest.approx((2 * 8 + 1) / (32 + 8 + 1))
