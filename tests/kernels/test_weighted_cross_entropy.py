from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ecamp_fast.kernels import weighted_cross_entropy as module
from ecamp_fast.kernels.weighted_cross_entropy import weighted_cross_entropy, weighted_cross_entropy_ref

NAMES = ("loss", "hidden", "vocabulary", "bias")


def case(rows: int = 7, width: int = 5, vocabulary: int = 11) -> tuple[list[Tensor], Tensor, Tensor]:
    leaves = [torch.randn(rows, width), torch.randn(vocabulary, width), torch.randn(vocabulary)]
    return leaves, torch.randint(0, vocabulary, (rows,)), torch.rand(rows) * 3


@pytest.fixture
def in_chunks(monkeypatch) -> Callable[[int], None]:
    """(logits) -> the PyTorch path makes chunks of that many, and works on half of a chunk at once."""

    def take(logits: int) -> None:
        monkeypatch.setattr(module, "CHUNK_LOGITS", logits)
        monkeypatch.setattr(module, "SLICE_LOGITS", logits // 2)

    return take


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
    ("rows", "width", "vocabulary", "budget"),
    [(7, 5, 11, 1), (7, 5, 11, 33), (1, 100, 3, 10**9), (513, 8, 130, 10**4), (513, 8, 130, 10**9)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_worse_than_the_definition(
    rows: int, width: int, vocabulary: int, budget: int, dtype: torch.dtype, in_chunks, gradients, assert_no_worse
) -> None:
    in_chunks(budget)
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


def test_gradients(in_chunks) -> None:
    in_chunks(33)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_gradients_wait_for_the_backward(dtype: torch.dtype) -> None:
    leaves, labels, weights = case(rows=60, width=8, vocabulary=300)
    leaves = [leaf.to(dtype).requires_grad_() for leaf in leaves]
    held: list[Tensor] = []
    with saved_tensors_hooks(lambda tensor: (held.append(tensor), tensor)[1], lambda tensor: tensor):
        loss = weighted_cross_entropy(*leaves, labels, weights, backend="torch")
    assert loss.requires_grad and [(t.shape, t.dtype) for t in held] == [(t.shape, dtype) for t in leaves]
    with torch.no_grad():
        assert torch.equal(weighted_cross_entropy(*leaves, labels, weights, backend="torch"), loss)


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_a_second_derivative_is_refused(backend: str, device: str) -> None:
    leaves, labels, weights = on(device, *case())
    hidden = leaves[0].requires_grad_()
    loss = weighted_cross_entropy(hidden, *leaves[1:], labels, weights, backend=backend)
    with pytest.raises(RuntimeError, match="create_graph is not possible"):
        torch.autograd.grad(loss, hidden, create_graph=True)


def test_refuses_labels_of_another_length() -> None:
    leaves, labels, weights = case()
    with pytest.raises(ValueError, match="7 rows"):
        weighted_cross_entropy(*leaves, labels[:-1], weights)


def run(function, leaves: list[Tensor], labels: Tensor, weights: Tensor, **options) -> list[Tensor]:
    """[loss, its gradients for a cotangent of 1/2]."""
    mine = [leaf.detach().requires_grad_() for leaf in leaves]
    loss = function(*mine, labels, weights, **options)
    return [loss.detach(), *torch.autograd.grad(loss * 0.5, mine)]


def in_triton(leaves: list[Tensor], labels: Tensor, weights: Tensor) -> list[Tensor]:
    return run(weighted_cross_entropy, leaves, labels, weights, backend="triton")


def assert_equal(ours: list[Tensor], truth: list[Tensor]) -> None:
    for name, mine, true in zip(NAMES, ours, truth, strict=True):
        assert mine.shape == true.shape, name
        error = mine.double() - true
        assert error.norm() <= 1e-5 * true.norm(), name
        if true.numel():
            assert error.abs().max() <= 1e-5 * true.abs().max(), name


def on(device: str, leaves: list[Tensor], labels: Tensor, weights: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    return [leaf.to(device) for leaf in leaves], labels.to(device), weights.to(device)


@settings(max_examples=14, deadline=None, derandomize=True)
@given(
    st.integers(0, 40), st.integers(1, 9), st.integers(1, 150), st.sampled_from([400, 4000, 10**6]), st.booleans(),
    st.sampled_from([0.0, 0.5, 1.0]),
)  # fmt: skip
def test_kernel(rows: int, width: int, vocabulary: int, chunk: int, strided: bool, zeros: float) -> None:
    torch.manual_seed(rows)
    leaves, labels, weights = on("cuda" if torch.cuda.is_available() else "cpu", *case(rows, width, vocabulary))
    weights = weights * (torch.rand_like(weights) >= zeros)
    if strided:
        leaves = [torch.stack([leaf, leaf], dim=-1)[..., 0] for leaf in leaves]
        labels, weights = torch.stack([labels, labels], 1)[:, 0], torch.stack([weights, weights], 1)[:, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_chunking", lambda device: (chunk, False))
        ours = in_triton(leaves, labels, weights)
    doubles = [leaf.double() for leaf in leaves]
    assert_equal(ours, run(weighted_cross_entropy_ref, doubles, labels, weights.double()))


def test_kernel_in_chunks_of_two_rows(device: str, monkeypatch) -> None:
    """Wider than what is worked on at once, so that the largest logit of a row changes on the way."""
    monkeypatch.setattr(module, "_chunking", lambda device: (2 * 150 * 4, False))
    leaves, labels, weights = on(device, *case(5, 4, 150))
    doubles = [leaf.double() for leaf in leaves]
    truth = run(weighted_cross_entropy_ref, doubles, labels, weights.double())
    assert_equal(in_triton(leaves, labels, weights), truth)


def test_kernel_with_large_logits(device: str) -> None:
    leaves, labels, weights = on(device, *case(5, 4, 200))
    leaves[0] *= 1e3
    doubles = [leaf.double() for leaf in leaves]
    loss = weighted_cross_entropy(*leaves, labels, weights, backend="triton")
    true = weighted_cross_entropy_ref(*doubles, labels, weights.double())
    torch.testing.assert_close(loss.double(), true, rtol=1e-5, atol=0)


def test_kernel_repeats_and_leaves_nothing_unwritten(device: str, monkeypatch, poisoned_empty) -> None:
    monkeypatch.setattr(module, "_chunking", lambda device: (128 * 70 * 4, False))
    arguments = on(device, *case(130, 8, 70))
    first, again = (in_triton(*arguments) for _ in range(2))
    assert all(a.isfinite().all() and torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), ()])
def test_kernel_makes_only_the_wanted_gradients(wanted: tuple[int, ...], device: str) -> None:
    leaves, labels, weights = on(device, *case())
    everything = in_triton(leaves, labels, weights)
    for index in wanted:
        leaves[index].requires_grad_()
    loss = weighted_cross_entropy(*leaves, labels, weights, backend="triton")
    assert loss.requires_grad == bool(wanted) and torch.equal(loss.detach(), everything[0])
    if wanted:
        (loss * 0.5).backward()
    for index, leaf in enumerate(leaves):
        assert (leaf.grad is not None) == (index in wanted)
        assert leaf.grad is None or torch.equal(leaf.grad, everything[1 + index])


def test_an_invalid_label_reads_nothing_and_gives_nan(device: str, monkeypatch) -> None:
    monkeypatch.setattr(module, "check_indices", lambda *arguments: None)
    leaves, labels, weights = on(device, *case())
    for invalid in (-1, 11, 2**40):
        labels[2] = invalid
        loss, d_hidden, *_ = in_triton(leaves, labels, weights)
        assert loss.isnan() and d_hidden[2].isnan().all() and d_hidden[[0, 1, 3, 4, 5, 6]].isfinite().all()


BUDGET = 2**28


def test_chunks_are_alike_and_within_their_budget() -> None:
    row = 30_000 * 2
    for count in (1, 127, 128, 4352, 4353, 21_120, 10**6):
        rows = module._chunk(count, row, BUDGET)
        assert 1 <= rows <= max(1, BUDGET // row) and rows % module.ROWS == 0
    assert module._chunk(21_120, row, BUDGET) == 4224 and module._chunk(4353, row, BUDGET) == 2304
    assert module._chunk(21_120, row, 8 * BUDGET) == 21_120
    assert module._chunk(5, 2 * BUDGET, BUDGET) == 1


def test_memory_is_what_the_docstring_says() -> None:
    rows, width, size = 21_000, 768, 30_000
    budget, _ = module._chunking(torch.device("cpu"))
    ours = module._chunk(rows, 2 * size, budget) * size * 2 + 2 * size * width * 4 + rows * width * 2
    assert budget == BUDGET and ours <= 463 * 2**20 and ours * 10 < 3 * 4 * rows * size


def test_kernel_under_compile(device: str) -> None:
    leaves, labels, weights = on(device, *case())

    def loss(*leaves: Tensor) -> Tensor:
        return weighted_cross_entropy(*leaves, labels, weights, backend="triton")

    mine = [leaf.clone().requires_grad_() for leaf in leaves]
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(*mine)
    ours = [compiled.detach(), *torch.autograd.grad(compiled * 0.5, mine)]
    for a, b in zip(ours, in_triton(leaves, labels, weights), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


@pytest.mark.parametrize("wanted", [(True, True, True), (False, True, False)])
def test_operator_registration(wanted: tuple[bool, ...], device: str) -> None:
    leaves, labels, weights = on(device, *case())
    leaves = [leaf.requires_grad_(needed) for leaf, needed in zip(leaves, wanted, strict=True)]
    torch.library.opcheck(module._op, (*leaves, labels, weights, *wanted))


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_refusals(backend: str) -> None:
    (hidden, vocabulary, bias), labels, weights = case()
    wrong = {
        "hidden is .7, 5, 1., must be .R, D.": (hidden[..., None], vocabulary, bias, labels, weights),
        "vocabulary is .11, 4., must be .V > 0, 5.": (hidden, vocabulary[:, :4], bias, labels, weights),
        "vocabulary is .0, 5.": (hidden, vocabulary[:0], bias[:0], labels, weights),
        "bias is .10,., must be .11,.": (hidden, vocabulary, bias[:-1], labels, weights),
        "labels is .6,., must be .7,.": (hidden, vocabulary, bias, labels[:-1], weights),
        "weights is .7, 1., must be .7,.": (hidden, vocabulary, bias, labels, weights[:, None]),
        "vocabulary is torch.bfloat16, must be torch.float32": (hidden, vocabulary.bfloat16(), bias, labels, weights),
        "bias is torch.bfloat16": (hidden, vocabulary, bias.bfloat16(), labels, weights),
        "weights is torch.int64, must be floating": (hidden, vocabulary, bias, labels, labels),
        "labels is torch.int32, must be torch.int64": (hidden, vocabulary, bias, labels.int(), weights),
        "labels holds 11, must be in .0, 11.": (hidden, vocabulary, bias, torch.full_like(labels, 11), weights),
        "bias is on meta": (hidden, vocabulary, bias.to("meta"), labels, weights),
    }
    for message, arguments in wrong.items():
        with pytest.raises((ValueError, TypeError), match=f"weighted_cross_entropy: {message}"):
            weighted_cross_entropy(*arguments, backend=backend)


@pytest.mark.gpu
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(("rows", "width", "vocabulary"), [(513, 96, 1000), (300, 768, 30_000)])
def test_kernel_in_bfloat16_on_a_gpu(
    rows: int, width: int, vocabulary: int, accumulate: bool, monkeypatch, assert_no_worse
) -> None:
    monkeypatch.setattr(module, "_chunking", lambda device: (128 * vocabulary * 2, accumulate))
    leaves, labels, weights = on("cuda", *case(rows, width, vocabulary))
    leaves = [leaf.bfloat16() * scale for leaf, scale in zip(leaves, (1, width**-0.5, 1), strict=True)]
    ours = in_triton(leaves, labels, weights)
    plain = run(weighted_cross_entropy_ref, leaves, labels, weights)
    truth = run(weighted_cross_entropy_ref, [leaf.double() for leaf in leaves], labels, weights.double())
    for name, *values in zip(NAMES, ours, plain, truth, strict=True):
        assert_no_worse(name, *values)


def test_compiled_pytorch_path_has_its_gradients() -> None:
    shapes = [(7, 5), (11, 5), (11,)]
    leaves = [torch.randn(shape, requires_grad=True) for shape in shapes]
    labels, weights = torch.randint(0, 11, (7,)), torch.rand(7)
    compiled = torch.compile(weighted_cross_entropy, fullgraph=True, backend="aot_eager")
    found, expected = (
        torch.autograd.grad(function(*leaves, labels, weights, backend="torch"), leaves)
        for function in (compiled, weighted_cross_entropy)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_autocast_does_not_reach_inside(backend: str, device: str) -> None:
    leaves = [torch.randn(shape, device=device, requires_grad=True) for shape in [(7, 5), (11, 5), (11,)]]
    labels, weights = torch.randint(0, 11, (7,), device=device), torch.rand(7, device=device)

    def run() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(weighted_cross_entropy(*leaves, labels, weights, backend=backend), leaves)

    plain = run()
    with torch.autocast(device, dtype=torch.bfloat16):
        inside = run()
    assert all(torch.equal(one, other) for one, other in zip(plain, inside, strict=True))
