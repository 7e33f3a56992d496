"""What is taken of a profiler's events, and what is not; the trace as others read it."""

import gzip
import json

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ecamp_fast.run.profiling.recorded import NO_NAME, Event, clean, recorded, trace


def test_a_trace_holds_names_and_times_and_no_value() -> None:
    text, secret = "/data/patients/p1234/s5678.jpg", 31337.5
    with (
        profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_stack=True) as profiler,
        record_function(f"reading {text}", text),
    ):
        torch.ones(3, 5).mul(secret)
    events = recorded(profiler)
    packed = trace(events)
    assert packed == trace(events)
    content = gzip.decompress(packed).decode()
    assert "p1234" not in content and "31337" not in content and "test_recorded" not in content
    lines = [line for line in json.loads(content)["traceEvents"] if line["ph"] == "X"]
    assert {key for line in lines for key in line["args"]} <= {"sequence"}
    (mul,) = (line for line in lines if line["name"] == "aten::mul")
    assert mul["dur"] > 0
    (outer,) = (line for line in lines if line["name"] == f"reading {NO_NAME}")
    assert outer["ts"] <= mul["ts"] and mul["ts"] + mul["dur"] <= outer["ts"] + outer["dur"]


@pytest.mark.parametrize(
    "name",
    ["Torch-Compiled Region: 0/0", "aten::mm", "void cutlass::Kernel<float, (int)3>(T1::Params)", "a / b", "n/a"],
)
def test_names_of_operations_stay(name: str) -> None:
    assert clean(name) == name


@pytest.mark.parametrize("name", ["/home/me/set", "load C:\\sets\\p1\\a.png", "x=/a/b c"])
def test_paths_do_not(name: str) -> None:
    assert NO_NAME in clean(name) and not {"me", "p1", "/b"} & set(clean(name).replace("\\", "/").split("/"))


def test_devices_are_tracks_of_their_own_with_arrows_from_what_launched_them() -> None:
    events = [
        Event("aten::mm", 1_000, 3_000, thread=5, number=9),
        Event("gemm", 4_000, 9_000, device=0, stream=7, launched_by=9),
        Event("orphan", 9_000, 9_500, device=0, stream=8, launched_by=44),
    ]
    lines = json.loads(gzip.decompress(trace(events)))["traceEvents"]
    (gemm,) = (line for line in lines if line["name"] == "gemm")
    assert (gemm["pid"], gemm["ts"], gemm["dur"], gemm["cat"]) == (1, 3.0, 5.0, "device")
    start, finish = (next(line for line in lines if line["ph"] == phase) for phase in "sf")
    assert start["id"] == finish["id"] and (start["ts"], finish["ts"]) == (0.0, 3.0)
    assert (start["pid"], finish["pid"], finish["tid"]) == (0, 1, gemm["tid"])
    assert sum(line["ph"] == "s" for line in lines) == 1
