"""Finds the first number of a step that is not finite: of a picture, a layer, a loss, a gradient, a state."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ecamp_fast.batch import Batch
from ecamp_fast.objectives import Losses
from ecamp_fast.run.checkpoint.engine_state import named_states
from ecamp_fast.run.step import OptimizerStep
from ecamp_fast.run.update import gradients
from ecamp_fast.weights.finite import first_not_finite

TERMS = ("mim", "sr", "mlm", "align", "total")


@dataclass(frozen=True)
class Culprit:
    """The first that was not finite.

    kind     "input", "activation", "term", "gradient", "weight", "master", "exp_avg" or "exp_avg_sq"
    name     of the field of the batch, the module, the loss, the parameter
    rank     whose micro-batch it was; None where it belongs to none
    micro    which of that rank's in the step, from 0
    samples  of the training split, the ones to blame; all of the micro-batch where none stands out
    """

    kind: str
    name: str
    rank: int | None = None
    micro: int | None = None
    samples: tuple[int, ...] = ()


class Search:
    """Looks at a model while it is trained: within ``looking``, ``first`` is the first culprit since ``clear``."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._where: tuple[int, int, Batch] | None = None
        self.first: Culprit | None = None

    def clear(self) -> None:
        """Before a step."""
        self.first = self._where = None

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Hooks on every layer and on the gradient of every parameter; each of them waits for the device."""
        handles = [
            module.register_forward_hook(lambda module, given, output, name=name: self._layer(name, output))
            for name, module in self._model.named_modules()
            if name
        ]
        handles += [
            parameter.register_hook(lambda gradient, name=name: self._note("gradient", name, {name: gradient}))
            for name, parameter in self._model.named_parameters()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def enter(self, rank: int, micro: int, batch: Batch) -> None:
        """A micro-batch begins."""
        self._where = rank, micro, batch
        given = batch.tensors() | ({"text.weights": batch.text.weights} if batch.text else {})
        for name, tensor in given.items():
            self._rows("input", name, tensor)

    def terms(self, losses: Losses) -> None:
        """The losses of the micro-batch."""
        for name in TERMS:
            if (term := getattr(losses, name)) is not None:
                self._note("term", name, {name: term})

    def leave(self) -> None:
        """What comes now belongs to no micro-batch."""
        self._where = None

    def tensors(self, kind: str, named: Mapping[str, Tensor]) -> None:
        """Tensors that belong to no micro-batch.  kind: '' where names begin with theirs and a blank"""
        if name := first_not_finite(named):
            self._note(kind or name.split()[0], name if kind else name.split()[1], {name: named[name]})

    def _layer(self, name: str, output: Any) -> None:
        for tensor in output if isinstance(output, tuple | list) else (output,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self._rows("activation", name, tensor.detach())

    def _rows(self, kind: str, name: str, tensor: Tensor) -> None:
        if self.first or not first_not_finite({name: tensor}):
            return
        assert self._where is not None
        bad = ~tensor.isfinite().reshape(len(tensor), -1).all(1) if tensor.dim() else torch.ones(1, dtype=torch.bool)
        self._blame(kind, name, _samples_of(bad.nonzero()[:, 0], len(bad), self._where[2]))

    def _note(self, kind: str, name: str, named: Mapping[str, Tensor]) -> None:
        if not self.first and first_not_finite(named):
            self._blame(kind, name, [])

    def _blame(self, kind: str, name: str, rows: list[int]) -> None:
        """rows: places in the micro-batch; none: all of them"""
        if self._where is None:
            self.first = Culprit(kind, name)
            return
        rank, micro, batch = self._where
        samples = batch.samples.tolist()
        self.first = Culprit(kind, name, rank, micro, tuple(samples[row] for row in rows or range(len(samples))))


def _samples_of(rows: Tensor, count: int, batch: Batch) -> list[int]:
    """The samples, by their places in the batch, that have one of ``rows`` of a tensor with ``count`` of them."""
    text = batch.text
    if count == len(batch):
        return rows.tolist()
    for entries, starts in ((len(text.ids), text.cu_seqlens), (len(text.rows), text.predicted)) if text else ():
        if count == entries:
            owners = torch.searchsorted(starts.long(), rows.long(), right=True) - 1
            return sorted({owner for owner in owners.tolist() if owner < len(batch)})
    return []


class SearchedStep(OptimizerStep):
    """An ``OptimizerStep`` all of whose numbers are looked at."""

    def __init__(self, search: Search, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._search = search

    def _forward(self, batch: Batch, rank: int, micro: int) -> Losses:
        self._search.enter(rank, micro, batch)
        losses = super()._forward(batch, rank, micro)
        self._search.terms(losses)
        return losses

    def _end_backward(self, rank: int) -> None:
        self._search.leave()
        super()._end_backward(rank)
        self._search.tensors("gradient", _named_gradients(self._engine))
        self._search.tensors("", named_states(self._engine))


def _named_gradients(engine: Any) -> dict[str, Tensor]:
    """What ``gradients`` gives, by the parameters' names as far as DeepSpeed keeps them in the same order."""
    found, optimizer = gradients(engine), engine.optimizer
    names = {id(parameter): name for name, parameter in engine.module.named_parameters()}
    parameters = [p for p in engine.module.parameters() if p.grad is not None]
    if hasattr(optimizer, "averaged_gradients"):
        parameters = [p for group in optimizer.params_in_partition for p in group]
    if len(parameters) != len(found):
        return {f"group-{number}": gradient for number, gradient in enumerate(found)}
    return {names[id(parameter)]: gradient for parameter, gradient in zip(parameters, found, strict=True)}
