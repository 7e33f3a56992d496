"""Keyed random draws: a number is a pure function of (seed, epoch, sample, stream, index).

Augmentation and masking take their randomness from here, so a resumed run, another world size, another worker count
and another device see the same crops and the same masks. The generator is the finaliser of SplitMix64 (Steele et al.
2014) over a counter; numpy and torch give the same bits.
"""

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:  # the shard builder uses the numpy side on machines where importing torch would be waste
    from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


class Stream(IntEnum):
    """One name per use, so that no two uses share numbers. Values are part of the format: never renumber."""

    ORDER = 0
    CROP = 1
    FLIP = 2
    DISTILLED = 3
    PATCHES = 4
    WORDS = 5
    ENTITIES = 6
    SPLIT = 7
    DROPOUT = 8
    PHANTOM = 9
    SUBSTITUTE = 10
    TURN = 11
    CAPTIONS = 12


def sample_keys(seed: int, epoch: ArrayLike, sample: ArrayLike) -> np.ndarray:
    """The key of each sample in an epoch.  epoch: scalar or (B,)   sample: (B,) integers   returns (B,) int64."""
    state = _mix(np.full(np.shape(sample), seed, np.uint64))
    for part in (epoch, sample):
        state = _mix(state ^ (np.asarray(part).astype(np.uint64) * np.uint64(_GOLDEN)))
    return state.view(np.int64)


def place_constants(count: int) -> np.ndarray:
    """Numbers that tell places apart, for digests: (count,) int64, spread over all 64 bits, the same for ever."""
    return sample_keys(0, 0, np.arange(count))


def uniform(keys: np.ndarray, stream: Stream, count: int) -> np.ndarray:
    """``count`` draws per key from [0, 1).  keys: (B,) int64   returns (B, count) float32."""
    return uniform_at(keys[:, None], stream, np.arange(count)[None, :])


def uniform_at(keys: np.ndarray, stream: Stream, index: np.ndarray) -> np.ndarray:
    """The draw number ``index`` of each key.  keys, index: int64, broadcast together   returns float32 in [0, 1)."""
    with np.errstate(over="ignore"):
        counter = (np.asarray(index).astype(np.uint64) + np.uint64(int(stream) << 40)) * np.uint64(_GOLDEN)
        bits = _mix(np.ascontiguousarray(keys).view(np.uint64) ^ counter)
    return ((bits >> np.uint64(40)).astype(np.float32)) * np.float32(2.0**-24)


def _mix(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = state + np.uint64(_GOLDEN)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX_1)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX_2)
        return state ^ (state >> np.uint64(31))


def torch_uniform(keys: "Tensor", stream: Stream, count: int) -> "Tensor":
    """``uniform`` on the device of ``keys``.  keys: (B,) int64   returns (B, count) float32."""
    import torch

    return torch_uniform_at(keys[:, None], stream, torch.arange(count, device=keys.device)[None, :])


def torch_uniform_at(keys: "Tensor", stream: Stream, index: "Tensor") -> "Tensor":
    """``uniform_at`` on the device of ``keys``; int64 arithmetic wraps as uint64 does."""
    import torch

    counter = (index.long() + (int(stream) << 40)) * _signed(_GOLDEN)
    bits = _torch_mix(keys ^ counter)
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def _torch_mix(state: Any) -> Any:
    state = state + _signed(_GOLDEN)
    state = (state ^ _shift(state, 30)) * _signed(_MIX_1)
    state = (state ^ _shift(state, 27)) * _signed(_MIX_2)
    return state ^ _shift(state, 31)


def _shift(state: Any, bits: int) -> Any:
    """Logical right shift: torch's shifts of int64 keep the sign."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
