"""Kernels of a step, from spans made up by hand: sums, gaps, and a profiler that fails."""

import pytest
import torch

from ecamp_fast.bench import device as ceilings
from ecamp_fast.bench.step.launches import LISTED, launches, summary


def test_by_hand() -> None:
    """Two that overlap, a gap of 10 us, a third: 30 of 40 us."""
    found = summary([("gemm", 0.0, 15.0), ("add", 10.0, 20.0), ("gemm", 30.0, 40.0)])
    assert found["kernels"][0] == {"name": "gemm", "calls": 2, "seconds": pytest.approx(25e-6)}
    assert (found["launches"], found["seconds"]) == (3, pytest.approx(40e-6))
    assert found["busy_share"] == pytest.approx(0.75)


def test_what_is_not_listed_is_summed() -> None:
    spans = [(f"kernel {n}", 10.0 * n, 10.0 * n + 1 + n / 100) for n in range(LISTED + 5)]
    found = summary(spans)
    assert len(found["kernels"]) == LISTED and found["others"]["calls"] == 5
    listed = sum(row["seconds"] for row in found["kernels"])
    assert listed + found["others"]["seconds"] == pytest.approx(sum(end - start for _, start, end in spans) / 1e6)


def test_none_on_a_cpu_and_a_fault_is_told() -> None:
    assert launches(lambda: None, torch.device("cpu")) is None
    assert "no kernel" in summary([])["fault"]

    def raising() -> None:
        raise RuntimeError("CUPTI is not there")

    assert "Error: " in launches(raising, torch.device("cuda"))["fault"]  # the profiler's own, where there is no GPU


def test_ceilings_are_plausible() -> None:
    result = ceilings.measure()
    assert 1e7 < result["product_per_second"] < 1e16 and 1e8 < result["copy_per_second"] < 1e14
    assert "TFLOP/s" in ceilings.describe(result) and result["bench"] == "device"
