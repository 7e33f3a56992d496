"""Bytes that a run leaves on the disk."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from ecamp_fast.config import Recipe
from ecamp_fast.doctor.disk import existing_above
from ecamp_fast.forecast.dataset import DataFacts
from ecamp_fast.run.checkpoint.manifest import ROOM, STATE_BYTES
from ecamp_fast.run.schedule import steps_of

# Measured on a run of recipe demo, whose 111 tensors have long names: 1092 and 97
_OF_TENSOR = 1100, 100  # bytes of names and digests for each parameter, in a checkpoint and in weights.safetensors
_LINE, _SCALARS, _SCALAR = 350, 9, 60  # bytes of a line of metrics.jsonl; its numbers in TensorBoard; bytes of one
_RECORD, _EVENT = 64, 120  # bytes of a step in flight.bin, of a save in events.jsonl
_DEEPSPEED = 14  # bytes of a parameter in DeepSpeed's own files: states, and weights in bfloat16


def disk_of(model: nn.Module, recipe: Recipe, data: DataFacts, steps: int, out: Path) -> dict[str, Any]:
    """checkpoint (one), kept (how many at the end), checkpoints, weights, logs, deepspeed, phantoms, cache, total; and
    writing (beside them, while the last one is written), needed (to begin at all), free.
    """
    numbers = sum(parameter.numel() for parameter in model.parameters())
    tensors = len(list(model.parameters()))
    fixed = 4 * sum(buffer.numel() for buffer in model.buffers())
    one = STATE_BYTES * numbers + fixed + _OF_TENSOR[0] * tensors
    kept = _kept(recipe, data, steps)
    found = {
        "checkpoints": kept * one,
        "weights": 4 * numbers + fixed + _OF_TENSOR[1] * tensors,
        "logs": _logs(recipe, steps),
        "deepspeed": _DEEPSPEED * numbers if recipe.checkpoint.deepspeed else 0,
        "phantoms": data.bytes if data.drawn else 0,
        "cache": min(data.bytes, round(recipe.loader.cache_gb * 2**30)) if data.remote else 0,
    }
    needed, free = round(ROOM * STATE_BYTES * numbers), shutil.disk_usage(existing_above(out)).free
    extra = {"checkpoint": one, "kept": kept, "total": sum(found.values()), "writing": one}
    return found | extra | {"needed": needed, "free": free}


def _kept(recipe: Recipe, data: DataFacts, steps: int) -> int:
    """Checkpoints at the end, at most: the newest, milestones before them, and the best of those that are evaluated."""
    milestones = {steps_of(epochs, recipe, data.epoch) for epochs in recipe.checkpoint.milestones}
    milestones = {step for step in milestones if step <= steps}
    saved = _every(recipe.checkpoint.every_steps, steps) | milestones
    stay = {*sorted(saved)[-recipe.checkpoint.keep :]} | milestones
    evaluated = _every(recipe.evaluation.every_steps, steps) if data.val else set()
    return len(stay) + (recipe.checkpoint.keep_best and not evaluated <= stay)


def _every(count: int | None, steps: int) -> set[int]:
    """The steps at which something is due that is at the end too."""
    return {*(range(count, steps + 1, count) if count else ()), steps}


def _logs(recipe: Recipe, steps: int) -> int:
    """metrics.jsonl, flight.bin, events.jsonl and, where it is installed, TensorBoard's file."""
    every = recipe.evaluation.every_steps
    saves, lines = steps // recipe.checkpoint.every_steps, steps // recipe.log_every + 1
    evaluations = 2 + (steps // every if every else 0)
    written = (lines + saves + evaluations) * _LINE + steps * _RECORD + saves * _EVENT
    return written + (lines * _SCALARS * _SCALAR if find_spec("tensorboard") else 0)
