"""The sections ``optimizer`` and ``scheduler`` of a DeepSpeed JSON against the recipe, which builds both.

What is "auto", left out or equal is the recipe's; anything else is a contradiction that names both values.
"""

from typing import Any

from ecamp_fast.config.deepspeed_fault import AUTO, Fault, same
from ecamp_fast.config.nearest import did_you_mean
from ecamp_fast.config.recipe import Recipe

# Of AdamW's further keys the values that mean what the recipe's AdamW does; None: how it is computed, whatever it says.
_ADAMW = {"adam_w_mode": True, "bias_correction": True, "amsgrad": False, "maximize": False, "max_grad_norm": 0}
_COMPUTED = ("torch_adam", "fused", "foreach", "set_grad_none")
_TEMPLATES = ("WarmupLR", "WarmupDecayLR")  # other shapes than the recipe's, written with "auto" in every template
_COSINE = "WarmupCosineLR"


def optimizer_faults(section: dict[str, Any], recipe: Recipe) -> list[Fault]:
    """What the section says that the recipe's AdamW does not do."""
    params = section.get("params", {})
    faults = _shape_faults("optimizer", section, "AdamW")
    if faults:
        return faults
    kind = section["type"]
    if str(kind).lower() not in (AUTO, "adamw", "adam"):  # its Adam is AdamW unless adam_w_mode is false
        faults.append(
            Fault(f"optimizer.type is {kind!r}, the recipe's optimizer is 'AdamW'", _remove("optimizer", "AdamW"))
        )
    optim = recipe.optim
    wanted = {"lr": optim.lr, "betas": optim.betas, "eps": optim.eps, "weight_decay": optim.weight_decay}
    for key, value in params.items():
        name = f"optimizer.params.{key}"
        if key in wanted:
            faults += _differing(name, value, wanted[key], f"optim.{key}")
        elif key in _ADAMW:
            faults += _differing(name, value, _ADAMW[key], "")
        elif key not in _COMPUTED:
            near = did_you_mean(key, [*wanted, *_ADAMW, *_COMPUTED])
            faults.append(Fault(f"{name} is no key of AdamW{near}", f"correct or remove {name}"))
    return faults


def scheduler_faults(section: dict[str, Any], recipe: Recipe) -> list[Fault]:
    """What the section says that the recipe's linear warm-up and cosine do not do."""
    faults = _shape_faults("scheduler", section, _COSINE)
    if faults:
        return faults
    kind, params = section["type"], section.get("params", {})
    template = kind in _TEMPLATES and any(value == AUTO for value in params.values())
    if kind not in (AUTO, _COSINE) and not template:
        shape = "the recipe's `schedule` is a linear warm-up and a cosine"
        faults.append(Fault(f"scheduler.type is {kind!r}, {shape}", _remove("scheduler", _COSINE)))
    schedule = recipe.schedule
    epochs = {
        "warmup_num_steps": f"the recipe warms up for schedule.warmup_epochs {schedule.warmup_epochs:g}",
        "total_num_steps": f"the recipe's cosine ends at schedule.horizon_epochs {schedule.horizon_epochs:g}",
    }
    wanted: dict[str, tuple[Any, str]] = {
        "warmup_max_lr": (recipe.optim.lr, "optim.lr"),
        "warmup_min_lr": (0, ""),
        "warmup_min_ratio": (0, ""),
    }
    wanted |= {"cos_min_ratio": (0, ""), "warmup_type": ("linear", ""), "last_batch_iteration": (-1, "")}
    for key, value in params.items():
        name = f"scheduler.params.{key}"
        if key in epochs:
            hint = f'set {name} to "auto": the recipe counts in epochs'
            faults += [] if value == AUTO else [Fault(f"{name} is {value!r}, {epochs[key]}", hint)]
        elif key in wanted:
            faults += _differing(name, value, *wanted[key])
        elif kind in (AUTO, _COSINE, *_TEMPLATES):
            near = did_you_mean(key, [*wanted, *epochs])
            faults.append(Fault(f"{name} is no key of the recipe's schedule{near}", f"correct or remove {name}"))
    return faults


def _shape_faults(name: str, section: dict[str, Any], kind: str) -> list[Fault]:
    """A section has a type, perhaps params that are an object, and nothing else."""
    if not isinstance(section.get("params", {}), dict):
        return [Fault(f"{name}.params must be an object", f'write "params": {{...}} in {name}')]
    if not isinstance(section.get("type"), str):
        return [Fault(f"{name} has no type, which the recipe could be compared with", _remove(name, kind))]
    unknown = sorted(set(section) - {"type", "params", "legacy_fusion"})
    return [
        Fault(f"{name}.{key} is no key of {name}", f"move {name}.{key} into params, or remove it") for key in unknown
    ]


def _differing(name: str, given: Any, wanted: Any, key: str) -> list[Fault]:
    """A fault where a value is neither "auto" nor that of the recipe's key; '' where no key of it says so."""
    wanted = list(wanted) if isinstance(wanted, tuple) else wanted
    either = isinstance(given, list) and isinstance(wanted, list) and len(given) == len(wanted)
    parts = zip(given, wanted, strict=True) if either else [(given, wanted)]
    if all(one == AUTO or same(one, other) for one, other in parts):
        return []
    theirs = f"the recipe's {key} is {wanted}" if key else f"the recipe's is {wanted}"
    hint = f'set {name} to "auto"' + (f", or change {key} in the recipe" if key else "")
    return [Fault(f"{name} is {given!r}, {theirs}", hint)]


def _remove(name: str, kind: str) -> str:
    section = "optim" if name == "optimizer" else "schedule"
    return f'set {name}.type to "{kind}" or remove {name}: the recipe\'s `{section}` section counts'
