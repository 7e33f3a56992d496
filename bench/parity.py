"""The gate before a time: an engine must compute what the plain model computes in float32 from the same weights.

Plain: eager PyTorch without any of this project's kernels and without flash attention, so that a wrong one shows.
"""

from typing import Any, Protocol

from torch.nn.attention import SDPBackend, sdpa_kernel

from ecamp_fast.batch import Batch
from ecamp_fast.bench.step import global_norm
from ecamp_fast.kernels.launch import plain_torch
from ecamp_fast.model.compiled import recompute_blocks
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.objectives import Losses

# Relative distance allowed to a loss and to the gradient norm. float32: sums in another order. bfloat16: 2^-9 a
# rounding; a term left out or a mean over the wrong count is off by far more.
TOLERANCES = {"fp32": (1e-5, 1e-4), "bf16": (1e-2, 5e-2)}
TERMS = ("total", "mim", "sr", "mlm")


class Checked(Protocol):
    """An engine, or a bare model in training.  model: the bare ``Ecamp``"""

    model: Ecamp

    def check(self, batch: Batch) -> tuple[Losses, float]:
        """Losses and gradient norm without dropout; of an engine those of a step of micro-batches all alike."""


def parity(engine: Checked, batch: Batch, precision: str | None = None) -> dict[str, Any]:
    """Compare one step on ``batch`` with the plain model; the engine takes that step.

    batch: the same on every rank, on the engine's device; the one that will be timed, so that its shapes compile once
    precision: of the engine; None: the recipe's
    returns passed, distances (relative, by loss and for gradient_norm), allowed (losses, gradient_norm).
    """
    losses, norm = plain_step(engine.model, batch)
    found, found_norm = engine.check(batch)
    distances = {term: _distance(found, losses, term) for term in TERMS}
    distances["gradient_norm"] = abs(found_norm - norm) / norm
    loss_limit, norm_limit = TOLERANCES[precision or engine.model.recipe.precision]
    within = [distances[term] <= loss_limit for term in TERMS] + [distances["gradient_norm"] <= norm_limit]
    allowed = {"losses": loss_limit, "gradient_norm": norm_limit}
    return {"passed": all(within), "distances": distances, "allowed": allowed}


def plain_step(model: Ecamp, batch: Batch) -> tuple[Losses, float]:
    """Losses and gradient norm of the same weights in float32: none of our kernels, attention by its definition.

    Blocks are recomputed in the backward, so that a batch that fits beside an engine in bfloat16 fits here too.
    """
    plain = Ecamp(model.recipe, model.vocab_size).to(batch.image.device)
    plain.load_state_dict({name: tensor.float() for name, tensor in model.state_dict().items()})
    plain.eval()
    recompute_blocks(plain)
    with plain_torch(), sdpa_kernel(SDPBackend.MATH):
        losses = plain(batch)
        losses.total.backward()
    return losses, global_norm([weight.grad for weight in plain.parameters() if weight.grad is not None])


def _distance(found: Losses, expected: Losses, term: str) -> float:
    value, truth = (float(getattr(losses, term).detach()) for losses in (found, expected))
    return abs(value - truth) / max(abs(truth), 1e-12)


def describe_parity(verdict: dict[str, Any]) -> str:
    """One line."""
    distances = ", ".join(f"{name.replace('_', ' ')} {value:.1e}" for name, value in verdict["distances"].items())
    word = "passed" if verdict["passed"] else "FAILED, so no times are given"
    return f"against the plain float32 model, relative: {distances}: {word}"
