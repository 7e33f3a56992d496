"""The optimizer step of a run, ready to be timed: through DeepSpeed as the Trainer takes it, or through plain DDP."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import repeat
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ecamp_fast.batch import Batch
from ecamp_fast.bench.step.timed_step import DTYPES, Masters, StepResult
from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.ready import make_ready
from ecamp_fast.objectives import Losses
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.distributed import DistContext, agree
from ecamp_fast.run.engine import build_engine
from ecamp_fast.run.metrics import LossMeter
from ecamp_fast.run.step import OptimizerStep, start_micro_step

RATE = 1e-6  # of learning: weights that hardly move keep the loss of noise finite
UNALIGNED = "-unaligned"  # of ZeRO 1 and 2: weights end to end, as DeepSpeed lays them without being told
STAGES = ("0", "1", "2", "1-unaligned", "2-unaligned", "ddp")


class Engine(Protocol):
    """What takes optimizer steps.  model: the bare ``Ecamp``   accumulation: micro-batches of a step"""

    model: Ecamp
    accumulation: int

    def step(self, batches: Iterator[Batch]) -> None:
        """One optimizer step on the next ``accumulation`` micro-batches."""

    def check(self, batch: Batch) -> StepResult:
        """A step whose micro-batches are all ``batch``, without dropout."""


def build(stage: str, recipe: Recipe, vocab_size: int, context: DistContext) -> Engine:
    """The engine of one of ``STAGES``, with the DeepSpeed JSON that is shipped for it."""
    if stage == "ddp":
        return PlainDDP(recipe, vocab_size, context)
    path = deepspeed_config.find(f"zero{stage.removesuffix(UNALIGNED)}")
    config = deepspeed_config.resolve(path, recipe, context.world)
    if stage.endswith(UNALIGNED):
        config["zero_optimization"]["parameter_alignment"] = False
    return DeepSpeed(recipe, vocab_size, context, config)


class DeepSpeed:
    """The Trainer's engine under the Trainer's own step.

    ds_config: resolved, see ``deepspeed_config.resolve``
    """

    def __init__(self, recipe: Recipe, vocab_size: int, context: DistContext, ds_config: dict[str, Any]) -> None:
        self._engine = build_engine(_fresh(recipe, vocab_size, context), recipe, ds_config)
        self._step = OptimizerStep(self._engine, recipe, context, ds_config.get("gradient_clipping", 0.0))
        self._taken = 0  # optimizer steps
        self.accumulation = self._step.accumulation
        self.model: Ecamp = self._engine.module

    def step(self, batches: Iterator[Batch]) -> None:
        self._backward(batches)
        self._step.update()

    def check(self, batch: Batch) -> StepResult:
        from deepspeed.utils import safe_get_full_grad  # of all ranks' parts, summed as the update takes them

        gradients: dict[str, Tensor] = {}
        self.model.eval()
        losses = self._backward(repeat(batch))
        for name, weight in self.model.named_parameters():
            whole = safe_get_full_grad(weight) if self._engine.zero_optimization() else weight.grad
            if whole is not None:
                gradients[name] = whole.detach().float().clone()
        norm = self._step.update().norm
        self.model.train()
        return StepResult(losses, norm, gradients)

    def _backward(self, batches: Iterator[Batch]) -> Losses:
        losses = self._step.backward(self._taken, RATE, batches)
        self._taken += 1
        return losses


class PlainDDP:
    """``DistributedDataParallel`` and AdamW on float32 copies; gradients travel on the last micro-batch only."""

    def __init__(self, recipe: Recipe, vocab_size: int, context: DistContext) -> None:
        self.accumulation = recipe.accumulation(context.world)
        self.model = _fresh(recipe, vocab_size, context).to(DTYPES[recipe.precision])
        self._masters = Masters(self.model, recipe)
        for group in self._masters.adamw.param_groups:
            group["lr"] = RATE
        self._ddp = DistributedDataParallel(self.model)
        self._meter, self._device = LossMeter(context.device, recipe), context.device
        self._seed, self._rank, self._taken = recipe.seed, context.rank, 0  # taken: micro-steps

    def step(self, batches: Iterator[Batch]) -> None:
        for micro in range(self.accumulation):
            batch = next(batches)
            self._meter.add(self._micro_step(batch, micro), batch)
        self._masters.step()
        agree(False, self._device)

    def check(self, batch: Batch) -> StepResult:
        self.model.eval()
        for micro in range(self.accumulation):
            losses = self._micro_step(batch, micro)
        found = StepResult.of(losses, self.model)
        found = replace(found, gradients={name: gradient.float() for name, gradient in found.gradients.items()})
        self._masters.step()
        self.model.train()
        return found

    def _micro_step(self, batch: Batch, micro: int) -> Losses:
        start_micro_step(self._seed, self._rank, self._taken)
        self._taken += 1
        last = micro == self.accumulation - 1
        with nullcontext() if last else self._ddp.no_sync():
            losses: Losses = self._ddp(batch)
            (losses.total / self.accumulation).backward()
        return losses


def _fresh(recipe: Recipe, vocab_size: int, context: DistContext) -> Ecamp:
    """A model with the recipe's first weights, the same on every rank."""
    torch.manual_seed(recipe.seed)
    return make_ready(Ecamp(recipe, vocab_size), recipe, context.device)
