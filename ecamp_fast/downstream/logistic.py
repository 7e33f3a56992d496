"""Multi-label logistic regression with a ridge penalty, all findings and all ridge strengths in one solve.

Accelerated gradient descent (Nesterov; restarts after O'Donoghue and Candès 2015) in the eigenbasis of the features:
there Böhning's bound on the Hessian (1992), a quarter of the features' covariance plus the penalty, is diagonal, and
scaling by it makes the problem so round that some dozens of small matrix products solve it. Nothing is drawn at random.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 300  # at most; some 50 are usual
FLAT = 1e-12  # of the largest eigenvalue: below it there is rounding alone
TOLERANCE = 1e-3  # largest change of a logit in a step: far below what changes a rank


@dataclass(frozen=True)
class Logistic:
    """Standardisation of the features, and one weight vector per ridge strength and finding; all float64.

    mean        (D,)
    scale       (D,)
    weights     (S, D, F)
    intercepts  (S, 1, F)
    """

    mean: Tensor
    scale: Tensor
    weights: Tensor
    intercepts: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """features: (N, D)   returns (S, N, F) float64."""
        return ((features.double() - self.mean) / self.scale) @ self.weights + self.intercepts


def fit(features: Tensor, labels: Tensor, ridges: list[float], known: Tensor | None = None) -> Logistic:
    """Minimise mean log-loss + ridge / 2 * |w|^2 for each finding and strength; the intercept is free.

    Features are standardised with their own mean and deviation, so a strength means the same for every encoder.

    features  (N, D) floating
    labels    (N, F) bool
    ridges    S strengths > 0
    known     (N, F) bool: samples that say something about a finding; None: all do
    """
    features = features.double()
    mean, scale = features.mean(0), features.std(0, correction=0)
    scale = torch.where(scale > 1e-6 * mean.abs() + 1e-12, scale, torch.inf)  # a constant says nothing
    inputs = (features - mean) / scale
    spread, basis = _eigenbasis(inputs)
    strength = features.new_tensor(ridges).repeat_interleave(labels.shape[1])
    counts = torch.ones_like(labels, dtype=torch.float64) if known is None else known.double()
    share = (counts / counts.sum(0).clamp(min=1)).repeat(1, len(ridges))  # of each sample in the mean loss
    # The covariance of some samples is at most that of all, times all over some.
    ratio = share.amax(0) * len(inputs)
    bound = spread.clamp(min=0)[:, None] / 4 * ratio + strength
    # One column per strength and finding; float32 is enough here and twice as fast.
    problem = (inputs @ basis, labels.repeat(1, len(ridges)), share, strength, bound)
    weights, intercepts = _descend(*(tensor.float() for tensor in problem))
    shape = (-1, len(ridges), labels.shape[1])
    weights, intercepts = (basis @ weights.double()).reshape(shape), intercepts.double().reshape(shape)
    return Logistic(mean, scale, weights.transpose(0, 1), intercepts.transpose(0, 1))


def _eigenbasis(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (K,) and eigenvectors (D, K) of inputs' * inputs / N.  inputs: (N, D)

    Of more features than samples only the K < N that have any spread: weights along the others stay zero, and D of
    them take D^3 (9 x 9 means of a narrow encoder: minutes a fit).
    """
    count, width = inputs.shape
    if width <= count:
        spread, basis = torch.linalg.eigh(inputs.T @ inputs / count)
        return spread, basis
    spread, sides = torch.linalg.eigh(inputs @ inputs.T / count)
    kept = spread > FLAT * spread[-1]
    return spread[kept], inputs.T @ sides[:, kept] / (count * spread[kept]).sqrt()


def _descend(inputs: Tensor, targets: Tensor, share: Tensor, strength: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """The minimum, by accelerated gradient descent; C columns, one per strength and finding.

    inputs    (N, D), decorrelated
    targets   (N, C) of 0 and 1
    share     (N, C), of each sample in the mean loss
    strength  (C,)
    bound     (D, C)
    returns   weights (D, C), intercepts (C,)
    """
    weights = lookahead_weights = torch.zeros_like(bound)
    count = (share > 0).sum(0).clamp(min=1)
    intercepts = lookahead_intercepts = torch.logit(((targets * share).sum(0) * count + 0.5) / (count + 1))
    momentum = torch.ones_like(intercepts)
    for _ in range(STEPS):
        error = (torch.sigmoid(inputs @ lookahead_weights + lookahead_intercepts) - targets) * share
        next_weights = lookahead_weights - (inputs.T @ error + strength * lookahead_weights) / bound
        next_intercepts = lookahead_intercepts - 4 * error.sum(0)
        step_weights, step_intercepts = next_weights - weights, next_intercepts - intercepts
        uphill = ((lookahead_weights - next_weights) * bound * step_weights).sum(0)
        uphill = uphill + (lookahead_intercepts - next_intercepts) / 4 * step_intercepts
        momentum = torch.where(uphill > 0, 1.0, momentum)
        following = (1 + (1 + 4 * momentum**2).sqrt()) / 2
        push = (momentum - 1) / following
        weights, intercepts, momentum = next_weights, next_intercepts, following
        lookahead_weights, lookahead_intercepts = weights + push * step_weights, intercepts + push * step_intercepts
        if (inputs @ step_weights + step_intercepts).abs().max() < TOLERANCE:
            break
    return weights, intercepts
