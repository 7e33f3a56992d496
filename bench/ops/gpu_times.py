"""Times on a GPU: every implementation of an operation in turn, L2 flushed, against what the chip can do."""

import statistics
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from ecamp_fast.bench.ops.kernel_cases import KernelCase
from ecamp_fast.bench.ops.kernel_gate import red
from ecamp_fast.chips import Chip, find_chip

REPEATS, WARM_UP = 30, 3
FLUSH_BYTES = 2**29  # more than any second-level cache; three fills also give the host time to queue a whole run
COPY_BYTES = 2**30


def roofline(moved: float, operations: float, chip: Chip) -> float:
    """The least seconds: of the two that bound it, the slower.  moved: bytes."""
    return max(moved / chip.bandwidth, operations / chip.bf16)


def time_cases(
    cases: Iterable[KernelCase], gates: list[dict[str, Any]], repeats: int = REPEATS, compiled: bool = True
) -> list[dict[str, Any]]:
    """A row per operation and implementation: seconds of forward and backward, share of the roofline, peak memory.

    compiled: time torch.compile as well   What failed the gate, raises, is not installed or does not fit has ``note``
    instead of numbers.
    """
    chip = find_chip(torch.cuda.get_device_name())
    rows = []
    for case in cases:
        actions, notes = _actions(case, gates, compiled)
        memory: dict[str, int] = {}
        for name, action in actions.items():
            try:
                memory[name] = peak_memory(action)
            except torch.cuda.OutOfMemoryError:
                notes[name] = "out of memory"
            except Exception as fault:
                notes[name] = f"{type(fault).__name__}: {str(fault)[:100]}"
        fitting = {name: action for name, action in actions.items() if name in memory}
        least = roofline(case.bytes, case.operations, chip) if chip else None
        try:
            times = interleaved(fitting, repeats)
        except Exception as fault:  # ends this operation only
            times, notes = {}, notes | {name: f"{type(fault).__name__}: {str(fault)[:100]}" for name in fitting}
        for name, seconds in times.items():
            share = least / seconds["median"] if least else None
            rows.append(_row(case, name) | seconds | {"roofline": least, "share": share, "extra_bytes": memory[name]})
        rows += [_row(case, name) | {"note": note} for name, note in notes.items()]
        torch.compiler.reset()
        torch.cuda.empty_cache()
    return rows


def interleaved(actions: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, dict[str, float]]:
    """Seconds of each action: ``median``, ``p20``, ``p80``. All are warmed up first, then take turns."""
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    for action in actions.values():
        for _ in range(WARM_UP):
            action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            began, ended = _event(), _event()
            for _ in range(3):
                flush.zero_()
            began.record()
            action()
            ended.record()
            ended.synchronize()
            times[name].append(began.elapsed_time(ended) / 1e3)
    return {name: _summary(seconds) for name, seconds in times.items()}


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of a large copy: what memory gives in practice."""
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / interleaved({"copy": lambda: target.copy_(source)}, 15)["copy"]["median"]


def peak_memory(action: Callable[[], object]) -> int:
    """Most bytes that a run holds beyond what was there, results included. The second run: the first may compile."""
    action()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    action()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _actions(
    case: KernelCase, gates: list[dict[str, Any]], compiled: bool
) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """What may be timed, and why the others may not."""
    compiling = {"compile": torch.compile(case.definition, dynamic=False)} if compiled else {}
    functions = {
        "eager": case.definition,
        **compiling,
        "triton": partial(case.ours, backend="triton"),
        **case.baselines,
    }
    notes = {name: "not installed" for name, function in functions.items() if function is None}
    notes |= {name: "failed the gate" for name in functions if red(gates, case.operation, name)}
    return {name: partial(case.both, f) for name, f in functions.items() if f and name not in notes}, notes


def _row(case: KernelCase, name: str) -> dict[str, Any]:
    return {
        "operation": case.operation,
        "implementation": name,
        "bytes": case.bytes,
        "operations": case.operations,
    }


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _summary(seconds: list[float]) -> dict[str, float]:
    fifths = statistics.quantiles(seconds, n=5, method="inclusive")
    return {"median": statistics.median(seconds), "p20": fifths[0], "p80": fifths[3]}
