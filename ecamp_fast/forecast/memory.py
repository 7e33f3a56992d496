"""Bytes of memory on one rank: model states by ZeRO's stage, and what blocks keep of a micro-batch for the backward."""

import math
import os
from typing import Any, cast

import torch
from torch import nn

from ecamp_fast.batch import Batch
from ecamp_fast.bench.data.synthetic import synthetic_batch, text_lengths
from ecamp_fast.config import Recipe
from ecamp_fast.model.compile import recompute_blocks
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run.auto_batch import LARGEST_ON_CPU, Memory, candidates, state_parts

SPREAD = 0.4  # of lengths of texts, over their mean
_FEW = 2, 4  # samples of the two micro-batches that are compared


def memory_of(model: nn.Module, recipe: Recipe, tokens: float, stage: int, world: int) -> dict[str, Any]:
    """parts (``state_parts``), states (their sum), sample and once (bytes kept for the backward: of each sample, and of
    any micro-batch; None where the model is not ECAMP), available (of the device), gpu (its name; None: main memory).

    model   on the meta device
    tokens  of a text, on average
    """
    numbers = sum(parameter.numel() for parameter in model.parameters())
    parts = state_parts(numbers, recipe.precision, stage, world)
    sample, once = _kept(model, recipe, tokens) if isinstance(model, Ecamp) else (None, None)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    available = torch.cuda.get_device_properties(0).total_memory if gpu else _main_memory(world)
    states = sum(parts.values())
    return {"gpu": gpu, "available": available, "parts": parts, "states": states, "sample": sample, "once": once}


def _kept(model: Ecamp, recipe: Recipe, tokens: float) -> tuple[int, int]:
    """Bytes kept for the backward, of each sample and beside them, by the shapes alone: nothing is computed."""
    model.to(torch.bfloat16 if recipe.precision == "bf16" else torch.float32)
    if recipe.activations == "recompute":
        recompute_blocks(cast(Ecamp, model))
    few, many = (_saved(model, _batch(model, recipe, tokens, samples)) for samples in _FEW)
    each = (many - few) // (_FEW[1] - _FEW[0])
    return each, max(few - _FEW[0] * each, 0)


def _batch(model: Ecamp, recipe: Recipe, tokens: float, samples: int) -> Batch:
    mean = min(tokens or 2.0, recipe.text.max_tokens)
    return synthetic_batch(
        recipe, model.vocab_size or 1, text_lengths(samples, mean, SPREAD, recipe.text.max_tokens)
    ).to("meta")


def _saved(model: nn.Module, batch: Batch) -> int:
    """``run.auto_batch`` measures the same on real tensors, which have addresses; these have none."""
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    held: dict[int, torch.UntypedStorage] = {}

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            held[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        model(batch)
    return sum(storage.nbytes() for storage in held.values())


def fitting_micro(recipe: Recipe, world: int, memory: dict[str, Any]) -> int:
    """What ``batch.micro: auto`` would choose, if the forecast of the memory were measured.  Raises ConfigError."""
    possible = candidates(recipe, world, None if memory["gpu"] else LARGEST_ON_CPU)
    found = Memory(memory["available"], memory["states"] + (memory["once"] or 0), memory["sample"] or 1)
    return max((micro for micro in possible if found.fits(micro)), default=possible[0])


def _main_memory(world: int) -> int:
    """Half of the machine's, shared by the ranks, as ``run.auto_batch`` counts it."""
    return math.floor(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (2 * world))
