import logging

import pytest
import torch
import triton
import triton.language as tl

from ecamp_fast.kernels import dispatch
from ecamp_fast.kernels.dispatch import check_indices, choose, recorded, scaled, tuned, tuning_table

CPU = torch.device("cpu")


@triton.jit
def _double(x_ptr, y_ptr, count, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + place, 2 * tl.load(x_ptr + place, mask=place < count), mask=place < count)


def test_auto_is_torch_on_a_cpu() -> None:
    assert choose("auto", "op", x=torch.zeros(1)) == "torch"
    assert choose("torch", "op", x=torch.zeros(1)) == "torch"


def test_triton_on_a_cpu_needs_the_interpreter(monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "INTERPRETED", True)
    assert choose("triton", "op", x=torch.zeros(1)) == "triton"
    monkeypatch.setattr(dispatch, "INTERPRETED", False)
    with pytest.raises(ValueError, match="op: backend 'triton' needs CUDA tensors, these are on cpu"):
        choose("triton", "op", x=torch.zeros(1))


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="must be 'auto', 'triton' or 'torch'"):
        choose("cuda", "op", x=torch.zeros(1))  # type: ignore[arg-type]


def test_refuses_float64_for_triton(monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "INTERPRETED", True)
    with pytest.raises(ValueError, match=r"weights is torch\.float64"):
        choose("triton", "op", weights=torch.zeros(1, dtype=torch.float64))


def test_names_the_tensor_on_another_device() -> None:
    with pytest.raises(ValueError, match="keep is on meta, image on cpu"):
        choose("auto", "op", image=torch.zeros(1), keep=torch.zeros(1, device="meta"))


def test_says_once_what_runs(caplog) -> None:
    with caplog.at_level(logging.INFO, "ecamp_fast.kernels.dispatch"):
        for _ in range(3):
            choose("auto", "said_once", x=torch.zeros(1))
    assert [record.getMessage() for record in caplog.records] == ["said_once on cpu: torch"]


def test_launches_and_skips_an_empty_grid(device) -> None:
    x = torch.arange(5.0, device=device)
    y = torch.zeros_like(x)
    dispatch.launch(_double, (0,), x, y, 5, BLOCK=8)
    assert not y.any()
    dispatch.launch(_double, (1,), x, y, 5, BLOCK=8)
    assert torch.equal(y, 2 * x)


def test_recording_notes_and_does_not_launch() -> None:
    x = torch.zeros(5)
    with recorded("sm_80") as launches:
        assert choose("triton", "op", x=x) == "triton"
        dispatch.launch(_double, (1,), x, x, 5, BLOCK=8)
    (noted,) = launches
    assert noted.arguments["count"] == 5 and noted.constants == {"BLOCK": 8}


def test_launch_constants_of_the_nearest_older_chip(monkeypatch) -> None:
    table = {"sm_80": {"op": {"WARPS": 1}}, "sm_90": {"op": {"WARPS": 2}}, "interpreter": {"op": {"WARPS": 3}}}
    monkeypatch.setattr(dispatch, "tuning_table", lambda: table)
    assert tuned("op", CPU) == {"WARPS": 3}
    for chip, warps in {"sm_75": 1, "sm_80": 1, "sm_86": 1, "sm_90": 2, "sm_100": 2}.items():
        with recorded(chip):
            assert tuned("op", CPU) == {"WARPS": warps}


def test_every_operation_has_constants_everywhere() -> None:
    operations = set(tuning_table()["interpreter"])
    assert all(set(entries) <= operations for entries in tuning_table().values())
    assert set(tuning_table()["sm_80"]) == operations


def test_constants_are_a_copy() -> None:
    operation = next(iter(tuning_table()["interpreter"]))
    tuned(operation, CPU).clear()
    assert tuned(operation, CPU)


@pytest.mark.parametrize(("value", "found"), [(-1, "-1"), (4, "4")])
def test_indices_out_of_range(value: int, found: str) -> None:
    with pytest.raises(ValueError, match=rf"op: keep holds {found}, must be in \[0, 4\)"):
        check_indices("op", "keep", torch.tensor([0, value]), 4)


def test_a_gradient_is_scaled_in_float32_and_rounded_once() -> None:
    gradient, cotangent = torch.randn(64).bfloat16(), torch.tensor(1 / 21120)
    with torch.no_grad():
        assert torch.equal(scaled(gradient, cotangent), (gradient.float() * cotangent).bfloat16())
    with pytest.raises(RuntimeError, match="create_graph is not possible"):
        scaled(gradient, cotangent)


def test_columns_of_the_vocabulary_loss_are_at_least_the_threads() -> None:
    """A column held twice would be read by one thread after another has overwritten it."""
    for entries in tuning_table().values():
        for constants in (value for key, value in entries.items() if key == "weighted_cross_entropy"):
            assert constants["COLUMNS"] >= 32 * constants["num_warps"] or entries is tuning_table()["interpreter"]


def test_indices_of_another_type() -> None:
    with pytest.raises(TypeError, match=r"keep is torch\.int32"):
        check_indices("op", "keep", torch.zeros(1, dtype=torch.int32), 4)


def test_no_indices_are_in_range() -> None:
    check_indices("op", "keep", torch.zeros(0, dtype=torch.int64), 0)
