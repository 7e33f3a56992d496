import pytest
import torch

from ecamp_fast.weights.finite import first_not_finite


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_first_that_is_not_finite_is_named(dtype: torch.dtype, value: float) -> None:
    tensors = {name: torch.ones(5, 7, dtype=dtype) for name in "abc"}
    tensors["b"][4, 6] = tensors["c"][0, 0] = value
    assert first_not_finite(tensors) == "b"
    assert first_not_finite({"a": tensors["a"]}) == ""


def test_the_largest_numbers_are_numbers() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        assert first_not_finite({"a": torch.full((100,), torch.finfo(dtype).max, dtype=dtype)}) == ""


def test_what_cannot_be_is_passed_over() -> None:
    assert first_not_finite({"empty": torch.empty(0), "steps": torch.tensor(3), "scalar": torch.tensor(1.0)}) == ""
    assert first_not_finite({}) == ""


def test_a_view_is_read_as_it_is() -> None:
    whole = torch.ones(8, 8)
    whole[:, 3] = float("nan")
    assert first_not_finite({"left": whole[:, :3], "turned": whole.T}) == "turned"


def test_it_needs_no_gradient() -> None:
    assert first_not_finite({"a": torch.ones(3, requires_grad=True)}) == ""
