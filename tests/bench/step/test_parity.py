"""The gate before every time of a step sees a wrong kernel, which comparing our kernels with themselves cannot."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.bench.step.parity import parity, plain_step
from ecamp_fast.bench.step.timed_step import Step
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.kernels import dispatch, low_resolution, masked_mse, sr_loss

VOCABULARY = 40
LOST = ("text.embeddings", "encoder.patch", "super_resolution.conv1", "decoder.embed", "decoder.norm")
SIZES = [
    *("image.high_size=32", "image.low_size=16", "text.max_tokens=12", "precision=fp32", "batch={total: 2, micro: 2}"),
    *("model.vision={width: 16, depth: 1, heads: 2, patch: 4}", "model.decoder={width: 8, depth: 1, heads: 2}"),
    "model.text={width: 12, depth: 1, heads: 3, ffn: 20, dropout: 0.1}",
]


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("paper", SIZES)


@pytest.fixture
def kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: what does not ask for plain PyTorch gets the Triton kernels, here in their interpreter."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, whose kernels run without being asked")
    monkeypatch.setattr(dispatch, "has_kernels", lambda device: True)


def verdict(recipe: Recipe) -> dict[str, Any]:
    step = Step(recipe, VOCABULARY, "fp32", torch.device("cpu"))
    return parity(step, synthetic_batch(recipe, VOCABULARY, [5, 11]), "fp32")


@pytest.mark.slow
def test_kernels_that_are_right_pass(kernels_run: None, recipe: Recipe) -> None:
    found = verdict(recipe)
    assert found["passed"], found


@pytest.mark.slow
@pytest.mark.parametrize("module", [low_resolution, masked_mse, sr_loss])
def test_a_wrong_kernel_is_seen(
    kernels_run: None, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    """Every launch of one operation leaves its numbers a thousandth too large."""
    monkeypatch.setattr(module, "launch", _disturbed(module.launch))
    assert not verdict(recipe)["passed"]


def _disturbed(original: Callable[..., None]) -> Callable[..., None]:
    def broken(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        original(kernel, grid, *arguments, **constants)
        for tensor in arguments:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                tensor.mul_(1.001)

    return broken


def test_the_plain_side_launches_nothing(kernels_run: None, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Step(recipe, VOCABULARY, "fp32", torch.device("cpu")).model
    launched: list[str] = []
    for module in (low_resolution, masked_mse, sr_loss):
        monkeypatch.setattr(module, "launch", lambda kernel, *rest, **others: launched.append(str(kernel)))
    batch = synthetic_batch(recipe, VOCABULARY, [5, 11])
    found = plain_step(model, batch)
    assert not launched and found.norm > 0 and found.losses.total.isfinite()
    model(batch)
    assert launched


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_that_is_right_passes(recipe: Recipe, precision: str) -> None:
    step = Step(recipe, VOCABULARY, precision, torch.device("cpu"))
    assert parity(step, synthetic_batch(recipe, VOCABULARY, [5, 11]), precision)["passed"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("lost", LOST)
def test_a_gradient_that_is_lost_is_seen(recipe: Recipe, lost: str, precision: str) -> None:
    """Of the norm of all gradients these are a thousandth or less: it does not show them."""
    step = Step(recipe, VOCABULARY, precision, torch.device("cpu"))
    batch = synthetic_batch(recipe, VOCABULARY, [5, 11])
    for name, weight in step.model.named_parameters():
        if name.startswith(lost):
            weight.register_hook(torch.zeros_like)
    found = parity(step, batch, precision)
    assert not found["passed"] and found["gradients"][lost] == pytest.approx(1)


def test_plain_torch_ends_with_its_block() -> None:
    images = {"image": torch.zeros(1, dtype=torch.uint8, device="meta")}

    def runs() -> str:
        return dispatch.choose("auto", "low_resolution", **images)

    monkey = pytest.MonkeyPatch()
    monkey.setattr(dispatch, "has_kernels", lambda device: True)
    with monkey.context():
        assert runs() == "triton"
        with dispatch.plain_torch():
            assert runs() == "torch"
            with dispatch.plain_torch():
                pass
            assert runs() == "torch"
        assert runs() == "triton"
    monkey.undo()
