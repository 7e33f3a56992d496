"""How long training stands still for a save, against one copy of the same bytes, and that memory does not grow."""

import math
import os
import time
from pathlib import Path

import pytest
import torch

from ecamp_fast.run.checkpoint.agreement import Alone
from ecamp_fast.run.checkpoint.manifest import Position
from ecamp_fast.run.checkpoint.saver import Request, Saver

TENSORS = 60  # of ViT-B and its decoders are 400; fewer and larger ones copy no slower
BASE_MODEL = 12 * 182_600_000  # bytes of its state: float32 weights and two moments
PAGE = os.sysconf("SC_PAGESIZE")


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def copying(source: dict[str, torch.Tensor]) -> float:
    """Seconds that one copy of all takes, into memory that is there; the least of three."""
    target = {name: torch.zeros_like(tensor) for name, tensor in source.items()}
    found = []
    for _ in range(3):
        began = time.perf_counter()
        for name, tensor in source.items():
            target[name].copy_(tensor)
        found.append(time.perf_counter() - began)
    return min(found)


@pytest.mark.parametrize(
    ("size", "saves"),
    [pytest.param(2**26, 6, id="64 MiB"), pytest.param(BASE_MODEL, 20, id="base model", marks=pytest.mark.complete)],
)
def test_a_save_stalls_for_little_more_than_a_copy(tmp_path: Path, size: int, saves: int) -> None:
    tensors = {f"weight/{n}": torch.rand(size // 4 // TENSORS) for n in range(TENSORS)}
    saver, once = Saver(tmp_path, Alone(), keep=2), copying(tensors)
    stalls, sizes = [], []
    for step in range(1, saves + 1):
        began = time.perf_counter()
        saver.save(tensors, Request(Position(step=step)))
        called = time.perf_counter() - began
        saver.wait()
        (outcome,) = saver.finished()
        assert outcome.fault is None
        stalls.append(called)
        sizes.append(resident())
    later = sorted(stalls[1:])
    median = later[len(later) // 2]
    print(f"{size / 2**20:.0f} MiB: stall {median:.3f} s in the median, {later[-1]:.3f} at most; one copy {once:.3f} s")
    assert median < max(2 * once, 0.1)  # a small one waits longer for its turn than for memory
    assert size < BASE_MODEL or max(later) < 1.0
    grown = sizes[-1] - sizes[1]
    assert grown < max(0.02 * size, 2**22), f"{grown / 2**20:.0f} MiB more after {saves} saves"
    assert math.isclose(resident(), sizes[-1], rel_tol=0.05)
