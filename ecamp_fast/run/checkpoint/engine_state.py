"""The state of an engine by parameter: float32 weights and both moments of AdamW, wherever its partitions keep them.

ZeRO 1 and 2 lay parameters end to end, padded, and give each rank a range of that; without ZeRO every rank has all of
them. Here each rank's share is ranges of named parameters, which is how checkpoints hold them, so that any stage on any
number of ranks reads what any other wrote. Weights in bf16 are the float32 ones rounded, and are not held twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ecamp_fast.errors import ConfigError
from ecamp_fast.run.checkpoint.read import Checkpoint
from ecamp_fast.run.checkpoint.tensor_file import Piece

WEIGHT, BUFFER, STEPS = "weight/", "buffer/", "steps/"
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Fragment:
    """A range of a parameter, as this rank's optimizer keeps it.

    name       of the parameter
    parameter  as the model computes with it
    start      of the range in the flattened parameter
    weight     1-d float32, a view into what the optimizer keeps
    owner      the tensor that the optimizer knows, which ``weight`` is cut from
    offset     of the range in the flattened owner
    """

    name: str
    parameter: Tensor
    start: int
    weight: Tensor
    owner: Tensor
    offset: int

    @property
    def stop(self) -> int:
        return self.start + len(self.weight)


def engine_state(engine: Any) -> dict[str, Tensor | Piece]:
    """What this rank writes into a checkpoint, by name: views, not copies.

    ``weight/NAME``, ``exp_avg/NAME``, ``exp_avg_sq/NAME`` float32, ``steps/NAME`` float32, updates of the parameter;
    ``buffer/NAME``. Where ranks have the same, each gives a share of it.
    """
    found: dict[str, Tensor | Piece] = {}
    copies, rank = _copies(engine), dist.get_rank()
    for fragment in _fragments(engine):
        shape, state = tuple(fragment.parameter.shape), _state(engine, fragment.owner)
        begin, end = _share(len(fragment.weight), copies, rank)
        if end > begin:
            start = fragment.start + begin
            found[f"{WEIGHT}{fragment.name}"] = Piece(fragment.weight[begin:end], shape, start)
            for moment in MOMENTS if state else ():
                values = state[moment].view(-1)[fragment.offset + begin : fragment.offset + end]
                found[f"{moment}/{fragment.name}"] = Piece(values, shape, start)
        if state and fragment.start + begin == 0 and end > begin:
            found[f"{STEPS}{fragment.name}"] = state["step"].detach().float()
    if rank == 0:
        found |= {f"{BUFFER}{name}": buffer for name, buffer in _buffers(engine).items()}
    return found


def named_states(engine: Any) -> dict[str, Tensor]:
    """All that this rank computes with, for whoever looks at it: ``weight NAME``, ``master NAME`` where the optimizer
    has a copy of its own, ``exp_avg NAME``, ``exp_avg_sq NAME``; in the order of the parameters.

    Views, flat but for weights; there are no moments before the first update.
    """
    found: dict[str, Tensor] = {}
    fragments = {fragment.name: fragment for fragment in _fragments(engine)}
    for name, parameter in engine.module.named_parameters():
        found[f"weight {name}"] = parameter.detach()
        if (fragment := fragments.get(name)) is None:
            continue
        if fragment.owner is not parameter:
            found[f"master {name}"] = fragment.weight
        end = fragment.offset + len(fragment.weight)
        for moment, values in _state(engine, fragment.owner).items():
            if moment in MOMENTS:
                found[f"{moment} {name}"] = values.view(-1)[fragment.offset : end]
    return found


@torch.no_grad()
def load_engine_state(engine: Any, checkpoint: Checkpoint) -> None:
    """Read this rank's ranges, and the model's weights whole; every rank calls it, none waits for another.

    Raises ConfigError where shapes differ, DataError where the checkpoint lacks something.
    """
    fragments = list(_fragments(engine))
    refuse_other_shapes(checkpoint, dict(engine.module.named_parameters()))
    updates = _updates(checkpoint, fragments)
    for fragment in fragments:
        name, (start, stop) = fragment.name, (fragment.start, fragment.stop)
        fragment.weight.copy_(checkpoint.read_range(f"{WEIGHT}{name}", start, stop))
        state = _made_state(engine, fragment.owner)
        state["step"].fill_(updates[id(fragment.owner)])
        for moment in MOMENTS:
            kept = state[moment].view(-1)[fragment.offset : fragment.offset + stop - start]
            known = f"{moment}/{name}" in checkpoint.names  # not where it never had a gradient
            kept.copy_(checkpoint.read_range(f"{moment}/{name}", start, stop)) if known else kept.zero_()
    for name, parameter in engine.module.named_parameters():
        parameter.copy_(checkpoint.read(f"{WEIGHT}{name}"))
    for name, buffer in _buffers(engine).items():
        buffer.copy_(checkpoint.read(f"{BUFFER}{name}"))


def _updates(checkpoint: Checkpoint, fragments: list[Fragment]) -> dict[int, float]:
    """``id`` of an owner -> the updates it has had, which the optimizer counts once for all that lies in it."""
    counts: dict[int, float] = {}
    for fragment in fragments:
        name = f"{STEPS}{fragment.name}"
        if name not in checkpoint.names:  # it never had a gradient
            counts.setdefault(id(fragment.owner), 0.0)
            continue
        updates, before = float(checkpoint.read(name)), counts.get(id(fragment.owner), 0.0)
        if before not in (0.0, updates):
            found = f"some parameters have had {before:.0f} updates, some {updates:.0f}, which ZeRO counts alike"
            raise ConfigError(f"{checkpoint.path}: {found}", "resume with --ds_config zero0")
        counts[id(fragment.owner)] = updates
    return counts


def model_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The float32 state dict of the model in a checkpoint.  Raises DataError."""
    return {
        name.partition("/")[2]: checkpoint.read(name) for name in checkpoint.names if name.startswith((WEIGHT, BUFFER))
    }


