"""How kernels are launched: with the constants of tuning.json, by chip; or noted instead of made, to be looked at."""

import functools
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TUNING = Path(__file__).with_name("tuning.json")


@dataclass(frozen=True)
class Launch:
    """One launch that was recorded instead of made: the kernel, its arguments and constants by name."""

    kernel: Any
    arguments: dict[str, Any]
    constants: dict[str, Any]


@dataclass
class _Recording:
    chip: str
    launches: list[Launch]


_recording: _Recording | None = None


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Launch on the device of the first tensor; an empty grid launches nothing."""
    if _recording is not None:
        names = inspect.signature(kernel.fn).parameters
        _recording.launches.append(Launch(kernel, dict(zip(names, arguments, strict=False)), constants))
        return
    if 0 in grid:
        return
    device = next(a.device for a in arguments if isinstance(a, Tensor))
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[grid](*arguments, **constants)


@contextmanager
def recorded(chip: str) -> Iterator[list[Launch]]:
    """Inside, launches are noted instead of made, on any machine, with the constants of ``chip`` ("sm_80")."""
    global _recording
    _recording = _Recording(chip, [])
    try:
        yield _recording.launches
    finally:
        _recording = None


def is_recording() -> bool:
    """Whether launches are only noted: then nothing runs, and tensors may hold anything."""
    return _recording is not None


def tuned(operation: str, device: torch.device) -> dict[str, int]:
    """Launch constants of the operation for the chip of ``device``: those of the nearest older chip in the table.

    A chip older than all of the table gets the oldest's; a CPU (the interpreter) the entry ``interpreter``.
    """
    table, name = tuning_table(), chip(device)
    if name == "interpreter":
        return dict(table[name][operation])
    chips = sorted((key for key in table if key.startswith("sm_") and operation in table[key]), key=_age)
    older = [key for key in chips if _age(key) <= _age(name)]
    return dict(table[older[-1] if older else chips[0]][operation])


def chip(device: torch.device) -> str:
    """The key of the device in the table: "sm_90"; "interpreter" for a CPU; the recorded chip while recording."""
    if _recording is not None:
        return _recording.chip
    if device.type != "cuda":
        return "interpreter"
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


@functools.cache
def tuning_table() -> dict[str, dict[str, dict[str, int]]]:
    """tuning.json: chip -> operation -> launch constants."""
    table: dict[str, dict[str, dict[str, int]]] = json.loads(TUNING.read_text())
    return table


def _age(chip: str) -> int:
    return int(chip.removeprefix("sm_"))
