"""Where the squared error counts: the definition by hand, and what a kernel computes of it."""

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.kernels.dispatch import launch
from ecamp_fast.kernels.guidance import Window, pixel_weight, pixel_weights, soft_weights, weighting


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


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.sampled_from(["soft", "even", "window", "none"]), st.integers(1, 3), st.integers(1, 30), st.integers(1, 9))
def test_weight_of_a_pixel(draw_guide, kind: str, batch: int, size: int, cells: int) -> None:
    torch.manual_seed(size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    guide = draw_guide(kind, batch, cells, size, device)
    made = weighting(guide, batch, 3, size, device)
    out = torch.full((batch, 32, 32), float("nan"), device=device)
    launch(_weights, (batch,), made.table, out, made.scale, S=size, KIND=made.kind, CELLS=made.cells, AREA=32)
    truth = pixel_weights(guide, batch, 3, size, device).expand(batch, 1, size, size)[:, 0]
    torch.testing.assert_close(out[:, 1 : size + 1, 1 : size + 1], truth, rtol=3e-6, atol=0)
    out[:, 1 : size + 1, 1 : size + 1] = 0
    assert (out == 0).all()