def refuse_other_shapes(checkpoint: Checkpoint, parameters: dict[str, Tensor]) -> None:
    """Raises ConfigError that names a parameter which the checkpoint has in another shape, or only one of them has."""
    saved = {name.removeprefix(WEIGHT) for name in checkpoint.names if name.startswith(WEIGHT)}
    hint = "resume with the recipe it was written by"
    if odd := sorted(saved ^ parameters.keys()):
        raise ConfigError(f"{checkpoint.path}: {odd[0]} is not in {'the model' if odd[0] in saved else 'it'}", hint)
    for name, parameter in parameters.items():
        if (shape := checkpoint.shape(f"{WEIGHT}{name}")) != tuple(parameter.shape):
            raise ConfigError(f"{checkpoint.path}: {name} is {shape}, the model's {tuple(parameter.shape)}", hint)


def _fragments(engine: Any) -> Iterator[Fragment]:
    """Every range of a parameter that this rank's optimizer keeps."""
    optimizer = engine.optimizer
    flat = getattr(optimizer, "single_partition_of_fp32_groups", None)  # ZeRO 1 and 2
    if flat is None:
        flat = getattr(optimizer, "fp32_groups_flat_partition", None)  # ZeRO 1 in bf16 with sums in float32
    masters = unfused_masters(optimizer)
    for name, parameter in engine.module.named_parameters():
        if flat is None:
            owner = masters.get(id(parameter), parameter)
            yield Fragment(name, parameter, 0, owner.detach().view(-1), owner, 0)
        elif (mapping := parameter._hp_mapping) is not None:
            owner, at = flat[mapping.param_group_index], mapping.hp_fragment_address
            weight = owner.detach().narrow(0, at.start, at.numel)
            yield Fragment(name, parameter, mapping.lp_fragment_address.start, weight, owner, at.start)


def unfused_masters(optimizer: Any) -> dict[int, Tensor]:
    """``id`` of a parameter -> its float32 weights, in bf16 without ZeRO (``FP16_UnfusedOptimizer``); else empty."""
    pairs = zip(getattr(optimizer, "fp16_groups", ()), getattr(optimizer, "fp32_groups", ()), strict=True)
    return {id(weight): master for weights, masters in pairs for weight, master in zip(weights, masters, strict=True)}


def _state(engine: Any, owner: Tensor) -> dict[str, Tensor]:
    """AdamW's state of a tensor; empty before its first update."""
    states: Any = engine.basic_optimizer.state
    return dict(states[owner]) if owner in states else {}


def _made_state(engine: Any, owner: Tensor) -> dict[str, Tensor]:
    """AdamW's state of a tensor, which may be zeros until its first update."""
    states: Any = engine.basic_optimizer.state
    if not states.get(owner):
        zeros = {moment: torch.zeros_like(owner, memory_format=torch.preserve_format).detach() for moment in MOMENTS}
        states[owner] = {"step": torch.zeros((), device=owner.device), **zeros}
    return dict(states[owner])


def _buffers(engine: Any) -> dict[str, Tensor]:
    """What a state dict has beside parameters."""
    parameters = {name for name, _ in engine.module.named_parameters(remove_duplicate=False)}
    return {name: value for name, value in engine.module.state_dict().items() if name not in parameters}


def _copies(engine: Any) -> int:
    """How many ranks keep the same: one in ZeRO, which splits it."""
    return 1 if engine.zero_optimization() else dist.get_world_size()


def _share(count: int, copies: int, rank: int) -> tuple[int, int]:
    """The range of ``count`` numbers that this rank writes, of as many as have them."""
    if copies == 1:
        return 0, count
    return count * rank // copies, count * (rank + 1) // copies
