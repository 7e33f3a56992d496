"""Rules every operation shares: which implementation runs, on what, with which launch constants.

``backend="auto"`` is the Triton kernel for CUDA tensors and plain PyTorch for all others; ``"triton"`` on a CPU needs
Triton's interpreter (``TRITON_INTERPRET=1``), which is for tests. Launch constants come from tuning.json, by chip.
"""

import functools
import inspect
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Backend = Literal["auto", "triton", "torch"]

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CHECKS = "ECAMP_KERNEL_CHECKS"  # set to 1: indices on a GPU are checked too, which waits for the device
TUNING = Path(__file__).with_name("tuning.json")
HALVES = (torch.float16, torch.bfloat16)
FLOATS = (torch.float32, torch.bfloat16)  # what the Triton kernels take; float16 is too narrow for these gradients

_log = logging.getLogger(__name__)


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
_plain = False


def choose(backend: Backend, operation: str, **tensors: Tensor) -> Literal["triton", "torch"]:
    """The implementation that runs for these tensors.

    Raises ValueError for an unknown name, for tensors on different devices, and for ``triton`` where it cannot run.
    """
    if backend not in ("auto", "triton", "torch"):
        raise ValueError(f"{operation}: backend {backend!r}, must be 'auto', 'triton' or 'torch'")
    device = _one_device(operation, tensors)
    strange = [f"{n} is {t.dtype}" for n, t in tensors.items() if t.is_floating_point() and t.dtype not in FLOATS]
    if backend == "triton":
        if strange:
            raise ValueError(f"{operation}: {', '.join(strange)}, the Triton kernel takes float32 and bfloat16")
        if not (device.type == "cuda" or INTERPRETED or _recording):
            raise ValueError(f"{operation}: backend 'triton' needs CUDA tensors, these are on {device}")
        return "triton"
    runs: Literal["triton", "torch"] = "torch"
    if backend == "auto" and has_kernels(device) and not strange and not _plain:
        runs = "triton"
    if not torch.compiler.is_compiling():
        _tell_once(operation, runs, device.type)
    return runs


def has_kernels(device: torch.device) -> bool:
    """Whether ``auto`` takes the Triton kernel for tensors there."""
    return device.type == "cuda"


@contextmanager
def plain_torch() -> Iterator[None]:
    """Inside, ``auto`` is plain PyTorch on every device: the side of a comparison that has none of our kernels.

    For forward and backward alike, which need not lie inside: an operation's backward follows its forward.
    """
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


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


def check_indices(operation: str, name: str, indices: Tensor, upper: int) -> None:
    """Raises TypeError or ValueError unless ``indices`` are int64 in [0, upper).

    The values of CUDA tensors are looked at only where the variable ECAMP_KERNEL_CHECKS is 1: it waits for the device.
    Kernels read nothing outside their tensors in any case, and give NaN for an index out of range.
    """
    if indices.dtype != torch.int64:
        raise TypeError(f"{operation}: {name} is {indices.dtype}, must be torch.int64")
    if indices.numel() and (indices.device.type == "cpu" or os.environ.get(CHECKS) == "1") and not _recording:
        low, high = (int(x) for x in indices.aminmax())
        if low < 0 or high >= upper:
            raise ValueError(f"{operation}: {name} holds {low if low < 0 else high}, must be in [0, {upper})")


def scaled(gradient: Tensor, cotangent: Tensor) -> Tensor:
    """A gradient made in the forward times the 0-d cotangent of the loss, multiplied in float32 and rounded once.

    A plain product would round the cotangent first where the gradient is a half. Raises RuntimeError where a second
    derivative is asked for: what was made in the forward has none.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("a gradient made in the forward has no derivative: create_graph is not possible")
    if gradient.dtype == cotangent.dtype or gradient.device.type == "cpu":  # which computes halves in float32 anyway
        return gradient * cotangent
    return torch.mul(gradient, cotangent.reshape(1), out=torch.empty_like(gradient))


def wide(tensor: Tensor) -> Tensor:
    """The tensor in the dtype that sums are taken in: float32 for halves, its own otherwise."""
    return tensor.float() if tensor.dtype in HALVES else tensor


def normalise(image: Tensor, mean: float, std: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Grey values to normalised floats: (x / 255 - mean) / std. A floating image is normalised already: unchanged.

    image: uint8 or floating, any shape   returns ``dtype`` for uint8, the image's own dtype otherwise.
    """
    if image.is_floating_point():
        return image
    if image.dtype != torch.uint8:
        raise ValueError(f"image dtype {image.dtype}, must be uint8 or floating")
    return image.to(dtype).mul_(1 / (255 * std)).sub_(mean / std)


def affine(image: Tensor, mean: float, std: float) -> tuple[float, float]:
    """(scale, shift) with which a kernel makes numbers of pixels: x * scale + shift; (1, 0) for a floating image."""
    return (1.0, 0.0) if image.is_floating_point() else (1 / (255 * std), -mean / std)


def _one_device(operation: str, tensors: dict[str, Tensor]) -> torch.device:
    name, first = next(iter(tensors.items()))
    for other, tensor in tensors.items():
        if tensor.device != first.device:
            raise ValueError(f"{operation}: {other} is on {tensor.device}, {name} on {first.device}; one device only")
    return first.device


def _age(chip: str) -> int:
    return int(chip.removeprefix("sm_"))


@functools.cache
def _tell_once(operation: str, runs: str, device: str) -> None:
    _log.info("%s on %s: %s", operation, device, runs)
