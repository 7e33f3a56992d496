import logging

import pytest
import torch

from ecamp_fast.kernels import dispatch
from ecamp_fast.kernels.dispatch import accum_dtype, check_indices, choose
from ecamp_fast.kernels.tuning import recorded


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


@pytest.mark.parametrize(("value", "found"), [(-1, "-1"), (4, "4")])
def test_indices_out_of_range(value: int, found: str) -> None:
    with pytest.raises(ValueError, match=rf"op: keep holds {found}, must be in \[0, 4\)"):
        check_indices("op", "keep", torch.tensor([0, value]), 4)


def test_indices_of_another_type() -> None:
    with pytest.raises(TypeError, match=r"keep is torch\.int32"):
        check_indices("op", "keep", torch.zeros(1, dtype=torch.int32), 4)


def test_no_indices_are_in_range() -> None:
    check_indices("op", "keep", torch.zeros(0, dtype=torch.int64), 0)


def test_while_recording_triton_runs_anywhere_and_values_are_not_looked_at(monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "INTERPRETED", False)
    with recorded("sm_80"):
        assert choose("triton", "op", x=torch.zeros(5)) == "triton"
        check_indices("op", "keep", torch.tensor([-1]), 4)


def test_halves_are_added_up_in_float32() -> None:
    kinds = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float64: torch.float64}
    assert all(accum_dtype(torch.zeros(1, dtype=kind)) == wider for kind, wider in kinds.items())
