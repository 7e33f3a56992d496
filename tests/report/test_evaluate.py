"""Own against other: a model that knows the patient wins, one that draws the average does not."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.report.evaluate import OwnVersusOther, masked_correlation, next_other, own_versus_other, pixel_mask

PATIENTS = [f"patient{i // 2}" for i in range(12)]


@dataclass
class Seen:
    """As much of a batch as is asked for."""

    samples: Tensor


@dataclass
class Made:
    low: Tensor
    mask: Tensor
    prediction: Tensor | None


class Model:
    """Reconstructs ``share`` of the own image and draws the rest."""

    def __init__(self, share: float, images: Tensor) -> None:
        self.share, self.images = share, images

    def reconstruct(self, batch: Seen) -> Made:
        low = self.images[batch.samples]
        mask = torch.zeros(len(low), 16, dtype=torch.bool)
        mask[:, ::2] = True
        noise = torch.randn(low.shape, generator=torch.Generator().manual_seed(int(batch.samples[0])))
        return Made(low, mask, self.share * low + (1 - self.share) * noise)


def evaluate(share: float) -> OwnVersusOther:
    images = torch.randn(12, 1, 16, 16, generator=torch.Generator().manual_seed(9))
    batches = [Seen(torch.arange(start, start + 4)) for start in (0, 4, 8)]
    return own_versus_other(Model(share, images), batches, PATIENTS)


def test_a_model_that_sees_the_patient_wins_every_case() -> None:
    found = evaluate(0.5)
    assert (found.cases, found.wins) == (12, 12)
    assert found.own > 0.6 > 0.2 > abs(found.other)
    low, high = found.interval
    assert 0.7 < low < 0.8 and high == 1.0  # Wilson's interval of 12 out of 12 begins at 0.757
    assert found.as_dict()["share"] == 1.0


def test_noise_wins_about_half() -> None:
    found = evaluate(0.0)
    assert 2 <= found.wins <= 10 and abs(found.own) < 0.15


def test_the_other_is_another_patient_even_at_the_end() -> None:
    assert next_other(["a", "a", "b", "a"]) == [2, 2, 3, 2]
    assert next_other(["a", "b", "a"]) == [1, 2, 1]  # the last one looks around the end, past its own first image
    with pytest.raises(DataError, match="one patient"):
        next_other(["a", "a"])


def test_without_an_image_term_it_says_so() -> None:
    class Blind:
        def reconstruct(self, batch: Seen) -> Made:
            return Made(torch.zeros(1, 1, 4, 4), torch.ones(1, 4, dtype=torch.bool), None)

    with pytest.raises(ConfigError, match="no image term"):
        own_versus_other(Blind(), [Seen(torch.arange(1))], PATIENTS)


def test_correlation_is_that_of_the_masked_pixels() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 3, 1, 8, 8, generator=generator)
    mask = torch.rand(3, 16, generator=generator) < 0.5
    found = masked_correlation(a, b, mask)
    where = pixel_mask(mask, 8)
    for row in range(3):
        pair = torch.stack([a[row, 0][where[row]], b[row, 0][where[row]]])
        assert float(found[row]) == pytest.approx(float(torch.corrcoef(pair)[0, 1]), abs=1e-5)


def test_a_constant_picture_correlates_with_nothing() -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert masked_correlation(torch.zeros(1, 1, 4, 4), torch.randn(1, 1, 4, 4), mask).tolist() == [0.0]


def test_patches_become_squares_of_pixels() -> None:
    grid = pixel_mask(torch.tensor([[True, False, False, True]]), 4)[0].int().tolist()
    assert grid == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
