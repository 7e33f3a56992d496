"""Is an operation right? Ours and eager PyTorch, in the same dtype, against the definition in float64.

And does it repeat to the bit, which a race would not.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ecamp_fast.bench.ops.kernel_cases import KernelCase
from ecamp_fast.bench.ops.same_bits import same_bits

FLOOR = 1e-6
# A loss is one number, and eager's may be right by luck: this share of the dtype's epsilon is allowed too.
LUCK = 1 / 32


def gate(cases: Iterable[KernelCase]) -> list[dict[str, Any]]:
    """A row for every output and gradient of the kernel and of the baselines that are installed.

    error: largest difference over the largest number; allowed: twice eager's own error and a floor; passed; fault: why
    there is no error to give. What raises ends its own case only.
    """
    return [row for case in cases for row in _gate(case)]


def _gate(case: KernelCase) -> list[dict[str, Any]]:
    try:
        truth, eager = case.truth(), case.both(case.definition)
    except Exception as fault:
        return [_raised(case.operation, "triton", fault)]
    functions: dict[str, Callable[..., Tensor]] = {"triton": partial(case.ours, backend="triton")}
    functions |= {name: baseline for name, baseline in case.baselines.items() if baseline is not None}
    return [row for name, function in functions.items() for row in _judge(case, name, function, eager, truth)]


def repeats(cases: Iterable[KernelCase], times: int) -> list[dict[str, Any]]:
    """Ours ``times`` times on the same inputs: a row per operation.

    passed: every output and gradient had the same bits each time   differing: runs unlike the first, by part
    """
    return [_repeat(case, times) for case in cases]


def _repeat(case: KernelCase, times: int) -> dict[str, Any]:
    who = {"operation": case.operation, "implementation": "triton", "times": times}
    differing: dict[str, int] = {}
    try:
        first = case.run("triton")
        for _ in range(times - 1):
            for part, one, other in zip(("output", *case.leaves), first, case.run("triton"), strict=True):
                if not same_bits(one, other):
                    differing[part] = differing.get(part, 0) + 1
    except Exception as fault:
        return who | {"passed": False, "differing": differing, "fault": _told(fault)}
    return who | {"passed": not differing, "differing": differing}


def red(rows: Iterable[dict[str, Any]], operation: str, implementation: str) -> bool:
    """Whether any part failed: then there is no number."""
    wanted = (operation, implementation)
    return any(not row["passed"] for row in rows if (row["operation"], row["implementation"]) == wanted)


def _judge(
    case: KernelCase, name: str, function: Callable[..., Tensor], eager: list[Tensor], truth: list[Tensor]
) -> list[dict[str, Any]]:
    who = {"operation": case.operation, "implementation": name}
    try:
        found = case.both(function)
    except Exception as fault:
        return [_raised(case.operation, name, fault)]
    rows = []
    for part, ours, plain, true in zip(("output", *case.leaves), found, eager, truth, strict=True):
        error, allowed = _error(ours, true), 2 * (_error(plain, true) or 0.0) + FLOOR
        if true.ndim == 0 and case.leaves:
            allowed = max(allowed, LUCK * max(torch.finfo(leaf.dtype).eps for leaf in case.leaves.values()))
        row = who | {"part": part, "error": error, "allowed": allowed, "passed": error is not None and error <= allowed}
        rows.append(row if error is not None else row | {"fault": f"not finite, or not {tuple(true.shape)}"})
    return rows


def _raised(operation: str, name: str, fault: Exception) -> dict[str, Any]:
    who = {"operation": operation, "implementation": name, "part": "output"}
    return who | {"error": None, "allowed": None, "passed": False, "fault": _told(fault)}


def _told(fault: Exception) -> str:
    return f"{type(fault).__name__}: {str(fault)[:200]}"


def _error(tensor: Tensor, truth: Tensor) -> float | None:
    """None where it is not finite, and for another shape."""
    if tensor.shape != truth.shape:
        return None
    error = ((tensor.double() - truth).abs().max() / truth.abs().max().clamp_min(1e-30)).item()
    return error if math.isfinite(error) else None
