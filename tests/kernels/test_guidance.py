"""Where the squared error counts: the definition by hand, and what a kernel computes of it."""

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ecamp_fast.kernels.guidance import (
    Guidance,
    Window,
    check_guidance,
    pixel_weight,
    pixel_weights,
    soft_weights,
    weighted_mse_ref,
    weighting,
)
from ecamp_fast.kernels.tuning import launch

MEAN, STD, BATCH, SIZE, CELLS = 0.4721, 0.3037, 3, 12, 4


@pytest.fixture
def case() -> tuple[Tensor, Tensor]:
    prediction = torch.randn(BATCH, 3, SIZE, SIZE, dtype=torch.float64)
    return prediction, torch.randint(0, 256, (BATCH, 1, SIZE, SIZE), dtype=torch.uint8)


@pytest.fixture
def attention() -> Tensor:
    grid = torch.rand(BATCH, CELLS, CELLS, dtype=torch.float64)
    grid[1] = 0
    return grid


def soft_by_hand(attention: Tensor, error: Tensor) -> float:
    """One sample, pixel by pixel. attention: (G, G)   error: (3, S, S)."""
    mean = attention.mean().item()
    relative = (attention / mean).clip(0.25, 4.0).tolist() if mean > 1e-6 else [[1.0] * CELLS] * CELLS
    above = below = 0.0
    for y in range(SIZE):
        for x in range(SIZE):
            rows = _taps((y + 0.5) * CELLS / SIZE - 0.5)
            columns = _taps((x + 0.5) * CELLS / SIZE - 0.5)
            weight = sum(relative[i][j] * a * b for i, a in rows for j, b in columns)
            above += weight * error[:, y, x].square().sum().item()
            below += 3 * weight
    return above / below


def _taps(at: float) -> list[tuple[int, float]]:
    low = int(at // 1)
    return [(min(max(low + k, 0), CELLS - 1), (1 - at + low, at - low)[k]) for k in (0, 1)]


def test_soft_weights_by_hand(case, attention) -> None:
    prediction, image = case
    attention[2, 0, 0] = 50.0  # beyond the clip
    error = prediction - (image.double() / 255 - MEAN) / STD
    by_hand = sum(soft_by_hand(a, e) for a, e in zip(attention, error, strict=True)) / BATCH
    assert weighted_mse_ref(prediction, image, attention, MEAN, STD).item() == pytest.approx(by_hand, rel=1e-6)


def test_soft_loss_does_not_depend_on_the_scale_of_the_map(case, attention) -> None:
    prediction, image = case
    once, thrice = (weighted_mse_ref(prediction, image, attention * k, MEAN, STD) for k in (1, 3))
    torch.testing.assert_close(once, thrice)


def test_window_loss_is_the_released_formula(case) -> None:
    """Both images times the window, mean over all values: the window's share of the error inside it."""
    prediction, image = case
    mask = torch.zeros(BATCH, 1, SIZE, SIZE, dtype=torch.float64)
    origins = [(0, 1), (1, 0), (1, 1)]
    for b, (row, column) in enumerate(origins):
        mask[b, :, row * 3 : row * 3 + 9, column * 3 : column * 3 + 9] = 1
    target = (image.double() / 255 - MEAN) / STD
    released = (prediction * mask - target * mask).square().mean()
    ours = weighted_mse_ref(prediction, image, Window(torch.tensor(origins), 3, 3), MEAN, STD)
    torch.testing.assert_close(ours, released, rtol=1e-6, atol=0)
    inside = ((prediction - target).square() * mask).sum() / (3 * mask.sum())
    torch.testing.assert_close(ours, 81 / 144 * inside, rtol=1e-6, atol=0)


def test_no_guidance_is_the_plain_mean(case) -> None:
    prediction, image = case
    plain = torch.nn.functional.mse_loss(prediction, ((image.double() / 255 - MEAN) / STD).expand(-1, 3, -1, -1))
    for guidance in (None, torch.zeros(BATCH, CELLS, CELLS)):
        loss = weighted_mse_ref(prediction, image, guidance, MEAN, STD)
        torch.testing.assert_close(loss, plain, rtol=1e-6, atol=0)


def test_sums_of_halves_are_in_float32(case) -> None:
    prediction, image = case[0].bfloat16(), case[1]
    loss = weighted_mse_ref(prediction, image, None, MEAN, STD)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, weighted_mse_ref(prediction.float(), image, None, MEAN, STD), rtol=0, atol=0)


