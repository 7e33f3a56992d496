"""The gate before a time: an engine must compute what the plain model computes in float32 from the same weights.

Plain: eager PyTorch without any of this project's kernels and without flash attention, so that a wrong one shows.
In bfloat16 it also takes the step in bfloat16: sums that cancel are far off in any, and ours may be twice as far.
"""

import gc
import math
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ecamp_fast.batch import Batch
from ecamp_fast.bench.step.timed_step import StepResult
from ecamp_fast.kernels.dispatch import plain_torch
from ecamp_fast.model.compile import recompute_blocks
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.objectives import Losses

# Relative distance allowed to a loss and to the gradient norm. float32: sums in another order. bfloat16: 2^-9 a
# rounding; a term left out or a mean over the wrong count is off by far more.
TOLERANCES = {"fp32": (1e-5, 1e-4), "bf16": (1e-2, 5e-2)}
# Of the gradient of a component: its distance over its norm; or so many times that of the plain model in the same
# precision, where that is more. In bfloat16 0.2 to 4.4 % (CPU), but for the decoder's norm, whose sums over tokens
# cancel in a picture of noise. A lost gradient gives 1, which is never allowed.
GRADIENTS = {"fp32": 1e-3, "bf16": 0.15}
OF_PLAIN, CAP = 2, 0.5
TERMS = ("total", "mim", "sr", "mlm")


class Checked(Protocol):
    """An engine, or a bare model in training.  model: the bare ``Ecamp``"""

    model: Ecamp

    def check(self, batch: Batch) -> StepResult:
        """A step without dropout; of an engine one of micro-batches all alike."""


def parity(engine: Checked, batch: Batch, precision: str | None = None) -> dict[str, Any]:
    """Compare one step on ``batch`` with the plain model; the engine takes that step.

    batch: the same on every rank, on the engine's device; the one that will be timed, so that its shapes compile once
    precision: of the engine; None: the recipe's
    returns passed, distances (relative: by loss, of the gradient_norm, and gradients, the largest of the components'),
    gradients (of each component, the difference of its gradients over their norm), plain_gradients (the same of the
    plain model in bfloat16; none in float32), allowed (losses, gradient_norm, gradients: of a component at least).
    """
    precision = precision or engine.model.recipe.precision
    plain, found = plain_step(engine.model, batch), engine.check(batch)
    distances = {term: _distance(found.losses, plain.losses, term) for term in TERMS}
    distances["gradient_norm"] = abs(found.norm - plain.norm) / plain.norm
    by_component = gradient_distances(found.gradients, plain.gradients)
    distances["gradients"] = max(by_component.values())
    allowed = dict(zip(("losses", "gradient_norm"), TOLERANCES[precision], strict=True))
    allowed["gradients"] = GRADIENTS[precision]
    within = [distances[term] <= allowed["losses"] for term in TERMS]
    within += [distances["gradient_norm"] <= allowed["gradient_norm"]]
    yardstick: dict[str, float] = {}
    if precision == "bf16":
        same = plain_step(engine.model, batch, torch.bfloat16)
        yardstick = gradient_distances(same.gradients, plain.gradients)
    for component, distance in by_component.items():
        within += [distance <= max(allowed["gradients"], min(CAP, OF_PLAIN * yardstick.get(component, 0.0)))]
    gc.collect()  # recomputed blocks refer to themselves: the plain model would stay beside the engine
    verdict = {"passed": all(within), "distances": distances, "gradients": by_component}
    return verdict | {"plain_gradients": yardstick, "allowed": allowed}


def gradient_distances(found: dict[str, Tensor], plain: dict[str, Tensor]) -> dict[str, float]:
    """Of each component, named by the first two parts of its weights' names; a gradient that is missing is zero."""
    squares: dict[str, list[float]] = {}
    for name, truth in plain.items():
        ours = found.get(name)
        off = truth if ours is None else ours.float() - truth
        sums = squares.setdefault(".".join(name.split(".")[:2]), [0.0, 0.0])
        sums[0] += float(off.double().square().sum())
        sums[1] += float(truth.double().square().sum())
    return {component: math.sqrt(off / max(norm, 1e-30)) for component, (off, norm) in squares.items()}


def plain_step(model: Ecamp, batch: Batch, dtype: torch.dtype = torch.float32) -> StepResult:
    """A step of the same weights in ``dtype``: none of our kernels, attention by its definition, no TF32.

    Blocks are recomputed in the backward, so that a batch that fits beside an engine in bfloat16 fits here too.
    """
    plain = Ecamp(model.recipe, model.vocab_size).to(batch.image.device)
    plain.load_state_dict({name: tensor.float() for name, tensor in model.state_dict().items()})
    plain.to(dtype).eval()
    recompute_blocks(plain)
    faster, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        with plain_torch(), sdpa_kernel(SDPBackend.MATH):
            losses = plain(batch)
            losses.total.backward()
    finally:
        torch.backends.cudnn.allow_tf32 = faster
    return StepResult.of(losses, plain)


def _distance(found: Losses, expected: Losses, term: str) -> float:
    value, truth = (float(getattr(losses, term).detach()) for losses in (found, expected))
    return abs(value - truth) / max(abs(truth), 1e-12)


def describe_parity(verdict: dict[str, Any]) -> str:
    """One line."""
    distances = ", ".join(f"{name.replace('_', ' ')} {value:.1e}" for name, value in verdict["distances"].items())
    word = "passed" if verdict["passed"] else "FAILED, so no times are given"
    return f"against the plain float32 model, relative: {distances}: {word}"
