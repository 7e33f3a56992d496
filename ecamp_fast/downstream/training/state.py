"""The checkpoints of a fit: model, optimizer, average; committed and verified by ``run.checkpoint``, best ones kept."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ecamp_fast.downstream.result import changes
from ecamp_fast.downstream.training.optimizer import Averaged, trained_state
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.run.checkpoint.agreement import Alone
from ecamp_fast.run.checkpoint.find import find
from ecamp_fast.run.checkpoint.manifest import Position
from ecamp_fast.run.checkpoint.read import Checkpoint
from ecamp_fast.run.checkpoint.retention import best_of, set_aside
from ecamp_fast.run.checkpoint.saver import Request, Saver

KEEP = 2
MODEL, OPTIMIZER, AVERAGE = "model/", "optimizer/", "average/"


class FitState:
    """Saves and restores one fit in ``folder``/checkpoints.

    identity  what a fit must share with the one it goes on from: settings, data, encoder
    data      digest of the shard set
    say       is told what the disk refused after a checkpoint was there
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], data: str, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder / "checkpoints", say
        self._identity: dict[str, Any] = json.loads(json.dumps(identity))  # as it comes back from a manifest
        self._data = data
        self._saver = Saver(self._folder, Alone(), KEEP, background=False)

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: Averaged | None,
        progress: Mapping[str, Any],
        best: float | None,
    ) -> None:
        """A checkpoint after ``step`` steps.

        progress  of the loop, as JSON has it
        best      the score, higher is better, where this is the best so far: it then stays

        Raises what kept it from the disk.
        """
        tensors = {MODEL + name: one for name, one in trained_state(model).items()}
        tensors |= {OPTIMIZER + name: one for name, one in _optimizer_state(model, optimizer).items()}
        if average:
            tensors |= {AVERAGE + name: one for name, one in average.values.items()}
        position = Position(step=step, data=self._data, settings={"fit": self._identity, "progress": dict(progress)})
        self._saver.save(tensors, Request(position, None if best is None else -best))
        for outcome in self._saver.finished():
            if outcome.fault:
                raise outcome.fault
            if outcome.untidy:
                self._say(f"step {step}: {outcome.untidy}")

    def resume(
        self, mode: str, model: nn.Module, optimizer: torch.optim.Optimizer, average: Averaged | None
    ) -> tuple[int, dict[str, Any]]:
        """Load the checkpoint that ``mode`` means (``run.checkpoint.find``); later ones are of a fit that was left.

        returns steps done, 0 where a fit begins, and the loop's progress
        Raises ConfigError where it is of another fit, DataError where it is of other data or does not fit.
        """
        path = find(self._folder, mode, lambda name, reason: None)
        if path is None:
            set_aside(self._folder, 0)
            return 0, {}
        checkpoint = Checkpoint(path)
        self._compare(checkpoint, path)
        set_aside(self._folder, checkpoint.position.step)
        _load(model, _part(checkpoint, MODEL), path)
        _load_optimizer(model, optimizer, _part(checkpoint, OPTIMIZER))
        if average:
            average.values = _part(checkpoint, AVERAGE, like=average.values)
        return checkpoint.position.step, checkpoint.position.settings["progress"]

    def best(self) -> tuple[int, float] | None:
        """Step and score of the best checkpoint so far."""
        name, loss = best_of(self._folder)
        return (Checkpoint(self._folder / name).position.step, -loss) if name and math.isfinite(loss) else None

    def load_best(self, model: nn.Module) -> None:
        """The weights that were validated best: the averaged ones, where there is an average."""
        name, _ = best_of(self._folder)
        if not name:
            return
        path = self._folder / name
        checkpoint = Checkpoint(path)
        _load(model, _part(checkpoint, AVERAGE) or _part(checkpoint, MODEL), path)

    def _compare(self, checkpoint: Checkpoint, path: Path) -> None:
        if checkpoint.position.data != self._data:
            raise DataError(f"{path} was fitted to another shard set", "pass the same set, or another OUT")
        if told := changes(checkpoint.position.settings.get("fit", {}), self._identity):
            raise ConfigError(f"{path} is of another fit: {told}", "choose another OUT, or --resume never")


def _part(checkpoint: Checkpoint, prefix: str, like: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    found = {n.removeprefix(prefix): checkpoint.read(n) for n in checkpoint.names if n.startswith(prefix)}
    return {name: one.to(like[name].device) for name, one in found.items()} if like else found


def _load(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    known = {name: one.shape for name, one in trained_state(model).items()}
    if known != {name: one.shape for name, one in state.items()}:
        raise DataError(f"{path} does not fit the model", "use the encoder and the settings that it was fitted with")
    model.load_state_dict(state, strict=False)


def _names(model: nn.Module) -> dict[Tensor, str]:
    return {parameter: name for name, parameter in model.named_parameters()}


def _optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """``KIND/PARAMETER``: what the optimizer keeps of each."""
    names = _names(model)
    return {
        f"{kind}/{names[parameter]}": value
        for parameter, kept in optimizer.state.items()
        for kind, value in kept.items()
        if isinstance(value, Tensor)
    }


def _load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for name, value in state.items():
        kind, _, parameter = name.partition("/")
        owner = parameters[parameter]
        # AdamW counts its steps on the host
        optimizer.state[owner][kind] = value.clone() if kind == "step" else value.to(owner.device).clone()
