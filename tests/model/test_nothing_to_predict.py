"""Micro-batches with nothing in them to predict, or with a single sample: losses and gradients are numbers."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.model.ecamp import Ecamp, View

VOCABULARY = 50


def without_weights(view: View) -> View:
    assert view.text is not None
    return replace(view, text=replace(view.text, weights=torch.zeros_like(view.text.weights)))


def without_words(view: View) -> View:
    text = view.text
    assert text is not None
    none = {name: getattr(text, name)[:0] for name in ("rows", "labels", "weights")}
    return replace(view, text=replace(text, **none, predicted=torch.zeros_like(text.predicted)))


def without_masked_patches(view: View) -> View:
    every = torch.arange(view.keep.shape[1] + view.masked.shape[1])
    return replace(view, keep=every.expand(len(view.keep), -1), masked=view.masked[:, :0])


@pytest.mark.parametrize("normaliser", ["budget", "weighted_mean", "sum"])
@pytest.mark.parametrize("recipe_name", ["paper", "official"])
@pytest.mark.parametrize(
    ("change", "samples"),
    [(without_weights, 2), (without_words, 2), (without_masked_patches, 2), (lambda view: view, 1)],
    ids=["no-weight", "no-word", "no-patch", "one-sample"],
)
@pytest.mark.fault("N4.no-valid-token", "N4.no-masked-patch", "N4.batch-of-one")
def test_losses_are_finite(small: Any, recipe_name: str, normaliser: str, change: Any, samples: int) -> None:
    recipe = small(recipe_name, f"losses.mlm_normaliser={normaliser}")
    model = Ecamp(recipe, VOCABULARY)
    view = change(model.view(synthetic_batch(recipe, VOCABULARY, [20, 9][:samples])))
    losses = model.losses(view)
    losses.total.backward()
    assert losses.total.isfinite() and losses.total > 0
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())
    if change in (without_weights, without_words):
        assert losses.mlm == 0
    if change is without_masked_patches:
        assert losses.mim == 0
