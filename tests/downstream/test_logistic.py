"""The solver against the condition of a minimum, and against torch's L-BFGS."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ecamp_fast.downstream.logistic import fit


def problem(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(120, 4, generator=generator)
    features = hidden @ torch.randn(4, 30, generator=generator) + 0.5 * torch.randn(120, 30, generator=generator)
    labels = hidden[:, :3] + torch.randn(120, 3, generator=generator) > torch.tensor([0.0, 1.0, -1.5])
    return features * 0.01 + 7, labels  # far from standardised


def test_agrees_with_lbfgs() -> None:
    features, labels = problem()
    ridge = 0.03
    found = fit(features, labels, [1.0, ridge]).logits(features)[1]
    inputs = features.double()
    inputs = (inputs - inputs.mean(0)) / inputs.std(0, correction=0)
    weights = torch.zeros(30, 3, dtype=torch.float64, requires_grad=True)
    intercepts = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weights, intercepts], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        logits = inputs @ weights + intercepts
        loss = binary_cross_entropy_with_logits(logits, labels.double()) * 3 + ridge / 2 * weights.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    truth = (inputs @ weights + intercepts).detach()
    assert (found - truth).abs().max() < 0.02 * truth.abs().max()


def test_stronger_ridge_means_smaller_weights() -> None:
    features, labels = problem()
    sizes = fit(features, labels, [1.0, 0.1, 0.01]).weights.flatten(1).norm(dim=1)
    assert sizes[0] < sizes[1] < sizes[2]


def test_scale_and_offset_of_a_feature_do_not_matter() -> None:
    features, labels = problem()
    changed = features * torch.linspace(0.1, 10, 30) - 3
    plain, other = fit(features, labels, [0.1]).logits(features), fit(changed, labels, [0.1]).logits(changed)
    assert torch.allclose(plain, other, atol=5e-3)


def test_constant_features_and_findings_with_one_class_are_survived() -> None:
    features, labels = problem()
    features = torch.cat([features, torch.full((120, 2), 3.0)], 1)
    labels = torch.cat([labels, torch.zeros(120, 1, dtype=torch.bool)], 1)
    fitted = fit(features, labels, [0.1])
    assert fitted.logits(features).isfinite().all()
    assert (fitted.weights[:, -2:] == 0).all()
    assert fitted.logits(features)[0, :, 3].max() < -3


def test_more_features_than_samples_are_solved_among_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same minimum as in the features' own eigenbasis, without a matrix of features by features."""
    features, labels = problem()
    features = torch.cat([features, features.square(), features**3], 1)[:60]
    narrow = features.repeat(2, 1), labels[:60].repeat(2, 1)  # samples twice: the same mean loss
    wanted = fit(*narrow, [0.3, 0.01])
    sides: list[int] = []
    solve = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: sides.append(len(matrix)) or solve(matrix))
    found = fit(features, labels[:60], [0.3, 0.01])
    assert sides == [60]
    # the start of an intercept knows the number of samples, its end does not
    assert (found.logits(features) - wanted.logits(features)).abs().max() < 0.02 * wanted.logits(features).abs().max()


def test_features_that_are_all_constant_are_survived() -> None:
    features, labels = torch.ones(6, 9), torch.arange(6)[:, None] > 2
    assert fit(features, labels, [0.1]).logits(features).isfinite().all()
