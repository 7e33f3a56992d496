"""The gate before a time: an engine must compute what the plain model computes in float32 from the same weights."""

from typing import Any

from ecamp_fast.batch import Batch
from ecamp_fast.bench.engines import Engine, global_norm
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.objectives import Losses

# Relative distance allowed to a loss and to the gradient norm. float32: sums in another order. bfloat16: 2^-9 a
# rounding; a term left out or a mean over the wrong count is off by far more.
TOLERANCES = {"fp32": (1e-5, 1e-4), "bf16": (1e-2, 5e-2)}
TERMS = ("total", "mim", "sr", "mlm")


def parity(engine: Engine, batch: Batch) -> dict[str, Any]:
    """Compare one step on ``batch`` with the plain model; the engine takes that step.

    batch: the same on every rank, on the engine's device
    returns passed, distances (relative, by loss and for gradient_norm), allowed (losses, gradient_norm).
    """
    recipe = engine.model.recipe
    plain = Ecamp(recipe, engine.model.vocab_size).to(batch.image.device)
    plain.load_state_dict({name: tensor.float() for name, tensor in engine.model.state_dict().items()})
    plain.eval()
    losses = plain(batch)
    losses.total.backward()
    norm = global_norm([weight.grad for weight in plain.parameters() if weight.grad is not None])
    found, found_norm = engine.check(batch)
    distances = {term: _distance(found, losses, term) for term in TERMS}
    distances["gradient_norm"] = abs(found_norm - norm) / norm
    loss_limit, norm_limit = TOLERANCES[recipe.precision]
    within = [distances[term] <= loss_limit for term in TERMS] + [distances["gradient_norm"] <= norm_limit]
    allowed = {"losses": loss_limit, "gradient_norm": norm_limit}
    return {"passed": all(within), "distances": distances, "allowed": allowed}


def _distance(found: Losses, expected: Losses, term: str) -> float:
    value, truth = (float(getattr(losses, term).detach()) for losses in (found, expected))
    return abs(value - truth) / max(abs(truth), 1e-12)


def describe_parity(verdict: dict[str, Any]) -> str:
    """One line."""
    distances = ", ".join(f"{name.replace('_', ' ')} {value:.1e}" for name, value in verdict["distances"].items())
    word = "passed" if verdict["passed"] else "FAILED, so no times are given"
    return f"against the plain float32 model, relative: {distances}: {word}"
