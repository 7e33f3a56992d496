"""The states of a DeepSpeed engine by name, as far as this rank keeps them: weights, and what the optimizer knows."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")


def states(engine: Any) -> dict[str, Tensor]:
    """``weight NAME``, ``master NAME`` where the optimizer has copies of its own, and its ``exp_avg NAME`` and so on.

    Views, flat where ZeRO keeps a part alone; nothing is copied. There are no moments before the first update.
    """
    found: dict[str, Tensor] = {}
    masters = _masters(engine.optimizer)
    for name, parameter in engine.module.named_parameters():
        found[f"weight {name}"] = parameter.detach()
        fragment = getattr(parameter, "_hp_mapping", None)
        if fragment is not None:  # of ZeRO; its own views of the moments are those from before a checkpoint was loaded
            flat = engine.basic_optimizer.param_groups[fragment.param_group_index]["params"][0]
            address = fragment.hp_fragment_address
            found[f"master {name}"] = flat.detach().narrow(0, address.start, address.numel)
            known = engine.basic_optimizer.state.get(flat, {})
            kept = {key: known[key].narrow(0, address.start, address.numel) for key in MOMENTS if key in known}
        else:
            master = masters.get(id(parameter))
            if master is not None:
                found[f"master {name}"] = master.detach()
            kept = engine.basic_optimizer.state.get(parameter if master is None else master, {})
        found |= {f"{moment} {name}": kept[moment] for moment in MOMENTS if moment in kept}
    return found


def _masters(optimizer: Any) -> dict[int, Tensor]:
    """By ``id`` of their parameter: of ``FP16_UnfusedOptimizer`` (bf16 without ZeRO)."""
    return dict(_pairs(optimizer)) if hasattr(optimizer, "fp32_groups") else {}


def _pairs(optimizer: Any) -> Iterator[tuple[int, Tensor]]:
    for weights, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
        yield from zip(map(id, weights), masters, strict=True)
