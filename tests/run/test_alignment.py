"""Weights, gradients and masters start at 16 bytes, so that products of them may take the fast kernels."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.update import Update

BYTES = 16
SUMS_IN_FLOAT32 = {"data_types": {"grad_accum_dtype": "fp32"}}
ENGINES = {
    "plain fp32": (0, "fp32", {}),
    "plain bf16": (0, "bf16", {}),
    "ZeRO-1 fp32": (1, "fp32", {}),
    "ZeRO-1 bf16": (1, "bf16", {}),
    "ZeRO-2 fp32": (2, "fp32", {}),
    "ZeRO-2 bf16": (2, "bf16", {}),
    "ZeRO-2 bf16, sums in float32": (2, "bf16", SUMS_IN_FLOAT32),
}


def off(tensors: list[Tensor]) -> list[tuple[int, ...]]:
    """Shapes of those that do not start at 16 bytes."""
    return [tuple(tensor.shape) for tensor in tensors if tensor.data_ptr() % BYTES]


def stepped(engine: Any, recipe: Any, context: DistContext) -> tuple[list[Tensor], list[Tensor]]:
    """One optimizer step. Returns the masters and the gradients that AdamW was given for them."""
    seen: tuple[list[Tensor], list[Tensor]] = ([], [])

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for master in (weight for group in optimizer.param_groups for weight in group["params"]):
            seen[0].append(master)
            assert master.grad is not None
            seen[1].append(master.grad)

    engine.basic_optimizer.register_step_pre_hook(look)
    batch = synthetic_batch(recipe, 100, [20, 30, 40, 64]).to(context.device)
    for micro in range(2):
        if micro:
            engine.step()
        engine.backward(engine(batch).total)
    Update(engine, 0.0).apply()
    return seen


@pytest.mark.parametrize("name", ENGINES)
def test_everything_starts_at_16_bytes(
    make_engine: Callable[..., Any], tiny: Callable[..., Any], context: DistContext, name: str
) -> None:
    stage, precision, keys = ENGINES[name]
    engine = make_engine(stage, precision, **keys)
    masters, gradients = stepped(engine, tiny(f"precision={precision}"), context)
    assert masters and off(list(engine.module.parameters())) == off(masters) == off(gradients) == []


@pytest.mark.parametrize("stage", [1, 2])
def test_without_padding_they_would_not(make_engine: Callable[..., Any], stage: int) -> None:
    """The check can fail: biases of three numbers stand in the middle of the buffers."""
    unpadded = {"zero_optimization": {"stage": stage, "parameter_alignment": False}}
    assert len(off(list(make_engine(stage, "bf16", **unpadded).module.parameters()))) > 10
