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
from ecamp_fast.downstream.training.words import TimeLeft, ended, plan, stopped
from ecamp_fast.errors import NumericsError
from ecamp_fast.files import require_folder

SPIKES = 20  # steps in a row whose gradient is not finite before a fit gives up


class FitTask(Protocol):
    """What is fitted.

    model            its parameters that require gradients are trained, and its buffers change with them
    steps_per_epoch  over the training samples that are used
    metric           what ``validate`` returns, as a person calls it
    """

    steps_per_epoch: int

    @property
    def metric(self) -> str: ...

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
    curve   (step, score) of each validation
    losses  (step, mean training loss since the entry before)
    """

    step: int
    best: tuple[int, float] | None
    curve: list[tuple[int, float]] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)

    def as_facts(self) -> dict[str, Any]:
        """For ``TaskResult.extra``."""
        return {"steps": self.step, "best": self.best, "curve": self.curve}


@dataclass
class _Progress:
    """What a fit that goes on must know of itself.

    since_best  validations since the best   bad: steps in a row that were left out
    curve, losses   as ``Fitted`` has them
    total, count    training losses since the last entry of ``losses``
    """

    since_best: int = 0
    bad: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    count: int = 0

    def as_json(self) -> dict[str, Any]:
        """What is not finite becomes null."""
        curves = {name: [(step, _finite(value)) for step, value in getattr(self, name)] for name in ("curve", "losses")}
        counters = {"since_best": self.since_best, "bad": self.bad, "count": self.count}
        return {**counters, **curves, "total": _finite(self.total.item())}

    @classmethod
    def of_json(cls, saved: Mapping[str, Any]) -> "_Progress":
        """Of nothing: that of a fit which begins."""
        if not saved:
            return cls()
        curve, losses = ([(step, _number(value)) for step, value in saved[name]] for name in ("curve", "losses"))
        total = torch.tensor(_number(saved["total"]))
        return cls(saved["since_best"], saved["bad"], curve, losses, total, saved["count"])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value


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
    say       gets a line before the first step that is left, at each validation, and at the end

    Raises NumericsError where gradients stay not finite, and what ``FitState`` raises.
    """
    require_folder(out)
    torch.manual_seed(settings.seed)
    optimizer = build_optimizer(task.model, settings)
    average = Averaged(task.model, settings.ema) if settings.ema else None
    state = FitState(out, {"settings": settings.model_dump(mode="json"), **identity}, data, say)
    start, saved = state.resume(resume, task.model, optimizer, average)
    progress = _Progress.of_json(saved)
    run = _Run(task, settings, optimizer, average, state, progress, say, start)
    try:
        step = run.steps(start)
    except KeyboardInterrupt:
        say(stopped(run.saved, resume))
        raise
    say(ended(step, settings, task.metric, state.best()))
    state.load_best(task.model)
    task.model.eval()
    return Fitted(step, state.best(), progress.curve, progress.losses)


@dataclass
class _Run:
    task: FitTask
    settings: Settings
    optimizer: torch.optim.Optimizer
    average: Averaged | None
    state: FitState
    progress: _Progress
    say: Callable[[str], None]
    saved: int  # step of the newest checkpoint, 0 where there is none

    def steps(self, start: int) -> int:
        """Those that are left; returns how many were done with the former ones."""
        settings, progress = self.settings, self.progress
        if self._is_over(start):
            return start
        self.say(plan(settings, self.task.metric, self.task.steps_per_epoch, start))
        every = settings.evaluate_every or self.task.steps_per_epoch
        batches, pace = self.task.batches(start, settings.steps), TimeLeft(start, settings.steps)
        for step in range(start + 1, settings.steps + 1):
            progress.total = progress.total + self._step(step, batches).cpu()
            progress.count += 1
            if forecast := pace.forecast(step):
                self.say(forecast)
            validates = step % every == 0 or step == settings.steps
            if validates and (step >= settings.first_evaluation or step == settings.steps):
                with pace.apart():
                    self._validate(step, pace)
                if self._is_over(step):
                    return step
            elif settings.save_every and step % settings.save_every == 0:
                self._save(step, None)
        return settings.steps

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
            with precision(model, settings):
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

    def _validate(self, step: int, pace: TimeLeft) -> None:
        progress = self.progress
        with self._averaged_weights():
            self.task.model.eval()
            with torch.no_grad(), precision(self.task.model, self.settings):
                score = self.task.validate()
        before = self.state.best()
        is_best = math.isfinite(score) and (before is None or score > before[1])
        progress.since_best = 0 if is_best else progress.since_best + 1
        progress.curve.append((step, score))
        progress.losses.append((step, progress.total.item() / progress.count))
        progress.total, progress.count = torch.zeros(()), 0
        self._save(step, score if is_best else None)
        told = f"loss {progress.losses[-1][1]:.4f}, val {self.task.metric} {score:.4f}{' (best)' if is_best else ''}"
        self.say(f"step {step}/{self.settings.steps}: {told}{pace.left(step)}")

    def _save(self, step: int, best: float | None) -> None:
        self.state.save(step, self.task.model, self.optimizer, self.average, self.progress.as_json(), best)
        self.saved = step

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


def precision(model: nn.Module, settings: Settings) -> AbstractContextManager[Any]:
    """What a fit computes in; its best weights are judged in the same."""
    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=settings.precision == "bf16")
