"""The end of an optimizer step: gradients measured, clipped and applied on the device, then one read by the host.

DeepSpeed 0.19 asks the host before each update whether the gradients are finite: up to four times in ZeRO, once per
parameter in bf16 without ZeRO, never in fp32 without ZeRO. ``deepspeed_config`` and ``engine`` turn that off. Here the
norm of all gradients is taken on the device, an update whose norm is not finite is masked by the fused AdamW kernel
(``found_inf``, the protocol of ``torch.amp.GradScaler``), and one vector, reduced over the ranks once and read once,
tells the host the norm, whether a rank was asked to stop, and how many damaged samples all ranks have met.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ecamp_fast.run.safety.tally import SLOTS, Measured, StepTally

OWN = 4  # numbers of an update's own in the vector
CLIP_EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What the host learns of a step, the same on every rank.

    norm: of the whole gradient, before clipping; inf where it is not finite, and the update was left out
    stop: whether any rank was asked to stop
    damaged: sums of what the ranks gave ``Update.apply``
    measured: what the tally gathered; None without one
    """

    norm: float
    stop: bool
    damaged: tuple[int, int] = (0, 0)
    measured: Measured | None = None

    @property
    def applied(self) -> bool:
        """Whether the weights moved."""
        return math.isfinite(self.norm)


class Update:
    """Ends the optimizer steps of a DeepSpeed engine that ``build_engine`` made.

    clipping: largest norm of the gradient, 0 for none
    tally: of what the steps are made of; its numbers travel in the same vector
    """

    def __init__(self, engine: Any, clipping: float, tally: StepTally | None = None) -> None:
        self._engine = engine
        self._clipping = clipping
        self._tally = tally
        # squared norm, ranks asked to stop, damaged samples of even and of odd epochs; the tally's
        self._vector = torch.zeros(OWN + (SLOTS if tally else 0), dtype=torch.float64, device=engine.device)

    def apply(self, stop: bool, damaged: tuple[int, int] = (0, 0)) -> UpdateResult:
        """Update the weights after the backward of the last micro-step; waits for the device once, at its end.

        stop: whether this rank was asked to stop   damaged: ``Quarantine.found`` of this rank. Every rank calls it.
        """
        parts = gradients(self._engine)
        self._vector[0] = _squared_norm(parts) / _copies(self._engine)
        for slot, value in enumerate((stop, *damaged), 1):
            self._vector[slot].fill_(float(value))  # a copy from the host would wait
        if self._tally:
            self._tally.put(self._vector[OWN:])
        dist.all_reduce(self._vector)
        if self._clipping:
            norm = self._vector[0].sqrt()
            torch._foreach_mul_(parts, (self._clipping / (norm + CLIP_EPSILON)).clamp(max=1.0).float())
        self._engine.basic_optimizer.found_inf = (~self._vector[0].isfinite()).float()
        self._engine.step()
        if self._tally:
            self._tally.put_weights(self._vector[OWN:])
        return self._read()

    def _read(self) -> UpdateResult:
        """The one host read of an optimizer step; the update is queued by then."""
        squared, stops, even, odd, *told = self._vector.tolist()
        norm = math.sqrt(squared) if math.isfinite(squared) else math.inf
        measured = self._tally.read(told) if self._tally else None
        return UpdateResult(norm, stops > 0, (round(even), round(odd)), measured)


def gradients(engine: Any) -> list[Tensor]:
    """The reduced gradients that this rank will apply: of its partition in ZeRO, of every parameter otherwise."""
    optimizer = engine.optimizer
    if hasattr(optimizer, "averaged_gradients"):  # ZeRO 1 and 2
        return [part for group in optimizer.averaged_gradients.values() for part in group or ()]
    if hasattr(optimizer, "fp32_groups_gradient_flat_partition"):  # ZeRO 1 in bf16 with gradients in float32
        return list(optimizer.fp32_groups_gradient_flat_partition)
    return [parameter.grad for parameter in engine.module.parameters() if parameter.grad is not None]


def _copies(engine: Any) -> int:
    """How many ranks hold the same gradient: one in ZeRO, which splits it."""
    return 1 if engine.zero_optimization() else dist.get_world_size()


def _squared_norm(parts: list[Tensor]) -> Tensor:
    """0-d float64; not finite where any gradient is not."""
    norms = torch._foreach_norm(parts, 2, dtype=torch.float32)
    return torch.stack(norms).double().square().sum()
