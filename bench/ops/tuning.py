"""Launch constants by trial: sweep candidates on this GPU and keep the fastest in kernels/tuning.json."""

import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ecamp_fast.bench.ops.gpu_times import interleaved
from ecamp_fast.bench.ops.kernel_cases import KernelCase
from ecamp_fast.bench.ops.kernel_gate import gate
from ecamp_fast.kernels.tuning import TUNING, tuned, tuning_table

# Key of the table -> the case that runs it, in bfloat16, and what is tried of each constant; the others stay
CANDIDATES: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "low_resolution": ("low_resolution", {"PIXELS": (256, 512, 1024), "num_warps": (4, 8)}),
    "masked_mse": ("masked_mse", {"num_warps": (1, 2, 4, 8)}),
    "patch_gather": ("patch_gather", {"ROWS": (1, 2, 4, 8), "num_warps": (2, 4, 8)}),
    "sr_loss": ("sr_loss", {"BLOCKS": (64, 128), "num_warps": (4, 8), "PROGRAMS": (3, 2, 4), "TILE": (28, 14, 16)}),
    "unshuffle": ("unshuffle", {"ROWS": (4, 8, 16), "COLUMNS": (256, 512), "num_warps": (4, 8)}),
    "unshuffle_backward": ("unshuffle", {"ROWS": (8, 16, 32), "COLUMNS": (64, 128, 256), "num_warps": (4, 8)}),
    "vocabulary_chunks": ("weighted_cross_entropy", {"CHUNK_MIB": (256, 1024, 2048), "ACCUMULATE": (0, 1)}),
    "weighted_cross_entropy": ("weighted_cross_entropy", {"COLUMNS": (4096, 8192, 16384), "num_warps": (8, 16, 32)}),
}
REPEATS = 15


def tune(
    cases: list[KernelCase],
    small: list[KernelCase],
    path: Path = TUNING,
    only: Sequence[str] = (),
    budget: float = math.inf,
) -> list[dict[str, Any]]:
    """Sweep keys on this GPU; winners that pass the gate on the ``small`` cases go into ``path``.

    only: these keys; none: all   budget: seconds after which no further candidate is tried
    returns key, constants, seconds before and after, and seconds of every candidate tried (``swept``), for each key.
    """
    until = time.monotonic() + budget
    major, minor = torch.cuda.get_device_capability()
    chip = f"sm_{major}{minor}"
    by_name, gated = {case.operation: case for case in cases}, {case.operation: case for case in small}
    rows = []
    for key in only or CANDIDATES:
        operation, ranges = CANDIDATES[key]
        in_use = tuning_table().setdefault(chip, {})
        before = tuned(key, torch.device("cuda"))
        times = {}
        swept = []
        for constants in candidates(before, ranges):
            if time.monotonic() > until:
                break
            in_use[key] = constants
            seconds = _seconds(partial(by_name[operation].run, "triton"))
            passed = seconds is not None and all(row["passed"] for row in gate([gated[operation]]))
            swept.append({"constants": constants, "seconds": seconds, "passed": passed})
            if seconds is not None and passed:
                times[json.dumps(constants)] = seconds
        best = min(times, key=lambda name: times[name], default=json.dumps(before))
        in_use[key] = json.loads(best)
        was = times.get(json.dumps(before))
        rows.append({"key": key, "constants": in_use[key], "before": was, "after": times.get(best), "swept": swept})
        save(chip, {key: in_use[key]}, path)
    return rows


def candidates(before: dict[str, int], ranges: dict[str, tuple[int, ...]]) -> list[dict[str, int]]:
    """The constants in use, then all combinations, the last range fastest; those that are the same once only."""
    found = [before]
    for values in itertools.product(*ranges.values()):
        constants = before | dict(zip(ranges, values, strict=True))
        if constants not in found:
            found.append(constants)
    return found


def save(chip: str, operations: dict[str, dict[str, int]], path: Path = TUNING) -> None:
    """Write the chip's constants into the table, one operation a line, all in order."""
    table = json.loads(path.read_text())
    table.setdefault(chip, {}).update(operations)
    chips = sorted(table, key=lambda name: int(name.removeprefix("sm_")) if name.startswith("sm_") else 0)
    blocks = []
    for name in chips:
        lines = [f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(table[name].items())]
        blocks.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def _seconds(action: Callable[[], object]) -> float | None:
    """Median; None where it does not run: too few registers, too little shared memory, or it does not compile."""
    try:
        return interleaved({"it": action}, REPEATS)["it"]["median"]
    except Exception:  # a candidate that raises is none
        return None
