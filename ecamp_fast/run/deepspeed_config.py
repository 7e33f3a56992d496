"""The DeepSpeed JSON against the recipe: fill what is "auto", refuse what contradicts, pass on the rest untouched."""

import os
from pathlib import Path
from typing import Any

from ecamp_fast.config import Recipe
from ecamp_fast.config.deepspeed_fault import Fault, refusal
from ecamp_fast.config.deepspeed_json import DEFAULT, find, read_json, with_lines
from ecamp_fast.config.deepspeed_values import judge
from ecamp_fast.config.load import RECIPES

__all__ = ["DEFAULT", "aligned", "as_deepspeed_reads_it", "check", "find", "resolve", "zero_stage"]

_SECTIONS = {  # of DeepSpeed's classes that read them
    "DeepSpeedZeroConfig": "zero_optimization.",
    "DeepSpeedBF16Config": "bf16.",
    "CommsLoggerConfig": "comms_logger.",
    "CompileConfig": "compile.",
    "DeepSpeedThroughputTimerConfig": "timers.throughput.",
}
_ALONE = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}  # fits any number of ranks


def resolve(path: Path | None, recipe: Recipe, world: int) -> dict[str, Any]:
    """The JSON that goes to ``deepspeed.initialize``: no "auto", no section that is off, no optimizer, no scheduler.

    world: ranks. Raises ConfigError that lists every contradiction between file and recipe, each with its hint.
    """
    resolved = _judged(path, recipe, world)
    _leave_the_device_alone(resolved)
    if _partitions(resolved):
        resolved["zero_optimization"].setdefault("parameter_alignment", True)
    return resolved


def check(path: Path | None, recipe: Recipe, world: int) -> None:
    """Raise what ``resolve`` would, before anything is started; of the batch only what is known by then.

    A file of the user's DeepSpeed itself reads as well, which takes seconds to import.
    """
    resolved = _judged(path, recipe, None if recipe.batch.micro == "auto" else world)
    if path and path.parent != RECIPES:
        faults = as_deepspeed_reads_it(resolved)
        if faults:
            raise refusal(str(path), with_lines(path, faults))


def as_deepspeed_reads_it(resolved: dict[str, Any]) -> list[Fault]:
    """What DeepSpeed says of nested keys and types, which the resolver passes on untouched; of the batch nothing."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # it would print that it found no other
    from deepspeed.runtime.config import DeepSpeedConfig, DeepSpeedConfigError
    from pydantic import ValidationError

    try:
        DeepSpeedConfig({key: value for key, value in resolved.items() if key != "train_batch_size"} | _ALONE)
    except ValidationError as error:
        return [_fault(_SECTIONS.get(error.title, ""), dict(one)) for one in error.errors()]
    except (DeepSpeedConfigError, ValueError, TypeError, AttributeError, AssertionError, KeyError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        return [Fault(f"DeepSpeed does not take it: {message}", "correct the JSON")]
    return []


def _fault(section: str, told: dict[str, Any]) -> Fault:
    """One of pydantic's errors, by the name of its key."""
    name = (section + ".".join(map(str, told["loc"]))).rstrip(".")
    if told["type"] == "extra_forbidden":
        return Fault(f"unknown key '{name}'", f"correct or remove '{name}'")
    given = f" is {told['input']!r}" if told["loc"] else ""  # else the section as a whole is at fault
    return Fault(f"{name}{given}: {told['msg']}", f"correct or remove {name}")


def _judged(path: Path | None, recipe: Recipe, world: int | None) -> dict[str, Any]:
    origin = path or DEFAULT
    resolved, faults = judge(read_json(origin), recipe, world)
    if faults:
        raise refusal(str(origin), with_lines(origin, faults))
    return resolved


def aligned(resolved: dict[str, Any]) -> bool:
    """Whether ZeRO pads its buffers so that every weight starts at 16 bytes; otherwise they lie end to end.

    Products of weights that do not start there miss the fast kernels; super-resolution has tensors of 3 numbers.
    """
    return _partitions(resolved) and bool(resolved["zero_optimization"].get("parameter_alignment", False))


def _partitions(config: dict[str, Any]) -> bool:
    """Whether the optimizer of ZeRO 1 and 2 runs, which can pad its buffers and do without a norm.

    ZeRO 1 with float32 sums of bf16 has another, which can do neither.
    """
    in_float32 = config.get("data_types", {}).get("grad_accum_dtype") in ("fp32", "float32", "float", "torch.float32")
    stage = config.get("zero_optimization", {}).get("stage", 0)
    return stage == 2 or (stage == 1 and not (config["bf16"]["enabled"] and in_float32))


def _leave_the_device_alone(config: dict[str, Any]) -> None:
    """Turn off what makes DeepSpeed wait for the device in every step, unless the file asks for it.

    Its throughput timer synchronizes before every forward and after every step; the finiteness of the gradients and
    their norm are ``run.update``'s, and clipping with them.
    """
    config.setdefault("timers", {}).setdefault("throughput", {"enabled": False})
    config["bf16"].setdefault("check_grad_overflow", False)
    zero = config.get("zero_optimization", {})
    if _partitions(config):
        zero.setdefault("compute_grad_norm", False)


def zero_stage(path: Path | None) -> int:
    """The ZeRO stage that the file asks for."""
    stage = read_json(path or DEFAULT).get("zero_optimization", {}).get("stage", 0)
    return 2 if stage == "auto" else int(stage)
