"""Kinds of values in a DeepSpeed JSON: flags, whole numbers, words, and the keys of sections that nobody else looks at.

DeepSpeed reads some sections strictly (``zero_optimization``, ``bf16``, ``compile``), see ``run.deepspeed_config``.
The rest it takes as it is: a wrong kind ends a run in a traceback, a key that it does not know says nothing.
"""

import difflib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ecamp_fast.config.deepspeed_fault import AUTO, Fault, is_number, is_whole


class ValueKind(NamedTuple):
    """What a value must be, in words and as a test."""

    wanted: str
    fits: Callable[[Any], bool]


def _one_of(*words: str, small: bool = False) -> ValueKind:
    """A word of a list; small: DeepSpeed takes it in capitals, too."""

    def fits(value: Any) -> bool:
        return isinstance(value, str) and (value.lower() if small else value) in words

    return ValueKind("one of " + ", ".join(words), fits)


_FLAG = ValueKind("true or false", lambda value: isinstance(value, bool))
_WHOLE = ValueKind("a whole number", is_whole)
_COUNT = ValueKind("a whole number from 1", lambda value: is_whole(value) and value >= 1)
_NUMBER = ValueKind("a number", is_number)
_POSITIVE = ValueKind("a number above 0", lambda value: is_number(value) and value > 0)
_TEXT = ValueKind("a string", lambda value: isinstance(value, str))
_OBJECT = ValueKind("an object", lambda value: isinstance(value, dict))
_DTYPE = _one_of(
    *("bf16", "bfloat16", "torch.bfloat16", "fp32", "float32", "float", "torch.float32"),
    *("fp16", "float16", "half", "torch.float16"),
)
_COMMUNICATED = _one_of("fp16", "bf16", "fp32", small=True)

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
# All keys that DeepSpeed 0.19 reads in these sections, and aio.thread_count, which its templates still have.
_SECTIONS: dict[str, dict[str, ValueKind]] = {
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
    "timers": {"throughput": _OBJECT},
}


def kind_faults(resolved: dict[str, Any]) -> list[Fault]:
    """Values of another kind than their key's, and unknown keys within a section; 2.0 becomes 2 where 2 is meant."""
    faults = list(_unfit(resolved, _TOP, ""))
    for name, kinds in _SECTIONS.items():
        section = resolved.get(name, {})
        faults += _unfit(section, kinds, f"{name}.")
        for key in sorted(set(section) - set(kinds)):
            close = difflib.get_close_matches(key, kinds, n=1)
            near = f"; did you mean '{close[0]}'?" if close else ""
            what = f"unknown key '{name}.{key}' (DeepSpeed would ignore it){near}"
            faults.append(Fault(what, f"correct or remove '{name}.{key}'"))
    return faults


def _unfit(section: dict[str, Any], kinds: dict[str, ValueKind], prefix: str) -> Iterator[Fault]:
    for key, kind in kinds.items():
        value = section.get(key, AUTO)
        if value == AUTO:  # left out, or judged elsewhere
            continue
        if not kind.fits(value):
            what = f"{prefix}{key} is {value!r}, not {kind.wanted}"
            yield Fault(what, f"write {kind.wanted} for {prefix}{key}, or remove it")
        elif kind in (_WHOLE, _COUNT):
            section[key] = int(value)
