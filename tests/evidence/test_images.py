"""What must not pass as reconstruction: a blur, an interpolation, the mean image; what must: something better."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ecamp_fast.config import Recipe
from ecamp_fast.evidence.images import (
    WITH_MEAN,
    ImageEvidence,
    blur,
    compare_images,
    interpolate,
    masked_error,
    mean_image,
    pixel_mask,
)
from ecamp_fast.evidence.samples import Samples
from ecamp_fast.model.ecamp import Ecamp, Reconstruction
from ecamp_fast.scores import Estimate


@pytest.fixture
def judged(model: Ecamp, recipe: Recipe, val: Samples, train: Samples) -> Callable:
    """The evidence of a model whose prediction is ``draw(reconstruction, hidden pixels)``."""

    def run(draw: Callable[[Reconstruction, Tensor], Tensor]):
        def reconstruct(batch):
            found = model.reconstruct(batch)
            hidden = pixel_mask(found.mask, found.low.shape[-1])[:, None]
            return replace(found, prediction=draw(found, hidden))

        return compare_images(reconstruct, val, mean_image(train, recipe))

    return run


def test_a_blur_of_the_visible_patches_fails(judged: Callable) -> None:
    for width in (0.25, 0.5, 1.0):
        found = judged(lambda one, hidden, width=width: blur(one.low, hidden, width, one.mask))
        assert not found.check().passed and found.better_than_one.value <= 0


def test_an_interpolation_fails(judged: Callable) -> None:
    found = judged(lambda one, hidden: interpolate(one.low, hidden, one.mask))
    assert not found.check().passed and found.better_than_one.value <= 0


@pytest.mark.parametrize(
    ("name", "smeared"),
    [("interpolation", interpolate), ("blur", lambda rest, hidden, mask: blur(rest, hidden, 0.25, mask))],
)
def test_a_mean_image_with_what_the_visible_patches_add_fails(
    judged: Callable, train: Samples, recipe: Recipe, name: str, smeared: Callable
) -> None:
    """It passes beside blurs and interpolations of the pictures themselves: phantoms are much alike."""
    mean = mean_image(train, recipe)
    found = judged(lambda one, hidden: mean + smeared(one.low - mean, hidden, one.mask))
    assert not found.check_with_mean().passed and found.better.value <= 0
    assert found.better_than_one.positive
    (same,) = [one for other, one in found.opponents.items() if other.startswith(WITH_MEAN + name)]
    assert found.model.value == pytest.approx(same.value)


def test_half_of_two_opponents_fails(judged: Callable, train: Samples, recipe: Recipe) -> None:
    mean = mean_image(train, recipe)
    found = judged(lambda one, hidden: 0.5 * mean + 0.5 * interpolate(one.low, hidden, one.mask))
    assert not found.check_with_mean().passed


def test_a_mean_image_fails(judged: Callable, train: Samples, recipe: Recipe) -> None:
    mean = mean_image(train, recipe)
    found = judged(lambda one, hidden: mean.expand_as(one.low))
    assert not found.check().passed and found.model.value == pytest.approx(found.opponents["mean image"].value)


def test_an_untrained_model_fails(judged: Callable) -> None:
    assert not judged(lambda one, hidden: one.prediction).check().passed


def test_what_knows_a_little_more_passes(judged: Callable) -> None:
    found = judged(lambda one, hidden: 0.3 * one.low + 0.7 * interpolate(one.low, hidden, one.mask))
    assert found.check().passed and found.better_than_one.low > 0
    assert found.model.value == pytest.approx(0.49 * found.opponents["interpolation"].value, rel=1e-5)
    told = found.check().found
    assert f"error {found.model.value:.3f}" in told and "interpolation" in told and "mean image" in told


def test_the_best_opponent_is_the_one_to_beat(judged: Callable) -> None:
    found = judged(lambda one, hidden: one.low)
    assert found.model.value == 0 and found.check().passed and found.check_with_mean().passed
    alone = [one.value for name, one in found.opponents.items() if not name.startswith(WITH_MEAN)]
    assert found.better_than_one.value == pytest.approx(min(alone))
    assert found.better.value == pytest.approx(min(one.value for one in found.opponents.values()))
    assert found.better.value < min(alone)
    assert len(found.opponents) == 5  # of each kind of blur the best of its widths
    assert found.as_dict()["better"]["value"] == found.better.value
    assert WITH_MEAN in found.check_with_mean().found and WITH_MEAN not in found.check().found


def test_the_error_counts_hidden_pixels_alone() -> None:
    truth = torch.arange(32.0).reshape(2, 1, 4, 4)
    mask = torch.tensor([[True, False, False, False], [False, True, True, True]])
    hidden = pixel_mask(mask, 4)[:, None]
    assert hidden[0, 0].tolist() == [[True, True, False, False]] * 2 + [[False] * 4] * 2
    prediction = torch.where(hidden, truth + torch.tensor([1.0, 3.0])[:, None, None, None], 99.0)
    assert masked_error(prediction, truth, hidden).tolist() == [1.0, 9.0]


def test_the_mean_image_is_that_of_the_training_split(train: Samples, recipe: Recipe, model: Ecamp) -> None:
    lows = torch.cat([model.view(batch).low for batch in train.batches])
    torch.testing.assert_close(mean_image(train, recipe), lows.mean(0, keepdim=True))


def scene(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, and half of their patches hidden."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randn(3, 1, 16, 16, generator=generator)
    mask = torch.rand(3, 16, generator=generator) < 0.5
    return low, pixel_mask(mask, 16)[:, None], mask


def test_a_blur_is_the_gaussian_mean_of_what_is_seen() -> None:
    low, hidden, mask = scene()
    found = blur(low, hidden, 0.5, mask).numpy()
    rows, columns = np.mgrid[:16, :16]
    for image, row, column in ((0, 3, 5), (1, 0, 0), (2, 15, 8)):
        squared = (rows - row) ** 2 + (columns - column) ** 2
        inside = (abs(rows - row) <= 8) & (abs(columns - column) <= 8)  # four deviations of two pixels
        weight = np.exp(-squared / (2 * 2.0**2)) * inside * ~hidden[image, 0].numpy()
        expected = (weight * low[image, 0].numpy()).sum() / weight.sum()
        assert found[image, 0, row, column] == pytest.approx(expected, abs=1e-5)


def test_a_blur_far_from_anything_seen_is_the_mean_of_it() -> None:
    low = torch.zeros(1, 1, 64, 64)
    low[..., :8] = 5.0
    mask = torch.ones(1, 64, dtype=torch.bool)
    mask[:, ::8] = False
    assert blur(low, pixel_mask(mask, 64)[:, None], 0.25, mask)[0, 0, 30, 60] == 5.0


def test_an_interpolation_keeps_what_is_seen_and_is_linear_between() -> None:
    low = torch.arange(16.0).expand(16, 16)[None, None].clone()
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, [5, 6, 9, 10]] = True  # a hole in the middle
    hidden = pixel_mask(mask, 16)[:, None]
    found = interpolate(torch.where(hidden, 99.0, low), hidden, mask)
    assert (found - low).abs().max() < 1e-2
    seen = scene()
    drawn = interpolate(seen[0], seen[1], seen[2])
    assert torch.equal(drawn[~seen[1]], seen[0][~seen[1]])


def test_neither_looks_at_what_is_hidden() -> None:
    low, hidden, mask = scene()
    other = torch.where(hidden, low + 7, low)
    assert torch.equal(interpolate(low, hidden, mask), interpolate(other, hidden, mask))
    assert torch.equal(blur(low, hidden, 0.5, mask), blur(other, hidden, 0.5, mask))


def test_a_difference_that_may_be_none_does_not_pass() -> None:
    one, none = Estimate(0.1, 0.05, 0.2), Estimate(0.1, -0.01, 0.2)
    found = ImageEvidence(one, {"blur": one}, one, one)
    assert found.check().passed and found.check_with_mean().passed
    assert not replace(found, better_than_one=none).check().passed
    assert not replace(found, better=none).check_with_mean().passed
