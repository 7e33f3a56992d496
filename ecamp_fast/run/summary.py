"""What a run says of itself at its start: the line on the terminal, and the facts in run_state.json."""

from pathlib import Path
from typing import Any

import torch

from ecamp_fast import __version__
from ecamp_fast.config import Recipe
from ecamp_fast.model.attention import describe_choice
from ecamp_fast.model.ecamp import attention_cases
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.shards.load.read import ShardSet


def run_facts(recipe: Recipe, shards: ShardSet, context: DistContext) -> dict[str, Any]:
    """Where the run computes, on which data, with which libraries."""
    return {
        "ranks": context.world,
        "device": device_name(context.device),
        "data": str(shards.path.resolve() if isinstance(shards.path, Path) else shards.path),
        "manifest": shards.manifest.digest,
        "tokenizer": shards.manifest.tokenizer_digest,
        "attention": attention_choices(recipe, context),
        "versions": {"ecamp_fast": __version__, "torch": torch.__version__},
    }


def attention_choices(recipe: Recipe, context: DistContext) -> dict[str, str]:
    """Part of the model -> the attention backend it uses."""
    cases = attention_cases(recipe, context.device.type == "cuda")
    return {part: describe_choice(case) for part, case in cases.items()}


def describe_run(
    recipe: Recipe, context: DistContext, parameters: int, stage: int, samples: int, total: int, chosen: bool
) -> str:
    """The run in one line.

    parameters  of the model
    stage       of ZeRO
    samples     of the training split
    total       optimizer steps
    chosen      whether ``batch.micro`` was chosen by what the memory allows
    """
    batch, accumulation = recipe.batch, recipe.accumulation(context.world)
    micro = f"{batch.micro}{' chosen' if chosen else ''} x {context.world} ranks x {accumulation} micro-steps"
    return (
        f"recipe {recipe.name}, {parameters / 1e6:.1f} M parameters, {samples} samples, {total} steps of {batch.total} "
        f"({micro}), {recipe.precision}, ZeRO-{stage}, {device_name(context.device)}"
    )


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
