"""What a run may change when it goes on: recipe and DeepSpeed JSON as they were against what they are.

Three kinds of keys. Some say what is trained on what, or in which order, and stay as they were. Some tune it: they
change the numbers, so each that differs must be named. The others leave the method as it is: how many samples a
micro-step has, how the optimizer is partitioned, what is logged.
"""

import json
from collections.abc import Collection
from typing import Any

from ecamp_fast.config.deepspeed_kinds import NAMES
from ecamp_fast.config.deepspeed_values import KNOWN
from ecamp_fast.config.recipe import Recipe, flatten
from ecamp_fast.errors import ConfigError

TUNED = (  # of a recipe, by how keys begin; other keys of its identity stay
    *("optim.", "schedule.", "masking.", "rebalance", "lambda_neg", "negation", "precision", "float8"),
    *(
        "losses.mim_scale",
        "losses.norm_pix",
        "losses.mlm_normaliser",
        "align.scale",
        "align.temperature",
        "gloria.poles",
        "gloria.local_scale",
        "gloria.global_scale",
        "gloria.sharpness",
        "model.text.dropout",
        "image.flip",
    ),
    *("image.crop_area", "image.crop_aspect", "sr.guidance", "sr.maps", "text.distilled_probability"),
)
FREE = (  # of DeepSpeed's JSON; other keys tune
    *("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "zero_optimization."),
    *("data_types.", "communication_data_type", "prescale_gradients", "gradient_predivide_factor"),
    *("timers.", "comms_logger.", "tensorboard.", "csv_monitor.", "wandb.", "comet.", "steps_per_print"),
    *("dump_state", "memory_breakdown", "wall_clock_breakdown", "flops_profiler.", "bf16.", "fp16."),
    *("zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "checkpoint.", "compile.", "aio."),
)
Settings = dict[str, dict[str, Any]]


def settings_of(recipe: Recipe, deepspeed: dict[str, Any]) -> Settings:
    """What decides the numbers of a run: dotted keys of the recipe, and of DeepSpeed's resolved JSON."""
    return {"recipe": recipe.identity(), "deepspeed": flatten(deepspeed)}


def judge_changes(before: Settings, now: Settings, allowed: Collection[str], where: str) -> list[str]:
    """The differences, in words, all of which ``allowed`` names.

    before   of the run in ``where``; a key of the recipe that it does not know had its default
    allowed  keys that may differ; a name that ends in a dot stands for a section

    Raises ConfigError that lists what may not differ, else what was not allowed.
    """
    former = Recipe().identity() | before.get("recipe", {})
    recipe = differing(former, now["recipe"])
    deepspeed = differing(before.get("deepspeed", {}), now["deepspeed"])
    told = recipe | {key: words for key, words in deepspeed.items() if not key.startswith(FREE)}
    fixed = [key for key in recipe if not key.startswith(TUNED)]
    if fixed:
        found = "; ".join(told[key] for key in fixed)
        back = " ".join(f"--set {key}={json.dumps(former[key])}" for key in fixed if key in former)
        hint = f"go on as it was with {back}, choose another --out, or start over with --resume never"
        raise ConfigError(f"{where} was started with another recipe: {found}", hint)
    refused = [key for key in told if not any(key == name or key.startswith(_section(name)) for name in allowed)]
    if refused:
        found = "; ".join(told[key] for key in refused)
        hint = " ".join(f"--allow-change {key}" for key in refused)
        raise ConfigError(f"{where} was trained otherwise: {found}", f"set it as it was, or go on with {hint}")
    return list(told.values())


def known_keys() -> list[str]:
    """Keys that a run can be allowed to change: the recipe's, dotted, and those of DeepSpeed's JSON."""
    return [*Recipe().identity(), *sorted(KNOWN), *NAMES]


def is_known(name: str, known: Collection[str]) -> bool:
    """Whether it is a key, a section, or within a section that only DeepSpeed knows.  known: ``known_keys()``"""
    section = _section(name.partition(".")[0])
    within = section[:-1] in KNOWN and not any(key.startswith(section) for key in NAMES)
    return name in known or within or any(key.startswith(_section(name)) for key in known)


def differing(before: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """Keys whose values differ, each with what it was and is, as JSON has them; 1 and 1.0 do not."""
    then, after = ({key: json.dumps(value) for key, value in keys.items()} for keys in (before, now))
    return {
        key: f"{key} was {then.get(key, 'not set')}, is {after.get(key, 'not set')}"
        for key in sorted(then.keys() | after.keys())
        if key not in then or key not in after or json.loads(then[key]) != json.loads(after[key])
    }


def _section(name: str) -> str:
    return name if name.endswith(".") else f"{name}."
