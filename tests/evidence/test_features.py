"""Probes beside each other: what is better wins, what is as good does not; opponents are what they are called."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ecamp_fast.downstream.features import encode, untrained
from ecamp_fast.evidence.features import FeatureEvidence, compare_features, pixels, principal, without_learning
from ecamp_fast.evidence.samples import Samples
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.scores import Estimate

N = 180


def drawn(noise: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = hidden() @ torch.randn(3, 16, generator=generator)
    return mixed + noise * torch.randn(N, 16, generator=generator)


def hidden() -> Tensor:
    return torch.randn(N, 3, generator=torch.Generator().manual_seed(0))


LABELS = hidden() + 0.5 * torch.randn(N, 3, generator=torch.Generator().manual_seed(1)) > 0.6
PATIENTS = [f"patient{i // 2}" for i in range(N)]


def test_better_features_win_and_equal_ones_do_not() -> None:
    clear = drawn(0.3, 1)
    found = compare_features(clear, {"noise": [drawn(4.0, 2), drawn(4.0, 3)], "same": [clear]}, LABELS, PATIENTS)
    assert found.difference["noise"].low > 0.05 and found.check(["noise"]).passed
    assert found.difference["same"].value == 0 and not found.check(["same"]).passed
    assert not found.check(["noise", "same"]).passed
    assert not found.check(["noise"], least=0.999).passed and "(needed: 0.999)" in found.check(["noise"], 0.999).found
    assert found.auroc["trained"].value - found.auroc["noise"].value == pytest.approx(found.difference["noise"].value)


def test_worse_features_lose() -> None:
    found = compare_features(drawn(4.0, 2), {"clear": [drawn(0.3, 1)]}, LABELS, PATIENTS)
    assert found.difference["clear"].high < 0 and not found.check(["clear"]).passed


def test_of_several_opponents_of_a_name_the_mean_counts() -> None:
    clear, several = drawn(0.3, 1), [drawn(4.0, 2), drawn(1.0, 3)]
    both = compare_features(clear, {"x": several}, LABELS, PATIENTS).auroc["x"].value
    each = [compare_features(clear, {"x": [one]}, LABELS, PATIENTS).auroc["x"].value for one in several]
    assert both == pytest.approx(np.mean(each)) and each[0] < both < each[1]


def test_pooling_keeps_places(model: Ecamp, val: Samples) -> None:
    images = val.images[:6]
    with torch.no_grad():
        view_low = model.view(val.batches[0]).low[:6]
        tokens = model.encoder(view_low, torch.arange(64).expand(6, -1))[:, 1:]
    quarters = tokens.reshape(6, 2, 4, 2, 4, 24).mean((2, 4)).reshape(6, -1)  # rows, columns of 4 patches each
    torch.testing.assert_close(encode(model, images, 2), quarters, rtol=0, atol=1e-5)
    torch.testing.assert_close(encode(model, images), tokens.mean(1), rtol=0, atol=1e-5)


def test_pixels_are_means_of_squares() -> None:
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4) * 16
    expected = [16 * (0 + 1 + 4 + 5) / 4, 16 * (2 + 3 + 6 + 7) / 4, 16 * (8 + 9 + 12 + 13) / 4, 16 * 12.5]
    assert pixels(image, 2)[0].tolist() == pytest.approx([value / 255 for value in expected])


def test_principal_components_are_those_of_the_training_images(train: Samples, val: Samples) -> None:
    found = principal(val.images, train.images, 5).double()
    fitted, wanted = pixels(train.images, 64).double(), pixels(val.images, 64).double()
    _, _, axes = torch.linalg.svd(fitted - fitted.mean(0), full_matrices=False)
    expected = (wanted - fitted.mean(0)) @ axes[:5].T
    torch.testing.assert_close(found.abs(), expected.abs(), rtol=1e-4, atol=1e-4)


def test_the_opponents_that_learned_nothing(model: Ecamp, train: Samples, val: Samples) -> None:
    found = without_learning(model, val.images, train.images, 2)
    assert set(found) == {"random weights", "pixels 16 x 16", "principal components"}
    assert len(found["random weights"]) == 3
    torch.testing.assert_close(found["random weights"][1], encode(untrained(model.recipe, 1), val.images, 2))
    assert found["random weights"][0].shape[1] == 4 * 24 and found["principal components"][0].shape[1] <= 4 * 24
    assert found["pixels 16 x 16"][0].shape[1] == 256


def test_a_difference_that_may_be_none_does_not_pass() -> None:
    sure, unsure = Estimate(0.1, 0.05, 0.2), Estimate(0.1, -0.05, 0.2)
    found = FeatureEvidence(1, {"trained": sure, "x": sure, "y": sure}, {"x": sure, "y": unsure})
    assert found.check(["x"]).passed and not found.check(["y"]).passed
