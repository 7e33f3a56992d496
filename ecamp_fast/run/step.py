"""One optimizer step: forward and backward of its micro-batches, then the update.

A step is a pure function of recipe, samples, weights, optimizer state and step number: order, crops, masks and dropout
are keyed, so a run that was killed and resumed goes through the same numbers as one that was not.
"""

from collections.abc import Iterator
from typing import Any

import torch

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.keyed_random import Stream, sample_keys
from ecamp_fast.objectives import Losses
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.engine import set_learning_rate
from ecamp_fast.run.metrics import LossMeter
from ecamp_fast.run.safety.tally import StepTally
from ecamp_fast.run.update import Update, UpdateResult


class OptimizerStep:
    """Takes the optimizer steps of an engine that ``build_engine`` made: ``backward``, then ``update``.

    engine    of DeepSpeed
    clipping  largest norm of the gradient, 0 for none
    meter     sums the losses of the micro-batches
    """

    def __init__(self, engine: Any, recipe: Recipe, context: DistContext, clipping: float) -> None:
        self.accumulation = recipe.accumulation(context.world)
        self.meter = LossMeter(context.device, recipe)
        self._engine, self._seed, self._rank = engine, recipe.seed, context.rank
        self._tally = StepTally(engine.module, recipe, context.device)
        self._update = Update(engine, clipping, self._tally)

    def backward(self, step: int, rate: float, batches: Iterator[Batch]) -> Losses:
        """Gradients of the next ``accumulation`` micro-batches.  step: steps done before   rate: of learning

        returns the losses of the last micro-batch. Does not wait for the device.
        """
        set_learning_rate(self._engine, rate)
        for micro in range(self.accumulation):
            if micro:
                self._engine.step()  # counts the micro-step before
            batch = next(batches)
            start_micro_step(self._seed, self._rank, step * self.accumulation + micro)
            losses: Losses = self._engine(batch)
            self._engine.backward(losses.total)  # DeepSpeed divides by the accumulation
            self._tally.add(batch, losses, self.meter.add(losses, batch))
        return losses

    def update(self, stop: bool = False, damaged: tuple[int, int] = (0, 0)) -> UpdateResult:
        """Apply the gradients, see ``Update.apply``; waits for the device once."""
        return self._update.apply(stop, damaged)


def start_micro_step(seed: int, rank: int, number: int) -> None:
    """What goes before every forward: dropout is keyed, and CUDA graphs learn that a pass of its own begins.

    seed: of the recipe   number: micro-steps of the run before this one
    """
    key = sample_keys(seed, int(Stream.DROPOUT), sample_keys(rank, 0, [number]))
    torch.manual_seed(int(key[0]))
    torch.compiler.cudagraph_mark_step_begin()  # for compile: reduce-overhead
