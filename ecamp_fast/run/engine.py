"""The DeepSpeed engine around the model: AdamW groups, precision, ZeRO as the JSON says."""

import logging
import sys
from contextlib import suppress
from types import MethodType
from typing import Any

import torch

from ecamp_fast.config import Recipe
from ecamp_fast.config.deepspeed_values import absent_monitors
from ecamp_fast.model.groups import parameter_groups


def build_engine(model: torch.nn.Module, recipe: Recipe, ds_config: dict[str, Any]) -> Any:
    """``deepspeed.initialize`` on an Ecamp model; ``ds_config`` is resolved (no "auto").

    Returns the engine: ``engine(batch)``, ``engine.backward(loss)``, ``engine.step()``; the last step of an update is
    ``run.update.Update``, which also clips the gradients as ``gradient_clipping`` says.
    """
    import deepspeed

    _import_muon()
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, recipe.optim.weight_decay),
        lr=recipe.optim.lr,
        betas=recipe.optim.betas,
        eps=recipe.optim.eps,
        fused=True,
    )
    # No update before the first gradient; the stubs do not know what AdamW reads.
    optimizer.found_inf = torch.ones((), device=next(model.parameters()).device)  # type: ignore[attr-defined]
    config = ds_config | {"gradient_clipping": 0.0} | _without_package(ds_config)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    if hasattr(engine.optimizer, "fp32_groups"):  # FP16_UnfusedOptimizer: bf16 without ZeRO
        engine.optimizer.step = MethodType(_step_without_reads, engine.optimizer)
    return engine


def _import_muon() -> None:
    """What DeepSpeed imports to know its Muon from other optimizers, without compiling it: 1.6 s of every start."""
    from deepspeed.runtime import compiler

    compiles, compiler.compile = compiler.compile, lambda: lambda function: function
    try:
        with suppress(ImportError):  # of a version that has it elsewhere: it starts as slowly as it did
            import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
    finally:
        compiler.compile = compiles


def _without_package(ds_config: dict[str, Any]) -> dict[str, Any]:
    """DeepSpeed's monitors that lack their package, switched off: a log that is not written must not end a run."""
    absent = absent_monitors(ds_config)
    for name, package in absent.items():
        if torch.distributed.get_rank() == 0:
            print(f"{name} stays off: {package} is not installed (pip install {package})", file=sys.stderr)
    return {name: {"enabled": False} for name in absent}


@torch.no_grad()
def _step_without_reads(wrapper: Any) -> None:
    """``FP16_UnfusedOptimizer.step`` without its checks, which read every gradient on the host; ``Update`` checks.

    float32 masters take the gradients, AdamW updates them, the bf16 weights are copied from them.
    """
    for weights, masters in zip(wrapper.fp16_groups, wrapper.fp32_groups, strict=True):
        for weight, master in zip(weights, masters, strict=True):
            master.grad = None if weight.grad is None else weight.grad.float()
    wrapper.optimizer.step()
    for weights, masters in zip(wrapper.fp16_groups, wrapper.fp32_groups, strict=True):
        torch._foreach_copy_(weights, masters)
        for master in masters:
            master.grad = None


def set_learning_rate(engine: Any, rate: float) -> None:
    """Set the rate of every parameter group for the coming optimizer step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
