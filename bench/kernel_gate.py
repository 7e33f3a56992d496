"""Is an operation right? Ours and eager PyTorch, in the same dtype, against the definition in float64."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ecamp_fast.bench.kernel_cases import Case

FLOOR = 1e-6
# A loss is one number, and eager's may be right by luck: this share of the dtype's epsilon is allowed too.
LUCK = 1 / 32


def gate(cases: Iterable[Case]) -> list[dict[str, Any]]:
    """A row for every output and gradient of the kernel and of the rivals that are installed.

    error: largest difference over the largest number; allowed: twice eager's own error and a floor; passed; fault: why
    there is no error to give.
    """
    rows = []
    for case in cases:
        truth, eager = case.truth(), case.both(case.definition)
        functions: dict[str, Callable[..., Tensor]] = {"triton": partial(case.ours, backend="triton")}
        functions |= {name: rival for name, rival in case.rivals.items() if rival is not None}
        for name, function in functions.items():
            rows += _judge(case, name, function, eager, truth)
    return rows


def red(rows: Iterable[dict[str, Any]], operation: str, implementation: str) -> bool:
    """Whether any part failed: then there is no number."""
    wanted = (operation, implementation)
    return any(not row["passed"] for row in rows if (row["operation"], row["implementation"]) == wanted)


def _judge(
    case: Case, name: str, function: Callable[..., Tensor], eager: list[Tensor], truth: list[Tensor]
) -> list[dict[str, Any]]:
    who = {"operation": case.operation, "implementation": name}
    try:
        found = case.both(function)
    except Exception as fault:
        if name == "triton":
            raise
        return [who | {"part": "output", "error": None, "allowed": None, "passed": False, "fault": str(fault)[:200]}]
    rows = []
    for part, ours, plain, true in zip(("output", *case.leaves), found, eager, truth, strict=True):
        error, allowed = _error(ours, true), 2 * (_error(plain, true) or 0.0) + FLOOR
        if true.ndim == 0 and case.leaves:
            allowed = max(allowed, LUCK * max(torch.finfo(leaf.dtype).eps for leaf in case.leaves.values()))
        row = who | {"part": part, "error": error, "allowed": allowed, "passed": error is not None and error <= allowed}
        rows.append(row if error is not None else row | {"fault": f"not finite, or not {tuple(true.shape)}"})
    return rows


def _error(tensor: Tensor, truth: Tensor) -> float | None:
    """None where it is not finite, and for another shape."""
    if tensor.shape != truth.shape:
        return None
    error = ((tensor.double() - truth).abs().max() / truth.abs().max().clamp_min(1e-30)).item()
    return error if math.isfinite(error) else None
