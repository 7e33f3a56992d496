"""``batch.micro: auto``: the largest micro-batch that fits the memory of every rank and divides the recipe's batch.

What a sample takes is measured, not guessed: one forward and backward with few samples, one with twice as many. On CUDA
the difference of the peaks counts, on the CPU the tensors saved for the backward.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError, EnvironmentFault
from ecamp_fast.run.distributed import DistContext

LARGEST_ON_CPU = 16  # samples: bounds what a desktop must hold; products are no faster beyond
LARGEST_PROBE = 8  # samples in the smaller of the two batches that are measured
SHARE = 0.9  # of the free memory: the rest is for gaps of the allocator, NCCL and decoding


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of this rank.  free: without the model   states: weights, gradients, AdamW   sample: its activations."""

    free: int
    states: int
    sample: int

    def fits(self, micro: int) -> bool:
        return self.states + micro * self.sample <= SHARE * self.free


def earlier_micro(out: Path) -> int | None:
    """The micro-batch that the run in ``out`` was started with; None where there is none to go on from."""
    file = out / "recipe.yaml"
    if not file.exists():
        return None
    micro = load_recipe(file).batch.micro
    return None if micro == "auto" else micro


def candidates(recipe: Recipe, world: int, largest: int | None = None) -> list[int]:
    """Micro-batches that divide the batch on ``world`` ranks, ascending.  Raises ConfigError where none does."""
    total = recipe.batch.total
    if total % world:
        hint = f"choose batch.total as a multiple of {world}"
        raise ConfigError(f"batch.total {total} is not a multiple of {world} ranks", hint)
    share = total // world
    return [micro for micro in range(1, min(share, largest or share) + 1) if share % micro == 0]


def choose_micro(recipe: Recipe, context: DistContext, memory: Callable[[], Memory]) -> tuple[int, Memory]:
    """The micro-batch, the same on all ranks, and what it was chosen from.

    memory: measures this rank.  Raises EnvironmentFault where not even the smallest fits.
    """
    possible = candidates(recipe, context.world, LARGEST_ON_CPU if context.device.type == "cpu" else None)
    measured = memory()
    fitting = [micro for micro in possible if measured.fits(micro)]
    agreed = torch.tensor(max(fitting, default=0), device=context.device)
    dist.all_reduce(agreed, op=dist.ReduceOp.MIN)
    if not (micro := int(agreed)):
        raise EnvironmentFault(
            f"not even {possible[0]} sample(s) fit: {measured.states / 1e9:.1f} GB of model states and "
            f"{measured.sample / 1e9:.2f} GB per sample in {measured.free / 1e9:.1f} GB",
            "free memory on the device, use more ranks, or choose a smaller model",
        )
    return micro, measured


def measure(
    model: torch.nn.Module, batch: Callable[[int], Batch], recipe: Recipe, context: DistContext, stage: int
) -> Memory:
    """Try ``model``, which is thrown away afterwards, in the precision of the recipe.

    batch: makes a micro-batch of that many samples, on the device
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    free = _free(context)
    model.to(context.device, torch.bfloat16 if recipe.precision == "bf16" else torch.float32)
    small, large = probes(recipe, context.world)
    states = state_bytes(parameters, recipe.precision, stage, context.world)
    try:
        _activations(model, batch(small), context.device)  # the first run also allocates what is there once
        peaks = {count: _activations(model, batch(count), context.device) for count in (small, large)}
    except torch.cuda.OutOfMemoryError:
        return Memory(free, states, free)  # nothing fits; the other ranks must hear of it
    sample = (peaks[large] - peaks[small]) // (large - small) if large > small else peaks[small] // small
    return Memory(free, states, max(sample, 1))


def probes(recipe: Recipe, world: int) -> tuple[int, int]:
    """Two micro-batches that divide the batch; the same one twice where there is no second."""
    possible = candidates(recipe, world, 2 * LARGEST_PROBE)
    return possible[max(len(possible) - 2, 0)], possible[-1]


def state_bytes(parameters: int, precision: str, stage: int, world: int) -> int:
    """The sum of ``state_parts``."""
    return sum(state_parts(parameters, precision, stage, world).values())


def state_parts(parameters: int, precision: str, stage: int, world: int) -> dict[str, int]:
    """Bytes of weights, gradients, float32 masters and AdamW moments on one rank, at the end of a backward.

    The gradient is taken as whole in every stage: ZeRO-2 frees it bucket by bucket, which no formula knows better than
    an upper bound does. ``sums`` are those of the micro-steps' gradients, ``update`` the gradient in float32 meanwhile.
    """
    width, own = 2 if precision == "bf16" else 4, -(-parameters // (world if stage else 1))
    return {
        "weights": parameters * width,
        "gradients": parameters * width,
        "masters": 0 if precision == "fp32" and stage == 0 else 4 * own,
        "moments": 8 * own,
        "sums": 4 * own if stage == 2 else 0,
        "update": 4 * own,
    }


def _free(context: DistContext) -> int:
    if context.device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(context.device)[0]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (2 * context.world)  # half of the machine's


def _activations(model: torch.nn.Module, batch: Batch, device: torch.device) -> int:
    """Bytes that forward and backward take beyond weights and batch, gradients included."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        model(batch).total.backward()
        peak = torch.cuda.max_memory_allocated(device)
        model.zero_grad(set_to_none=True)
        return peak - before
    return _saved(model, batch)


def _saved(model: torch.nn.Module, batch: Batch) -> int:
    """Bytes saved for the backward, each storage once, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    held: dict[int, torch.UntypedStorage] = {}

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        loss = model(batch).total
    total = sum(storage.nbytes() for storage in held.values())
    loss.backward()
    model.zero_grad(set_to_none=True)
    return total
