"""What runs on the GPU in a step of training: kernels by time, how many launches, how long the device waits."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

LISTED = 40  # kernels that are listed; the others are summed


def launches(action: Callable[[], object], device: torch.device) -> dict[str, Any] | None:
    """One run of the action under the profiler, after one that warms it up; None on a CPU.

    returns kernels (name, calls, seconds; slowest first), others (calls and seconds of the rest), launches, seconds
    (from the first kernel to the end of the last), busy_share (of them, with a kernel running), or fault where the
    profiler gives none.
    """
    if device.type != "cuda":
        return None
    try:
        for _ in range(2):  # the profiler's own set-up would be in the first
            with profile(activities=[ProfilerActivity.CUDA]) as profiler:
                action()
                torch.cuda.synchronize()
        events = [event for event in profiler.events() or [] if event.device_type == DeviceType.CUDA]
        return summary([(event.name, event.time_range.start, event.time_range.end) for event in events])
    except Exception as fault:  # the times that were measured before must not be lost with it
        return {"fault": f"{type(fault).__name__}: {str(fault)[:200]}"}


def summary(spans: list[tuple[str, float, float]]) -> dict[str, Any]:
    """The numbers of ``launches``.  spans: (name, start, end) of every kernel, in microseconds"""
    if not spans:
        return {"fault": "the profiler saw no kernel"}
    calls: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for name, start, end in spans:
        calls[name] += 1
        seconds[name] += (end - start) / 1e6
    names = sorted(seconds, key=lambda name: -seconds[name])
    rest = names[LISTED:]
    whole = max(end for _, _, end in spans) - min(start for _, start, _ in spans)
    return {
        "kernels": [{"name": name, "calls": calls[name], "seconds": seconds[name]} for name in names[:LISTED]],
        "others": {"calls": sum(calls[n] for n in rest), "seconds": sum(seconds[n] for n in rest)},
        "launches": len(spans),
        "seconds": whole / 1e6,
        "busy_share": _covered(spans) / whole if whole else 1.0,
    }


def _covered(spans: list[tuple[str, float, float]]) -> float:
    """Microseconds in which any of the spans runs."""
    covered, until = 0.0, float("-inf")
    for _, start, end in sorted(spans, key=lambda span: span[1]):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered
