"""Losses on the held-out split: every sample counts once and alike, and nothing is dropped out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ecamp_fast.config import Recipe
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.evaluate import evaluate
from ecamp_fast.run.setup import build
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet

TERMS = ("loss", "mim", "sr", "mlm")


@pytest.fixture
def dropping(tiny: Callable[..., Recipe], context: DistContext, phantoms: Path) -> tuple[Any, Recipe, ShardSet]:
    """An engine whose text layers drop half of their values, its recipe, a set whose last batch is not full."""
    shards = ShardSet(phantoms)
    recipe = tiny("precision=fp32", "batch.micro=2", "image.crop_area=[0.2, 0.5]", "model.text.dropout=0.5")
    assert shards.count("val") % 2
    ds_config = deepspeed_config.resolve(None, recipe, context.world)
    return build(recipe, shards.manifest.vocab_size, context, ds_config), recipe, shards


def loader(shards: ShardSet, recipe: Recipe) -> Loader:
    return Loader(shards, "val", recipe, train=False)


def test_it_is_the_mean_over_samples(dropping: tuple[Any, Recipe, ShardSet]) -> None:
    engine, recipe, shards = dropping
    found = evaluate(engine, loader(shards, recipe), None)
    engine.module.eval()
    with torch.no_grad():
        alone = [engine.module(batch) for batch in loader(shards, recipe.with_micro(1)).evaluation()]
    sums = [sum(float(getattr(one, "total" if name == "loss" else name)) for one in alone) for name in TERMS]
    assert [found[name] for name in TERMS] == pytest.approx([total / len(alone) for total in sums], rel=1e-5)
    assert found["samples"] == len(alone) == shards.count("val")


def test_a_limit_takes_the_first_samples(dropping: tuple[Any, Recipe, ShardSet]) -> None:
    engine, recipe, shards = dropping
    (first,) = list(loader(shards, recipe.with_micro(3)).evaluation(3))
    engine.module.eval()
    with torch.no_grad():
        wanted = float(engine.module(first).total)
    found = evaluate(engine, loader(shards, recipe), 3)
    assert found["loss"] == pytest.approx(wanted, rel=1e-5) and found["samples"] == 3


def test_twice_is_the_same_and_training_goes_on(dropping: tuple[Any, Recipe, ShardSet]) -> None:
    engine, recipe, shards = dropping
    first = evaluate(engine, loader(shards, recipe), None)
    torch.manual_seed(77)
    assert evaluate(engine, loader(shards, recipe), None) == first
    assert engine.module.training


def test_words_are_scored_one_by_one(dropping: tuple[Any, Recipe, ShardSet]) -> None:
    """From the logits of each sample alone, by the formula of the cross-entropy."""
    engine, recipe, shards = dropping
    model = engine.module.eval()
    nats, hits, worth, weights = [], [], [], []
    for batch in loader(shards, recipe.with_micro(1)).evaluation():
        rows, truth = batch.text.rows, batch.text.labels
        with torch.no_grad():
            view = model.view(batch)
            hidden = model.text(
                batch.text.ids, model.encoder(view.low, view.keep), *model._text_layouts(view, batch.text)
            )
            logits = model.text.head(hidden[rows]) @ model.text.head.vocabulary.T + model.text.head.bias
        shares = logits.exp() / logits.exp().sum(1, keepdim=True)
        each = -shares[range(len(rows)), truth].log()
        nats += each.tolist()
        hits += (shares.argmax(1) == truth).tolist()
        worth += (each * batch.text.weights).tolist()
        weights += batch.text.weights.tolist()
    found = evaluate(engine, loader(shards, recipe), None)
    assert found["nats_per_token"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert found["accuracy"] == pytest.approx(sum(hits) / len(hits), rel=1e-9)
    assert found["mlm_per_token"] == pytest.approx(sum(worth) / sum(weights), rel=1e-5)
