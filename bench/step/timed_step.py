"""One training step, forward, backward and AdamW, with a watch on each."""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.groups import parameter_groups
from ecamp_fast.model.ready import make_ready
from ecamp_fast.objectives import Losses

PHASES = ("forward", "backward", "optimizer")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Stopwatch:
    """Marks in time: events of the device on a GPU, which is not waited for until the laps are read."""

    def __init__(self, device: torch.device) -> None:
        self._events = device.type == "cuda"
        self._marks: list[Any] = []

    def mark(self) -> None:
        if self._events:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def laps(self) -> list[float]:
        """Seconds between one mark and the next."""
        pairs = zip(self._marks, self._marks[1:], strict=False)
        if not self._events:
            return [later - earlier for earlier, later in pairs]
        torch.cuda.synchronize()
        return [earlier.elapsed_time(later) / 1e3 for earlier, later in pairs]


class Masters:
    """AdamW as in training: fused, on float32 copies of the weights where they are bfloat16."""

    def __init__(self, model: torch.nn.Module, recipe: Recipe) -> None:
        groups = parameter_groups(model, recipe.optim.weight_decay)
        self.weights: list[Tensor] = [weight for group in groups for weight in group["params"]]
        self.copies: list[Tensor] = []
        self.gradients: list[Tensor] = []
        if any(weight.dtype != torch.float32 for weight in self.weights):
            self.copies = [weight.detach().float() for weight in self.weights]
            self.gradients = [torch.zeros_like(copy) for copy in self.copies]
            for copy, gradient in zip(self.copies, self.gradients, strict=True):
                copy.grad = gradient
            named = dict(zip(map(id, self.weights), self.copies, strict=True))
            groups = [group | {"params": [named[id(weight)] for weight in group["params"]]} for group in groups]
        optim = recipe.optim
        self.adamw = torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True)

    @torch.no_grad()
    def step(self) -> None:
        """Updates the weights from their gradients, which are gone afterwards; every weight must have one."""
        if self.copies:
            fresh = [weight.grad for weight in self.weights if weight.grad is not None]
            torch._foreach_copy_(self.gradients, fresh)  # refuses lists of unequal length
        self.adamw.step()
        if self.copies:
            torch._foreach_copy_(self.weights, self.copies)
        for weight in self.weights:
            weight.grad = None


@dataclass(frozen=True)
class StepResult:
    """What a step computed.  gradients: of the whole batch, by name of the weight   norm: of all of them together"""

    losses: Losses
    norm: float
    gradients: dict[str, Tensor]

    @staticmethod
    def of(losses: Losses, model: torch.nn.Module) -> "StepResult":
        """After a backward of a model whose weights hold their gradients."""
        named = model.named_parameters()
        gradients = {name: weight.grad.detach() for name, weight in named if weight.grad is not None}
        return StepResult(losses, global_norm(list(gradients.values())), gradients)


class Step:
    """The model in training, on one device, in one precision."""

    def __init__(self, recipe: Recipe, vocab_size: int, precision: str, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.device = device
        self.model = make_ready(Ecamp(recipe, vocab_size).to(DTYPES[precision]), recipe, device)
        self.masters = Masters(self.model, recipe)

    def check(self, batch: Batch) -> "StepResult":
        """A step without dropout; the weights stay."""
        self.model.eval()
        losses: Losses = self.model(batch)
        losses.total.backward()
        found = StepResult.of(losses, self.model)
        self.model.zero_grad()
        self.model.train()
        return found

    def run(self, batch: Batch) -> dict[str, float]:
        """Seconds of ``PHASES``, of all together, and of the cores of this process (``core``)."""
        watch, cores = Stopwatch(self.device), time.process_time()
        watch.mark()
        loss = self.model(batch).total
        watch.mark()
        loss.backward()
        watch.mark()
        self.masters.step()
        watch.mark()
        laps = watch.laps()
        core = time.process_time() - cores
        return dict(zip(PHASES, laps, strict=True)) | {"together": sum(laps), "core": core}


def global_norm(gradients: list[Tensor]) -> float:
    """Euclidean norm of all gradients together, summed in float64."""
    norms = [torch.linalg.vector_norm(gradient, dtype=torch.float64) for gradient in gradients]
    return float(torch.linalg.vector_norm(torch.stack(norms)))


def summaries(steps: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """``median``, ``p20``, ``p80`` of everything that a step measures."""
    return {phase: _summary([step[phase] for step in steps]) for phase in steps[0]}


def _summary(seconds: list[float]) -> dict[str, float]:
    if len(seconds) == 1:
        return dict.fromkeys(("median", "p20", "p80"), seconds[0])
    fifths = statistics.quantiles(seconds, n=5, method="inclusive")
    return {"median": statistics.median(seconds), "p20": fifths[0], "p80": fifths[3]}
