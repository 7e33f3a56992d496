"""What a device gives at best: a GPU's data sheet; on CPUs a product and a copy, timed on the spot."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ecamp_fast.chips import find_chip

SIDE, COPY_BYTES = 512, 2**26  # as ``bench device``
REPEATS, WARM_UP = 20, 3


@dataclass(frozen=True, slots=True)
class Ceiling:
    """operations, bandwidth: a second, of matrix products in the run's precision and of bytes; None with the reason"""

    operations: float | None
    bandwidth: float | None
    source: str


def ceiling(device: torch.device, precision: str) -> Ceiling:
    """Of the device that trains.  precision: ``fp32`` or ``bf16``. Draws no random number of the run."""
    if device.type == "cuda":
        return of_chip(torch.cuda.get_device_name(device), precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    numbers = torch.Generator().manual_seed(0)
    left, right = (torch.rand(SIDE, SIDE, generator=numbers).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8)
    target = torch.zeros_like(source)
    product = _seconds(lambda: torch.mm(left, right, out=out))
    copy = _seconds(lambda: target.copy_(source))
    told = f"measured here: a {precision} product of {SIDE} x {SIDE}, a copy of {COPY_BYTES >> 20} MiB"
    return Ceiling(2 * SIDE**3 / product, 2 * COPY_BYTES / copy, f"{told}, {counted_threads()}")


def of_chip(name: str, precision: str) -> Ceiling:
    """Of a GPU by its name."""
    chip = find_chip(name)
    if not chip:
        return Ceiling(None, None, f"no data sheet of {name} is kept")
    if precision != "bf16":
        return Ceiling(None, chip.bandwidth, f"data sheet of {chip.name}; none of {precision} matrix products is kept")
    return Ceiling(chip.bf16, chip.bandwidth, f"data sheet of {chip.name}")


def counted_threads() -> str:
    """Of this process's operations on a CPU, for people."""
    threads = torch.get_num_threads()
    return f"{threads} thread{'' if threads == 1 else 's'}"


def _seconds(action: Callable[[], object]) -> float:
    """Of the fastest of a few runs, after a few that do not count: others may use the machine, too."""
    laps = []
    for _ in range(WARM_UP + REPEATS):
        begin = time.perf_counter()
        action()
        laps.append(time.perf_counter() - begin)
    return min(laps[WARM_UP:])
