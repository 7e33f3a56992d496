"""DeepSpeed's files in checkpoints of versions up to 0.1, by parameter; nothing in them is run.

Without ZeRO the file of the model holds all. ZeRO lays parameters end to end, padded, in two groups, and each rank has
a file with its range of both, which says where in it the ranges of parameters lie.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecamp_fast.config import Recipe
from ecamp_fast.errors import DataError
from ecamp_fast.model.ecamp import Ecamp, current_name
from ecamp_fast.model.groups import parameter_groups
from ecamp_fast.run.checkpoint.engine_state import BUFFER, MOMENTS, STEPS, WEIGHT
from ecamp_fast.weights.file import WORD
from ecamp_fast.weights.torch_archive import read_deepspeed_file

MODEL = "mp_rank_00_model_states.pt"
KINDS = {"weight": WEIGHT, "step": STEPS} | {moment: f"{moment}/" for moment in MOMENTS}
Range = tuple[str, str, Tensor]  # kind, parameter, numbers: 1-d, the step alone 0-d
_PARTITION = re.compile(r"(?:bf16_)?zero_pp_rank_(\d{1,6})_mp_rank_00_optim_states\.pt")


class Misfit(ValueError):
    """The files hold something else than the state of this model."""


def read_former_files(folder: Path, recipe: Recipe, world: int) -> dict[str, Tensor]:
    """What an engine kept when it wrote the files in ``folder``, under the names of ``engine_state``.

    recipe  of the run     world  ranks that wrote them

    Raises DataError that names the file, where one is damaged, hostile or of another model.
    """
    file = read_deepspeed_file(folder / MODEL)
    ranks = _read_partitions(folder, world)
    try:
        weights = {current_name(name): tensor for name, tensor in file["module"].items()}
        model = _empty_model(recipe, weights)
        ranges = _of_partitions(ranks) if ranks else _of_whole(file["optimizer"], weights, model)
        state = _whole_tensors(ranges, dict(model.named_parameters()))
        _compare(state, weights, model)
    except Misfit as fault:
        raise DataError(f"{folder}: {fault}", "restore recipe.yaml, or use an older checkpoint") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        found = f"{folder}: DeepSpeed's files are not laid out as known ({type(error).__name__}: {error})"
        raise DataError(found, "use an older checkpoint") from None
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return state | {f"{BUFFER}{name}": tensor for name, tensor in weights.items() if name not in parameters}


def _read_partitions(folder: Path, world: int) -> list[dict[str, Any]]:
    """What each rank's optimizer kept, by rank; empty without ZeRO."""
    found = {int(match[1]): path for path in folder.iterdir() if (match := _PARTITION.fullmatch(path.name))}
    if found and (len(found) != world or max(found) >= world):
        raise DataError(f"{folder}: {len(found)} files of ranks, written by {world}", "use an older checkpoint")
    return [read_deepspeed_file(found[rank]) for rank in sorted(found)]


def _empty_model(recipe: Recipe, weights: dict[str, Tensor]) -> Ecamp:
    """The model of the recipe without numbers.  Raises Misfit where its tensors are not those of the file."""
    with torch.device("meta"):
        model = Ecamp(recipe, len(weights[WORD]) if WORD in weights else 1)
    own = model.state_dict()
    if odd := sorted(own.keys() ^ weights.keys()):
        raise Misfit(f"{odd[0]!a} is not in {'it' if odd[0] in own else 'the model of recipe.yaml'}")
    for name, tensor in own.items():
        if weights[name].shape != tensor.shape:
            raise Misfit(f"{name} is {tuple(weights[name].shape)}, that of recipe.yaml {tuple(tensor.shape)}")
    return model


def _of_whole(optimizer: dict[str, Any], weights: dict[str, Tensor], model: Ecamp) -> Iterator[Range]:
    """Without ZeRO: AdamW numbers parameters as ``parameter_groups`` lays them; in bf16 it has weights of its own."""
    order = [name for name in model.state_dict() if name in weights]
    if order != list(weights):
        raise Misfit("its parameters lie in another order than those of this version")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    masters, adamw = optimizer.get("fp32_groups"), optimizer.get("optimizer_state_dict", optimizer)
    groups = [group["params"] for group in parameter_groups(model, 0.0)]
    for number, (parameters, known) in enumerate(zip(groups, adamw["param_groups"], strict=True)):
        for index, (parameter, key) in enumerate(zip(parameters, known["params"], strict=True)):
            name = names[id(parameter)]
            yield "weight", name, (masters[number][index] if masters else weights[name]).reshape(-1)
            for kind, numbers in adamw["state"].get(key, {}).items():
                yield kind, name, numbers if kind == "step" else numbers.reshape(-1)


def _of_partitions(ranks: list[dict[str, Any]]) -> Iterator[Range]:
    """ZeRO 1 and 2: rank after rank, so that the ranges of a parameter come in order."""
    for file in ranks:
        state = file["optimizer_state_dict"]
        base = state["base_optimizer_state"]
        adamw = dict(enumerate(base)) if isinstance(base, list) else base["state"]  # a list with elastic_checkpoint
        for number, ranges in enumerate(state["param_slice_mappings"]):
            kept = {"weight": state["single_partition_of_fp32_groups"][number], **adamw[number]}
            for former, address in ranges.items():
                for kind, numbers in kept.items():
                    yield kind, current_name(former), numbers if kind == "step" else _cut(numbers, address)


def _cut(numbers: Tensor, address: dict[str, Any]) -> Tensor:
    start, count = address["start"], address["numel"]
    if numbers.dim() != 1 or not 0 <= start <= start + count <= len(numbers):
        raise Misfit(f"a range [{start}:{start + count}] lies outside of what a rank has ({tuple(numbers.shape)})")
    return numbers[start : start + count]


def _whole_tensors(ranges: Iterator[Range], parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Ranges to whole tensors, all in float32; every parameter has weights, and both moments and the step or none."""
    found: dict[tuple[str, str], list[Tensor]] = {}
    for kind, name, numbers in ranges:
        if kind not in KINDS or name not in parameters:
            raise Misfit(f"it has {kind!a} of {name!a}, which nothing here has a place for")
        if numbers.dtype != torch.float32:
            raise Misfit(f"{kind} of {name} is {numbers.dtype}, not float32")
        found.setdefault((kind, name), []).append(numbers)
    for name in parameters:
        kinds = {kind for kind in KINDS if (kind, name) in found}
        if kinds not in ({"weight"}, set(KINDS)):
            raise Misfit(f"of {name} it has {', '.join(sorted(kinds)) or 'nothing'}")
    state = {}
    for (kind, name), pieces in found.items():
        whole = _same(pieces, name) if kind == "step" else torch.cat(pieces)
        state[f"{KINDS[kind]}{name}"] = whole.reshape(() if kind == "step" else parameters[name].shape)
    return state


def _same(steps: list[Tensor], name: str) -> Tensor:
    """What all ranks say."""
    if any(not torch.equal(step, steps[0]) for step in steps):
        raise Misfit(f"ranks differ in the updates of {name}")
    return steps[0]


def _compare(state: dict[str, Tensor], weights: dict[str, Tensor], model: Ecamp) -> None:
    """What the model computed with is the float32 weights, rounded: each range was taken for the right parameter."""
    for name, _ in model.named_parameters():
        rounded = state[f"{WEIGHT}{name}"].to(weights[name].dtype)
        if not torch.equal(_bits(rounded), _bits(weights[name])):
            raise Misfit(f"the float32 weights of {name} are not those that the model has")


def _bits(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)  # NaN is unlike itself
