"""The values of a DeepSpeed JSON against the recipe: "auto" is filled, what is off is no fault, contradictions are.

DeepSpeed itself would take "auto" for a number, or ignore a key that it does not know without a word.
"""

import copy
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from ecamp_fast.config.deepspeed_fault import AUTO, Fault, asks, is_number, is_whole, same
from ecamp_fast.config.deepspeed_kinds import NAMES, kind_faults, unknown_within
from ecamp_fast.config.deepspeed_limits import limit_faults
from ecamp_fast.config.deepspeed_optimizer import optimizer_faults, scheduler_faults
from ecamp_fast.config.nearest import did_you_mean
from ecamp_fast.config.recipe import Recipe

MONITORS = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "csv_monitor": "",
    "comet": "comet_ml",
}  # and their packages

# Top-level keys of DeepSpeed 0.19's JSON that make sense here; it ignores any other without a word.
KNOWN = frozenset(
    """
    train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps bf16 fp16 zero_optimization
    zero_allow_untested_optimizer zero_force_ds_cpu_optimizer steps_per_print wall_clock_breakdown dump_state
    gradient_clipping prescale_gradients gradient_predivide_factor communication_data_type
    seq_parallel_communication_data_type disable_allgather memory_breakdown flops_profiler comms_logger
    activation_checkpointing aio checkpoint data_types compile use_node_local_storage load_universal_checkpoint
    timers optimizer scheduler log_level disable_python_gc dataloader_drop_last
    """.split()  # noqa: SIM905, a table of names
) | set(MONITORS)

# Sections that DeepSpeed has, or had, and a run here cannot have switched on: why, and what to do instead.
_REMOVE = "remove it, or switch it off"
NOT_HERE = {
    "fp16": ("the recipe knows bf16 and fp32", "set fp16.enabled to false; `precision: bf16` is the recipe's half"),
    "amp": ("the recipe knows bf16 and fp32", "remove amp; `precision: bf16` is the recipe's half"),
    "torch_autocast": ("the recipe's `precision` decides", "set torch_autocast.enabled to false"),
    "elasticity": ("the recipe's batch is the same on every number of ranks", f"elasticity: {_REMOVE}"),
    "autotuning": ("it starts runs of its own", f"autotuning: {_REMOVE}; --set batch.micro=auto looks at the memory"),
    "nebula": ("checkpoints are the run's own", f"nebula: {_REMOVE}; the recipe's `checkpoint` section counts"),
    "data_efficiency": ("the loader orders samples", f"data_efficiency: {_REMOVE}"),
    "curriculum_learning": ("the loader orders samples", f"curriculum_learning: {_REMOVE}"),
    "compression_training": ("DeepSpeed 0.19 has it no more", f"compression_training: {_REMOVE}"),
    "quantize_training": ("DeepSpeed 0.19 has it no more", f"quantize_training: {_REMOVE}"),
    "weight_quantization": ("weights are trained as the recipe's `precision` says", f"weight_quantization: {_REMOVE}"),
    "progressive_layer_drop": ("DeepSpeed 0.19 has it no more", f"progressive_layer_drop: {_REMOVE}"),
    "eigenvalue": ("DeepSpeed 0.19 has it no more", f"eigenvalue: {_REMOVE}"),
    "sparse_attention": ("the recipe has its own attention", f"sparse_attention: {_REMOVE}"),
    "sparse_gradients": ("DeepSpeed 0.19 has it no more", "set sparse_gradients to false"),
    "graph_harvesting": ("DeepSpeed 0.19 has it no more", "set graph_harvesting to false"),
    "hybrid_engine": ("it is for models that generate text", f"hybrid_engine: {_REMOVE}"),
    "tensor_parallel": ("the model fits every GPU", f"tensor_parallel: {_REMOVE}"),
    "expert_parallel": ("the model has no experts", f"expert_parallel: {_REMOVE}"),
    "pipeline": ("the model fits every GPU", f"pipeline: {_REMOVE}"),
}
_OFF_BY_DEFAULT = ("fp16", "amp", "torch_autocast", "elasticity", "autotuning", "nebula", "hybrid_engine")

