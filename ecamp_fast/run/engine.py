"""The DeepSpeed engine around the model: AdamW groups, precision, ZeRO as the JSON says."""

import logging
from typing import Any

import torch

from ecamp_fast.config import Recipe
from ecamp_fast.model.groups import parameter_groups


def build_engine(model: torch.nn.Module, recipe: Recipe, ds_config: dict[str, Any]) -> Any:
    """``deepspeed.initialize`` on an Ecamp model; ``ds_config`` is resolved (no "auto").

    Returns the engine: ``engine(batch)``, ``engine.backward(loss)``, ``engine.step()``.
    """
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, recipe.optim.weight_decay),
        lr=recipe.optim.lr,
        betas=recipe.optim.betas,
        eps=recipe.optim.eps,
        fused=True,
    )
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=ds_config, dist_init_required=False)
    return engine


def set_learning_rate(engine: Any, rate: float) -> None:
    """Set the rate of every parameter group for the coming optimizer step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
