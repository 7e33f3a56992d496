"""What a run says of itself at its start: the line on the terminal, and the facts in run_state.json."""

from typing import Any

import torch

from ecamp_fast import __version__
from ecamp_fast.config import Recipe
from ecamp_fast.model.attention import describe_choice
from ecamp_fast.model.ecamp import attention_cases
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.shards.describe.rules import build_command, read_by_other_rules
from ecamp_fast.shards.load.alike import shared_patients
from ecamp_fast.shards.load.mix import ShardMix, sets_of
from ecamp_fast.shards.load.read import ShardSet

_LARGE = 20.0  # million parameters of a GLoRIA, from where on a CPU is no place for it
_CPU_SECONDS = 0.01  # of a core for an image and a million parameters: 24 images of recipe `gloria` took 25 s


def run_facts(recipe: Recipe, shards: ShardSet, context: DistContext) -> dict[str, Any]:
    """Where the run computes, on which data, with which libraries."""
    return {
        "ranks": context.world,
        "device": device_name(context.device),
        "data": shards.named,
        "manifest": shards.manifest.digest,
        "tokenizer": shards.manifest.tokenizer_digest,
        "attention": attention_choices(recipe, context),
        "versions": {"ecamp_fast": __version__, "torch": torch.__version__},
    }


def attention_choices(recipe: Recipe, context: DistContext) -> dict[str, str]:
    """Part of the model -> the attention backend it uses; none where it is not ECAMP."""
    if recipe.losses.gloria:
        return {}
    cases = attention_cases(recipe, context.device.type == "cuda")
    return {part: describe_choice(case) for part, case in cases.items()}


def opening_lines(
    engine: Any, recipe: Recipe, shards: ShardSet, context: DistContext, total: int, step: int, chosen: bool
) -> list[str]:
    """What a person reads of the run before its first step.

    engine   of DeepSpeed
    recipe   as it is trained
    total    optimizer steps
    step     steps done
    chosen   whether ``batch.micro`` was chosen by what the memory allows
    """
    if step == total:
        return [
            f"nothing to do, all {step} steps are done: {_more(recipe)}; --resume never starts anew, and keeps this"
        ]
    start = f"resuming at step {step}" if step else "starting"
    lines = [f"{start}: {_in_one_line(engine, recipe, shards, context, total, chosen)}"]
    lines += _of_sets(shards, context)
    if shards.faults:
        lost, faults = len(shards.lost), "; ".join(shards.faults)
        lines.append(f"warning: {faults}: other samples stand in for {lost}; `ecamp-fast shard repair`")
    if recipe.losses.mlm and read_by_other_rules(shards.manifest):
        again = " and ".join(build_command(one.manifest) for one in sets_of(shards))
        lines.append(f"warning: reports were read by other rules than this version's; to build the set again: {again}")
    if not (step or recipe.init_from or recipe.losses.gloria):
        authors = "; the paper's authors started from MAE's: README, Recipes" if _is_vit_b(recipe) else ""
        lines.append(f"weights: random numbers of seed {recipe.seed}{authors}")
    if recipe.losses.gloria:
        lines += _of_gloria(engine, recipe, context, total) if not step else []
    if recipe.reads_maps and not shards.manifest.with_map("train"):
        lines.append("warning: no training sample has an attention map: super-resolution weighs every pixel alike")
    choices = attention_choices(recipe, context)
    return lines + ["attention: " + ", ".join(f"{part} {choice}" for part, choice in choices.items())] * bool(choices)


def _of_sets(shards: ShardSet, context: DistContext) -> list[str]:
    """Where there are several: what an epoch has of each, and whether a patient is on both sides of the split."""
    if not isinstance(shards, ShardMix):
        return []
    shared = shared_patients(sets_of(shards)) if context.is_main else None
    warning = f"warning: {shared} patients are in train of one set and held out in another, by their names"
    return [
        f"data: {part.shards.path}: {share:,} samples an epoch, of {part.shards.manifest.count('train'):,} "
        f"(weight {part.weight:g})"
        for part, share in zip(shards.parts, shards.shares("train"), strict=True)
    ] + [warning] * bool(shared)


def _of_gloria(engine: Any, recipe: Recipe, context: DistContext, total: int) -> list[str]:
    """Which sides of a GLoRIA begin with random numbers, and what a large one means without a GPU."""
    gloria, sides = recipe.gloria, (engine.module.text, engine.module.image)
    text, image = (sum(p.numel() for p in side.parameters()) / 1e6 for side in sides)
    kind = {"resnet50": "FILE", "vit": "RUN", "cells": ""}[gloria.image]  # the small network is always fresh
    fresh = [] if gloria.bert else [f"text from scratch, {text:.1f} M parameters: name gloria.bert=FOLDER"]
    if not gloria.image_weights:
        name = f": name gloria.image_weights={kind}" if kind else ""
        fresh.append(f"image side ({gloria.image}) from scratch, {image:.1f} M parameters{name}")
    lines = [f"weights: {'; '.join(fresh)}"] if fresh else []
    if context.device.type == "cpu" and text + image > _LARGE:
        seconds = recipe.batch.total * _CPU_SECONDS * (text + image)
        took = f"some {seconds:,.0f} core-seconds a step, {total * seconds / 3600:,.1f} core-hours in all"
        lines.append(f"warning: no GPU: {took}; `--recipe phantom` takes minutes")
    return lines


def _is_vit_b(recipe: Recipe) -> bool:
    """Whether MAE's ViT-B/16 fits the encoder."""
    vision = recipe.model.vision
    return (vision.width, vision.depth, vision.heads, vision.patch) == (768, 12, 12, 16)


def _more(recipe: Recipe) -> str:
    """What trains a complete run on; the learning rate is 0 from the horizon on."""
    schedule = recipe.schedule
    if schedule.epochs < schedule.horizon_epochs:
        return f"schedule.epochs above {schedule.epochs:g} trains on"
    horizon = "schedule.horizon_epochs"
    return f"schedule.epochs and {horizon} above {schedule.epochs:g}, with --allow-change {horizon}, train on"


def _in_one_line(engine: Any, recipe: Recipe, shards: ShardSet, context: DistContext, total: int, chosen: bool) -> str:
    parameters = sum(p.numel() for p in engine.module.parameters())
    batch, accumulation = recipe.batch, recipe.accumulation(context.world)
    micro = f"{batch.micro}{' chosen' if chosen else ''} x {context.world} ranks x {accumulation} micro-steps"
    samples = shards.epoch("train")
    return (
        f"recipe {recipe.name}, {parameters / 1e6:.1f} M parameters, {samples} samples, {total} steps of {batch.total} "
        f"({micro}), {recipe.precision}, ZeRO-{engine.zero_optimization_stage()}, {device_name(context.device)}"
    )


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
