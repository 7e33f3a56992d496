"""Loss sums that stay on the device, and the clock beside them."""

import time
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

NAMES = ("loss", "mim", "sr", "mlm")


class Sums:
    """Sums of the four losses, of real tokens and of micro-steps; read only when a line of metrics is written."""

    def __init__(self, device: torch.device | str) -> None:
        self._sums = torch.zeros(len(NAMES) + 2, dtype=torch.float64, device=device)

    def add(self, losses: Any, lengths: torch.Tensor, weight: float = 1.0) -> None:
        """losses: ``objectives.Losses``   lengths: (B,) real tokens   weight: of this micro-batch. Does not wait."""
        terms = [losses.total, losses.mim, losses.sr, losses.mlm]
        row = [*(t.detach().double() * weight for t in terms), lengths.sum().double(), lengths.new_tensor(weight).double()]
        self._sums += torch.stack(row)

    def drain(self) -> dict[str, float]:
        """Means over micro-steps and ranks since the last call, and ``tokens`` summed. The one place that waits."""
        if dist.is_initialized():
            dist.all_reduce(self._sums)
        *totals, tokens, count = self._sums.tolist()
        self._sums.zero_()
        means = {name: total / max(count, 1e-12) for name, total in zip(NAMES, totals, strict=True)}
        return means | {"tokens": tokens}


@dataclass
class Clock:
    """Images per second over the last window and over the run; ``pause`` leaves out saving and evaluation."""

    started: float = field(default_factory=time.perf_counter)
    images: int = 0

    def lap(self, images: int) -> float:
        """Images per second since the last lap."""
        now = time.perf_counter()
        rate = images / max(now - self.started, 1e-9)
        self.started = now
        return rate

    def pause(self, since: float) -> None:
        """Do not count the time since ``since`` (``time.perf_counter()``)."""
        self.started += time.perf_counter() - since
