"""What DeepSpeed 0.19.8 does with gradients on one rank, by ZeRO stage: bytes and kernels, counted in its source.

Legend: N ranks, A micro-steps of an optimizer step.
"""

from dataclasses import dataclass

ELEMENT = 2  # bytes of a bfloat16


@dataclass(frozen=True, slots=True)
class Weights:
    """What ZeRO sees of a model.

    tensors    of its parameters
    numbers    in all of them
    unaligned  component -> share of its weights' numbers that start off 16 bytes where ZeRO lays them end to end
    """

    tensors: int
    numbers: int
    unaligned: dict[str, float]


@dataclass(frozen=True, slots=True)
class Zero:
    """How gradients and weights are shared out.

    stage        0, 1 or 2, as recipes/zero*.json set it
    ranks        N
    micro_steps  A
    bucket       numbers of one
    """

    stage: int = 2
    ranks: int = 1
    micro_steps: int = 1
    bucket: int = 25_000_000


def zero_bytes(zero: Zero) -> float:
    """Of one parameter in a micro-step, beside ``bytes.ADAMW``.

    Stage 2, in every micro-step: into a bucket, divided, flattened (4 bytes each); of this rank's part, to float32 (6),
    added (12), copied back (4). Stages 0 and 1: added in bfloat16 by autograd (6), copies at the end of A micro-steps.
    The end: gradients zeroed (4), their norm (4), clipping (8), the weight rounded from its master (6).
    """
    part, steps = 1 / zero.ranks, zero.micro_steps
    added = 6 * (steps - 1) / steps
    every = {2: 12 + 22 * part, 1: added + (12 + 14 * part) / steps, 0: added + (16 + 6) / steps}[zero.stage]
    owned = 1 if zero.stage == 0 else part
    return every + owned * (4 + 4 + 8 + 6) / steps


def zero_launches(weights: Weights, zero: Zero) -> tuple[float, float, float]:
    """Of a micro-step: tensors that Python takes in hand; kernels before that, by autograd; kernels of these hooks.

    Counted by dispatching on one rank of stage 2: four kernels a tensor, three of them for this rank's, three a bucket.
    """
    tensors, steps, part = weights.tensors, zero.micro_steps, 1 / zero.ranks
    buckets = 3 * -(-weights.numbers // zero.bucket)
    added = tensors * (steps - 1) / steps
    if zero.stage == 2:
        return tensors, 0, tensors * (1 + 3 * part) + buckets
    if zero.stage == 1:
        return tensors / steps, added, (tensors * (1 + part) + buckets) / steps
    return 0, added + 2 * tensors / steps, 0


def weights_of(model: object, weight_decay: float) -> Weights:
    """Of an ``Ecamp``, which may lie on the meta device."""
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.model.groups import parameter_groups

    assert isinstance(model, Ecamp)
    names = {id(weight): name for name, weight in model.named_parameters()}
    whole: dict[str, int] = {}
    off: dict[str, int] = {}
    for group in parameter_groups(model, weight_decay):
        at = 0
        for weight in group["params"]:
            component = component_of(names[id(weight)])
            if weight.ndim > 1:
                whole[component] = whole.get(component, 0) + weight.numel()
                off[component] = off.get(component, 0) + weight.numel() * (at * ELEMENT % 16 > 0)
            at += weight.numel()
    numbers = sum(weight.numel() for weight in model.parameters())
    return Weights(len(names), numbers, {name: off[name] / whole[name] for name in whole})


def component_of(parameter: str) -> str:
    """The component of ``work.step_work`` that multiplies a parameter."""
    prefixes = {
        "encoder.patch": "patch embedding",
        "encoder": "encoder",
        "decoder": "decoder",
        "super_resolution": "super-resolution",
        "text.embeddings": "text embedding",
        "text.layers": "text layers",
        "text.head": "MLM head",
        "text": "fusion",
    }
    return next(component for prefix, component in prefixes.items() if parameter.startswith(prefix))
