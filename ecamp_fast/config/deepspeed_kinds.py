"""Kinds of values in a DeepSpeed JSON: flags, whole numbers, words, and the keys of sections that nobody else looks at.

DeepSpeed reads some sections strictly (``zero_optimization``, ``bf16``, ``compile``), see ``run.deepspeed_config``;
what is said of them here needs no import of it, and comes with the nearest key. The rest it takes as it is: a wrong
kind ends a run in a traceback, a key that it does not know says nothing.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ecamp_fast.config.deepspeed_fault import AUTO, Fault, is_number, is_whole
from ecamp_fast.config.nearest import did_you_mean


class ValueKind(NamedTuple):
    """What a value must be, in words and as a test; if one of some ``words``, these."""

    wanted: str
    fits: Callable[[Any], bool]
    words: tuple[str, ...] = ()


def _one_of(*words: str, small: bool = False) -> ValueKind:
    """A word of a list; small: DeepSpeed takes it in capitals, too."""

    def fits(value: Any) -> bool:
        return isinstance(value, str) and (value.lower() if small else value) in words

    return ValueKind("one of " + ", ".join(words), fits, words)


_FLAG = ValueKind("true or false", lambda value: isinstance(value, bool))
_WHOLE = ValueKind("a whole number", is_whole)
_SIZE = ValueKind("a whole number from 0", lambda value: is_whole(value) and value >= 0)
_COUNT = ValueKind("a whole number from 1", lambda value: is_whole(value) and value >= 1)
_NUMBER = ValueKind("a number", is_number)
_POSITIVE = ValueKind("a number above 0", lambda value: is_number(value) and value > 0)
_TEXT = ValueKind("a string", lambda value: isinstance(value, str))
_OBJECT = ValueKind("an object", lambda value: isinstance(value, dict))
_NAMES = ValueKind("a list of names", lambda value: isinstance(value, list) and all(isinstance(n, str) for n in value))
_ELSEWHERE = ValueKind("anything", lambda value: True)  # judged by another module
_DTYPE = _one_of(
    *("bf16", "bfloat16", "torch.bfloat16", "fp32", "float32", "float", "torch.float32"),
    *("fp16", "float16", "half", "torch.float16"),
)
_COMMUNICATED = _one_of("fp16", "bf16", "fp32", small=True)


def _both(key: str, kind: ValueKind) -> dict[str, ValueKind]:
    """A key of ZeRO-3, by both of its names."""
    return {key: kind, f"stage3_{key}": kind}


_TOP: dict[str, ValueKind] = {
    **dict.fromkeys(("wall_clock_breakdown", "memory_breakdown", "dump_state", "prescale_gradients"), _FLAG),
    **dict.fromkeys(("disable_allgather", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer"), _FLAG),
    **dict.fromkeys(("use_node_local_storage", "load_universal_checkpoint"), _FLAG),
    **dict.fromkeys(("disable_python_gc", "dataloader_drop_last"), _FLAG),
    **dict.fromkeys(("communication_data_type", "seq_parallel_communication_data_type"), _COMMUNICATED),
    "gradient_predivide_factor": _POSITIVE,
    "steps_per_print": _COUNT,
    "log_level": _one_of("debug", "info", "warning", "error", "critical", small=True),
}
_STRICT = (  # DeepSpeed refuses other keys itself
    *("zero_optimization", "bf16", "comms_logger", "compile", "timers.throughput"),
    *("tensorboard", "csv_monitor", "wandb", "comet"),
)
# All keys that DeepSpeed 0.19 reads in these sections, and aio.thread_count, which its templates still have.
_SECTIONS: dict[str, dict[str, ValueKind]] = {
    "zero_optimization": {
        **dict.fromkeys(("stage", "offload_param", "offload_optimizer", "zenflow"), _ELSEWHERE),
        **dict.fromkeys(("cpu_offload", "cpu_offload_param", "cpu_offload_use_pin_memory"), _ELSEWHERE),
        **dict.fromkeys(("mics_shard_size", "mics_hierarchical_params_gather", "zeropp_loco_param"), _ELSEWHERE),
        **dict.fromkeys(("contiguous_gradients", "reduce_scatter", "allgather_partitions", "overlap_comm"), _FLAG),
        **dict.fromkeys(("use_multi_rank_bucket_allreduce", "compute_grad_norm", "load_from_fp32_weights"), _FLAG),
        **dict.fromkeys(("elastic_checkpoint", "ignore_unused_parameters", "legacy_stage1"), _FLAG),
        **dict.fromkeys(("round_robin_gradients", "parameter_alignment", "memory_efficient_linear"), _FLAG),
        **dict.fromkeys(("zero_quantized_weights", "zero_quantized_nontrainable_weights"), _FLAG),
        **dict.fromkeys(("zero_quantized_gradients", "pipeline_loading_checkpoint", "override_module_apply"), _FLAG),
        **dict.fromkeys(("log_trace_cache_warnings", "enable_sanity_checks"), _FLAG),
        **dict.fromkeys(("save_muon_momentum_buffer_in_memory", "stage3_gather_fp16_weights_on_model_save"), _FLAG),
        **_both("gather_16bit_weights_on_model_save", _FLAG),
        **_both("use_all_reduce_for_fetch_params", _FLAG),
        **_both("allgather_sequential", _FLAG),
        **_both("module_granularity_threshold", _WHOLE),
        **_both("prefetch_bucket_size", _SIZE),
        **_both("param_persistence_threshold", _SIZE),
        **_both("model_persistence_threshold", _SIZE),
        **_both("max_live_parameters", _SIZE),
        **_both("max_reuse_distance", _SIZE),
        **dict.fromkeys(("allgather_bucket_size", "sub_group_size", "zero_hpz_partition_size"), _SIZE),
        "reduce_bucket_size": _COUNT,
        "leaf_module": _OBJECT,
    },
    "bf16": {
        **dict.fromkeys(("enabled", "bf16_master_weights_and_grads", "bf16_optimizer_states"), _ELSEWHERE),
        **dict.fromkeys(("immediate_grad_update", "check_grad_overflow"), _FLAG),
    },
    "comms_logger": {
        **dict.fromkeys(("enabled", "prof_all", "verbose", "debug"), _FLAG),
        "prof_ops": _NAMES,
    },
    "compile": {
        **dict.fromkeys(("deepcompile", "autoep_non_moe", "free_activation", "offload_activation"), _FLAG),
        **dict.fromkeys(("offload_activation_pin_memory", "offload_opt_states", "double_buffer"), _FLAG),
        **dict.fromkeys(("symmetric_memory", "debug_log", "offload_parameters", "sync_before_reduce"), _FLAG),
        **dict.fromkeys(("sync_after_reduce", "sync_before_allgather", "sync_after_allgather"), _FLAG),
        **dict.fromkeys(("keep_int_input_tensors", "keep_all_input_tensors"), _FLAG),
        "free_activation_threshold": _WHOLE,
        "passes": _NAMES,
    },
    "data_types": {
        **dict.fromkeys(("grad_accum_dtype", "param_dtype", "buffer_dtype"), _DTYPE),
        "keep_in_fp32_modules": ValueKind(
            'a list of names, or "auto"',
            lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
        ),
    },
    "flops_profiler": {
        **dict.fromkeys(("enabled", "detailed"), _FLAG),
        **dict.fromkeys(("profile_step", "module_depth", "top_modules"), _WHOLE),
        "recompute_fwd_factor": _NUMBER,
        "output_file": _TEXT,
    },
    "activation_checkpointing": {
        **dict.fromkeys(("partition_activations", "contiguous_memory_optimization", "cpu_checkpointing"), _FLAG),
        **dict.fromkeys(("synchronize_checkpoint_boundary", "profile"), _FLAG),
        "number_checkpoints": _WHOLE,
    },
    "aio": {
        **dict.fromkeys(("block_size", "queue_depth", "intra_op_parallelism", "thread_count"), _COUNT),
        **dict.fromkeys(("single_submit", "overlap_events", "use_gds"), _FLAG),
    },
    "checkpoint": {
        **dict.fromkeys(("load_universal", "use_node_local_storage", "checkpoint_serialization"), _FLAG),
        **dict.fromkeys(("parallel_write", "writer"), _OBJECT),
        "tag_validation": _one_of("ignore", "warn", "fail", small=True),
    },
    **dict.fromkeys(("tensorboard", "csv_monitor"), dict.fromkeys(("enabled", "output_path", "job_name"), _ELSEWHERE)),
    "wandb": dict.fromkeys(("enabled", "group", "team", "project"), _ELSEWHERE),
    "comet": {
        **dict.fromkeys(("enabled", "samples_log_interval", "project", "workspace", "api_key"), _ELSEWHERE),
        **dict.fromkeys(("experiment_name", "experiment_key", "online", "mode"), _ELSEWHERE),
    },
    "timers": {"throughput": _OBJECT},
    "timers.throughput": dict.fromkeys(("enabled", "synchronized"), _FLAG),
}
NAMES = tuple(f"{section}.{key}" for section, kinds in _SECTIONS.items() for key in kinds)  # within sections, dotted


def unknown_within(config: dict[str, Any]) -> list[Fault]:
    """Keys that no section has which they stand in, each with the nearest one."""
    faults = []
    for name, kinds in _SECTIONS.items():
        effect = "" if name in _STRICT else " (DeepSpeed would ignore it)"
        for key in sorted(set(_section(config, name)) - set(kinds)):
            own = did_you_mean(f"{name}.{key}", (f"{name}.{one}" for one in kinds))
            near = (own or did_you_mean(f"{name}.{key}", NAMES)).replace(f"'{name}.", "'")
            faults.append(Fault(f"unknown key '{name}.{key}'{effect}{near}", f"correct or remove '{name}.{key}'"))
    return faults


def kind_faults(resolved: dict[str, Any]) -> list[Fault]:
    """Values of another kind than their key's; 2.0 becomes 2 where 2 is meant."""
    faults = list(_unfit(resolved, _TOP, ""))
    for name, kinds in _SECTIONS.items():
        faults += _unfit(_section(resolved, name), kinds, f"{name}.")
    return faults


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    """A section by its dotted name, empty where it is none."""
    found: Any = config
    for part in name.split("."):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _unfit(section: dict[str, Any], kinds: dict[str, ValueKind], prefix: str) -> Iterator[Fault]:
    for key, kind in kinds.items():
        value = section.get(key, AUTO)
        if value == AUTO:  # left out, or judged elsewhere
            continue
        if not kind.fits(value):
            near = did_you_mean(value, kind.words) if isinstance(value, str) and kind.words else ""
            what = f"{prefix}{key} is {value!r}, not {kind.wanted}{near}"
            yield Fault(what, f"write {kind.wanted} for {prefix}{key}, or remove it")
        elif kind in (_WHOLE, _SIZE, _COUNT):
            section[key] = int(value)