# What "auto" becomes where neither batch nor precision says it; None: the key goes, and DeepSpeed's default counts.
_FILLED: dict[str, Any] = {
    "gradient_clipping": 0.0,  # the recipe clips nothing
    "steps_per_print": 1_000_000_000,
    "wall_clock_breakdown": False,
    "memory_breakdown": False,
    "dump_state": False,
    "prescale_gradients": False,
    "gradient_predivide_factor": 1.0,
    "communication_data_type": None,
    "seq_parallel_communication_data_type": None,
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": None,
    "data_types.grad_accum_dtype": None,
    "zero_optimization.stage": 2,
    "zero_optimization.overlap_comm": False,
    "zero_optimization.contiguous_gradients": True,
    "zero_optimization.reduce_scatter": True,
    "zero_optimization.reduce_bucket_size": 25_000_000,
    "zero_optimization.allgather_bucket_size": None,
    "zero_optimization.allgather_partitions": True,
    "zero_optimization.parameter_alignment": None,
    "zero_optimization.compute_grad_norm": None,
    "zero_optimization.round_robin_gradients": False,
    "zero_optimization.sub_group_size": None,
    "zero_optimization.ignore_unused_parameters": None,
    "bf16.check_grad_overflow": None,
    "timers.throughput.enabled": False,
    "flops_profiler.enabled": False,
    "comms_logger.enabled": False,
    **{f"{monitor}.enabled": False for monitor in MONITORS},
}
_STAGE_3 = "zero_optimization.stage3_"  # of no effect below stage 3: whatever DeepSpeed's default is
_OLD_BF16 = "bfloat16"  # which DeepSpeed still reads where there is no bf16
_OFFLOADS = ("offload_optimizer", "offload_param")
_OFFLOADED = {"cpu_offload": "optimizer", "cpu_offload_param": "param"}  # the old spelling
_GONE: dict[str, tuple[Any, ...]] = {
    "mics_shard_size": (-1, 0),
    "mics_hierarchical_params_gather": (False,),
    "zeropp_loco_param": ({},),
}
# Ways to sum gradients that the loop of a run relies on: the value it can have.
_FIXED = {
    "gradient_allreduce_op": "mean",
    "managed_gradient_accumulation": True,
    "sequence_parallel_size": 1,
    "use_data_before_expert_parallelism": False,
}
_WORDS = {"data_types.keep_in_fp32_modules"}  # where "auto" is a value of DeepSpeed's own


def judge(config: dict[str, Any], recipe: Recipe, world: int | None) -> tuple[dict[str, Any], list[Fault]]:
    """The JSON without an "auto" and without what is off or the recipe's to build, and all that contradicts the recipe.

    world: ranks; None: the batch is not known yet, and its keys are left
    """
    resolved = copy.deepcopy(config)
    if "bf16" not in resolved and _OLD_BF16 in resolved:
        resolved["bf16"] = resolved.pop(_OLD_BF16)
    faults = [*_unknown(resolved), *unknown_within(resolved)]
    if world is not None:
        _batch(resolved, recipe, world, faults)
    _not_here(resolved, faults)
    _precision(resolved, recipe, faults)
    _zero(resolved.get("zero_optimization", {}), faults)
    _fill(resolved, recipe)
    for name, judged in (("optimizer", optimizer_faults), ("scheduler", scheduler_faults)):
        if name in resolved:
            faults += judged(resolved.pop(name), recipe)
    _scalars(resolved, faults)
    faults += [*kind_faults(resolved), *limit_faults(resolved, recipe.precision)]
    batch = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    faults += [
        Fault(f'{name} is "auto", which nothing in the recipe fills', f"write a value for {name}, or remove it")
        for name in _autos(resolved)
        if name not in batch and name.partition(".")[0] in KNOWN
    ]
    return resolved, faults


def absent_monitors(resolved: dict[str, Any]) -> dict[str, str]:
    """Monitors of DeepSpeed that are switched on and whose package is not installed, with its name."""
    on = {name: package for name, package in MONITORS.items() if resolved.get(name, {}).get("enabled", False)}
    return {name: package for name, package in on.items() if package and find_spec(package) is None}


def _unknown(config: dict[str, Any]) -> list[Fault]:
    legal = KNOWN | set(NOT_HERE) | set(_FIXED)
    faults = []
    for key in sorted(set(config) - legal):
        near = did_you_mean(key, [*sorted(legal), *NAMES])
        faults.append(Fault(f"unknown key '{key}' (DeepSpeed would ignore it){near}", f"correct or remove '{key}'"))
    return faults


def _batch(resolved: dict[str, Any], recipe: Recipe, world: int, faults: list[Fault]) -> None:
    """The batch triple is the recipe's."""
    wanted = {
        "train_batch_size": (recipe.batch.total, "batch.total"),
        "train_micro_batch_size_per_gpu": (recipe.micro, "batch.micro"),
        "gradient_accumulation_steps": (recipe.accumulation(world), "batch.micro"),
    }
    for key, (value, knob) in wanted.items():
        given = resolved.get(key, AUTO)
        if given != AUTO and not same(given, value):
            hint = f'set {key} to "auto" and change {knob} in the recipe'
            faults.append(Fault(f"{key} is {given!r}, the recipe on {world} rank(s) gives {value}", hint))
        resolved[key] = value


def _not_here(resolved: dict[str, Any], faults: list[Fault]) -> None:
    """Take out the sections that are off; those that are on are faults."""
    for name, (why, hint) in NOT_HERE.items():
        if name in resolved and _is_on(resolved.pop(name), name, faults):
            is_on = f"{name} is enabled" if name == "fp16" else f"{name} is switched on"
            faults.append(Fault(f"{is_on}, {why}", hint))
    for name, value in _FIXED.items():
        given = resolved.pop(name, AUTO)
        if given != AUTO and not same(given, value):
            faults.append(Fault(f"{name} is {given!r}, a run here needs {value!r}", f"remove {name}"))


