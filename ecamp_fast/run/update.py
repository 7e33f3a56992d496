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

CLIP_EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What the host learns of a step, the same on every rank.

    norm: of the whole gradient, before clipping; inf where it is not finite, and the update was left out
    stop: whether any rank was asked to stop
    damaged: sums of what the ranks gave ``Update.apply``
    failed: whether any rank had no data for the step; then the update was left out too
    """

    norm: float
    stop: bool
    damaged: tuple[int, int] = (0, 0)
    failed: bool = False

    @property
    def applied(self) -> bool:
        """Whether the weights moved."""
        return math.isfinite(self.norm)


class Update:
    """Ends the optimizer steps of a DeepSpeed engine that ``build_engine`` made.

    clipping: largest norm of the gradient, 0 for none
    """

    def __init__(self, engine: Any, clipping: float) -> None:
        self._engine = engine
        self._clipping = clipping
        # squared norm, ranks asked to stop, damaged samples of even and of odd epochs, ranks without data
        self._vector = torch.zeros(5, dtype=torch.float64, device=engine.device)

    def apply(self, stop: bool, damaged: tuple[int, int] = (0, 0), failed: bool = False) -> UpdateResult:
        """Update the weights after the backward of the last micro-step; waits for the device once, at its end.

        stop: whether this rank was asked to stop   damaged: ``Quarantine.found`` of this rank
        failed: whether this rank had no data for the step. Every rank calls it.
        """
        parts = gradients(self._engine)
        self._vector[0] = _squared_norm(parts) / _copies(self._engine)
        if failed:
            self._vector[0].fill_(math.inf)
        for slot, value in enumerate((stop, *damaged, failed), 1):
            self._vector[slot].fill_(float(value))  # a copy from the host would wait
        dist.all_reduce(self._vector)
        if self._clipping:
            norm = self._vector[0].sqrt()
            torch._foreach_mul_(parts, (self._clipping / (norm + CLIP_EPSILON)).clamp(max=1.0).float())
        self._engine.basic_optimizer.found_inf = (~self._vector[0].isfinite()).float()
        self._engine.step()
        return self._read()

    def _read(self) -> UpdateResult:
        """The one host read of an optimizer step; the update is queued by then."""
        squared, stops, even, odd, failed = self._vector.tolist()
        norm = math.sqrt(squared) if math.isfinite(squared) else math.inf
        return UpdateResult(norm, stops > 0, (round(even), round(odd)), failed > 0)


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
