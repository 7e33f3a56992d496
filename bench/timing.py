"""Timing of one callable on one machine: warm-up, median of many, and the facts a number is worthless without."""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATS = 15
WARM_UP = 3


def measure(action: Callable[[], object], repeats: int = REPEATS, warm_up: int = WARM_UP) -> dict[str, float]:
    """Seconds of CPU time of this process per call: ``median``, ``p20``, ``p80``.

    CPU time, so that other work on the machine disturbs less; with one thread it is the time of one core.
    """
    for _ in range(warm_up):
        action()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        action()
        seconds.append(time.process_time() - began)
    fifths = statistics.quantiles(seconds, n=5, method="inclusive")
    return {"median": statistics.median(seconds), "p20": fifths[0], "p80": fifths[3]}


def environment() -> dict[str, Any]:
    """Device, cores, versions, the day, and the commit where this is a checkout."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _processor() -> str:
    """The name of the CPU as Linux gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """Short hash of the checkout, with a plus where files differ from it; None outside one."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "--short", "HEAD").strip() + ("+" if git("status", "--porcelain").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None