def _is_on(value: Any, name: str, faults: list[Fault]) -> bool:
    """Whether a section, or a flag, does something: by its ``enabled``, else by any within it."""
    if not isinstance(value, dict):
        return value not in (False, AUTO)
    if "enabled" in value:
        return bool(asks(value, name, faults))
    flags = list(_flags(value))
    if flags or name in _OFF_BY_DEFAULT:
        return any(flag not in (False, AUTO) for flag in flags)
    return any(one is True or one not in (False, AUTO, 0, 1) for one in value.values())


def _flags(value: Any) -> Iterator[Any]:
    """Every ``enabled`` within a section; one that is false speaks for all below it."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key == "enabled":
            yield inner
        elif not isinstance(inner, dict) or inner.get("enabled") is not False:
            yield from _flags(inner)
        else:
            yield False


def _precision(resolved: dict[str, Any], recipe: Recipe, faults: list[Fault]) -> None:
    section, wanted = resolved.setdefault("bf16", {}), recipe.precision == "bf16"
    asked = asks(section, "bf16", faults)
    if asked not in (None, wanted):
        hint = 'set bf16.enabled to "auto", or change `precision` in the recipe'
        faults.append(Fault(f"bf16.enabled is {asked}, the recipe's precision is {recipe.precision}", hint))
    if not wanted:
        section.clear()
    section["enabled"] = wanted


def _zero(zero: dict[str, Any], faults: list[Fault]) -> None:
    """Stages 0, 1 and 2, without an offload and without what DeepSpeed has no more."""
    stage = zero.get("stage", 0)
    if same(stage, 3):
        what = "zero_optimization.stage 3 is not supported: the model fits every GPU"
        faults.append(Fault(what, "set zero_optimization.stage to 2"))
    elif stage != AUTO and (not is_whole(stage) or stage not in (0, 1, 2)):
        what = f"zero_optimization.stage is {stage!r}, there are 0, 1 and 2"
        faults.append(Fault(what, "set zero_optimization.stage to one of them"))
    elif stage != AUTO and "stage" in zero:
        zero["stage"] = int(stage)
    fits = "is not supported: the optimizer states fit every GPU"
    for key in _OFFLOADS:
        section = zero.pop(key, {})
        device = section.get("device", "none") if isinstance(section, dict) else section
        if device not in ("none", AUTO, False):
            hint = f'set zero_optimization.{key}.device to "none"'
            faults.append(Fault(f"zero_optimization.{key} to {device!r} {fits}", hint))
    for key, kind in _OFFLOADED.items():
        if zero.pop(key, False) not in (False, AUTO):
            what = f"zero_optimization.{key}, the old spelling of offload_{kind}, {fits}"
            faults.append(Fault(what, f"set zero_optimization.{key} to false"))
    zero.pop("cpu_offload_use_pin_memory", None)
    if zero.pop("zenflow", False):
        what = "zero_optimization.zenflow overlaps an offload, and none is supported"
        faults.append(Fault(what, "remove zero_optimization.zenflow"))
    for key, off in _GONE.items():
        if key in zero and not any(same(zero[key], value) for value in (*off, AUTO)):
            what = f"zero_optimization.{key} is {zero[key]!r}: DeepSpeed 0.19 has it no more"
            faults.append(Fault(what, f"remove zero_optimization.{key}"))
        zero.pop(key, None)


def _fill(resolved: dict[str, Any], recipe: Recipe) -> None:
    """Fill every "auto" of the table."""
    for name in list(_autos(resolved)):
        *sections, key = name.split(".")
        section = resolved
        for part in sections:
            section = section.get(part, {}) if isinstance(section, dict) else {}
        if name not in _FILLED and not name.startswith(_STAGE_3) and name.partition(".")[0] not in MONITORS:
            continue
        section[key] = _FILLED.get(name)
        if name == "data_types.grad_accum_dtype" and recipe.precision == "bf16":
            section[key] = "fp32" if resolved.get("zero_optimization", {}).get("stage", 0) in (2, AUTO) else None
        if section[key] is None:
            del section[key]


def _scalars(resolved: dict[str, Any], faults: list[Fault]) -> None:
    """Clipping, which would end a run at its first step, and monitors whose flag is a word."""
    clipping = resolved.get("gradient_clipping", 0)
    if not is_number(clipping) or clipping < 0:
        what = f"gradient_clipping is {clipping!r}, not a number from 0"
        faults.append(Fault(what, "set gradient_clipping to the largest norm of a gradient, 0 for none"))
    for name in MONITORS:
        section = resolved.get(name, {})
        if not isinstance(section, dict):
            faults.append(Fault(f"{name} must be an object", f'write "{name}": {{"enabled": true}}'))
        elif asks(section, name, faults) is None:
            section.pop("enabled", None)


def _autos(value: Any, name: str = "") -> Iterator[str]:
    """Names of all that is "auto", but for what DeepSpeed itself calls so."""
    if value == AUTO:
        if name not in _WORDS:
            yield name
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _autos(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _autos(inner, f"{name}[{place}]")
