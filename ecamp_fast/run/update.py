"""The end of an optimizer step: gradients measured, clipped and applied on the device, then one read by the host.

DeepSpeed 0.19 asks the host before each update whether the gradients are finite: up to four times in ZeRO, once per
parameter in bf16 without ZeRO, never in fp32 without ZeRO. ``deepspeed_config`` and ``engine`` turn that off. Here the
norm of all gradients is taken on the device, an update whose norm is not finite is masked by the fused AdamW kernel
(``found_inf``, the protocol of ``torch.amp.GradScaler``), and one vector, reduced over the ranks once and read once,
tells the host the norm, the losses, whether a rank was asked to stop, and how many damaged samples all ranks have met.
An update is masked likewise where norm or loss is beyond a limit, which the host gives before the step.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ecamp_fast.run.safety.numbers import NO_LIMITS
from ecamp_fast.run.safety.tally import SLOTS, Measured, StepTally

CLIP_EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True, slots=True)
class Votes:
    """What a rank has to say of a step beside its gradients; every rank hears the sums.

    stop     whether it was asked to stop
    save     whether its clock says that a checkpoint is due
    failed   whether it had no data for the step, whose update is left out then
    damaged  ``Quarantine.found``
    """

    stop: bool = False
    save: bool = False
    failed: bool = False
    damaged: tuple[int, int] = (0, 0)

    @property
    def numbers(self) -> tuple[float, ...]:
        return (float(self.stop), float(self.save), float(self.failed), *map(float, self.damaged))


NO_VOTES = Votes()
LOSSES = 1 + len(NO_VOTES.numbers)  # where they begin in the vector
LOSSES_END = LOSSES + 4


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What the host learns of a step, the same on every rank.

    norm     of the whole gradient, before clipping; inf where it is not finite
    applied  whether the weights moved; not where norm or loss is not finite, or beyond its limit
    losses   of the step: total, mim, sr, mlm; as the ranks gave them
    votes    of any rank, sums of the counts
    measured  what the tally gathered; None without one
    """

    norm: float
    applied: bool
    losses: tuple[float, ...]
    votes: Votes = NO_VOTES
    measured: Measured | None = None


class Update:
    """Ends the optimizer steps of a DeepSpeed engine that ``build_engine`` made.

    clipping: largest norm of the gradient, 0 for none
    tally: of what the steps are made of; its numbers travel in the same vector
    """

    def __init__(self, engine: Any, clipping: float, tally: StepTally | None = None) -> None:
        self._engine = engine
        self._clipping = clipping
        self._tally = tally
        # squared norm, votes, four losses, the tally's
        slots = LOSSES_END + (SLOTS if tally else 0)
        self._vector = torch.zeros(slots, dtype=torch.float64, device=engine.device)

    def apply(
        self,
        votes: Votes = NO_VOTES,
        losses: Tensor | None = None,
        limits: tuple[float, float] = NO_LIMITS,
    ) -> UpdateResult:
        """Update the weights after the backward of the last micro-step; waits for the device once, at its end.

        Every rank calls it, with the same limits.
        votes    of this rank
        losses   (4,) float64: of this rank's micro-batches; None: not told
        limits   largest norm and largest total loss with which the weights move
        """
        parts = gradients(self._engine)
        self._vector[0] = _squared_norm(parts) / _copies(self._engine)
        for slot, value in enumerate(votes.numbers, 1):
            self._vector[slot].fill_(value)  # a copy from the host would wait
        if losses is not None:
            self._vector[LOSSES:LOSSES_END] = losses / dist.get_world_size()
        if self._tally:
            self._tally.put(self._vector[LOSSES_END:])
        if votes.failed:
            self._vector[0].fill_(math.inf)
        dist.all_reduce(self._vector)
        if self._clipping:
            norm = self._vector[0].sqrt()
            torch._foreach_mul_(parts, (self._clipping / (norm + CLIP_EPSILON)).clamp(max=1.0).float())
        squared, loss = self._vector[0], self._vector[LOSSES]
        largest, highest = _squared(limits[0]), limits[1]
        sound = (squared + loss).isfinite() & (squared <= largest) & (loss <= highest)
        self._engine.basic_optimizer.found_inf = (~sound).float()
        self._engine.step()
        if self._tally:
            self._tally.put_weights(self._vector[LOSSES_END:])
        return self._read(largest, highest)

    def _read(self, largest: float, highest: float) -> UpdateResult:
        """The one host read of an optimizer step; the update is queued by then.

        largest, highest: limits of the squared norm and of the loss, compared in float64 as on the device
        """
        values = self._vector.tolist()
        squared, stop, save, failed, even, odd = values[:LOSSES]
        losses = tuple(values[LOSSES:LOSSES_END])
        applied = math.isfinite(squared + losses[0]) and squared <= largest and losses[0] <= highest
        norm = math.sqrt(squared) if math.isfinite(squared) else math.inf
        measured = self._tally.read(values[LOSSES_END:]) if self._tally else None
        heard = Votes(stop > 0, save > 0, failed > 0, (round(even), round(odd)))
        return UpdateResult(norm, applied, losses, heard, measured)


def _squared(limit: float) -> float:
    """With its sign: no norm is within a limit below zero."""
    return limit * abs(limit)


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