WRONG: dict[str, Guidance] = {
    "guidance is .2, 4, 4., must be .3, G, G.": torch.rand(2, 4, 4),
    "guidance is .3, 4, 5.": torch.rand(3, 4, 5),
    "guidance is torch.int64, must be floating": torch.ones(3, 4, 4, dtype=torch.int64),
    "guidance.origin is .3, 1., must be .3, 2.": Window(torch.zeros(3, 1).long(), 3, 3),
    "guidance.origin is torch.float32, must be integer": Window(torch.zeros(3, 2), 3, 3),
}


@pytest.mark.parametrize("message", WRONG)
def test_refuses_what_does_not_fit_the_batch(message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"op: {message}"):
        check_guidance("op", WRONG[message], 3)


def test_relative_attention_is_clipped_and_an_empty_grid_is_even() -> None:
    attention = torch.zeros(2, 28, 28)
    attention[0, 3, 4] = 1.0
    weights = soft_weights(attention)
    assert weights[0].min() == 0.25 and weights[0].max() == 4.0
    assert (weights[1] == 1).all()


def test_window_of_the_released_sizes_scores_144_of_196() -> None:
    weights = pixel_weights(Window(torch.tensor([[0, 2]]), 12, 32), 1, 3, 448, torch.device("cpu"))
    assert (weights.sum() * 3).item() == pytest.approx(144 / 196)
    assert weights[0, 0, :384, 64:].min() > 0


@triton.jit
def _weights(table_ptr, out_ptr, scale, S: tl.constexpr, KIND: tl.constexpr, CELLS: tl.constexpr, AREA: tl.constexpr):
    """W of one sample, one pixel around the image included."""
    y, x = tl.arange(0, AREA)[:, None], tl.arange(0, AREA)[None, :]
    weight = pixel_weight(table_ptr, tl.program_id(0), y - 1, x - 1, scale, S, KIND, CELLS)
    tl.store(out_ptr + tl.program_id(0) * AREA * AREA + y * AREA + x, weight)


def kernels_weights(guidance: Guidance, batch: int, size: int, device: torch.device) -> Tensor:
    """(B, 32, 32) as a kernel computes them: the image begins at pixel (1, 1)."""
    weights = weighting(guidance, batch, 3, size, device)
    out = torch.full((batch, 32, 32), float("nan"), device=device)
    launch(
        _weights, (batch,), weights.table, out, weights.scale,
        S=size, KIND=weights.kind, CELLS=weights.cells, AREA=32,
    )  # fmt: skip
    return out


def test_weights_of_two_cells_by_hand(device: str) -> None:
    """The centres of the upper and the lower cells, 1/2 and 3/2, lie on the second and the fifth of six rows."""
    grid = torch.tensor([[[0.5, 0.5], [1.5, 1.5]]], device=device)
    found = kernels_weights(grid, 1, 6, torch.device(device))[0, 1:7, 1:7]
    rows = torch.tensor([3, 3, 5, 7, 9, 9], device=device) / 6
    torch.testing.assert_close(found, (rows / (3 * 36))[:, None].expand(6, 6))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.sampled_from(["soft", "even", "window", "none"]), st.integers(1, 3), st.integers(1, 30), st.integers(1, 9))
def test_weight_of_a_pixel(draw_guidance, kind: str, batch: int, size: int, cells: int) -> None:
    torch.manual_seed(size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    guidance = draw_guidance(kind, batch, cells, size, device)
    out = kernels_weights(guidance, batch, size, device)
    truth = pixel_weights(guidance, batch, 3, size, device).expand(batch, 1, size, size)[:, 0]
    torch.testing.assert_close(out[:, 1 : size + 1, 1 : size + 1], truth, rtol=3e-6, atol=0)
    out[:, 1 : size + 1, 1 : size + 1] = 0
    assert (out == 0).all()
