"""Disk and shared memory: room for checkpoints, and whether --out can be written."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ecamp_fast.doctor.environment import write_fault
from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup

STATE_BYTES = 12  # of a checkpoint, per parameter: fp32 master weight and two moments
SHARED_MEMORY = Path("/dev/shm")
SHARED_BYTES = 256 * 2**20  # per rank; NCCL takes tens of megabytes for each neighbour


def out(setup: RunSetup) -> Iterator[Finding]:
    """Whether the run directory can be written."""
    if setup.out is None:
        return
    if fault := write_fault(setup.out):
        yield fail("--out", f"{setup.out}: {fault}", "choose another --out, or fix its permissions")
    else:
        yield ok("--out", f"{setup.out} can be written")


def room(setup: RunSetup) -> Iterator[Finding]:
    """Free space against the checkpoints that a run keeps, and the one it writes beside them."""
    folder = setup.out or Path()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free at {setup.out or 'this folder'}"
    if setup.recipe is None or setup.parameters is None:
        yield ok("free space", found)
        return
    size = STATE_BYTES * setup.parameters
    kept = setup.recipe.checkpoint.keep
    found += f", a checkpoint takes about {size / 1e9:.2f} GB, {kept} are kept"
    if free < 1.2 * size:
        yield fail("free space", found, f"free {(1.2 * size - free) / 1e9:.1f} GB, or choose another --out")
    elif free < 1.2 * (kept + 1) * size:
        yield warn("free space", found, f"free {(1.2 * (kept + 1) * size - free) / 1e9:.1f} GB")
    else:
        yield ok("free space", found)


def shared_memory(setup: RunSetup) -> Iterator[Finding]:
    """/dev/shm, over which NCCL talks between the GPUs of a machine; containers have 64 MB of it by default."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        yield warn("shared memory", f"no {SHARED_MEMORY}", "in a container, start it with --ipc=host")
        return
    free, needed = status.f_frsize * status.f_bavail, SHARED_BYTES * setup.ranks
    found = f"{free / 2**20:,.0f} MB free in {SHARED_MEMORY}"
    if setup.ranks > 1 and free < needed:
        yield warn("shared memory", found, f"in a container, start it with --shm-size={needed // 2**20}m or --ipc=host")
    else:
        yield ok("shared memory", found)
