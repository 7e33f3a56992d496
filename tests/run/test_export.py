"""What a run leaves behind is the optimizer's float32, not its copy in the model's precision."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import Recipe
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.engine import set_learning_rate
from ecamp_fast.run.export import export_weights
from ecamp_fast.run.update import Update

FLOAT32_SUMS = {"data_types": {"grad_accum_dtype": "fp32"}}


@pytest.mark.parametrize(
    ("stage", "precision", "keys"),
    [(0, "fp32", {}), (0, "bf16", {}), (1, "bf16", {}), (1, "bf16", FLOAT32_SUMS), (2, "bf16", FLOAT32_SUMS)],
)
def test_masters_are_exported(
    make_engine: Callable[..., Any],
    tiny: Callable[..., Recipe],
    context: DistContext,
    tmp_path: Path,
    stage: int,
    precision: str,
    keys: dict[str, Any],
) -> None:
    """Rounded, they are the weights of the model; as they are, they hold more than bf16 does."""
    engine = make_engine(stage, precision, **keys)
    batch = synthetic_batch(tiny(), 100, [20, 30, 40, 64]).to(context.device)
    update = Update(engine, 0.0)
    for _ in range(2):
        set_learning_rate(engine, 1e-4)
        for micro in range(2):
            if micro:
                engine.step()
            engine.backward(engine(batch).total)
        assert update.apply().applied
    export_weights(engine, tmp_path / "weights.safetensors", writes=True)
    found = load_file(tmp_path / "weights.safetensors")
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    for name, parameter in engine.module.named_parameters():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name].to(dtype), parameter.detach().cpu()), name
    matrices = [found[name] for name, parameter in engine.module.named_parameters() if parameter.ndim > 1]
    assert all(not torch.equal(weight, weight.bfloat16().float()) for weight in matrices)
