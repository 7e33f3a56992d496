import pytest
import torch
from torch import Tensor

from ecamp_fast.kernels import weighted_cross_entropy as module
from ecamp_fast.kernels.weighted_cross_entropy import weighted_cross_entropy, weighted_cross_entropy_ref

NAMES = ("loss", "hidden", "vocabulary", "bias")


def case(rows: int = 7, width: int = 5, vocabulary: int = 11) -> tuple[list[Tensor], Tensor, Tensor]:
    leaves = [torch.randn(rows, width), torch.randn(vocabulary, width), torch.randn(vocabulary)]
    return leaves, torch.randint(0, vocabulary, (rows,)), torch.rand(rows) * 3


def by_hand(leaves: list[Tensor], labels: Tensor, weights: Tensor) -> float:
    hidden, vocabulary, bias = (leaf.double() for leaf in leaves)
    total = 0.0
    for row, label, weight in zip(hidden, labels.tolist(), weights.tolist(), strict=True):
        scores = vocabulary @ row + bias
        total -= weight * (scores[label] - scores.exp().sum().log()).item()
    return total


def test_value_by_hand() -> None:
    leaves, labels, weights = case()
    assert weighted_cross_entropy(*leaves, labels, weights).item() == pytest.approx(by_hand(leaves, labels, weights))


@pytest.mark.parametrize(
    ("rows", "width", "vocabulary", "chunk"),
    [(7, 5, 11, 1), (7, 5, 11, 33), (1, 100, 3, 10**9), (513, 8, 130, 10**4), (513, 8, 130, 10**9)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_worse_than_the_definition(
    rows: int, width: int, vocabulary: int, chunk: int, dtype: torch.dtype, monkeypatch, gradients, assert_no_worse
) -> None:
    monkeypatch.setattr(module, "CHUNK_LOGITS", chunk)
    leaves, labels, weights = case(rows, width, vocabulary)
    leaves = [leaf.bfloat16() for leaf in leaves]
    ours, plain, truth = (
        gradients(lambda *x, f=f: f(*x, labels, weights), leaves, kind)
        for f, kind in (
            (weighted_cross_entropy, dtype),
            (weighted_cross_entropy_ref, dtype),
            (weighted_cross_entropy_ref, torch.float64),
        )
    )
    assert ours[0].dtype == torch.float32
    for name, *values in zip(NAMES, ours, plain, truth, strict=True):
        assert_no_worse(name, *values)


def test_gradients(monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK_LOGITS", 33)
    leaves, labels, weights = case()
    doubles = [leaf.double().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(lambda *x: weighted_cross_entropy(*x, labels, weights.double()), doubles)


def test_no_rows_cost_nothing() -> None:
    leaves, labels, weights = case(rows=0)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    loss = weighted_cross_entropy(*leaves, labels, weights)
    loss.backward()
    assert loss.item() == 0 and all(leaf.grad.abs().sum() == 0 for leaf in leaves)


def test_rows_of_weight_zero_teach_nothing() -> None:
    leaves, labels, weights = case()
    weights[2] = 0
    hidden = leaves[0].requires_grad_()
    weighted_cross_entropy(hidden, *leaves[1:], labels, weights).backward()
    assert hidden.grad[2].abs().max() == 0 and hidden.grad[3].abs().max() > 0


def test_only_the_wanted_gradients_and_none_without_grad() -> None:
    leaves, labels, weights = case()
    vocabulary = leaves[1].requires_grad_()
    weighted_cross_entropy(leaves[0], vocabulary, leaves[2], labels, weights).backward()
    assert vocabulary.grad is not None and leaves[0].grad is None
    with torch.no_grad():
        assert not weighted_cross_entropy(leaves[0], vocabulary, leaves[2], labels, weights).requires_grad


def test_large_logits_stay_finite() -> None:
    leaves, labels, weights = case()
    loss = weighted_cross_entropy(leaves[0] * 1e4, *leaves[1:], labels, weights)
    assert loss.isfinite()


def test_refuses_labels_of_another_length() -> None:
    leaves, labels, weights = case()
    with pytest.raises(ValueError, match="7 rows"):
        weighted_cross_entropy(*leaves, labels[:-1], weights)
