"""All that a command line of `train` would do, found out without doing it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecamp_fast.config import Recipe
from ecamp_fast.doctor.recipe import meta_model
from ecamp_fast.errors import StorageError
from ecamp_fast.forecast.dataset import facts_of
from ecamp_fast.forecast.disk import disk_of
from ecamp_fast.forecast.hours import hours_of
from ecamp_fast.forecast.memory import fitting_micro, memory_of
from ecamp_fast.forecast.resuming import resuming
from ecamp_fast.forecast.settings import deepspeed_rows, recipe_rows
from ecamp_fast.forecast.switched import switched_off
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.auto_batch import earlier_micro
from ecamp_fast.run.schedule import total_steps


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A command line, settled.  origins: of keys that are set   data: sets as named; none: phantoms   allow: keys"""

    recipe: Recipe
    origins: Mapping[str, str]
    data: tuple[str, ...]
    out: Path
    ds_config: Path | None
    ranks: int
    resume: str = "auto"
    allow: tuple[str, ...] = ()


def make_plan(asked: PlannedRun) -> dict[str, Any]:
    """What `train --dry-run --json` prints.

    Raises what the run would raise before its first step: ConfigError, DataError, PolicyError. Where the disk has no
    room for a checkpoint ``fault`` says so, and ``exit_code`` is that of the run.
    """
    recipe, origins = asked.recipe, dict(asked.origins)
    data = facts_of(recipe, asked.data, asked.out)
    model = meta_model(recipe, data.vocabulary)
    stage = deepspeed_config.zero_stage(asked.ds_config)
    memory = memory_of(model, recipe, data.tokens, stage, asked.ranks)
    if recipe.batch.micro == "auto":
        recipe, origins["batch.micro"] = _with_number(asked, memory, origins.get("batch.micro", "default"))
    ds_config = deepspeed_config.resolve(asked.ds_config, recipe, asked.ranks)
    run = resuming(asked.out, asked.resume, recipe, ds_config, data, asked.allow)
    steps = total_steps(recipe, data.epoch)
    left = max(steps - run["from_step"], 0)
    disk = disk_of(model, recipe, data, steps, asked.out)
    memory |= {"activations": None if memory["sample"] is None else memory["once"] + recipe.micro * memory["sample"]}
    memory |= {"total": memory["states"] + (memory["activations"] or 0)}
    fault = _no_room(asked.out, disk)
    return {
        "schema": 1,
        "dry_run": True,
        "exit_code": fault.exit_code if fault else 0,
        "fault": str(fault) if fault else None,
        "run": run,
        "recipe": recipe_rows(recipe, origins),
        "deepspeed": {"config": ds_config, "keys": deepspeed_rows(asked.ds_config, ds_config)},
        "data": {name: getattr(data, name) for name in data.__slots__},
        "model": {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "tensors": len(list(model.parameters())),
        },
        "length": {
            "steps": steps,
            "left": left,
            "epochs": recipe.schedule.epochs,
            "steps_per_epoch": data.epoch / recipe.batch.total,
            "samples": steps * recipe.batch.total,
            "batch": recipe.batch.total,
            "micro": recipe.micro,
            "ranks": asked.ranks,
            "accumulation": recipe.accumulation(asked.ranks),
        },
        "memory": memory | {"stage": stage},
        "disk": disk,
        "time": hours_of(recipe, asked.out, asked.ranks, left, (data.vocabulary, data.tokens), stage),
        "off": switched_off(recipe, data, ds_config),
    }


def _with_number(asked: PlannedRun, memory: dict[str, Any], origin: str) -> tuple[Recipe, str]:
    """The recipe with a number for ``batch.micro``, as ``run.setup`` settles it, and where the number is from."""
    micro = None if asked.resume == "never" else earlier_micro(asked.out)
    if micro is not None and asked.recipe.batch.total % (micro * asked.ranks) == 0:
        return asked.recipe.with_micro(micro), f"{origin}, auto: as {asked.out} was started"
    fits = fitting_micro(asked.recipe, asked.ranks, memory)
    return asked.recipe.with_micro(fits), f"{origin}, auto: by this forecast; the run measures"


def _no_room(out: Path, disk: dict[str, Any]) -> StorageError | None:
    if disk["free"] >= disk["needed"]:
        return None
    what = f"{out}: {disk['free'] / 1e9:.2f} GB free, a checkpoint takes {disk['checkpoint'] / 1e9:.2f} GB"
    return StorageError(what, "free space, or choose another --out")
