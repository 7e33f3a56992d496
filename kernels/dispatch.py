"""Rules every operation shares: which implementation runs, which indices are taken, in which dtype sums are.

``backend="auto"`` is the Triton kernel for CUDA tensors and plain PyTorch for all others; ``"triton"`` on a CPU needs
Triton's interpreter (``TRITON_INTERPRET=1``), which is for tests.
"""

import functools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from ecamp_fast.kernels.tuning import is_recording

Backend = Literal["auto", "triton", "torch"]

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CHECKS = "ECAMP_KERNEL_CHECKS"  # set to 1: indices on a GPU are checked too, which waits for the device
HALVES = (torch.float16, torch.bfloat16)
FLOATS = (torch.float32, torch.bfloat16)  # what the Triton kernels take; float16 is too narrow for these gradients

_log = logging.getLogger(__name__)
_plain = False


def choose(backend: Backend, operation: str, **tensors: Tensor) -> Literal["triton", "torch"]:
    """The implementation that runs for these tensors.

    Raises ValueError for an unknown name, for tensors on different devices, and for ``triton`` where it cannot run.
    """
    if backend not in ("auto", "triton", "torch"):
        raise ValueError(f"{operation}: backend {backend!r}, must be 'auto', 'triton' or 'torch'")
    device = _one_device(operation, tensors)
    unfit = [f"{n} is {t.dtype}" for n, t in tensors.items() if t.is_floating_point() and t.dtype not in FLOATS]
    if backend == "triton":
        if unfit:
            raise ValueError(f"{operation}: {', '.join(unfit)}, the Triton kernel takes float32 and bfloat16")
        if not (device.type == "cuda" or INTERPRETED or is_recording()):
            raise ValueError(f"{operation}: backend 'triton' needs CUDA tensors, these are on {device}")
        return "triton"
    runs: Literal["triton", "torch"] = "torch"
    if backend == "auto" and has_kernels(device) and not unfit and not _plain:
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


def check_indices(operation: str, name: str, indices: Tensor, upper: int) -> None:
    """Raises TypeError or ValueError unless ``indices`` are int64 in [0, upper).

    The values of CUDA tensors are looked at only where the variable ECAMP_KERNEL_CHECKS is 1: it waits for the device.
    Kernels read nothing outside their tensors in any case, and give NaN for an index out of range.
    """
    if indices.dtype != torch.int64:
        raise TypeError(f"{operation}: {name} is {indices.dtype}, must be torch.int64")
    looked_at = indices.device.type == "cpu" or os.environ.get(CHECKS) == "1"
    if indices.numel() and looked_at and not is_recording():
        low, high = (int(x) for x in indices.aminmax())
        if low < 0 or high >= upper:
            raise ValueError(f"{operation}: {name} holds {low if low < 0 else high}, must be in [0, {upper})")


def accum_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype that sums over such a tensor are taken in: float32 for halves, its own otherwise."""
    return torch.float32 if tensor.dtype in HALVES else tensor.dtype


def _one_device(operation: str, tensors: dict[str, Tensor]) -> torch.device:
    name, first = next(iter(tensors.items()))
    for other, tensor in tensors.items():
        if tensor.device != first.device:
            raise ValueError(f"{operation}: {other} is on {tensor.device}, {name} on {first.device}; one device only")
    return first.device


@functools.cache
def _tell_once(operation: str, runs: str, device: str) -> None:
    _log.info("%s on %s: %s", operation, device, runs)
