"""The DeepSpeed JSON against the recipe: fill what is "auto", refuse what contradicts, pass on the rest untouched."""

import copy
import difflib
import json
from functools import partial
from pathlib import Path
from typing import Any

from ecamp_fast.config import RECIPES, Recipe
from ecamp_fast.errors import ConfigError

DEFAULT = RECIPES / "zero2.json"

# Top-level keys of DeepSpeed 0.19's JSON that make sense here; it ignores any other without a word.
KNOWN = frozenset(
    """
    train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps bf16 fp16 zero_optimization
    zero_allow_untested_optimizer zero_force_ds_cpu_optimizer steps_per_print wall_clock_breakdown dump_state
    gradient_clipping prescale_gradients gradient_predivide_factor sparse_gradients communication_data_type
    seq_parallel_communication_data_type disable_allgather memory_breakdown flops_profiler comms_logger
    activation_checkpointing aio checkpoint data_types compile torch_autocast use_node_local_storage
    load_universal_checkpoint timers graph_harvesting compression_training
    """.split()  # noqa: SIM905, a table of names
)
SECTIONS = ("bf16", "fp16", "zero_optimization", "data_types", "timers")
OURS = {
    "optimizer": "the recipe's `optim` section builds the optimizer",
    "scheduler": "the recipe's `schedule` section sets the learning rate",
}


def resolve(path: Path | None, recipe: Recipe, world: int) -> dict[str, Any]:
    """The JSON that goes to ``deepspeed.initialize``: every "auto" replaced by a number.

    world: ranks. Raises ConfigError that lists every contradiction between file and recipe.
    """
    origin = path or DEFAULT
    config = _read(origin)
    accumulation = recipe.accumulation(world)
    faults = [f"'{key}' is set, but {why}" for key, why in OURS.items() if key in config]
    faults += [f"unknown key '{key}' (DeepSpeed would ignore it){_near(key)}" for key in _unknown(config)]
    resolved = copy.deepcopy(config)
    wanted = {
        "train_batch_size": recipe.batch.total,
        "train_micro_batch_size_per_gpu": recipe.micro,
        "gradient_accumulation_steps": accumulation,
    }
    for key, value in wanted.items():
        if config.get(key, "auto") not in ("auto", value):
            faults.append(f"{key} is {config[key]}, the recipe on {world} rank(s) gives {value}")
        resolved[key] = value
    bf16 = resolved.setdefault("bf16", {"enabled": "auto"})
    if bf16.get("enabled", "auto") not in ("auto", recipe.precision == "bf16"):
        faults.append(f"bf16.enabled is {bf16['enabled']}, the recipe's precision is {recipe.precision}")
    bf16["enabled"] = recipe.precision == "bf16"
    if config.get("fp16", {}).get("enabled", False):
        faults.append("fp16 is enabled, the recipe knows bf16 and fp32")
    zero = resolved.get("zero_optimization", {})
    if zero.get("stage", 0) == 3:
        faults.append("zero_optimization.stage 3 is not supported: the model fits every GPU")
    if "offload_optimizer" in zero:
        faults.append("zero_optimization.offload_optimizer is not supported: the optimizer states fit every GPU")
    if faults:
        raise ConfigError(f"{origin}: " + "; ".join(faults), 'set the batch keys to "auto" and change the recipe')
    _leave_the_device_alone(resolved)
    if _partitions(resolved):
        zero.setdefault("parameter_alignment", True)
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


def find(source: str) -> Path:
    """The JSON of a name (``zero1``) or a path; a name of ours goes before a file. Without one: the default."""
    named = RECIPES / f"{source}.json"
    return DEFAULT if not source else named if named.is_file() and "/" not in source else Path(source)


def zero_stage(path: Path | None) -> int:
    """The ZeRO stage that the file asks for."""
    return int(_read(path or DEFAULT).get("zero_optimization", {}).get("stage", 0))


def _unknown(config: dict[str, Any]) -> list[str]:
    return sorted(set(config) - KNOWN - set(OURS))


def _near(key: str) -> str:
    close = difflib.get_close_matches(key, KNOWN, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=partial(_without_twins, path))
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8", "save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"cannot read the DeepSpeed JSON {path}: {error.strerror}", "check --ds_config") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: line {error.lineno}: not JSON: {error.msg}", "fix the syntax") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: holds no JSON object", "write {...}")
    values = [key for key in SECTIONS if not isinstance(config.get(key, {}), dict)]
    if values:
        raise ConfigError(f"{path}: {', '.join(values)} must be an object", f'write "{values[0]}": {{...}}')
    return config


def _without_twins(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twins = sorted({key for key in keys if keys.count(key) > 1})
    if twins:
        raise ConfigError(f"{path}: key '{twins[0]}' appears twice", "keep one of them")
    return dict(pairs)
