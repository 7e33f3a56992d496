"""What DeepSpeed 0.19 offers and a run here cannot have: alone it would be a traceback while the engine is built.

Each depends on several values of a resolved JSON: the stage of ZeRO, the precision, how gradients are summed.
"""

from collections.abc import Iterator
from typing import Any

from ecamp_fast.config.deepspeed_fault import AUTO, Fault, is_number

_DTYPES = {  # of DeepSpeed's names for them
    **dict.fromkeys(("bf16", "bfloat16", "torch.bfloat16"), "bf16"),
    **dict.fromkeys(("fp32", "float32", "float", "torch.float32"), "fp32"),
    **dict.fromkeys(("fp16", "float16", "half", "torch.float16"), "fp16"),
}


def limit_faults(resolved: dict[str, Any], precision: str) -> list[Fault]:
    """What is legal by itself and does not go together here.

    precision: of the recipe, bf16 or fp32   resolved: every section an object, no "auto" where it can be filled
    """
    zero = resolved.get("zero_optimization", {})
    return [*_timers(resolved), *_scaling(resolved, zero), *_sums(resolved, zero, precision), *_masters(resolved)]


def _timers(resolved: dict[str, Any]) -> Iterator[Fault]:
    """DeepSpeed starts its timers at the tensors that a model returns; Ecamp returns ``Losses``."""
    timed = {"wall_clock_breakdown": resolved, "flops_profiler.enabled": resolved.get("flops_profiler", {})}
    for name, section in timed.items():
        if section.get(name.rpartition(".")[2], False) is True:
            what = f"{name} is True: DeepSpeed's timers do not start in a run here"
            yield Fault(what, f"set {name} to false; metrics.jsonl has images_per_second, `ecamp-fast bench` more")


def _scaling(resolved: dict[str, Any], zero: dict[str, Any]) -> Iterator[Fault]:
    if zero.get("stage", 0) != 2 or zero.get("reduce_scatter", True) is False:
        return
    prescale, factor = resolved.get("prescale_gradients", False), resolved.get("gradient_predivide_factor", 1.0)
    wrong = {"prescale_gradients": prescale is True, "gradient_predivide_factor": is_number(factor) and factor != 1}
    for name in (name for name, is_wrong in wrong.items() if is_wrong):
        what = f"{name} is {resolved[name]!r}, which ZeRO-2 does not take with zero_optimization.reduce_scatter"
        yield Fault(what, f"remove {name}, or set zero_optimization.reduce_scatter to false")


def _sums(resolved: dict[str, Any], zero: dict[str, Any], precision: str) -> Iterator[Fault]:
    """Number formats of weights and of summed gradients."""
    types, stage = resolved.get("data_types", {}), zero.get("stage", 0)
    given = types.get("param_dtype", AUTO)
    if _DTYPES.get(str(given), precision) != precision:
        hint = "remove data_types.param_dtype, or change `precision` in the recipe"
        yield Fault(f"data_types.param_dtype is {given!r}, the recipe's precision is {precision}", hint)
    name = "data_types.grad_accum_dtype"
    given = types.get("grad_accum_dtype", AUTO)
    summed = _DTYPES.get(str(given), precision)
    if stage == 0 and summed != precision:
        what = f"{name} is {given!r}, without ZeRO gradients are summed in the recipe's precision, {precision}"
        yield Fault(what, f'set {name} to "auto", or zero_optimization.stage to 2')
    if (stage, precision, summed) == (1, "bf16", "fp32") and zero.get("compute_grad_norm", True) is False:
        what = f"zero_optimization.compute_grad_norm is False, which ZeRO-1 does not take with {name} {given!r}"
        yield Fault(what, f'set {name} to "auto", or remove zero_optimization.compute_grad_norm')


def _masters(resolved: dict[str, Any]) -> Iterator[Fault]:
    for key in ("bf16_master_weights_and_grads", "bf16_optimizer_states"):
        given = resolved.get("bf16", {}).get(key, False)
        if given not in (False, AUTO):
            what = f"bf16.{key} is {given!r}, which needs an offload, and none is supported"
            yield Fault(what, f"set bf16.{key} to false")
