"""One optimizer step: forward and backward of its micro-batches, then the update.

A step is a pure function of recipe, samples, weights, optimizer state and step number: order, crops, masks and dropout
are keyed, so a run that was killed and resumed goes through the same numbers as one that was not.
"""

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.keyed_random import Stream, sample_keys
from ecamp_fast.objectives import Losses
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.engine import set_learning_rate
from ecamp_fast.run.metrics import LossMeter
from ecamp_fast.run.safety.spoil import spoil_states, spoiled_batch, spoiled_losses, spoiled_rate
from ecamp_fast.run.safety.tally import StepTally
from ecamp_fast.run.update import NO_LIMITS, NO_VOTES, Update, UpdateResult, Votes, gradients

_GRAPHS = "torch._inductor.cudagraph_trees"  # of compile: reduce-overhead


class OptimizerStep:
    """Takes the optimizer steps of an engine that ``build_engine`` made: ``backward``, then ``update``.

    engine    of DeepSpeed
    clipping  largest norm of the gradient, 0 for none
    meter     sums the losses of the micro-batches
    ranks     whose micro-batches this process goes through, where it stands in for all those of a run; 0: its own alone
    """

    def __init__(self, engine: Any, recipe: Recipe, context: DistContext, clipping: float, ranks: int = 0) -> None:
        self.accumulation = recipe.accumulation(context.world)
        self.meter = LossMeter(context.device, recipe)
        self._engine, self._seed = engine, recipe.seed
        self._tally = StepTally(engine.module, recipe, context.device)
        self._update = Update(engine, clipping, self._tally)
        self._means: list[Tensor] = []  # the losses of this step's micro-batches
        self._step, self._per_rank = 0, recipe.accumulation(ranks or context.world)
        # (rank, micro-step) of each: as the loader hands them out, one to a rank in turn
        self._passes = [
            divmod(number, ranks)[::-1] if ranks else (context.rank, number) for number in range(self.accumulation)
        ]

    def backward(self, step: int, rate: float, batches: Iterator[Batch]) -> Losses:
        """Gradients of the next ``accumulation`` micro-batches.  step: steps done before   rate: of learning

        returns the losses of the last micro-batch. Does not wait for the device.
        """
        self._step = step
        set_learning_rate(self._engine, spoiled_rate(rate, step + 1))
        self._means = []
        for number, (rank, micro) in enumerate(self._passes):
            if number:
                self._engine.step()  # counts the micro-step before
            losses = self._pass(next(batches), rank, micro)
        return losses

    def update(self, votes: Votes = NO_VOTES, limits: tuple[float, float] = NO_LIMITS) -> UpdateResult:
        """Apply the gradients, see ``Update.apply``; waits for the device once."""
        for rank in sorted({rank for rank, _ in self._passes}):
            self._end_backward(rank)
        losses = torch.stack(self._means).sum(0) / self.accumulation
        return self._update.apply(votes, losses, limits)

    def _end_backward(self, rank: int) -> None:
        """What goes between the last backward of ``rank`` and the update."""
        spoil_states(self._engine, gradients, self._step + 1, rank)

    def _pass(self, batch: Batch, rank: int, micro: int) -> Losses:
        """Forward and backward of a micro-batch: number ``micro`` of ``rank`` in this step."""
        start_micro_step(self._seed, rank, self._step * self._per_rank + micro)
        losses = self._forward(spoiled_batch(batch, self._step + 1, rank, micro), rank, micro)
        self._engine.backward(losses.total)  # DeepSpeed divides by the accumulation
        self._means.append(self.meter.add(losses, batch))
        self._tally.add(batch, losses)
        return losses

    def _forward(self, batch: Batch, rank: int, micro: int) -> Losses:
        losses: Losses = self._engine(batch)
        return spoiled_losses(losses, self._step + 1, rank, micro)


def start_micro_step(seed: int, rank: int, number: int) -> None:
    """What goes before every forward: dropout is keyed, and CUDA graphs learn that a pass of its own begins.

    seed: of the recipe   number: micro-steps of the run before this one
    """
    key = sample_keys(seed, int(Stream.DROPOUT), sample_keys(rank, 0, [number]))
    torch.manual_seed(int(key[0]))
    if _GRAPHS in sys.modules:  # which would be imported for it, in a second
        torch.compiler.cudagraph_mark_step_begin()
