"""The steps of a fit: gradient, clip, update; validation, the best kept, an early end where nothing improves.

A fit is a function of task, settings and data: it goes on from any checkpoint to the same weights.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ecamp_fast.downstream.training.optimizer import Averaged, build_optimizer, set_rate, trained_state
from ecamp_fast.downstream.training.schedule import factor
from ecamp_fast.downstream.training.settings import Settings
from ecamp_fast.downstream.training.state import FitState
from ecamp_fast.errors import NumericsError
from ecamp_fast.files import require_folder

SPIKES = 20  # steps in a row whose gradient is not finite before a fit gives up


class FitTask(Protocol):
    """What is fitted.

    model            its parameters that require gradients are trained, and its buffers change with them
    steps_per_epoch  over the training samples that are used
    """

    steps_per_epoch: int

    @property
    def model(self) -> nn.Module: ...

    def batches(self, start: int, stop: int) -> Iterator[Any]:
        """Micro-batches of the steps ``start`` to ``stop`` - 1: ``Settings.accumulation`` of them a step."""

    def loss(self, batch: Any) -> Tensor:
        """Of a micro-batch, a scalar: its mean over samples."""

    def validate(self) -> float:
        """The score on the validation split, higher is better; the model is in evaluation mode."""


@dataclass
class Fitted:
    """How a fit went.

    step    steps done
    best    step of the weights that the model holds now, and their score; None where nothing was validated
    curve   (step, score) of each validation since this start
    losses  (step, mean training loss since the entry before)
    """

    step: int
    best: tuple[int, float] | None
    curve: list[tuple[int, float]] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)


@dataclass
class _Progress:
    """since_best: validations since the best   bad: steps in a row that were left out"""

    since_best: int = 0
    bad: int = 0


def fit(
    task: FitTask,
    settings: Settings,
    out: Path,
    identity: Mapping[str, Any],
    data: str,
    *,
    resume: str = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> Fitted:
    """Train ``task.model``; afterwards it holds the weights that were validated best, in evaluation mode.

    out       checkpoints are kept in OUT/checkpoints
    identity  what the fit must share with the one it goes on from, beside the settings: encoder, subset, head
    data      digest of the shard set
    resume    auto, must, never, or a checkpoint
    say       gets a line at each validation

    Raises NumericsError where gradients stay not finite, and what ``FitState`` raises.
    """
    require_folder(out)
    torch.manual_seed(settings.seed)
    optimizer = build_optimizer(task.model, settings)
    average = Averaged(task.model, settings.ema) if settings.ema else None
    state = FitState(out, {"settings": settings.model_dump(mode="json"), **identity}, data)
    start, counters = state.resume(resume, task.model, optimizer, average)
    run = _Run(task, settings, optimizer, average, state, _Progress(int(counters.get("since_best", 0))), say)
    fitted = run.steps(start)
    state.load_best(task.model)
    task.model.eval()
    fitted.best = state.best()
    return fitted


@dataclass
class _Run:
    task: FitTask
    settings: Settings
    optimizer: torch.optim.Optimizer
    average: Averaged | None
    state: FitState
    progress: _Progress
    say: Callable[[str], None]

    def steps(self, start: int) -> Fitted:
        settings, fitted = self.settings, Fitted(start, None)
        if self._is_over(start):
            return fitted
        every = settings.evaluate_every or self.task.steps_per_epoch
        batches = self.task.batches(start, settings.steps)
        total, count = torch.zeros(()), 0
        for step in range(start + 1, settings.steps + 1):
            total = total + self._step(step, batches).cpu()
            count, fitted.step = count + 1, step
            validates = step % every == 0 or step == settings.steps
            if validates and (step >= settings.first_evaluation or step == settings.steps):
                fitted.losses.append((step, total.item() / count))
                total, count = torch.zeros(()), 0
                score = self._validate(step)
                fitted.curve.append((step, score))
                self.say(f"step {step}/{settings.steps}: loss {fitted.losses[-1][1]:.4f}, validation {score:.4f}")
                if self._is_over(step):
                    break
            elif settings.save_every and step % settings.save_every == 0:
                self._save(step, None)
        return fitted

    def _is_over(self, step: int) -> bool:
        patience = self.settings.patience
        return step >= self.settings.steps or bool(patience and self.progress.since_best >= patience)

    def _step(self, step: int, batches: Iterator[Any]) -> Tensor:
        """The mean loss of the step's micro-batches."""
        model, settings = self.task.model, self.settings
        model.train()
        # whatever a model draws for itself, drop path, is a function of seed and step
        torch.manual_seed(settings.seed * 1_000_003 + step)
        set_rate(self.optimizer, settings.lr * factor(settings, step))
        losses = []
        for _ in range(settings.accumulation):
            with _precision(model, settings):
                loss = self.task.loss(next(batches)) / settings.accumulation
            loss.backward()
            losses.append(loss.detach())
        self._update(step)
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(step)
        return torch.stack(losses).sum()

    def _update(self, step: int) -> None:
        parameters = [one for group in self.optimizer.param_groups for one in group["params"] if one.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip or math.inf)
        if math.isfinite(norm.item()):
            self.progress.bad = 0
            self.optimizer.step()
            return
        self.progress.bad += 1
        if self.progress.bad >= SPIKES:
            raise NumericsError(f"the gradients of {SPIKES} steps up to {step} are not finite", "lower lr")

    def _validate(self, step: int) -> float:
        with self._averaged_weights():
            self.task.model.eval()
            with torch.no_grad(), _precision(self.task.model, self.settings):
                score = self.task.validate()
        before = self.state.best()
        is_best = math.isfinite(score) and (before is None or score > before[1])
        self.progress.since_best = 0 if is_best else self.progress.since_best + 1
        self._save(step, score if is_best else None)
        return score

    def _save(self, step: int, best: float | None) -> None:
        counters = {"since_best": self.progress.since_best}
        self.state.save(step, self.task.model, self.optimizer, self.average, counters, best)

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """The averaged weights in the model, where there are some, and then its own again."""
        if not self.average:
            yield
            return
        own = {name: one.clone() for name, one in trained_state(self.task.model).items()}
        self.task.model.load_state_dict(self.average.values, strict=False)
        try:
            yield
        finally:
            self.task.model.load_state_dict(own, strict=False)


def _precision(model: nn.Module, settings: Settings) -> AbstractContextManager[Any]:
    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=settings.precision == "bf16")
