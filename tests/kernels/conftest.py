import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ecamp_fast.kernels.guidance import Guidance, Window


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def assert_no_worse() -> Callable[..., None]:
    """``ours`` may be at most twice as far from the float64 truth as the plain definition in the same dtype is."""

    def check(name: str, ours: Tensor, plain: Tensor, truth: Tensor, floor: float = 1e-6) -> None:
        ours, plain, truth = (t.detach().double() for t in (ours, plain, truth))
        assert ours.isfinite().all(), f"{name}: not finite"
        scale = truth.abs().max().clamp_min(1e-30)
        error, allowed = (ours - truth).abs().max() / scale, (plain - truth).abs().max() / scale
        assert error <= 2 * allowed + floor, f"{name}: error {error:.2e}, the definition {allowed:.2e}"

    return check


@pytest.fixture
def gradients() -> Callable[..., list[Tensor]]:
    """(function, leaves) -> the output and its gradients with respect to the leaves.

    The cotangent is random for tensors, 1/2 for a loss: accumulation divides by powers of two, and a gradient that is
    made in the forward is rounded once more by any other factor. (gradcheck, in float64, takes any.)
    """

    def run(function: Callable[..., Tensor], leaves: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
        mine = [leaf.to(dtype).requires_grad_() for leaf in leaves]
        out = function(*mine)
        generator = torch.Generator().manual_seed(7)
        random = torch.randn(out.shape, generator=generator)
        cotangent = (random if out.ndim else random.fill_(0.5)).to(out.dtype)
        return [out, *torch.autograd.grad(out, mine, cotangent)]

    return run


@pytest.fixture(scope="session")
def draw_guidance() -> Callable[..., Guidance]:
    """(kind, batch, cells, pixels per side, device) -> random guidance; "even" is a grid without attention."""

    def draw(kind: str, batch: int, cells: int, size: int, device: torch.device) -> Guidance:
        if kind == "window":
            origin = torch.randint(0, cells + 1, (batch, 2)).to(device)
            return Window(origin, max(1, cells // 2), max(1, size // cells))
        if kind == "none":
            return None
        grid = torch.rand(batch, cells, cells) ** 4 if kind == "soft" else torch.zeros(batch, cells, cells)
        return grid.to(device)

    return draw


@pytest.fixture
def poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that kernels forget to write shows: what ``ecamp_fast.kernels`` allocates empty is full of NaN."""

    def poisoned(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def allocate(*args: Any, **kwargs: Any) -> Tensor:
            tensor = make(*args, **kwargs)
            ours = sys._getframe(1).f_globals.get("__name__", "").startswith("ecamp_fast.kernels")
            return tensor.fill_(float("nan")) if ours and tensor.is_floating_point() else tensor

        return allocate

    for holder, name in ((torch, "empty"), (torch, "empty_like"), (Tensor, "new_empty")):
        monkeypatch.setattr(holder, name, poisoned(getattr(holder, name)))
