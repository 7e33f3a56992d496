"""What a person reads of a run before its first step."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ecamp_fast.commands.knowledge.attend_train import find_recipe
from ecamp_fast.config import load_recipe
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.summary import opening_lines
from ecamp_fast.shards.load.read import ShardSet


def told(context: DistContext, shards: Any, name: str, *changes: str, step: int = 0) -> str:
    module = SimpleNamespace(parameters=lambda: [torch.zeros(1_500_000)])
    engine = SimpleNamespace(module=module, zero_optimization_stage=lambda: 2)
    return "\n".join(opening_lines(engine, load_recipe(name, changes), shards, context, 10, step, chosen=False))


@pytest.mark.parametrize("name", ["paper", "official", "paper_literal"])
def test_random_weights_are_said_and_what_the_authors_did(context: DistContext, phantoms: Path, name: str) -> None:
    shards = ShardSet(phantoms)
    fits_mae = name != "paper_literal"  # eight layers
    assert ("MAE's" in told(context, shards, name)) is fits_mae
    assert "weights: random numbers of seed 42" in told(context, shards, name)
    assert "random" not in told(context, shards, name, "init_from=some.safetensors")
    assert "random" not in told(context, shards, name, step=3)


def test_super_resolution_without_any_map_is_said(context: DistContext, phantoms: Path) -> None:
    shards = ShardSet(phantoms)
    none = SimpleNamespace(
        manifest=SimpleNamespace(with_map=lambda split: 0, vocab_size=0),
        count=shards.count,
        epoch=shards.epoch,
        faults=(),
        lost=(),
    )
    unguided = "weighs every pixel alike"
    assert unguided not in told(context, shards, "demo") and unguided in told(context, none, "demo")
    for off in ("sr.maps=centre", "sr.guidance=none", "losses.sr=false"):
        assert unguided not in told(context, none, "demo", off)


def test_reports_read_by_other_rules_are_said_with_the_command_that_builds_the_set_again(
    context: DistContext, phantoms: Path
) -> None:
    shards = ShardSet(phantoms)
    older = SimpleNamespace(
        manifest=replace(shards.manifest, rules_digest=""), count=shards.count, epoch=shards.epoch, faults=(), lost=()
    )
    warning = "read by other rules than this version's"
    assert warning not in told(context, shards, "demo")
    assert warning in told(context, older, "demo") and "ecamp-fast shard build --from phantom" in told(
        context, older, "demo"
    )
    assert warning not in told(context, older, "mae")


def test_a_run_that_is_done_has_nothing_to_do(context: DistContext, phantoms: Path) -> None:
    """What it says would train it on does: the rate is 0 from the horizon on. The last line says it is complete."""
    said = told(context, ShardSet(phantoms), "demo", step=10)
    assert said.startswith(
        "nothing to do, all 10 steps are done: schedule.epochs and schedule.horizon_epochs above 8.5"
    )
    assert "--allow-change schedule.horizon_epochs" in said and "--resume never starts anew, and keeps" in said
    assert "complete" not in said
    said = told(context, ShardSet(phantoms), "demo", "schedule.horizon_epochs=20", step=10)
    assert said.startswith("nothing to do, all 10 steps are done: schedule.epochs above 8.5 trains on")


@pytest.mark.parametrize("millions", [1, 60])
def test_what_a_gloria_trains_from_scratch_is_said(context: DistContext, phantoms: Path, millions: int) -> None:
    side = SimpleNamespace(parameters=lambda: [torch.empty(millions * 10**6, device="meta")])
    module = SimpleNamespace(text=side, image=side, parameters=lambda: [torch.zeros(1)])
    engine = SimpleNamespace(module=module, zero_optimization_stage=lambda: 2)

    def said(name: str, *changes: str, step: int = 0) -> str:
        recipe = load_recipe(find_recipe(name), changes)
        return "\n".join(opening_lines(engine, recipe, ShardSet(phantoms), context, 10, step, chosen=False))

    text, image = "text from scratch", "image side (resnet50) from scratch"
    whole = said("gloria")
    assert f"{text}, {millions}.0 M parameters: name gloria.bert=FOLDER; {image}, {millions}.0 M" in whole
    assert "gloria.image_weights=FILE" in whole
    assert ("no GPU: some 58 core-seconds a step, 0.2 core-hours" in whole) is (millions == 60)
    assert text not in said("gloria", "gloria.bert=a") and image not in said("gloria", "gloria.image_weights=b")
    assert "weights:" not in said("gloria", "gloria.bert=a", "gloria.image_weights=b")
    assert "scratch" not in said("gloria", step=3) and "no GPU" not in said("gloria", step=3)
    assert "image_weights" not in said("phantom")  # there is nothing to name
