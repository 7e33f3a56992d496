"""The DeepSpeed JSON against the recipe: fill what is "auto", refuse what contradicts, pass on the rest untouched."""

from pathlib import Path
from typing import Any

from ecamp_fast.config import Recipe
from ecamp_fast.config.deepspeed_fault import refusal
from ecamp_fast.config.deepspeed_json import DEFAULT, find, read_json
from ecamp_fast.config.deepspeed_values import judge

__all__ = ["DEFAULT", "aligned", "check", "find", "resolve", "zero_stage"]


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
    """Raise what ``resolve`` would, before anything is started; of the batch only what is known by then."""
    _judged(path, recipe, None if recipe.batch.micro == "auto" else world)


def _judged(path: Path | None, recipe: Recipe, world: int | None) -> dict[str, Any]:
    origin = path or DEFAULT
    resolved, faults = judge(read_json(origin), recipe, world)
    if faults:
        raise refusal(str(origin), faults)
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
