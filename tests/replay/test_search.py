"""Who is to blame for what is not finite."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from ecamp_fast.batch import Batch
from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.replay.search import Culprit, Search

VOCABULARY = 100


@pytest.fixture
def recipe(small: Any) -> Any:
    return small("paper")


@pytest.fixture
def batch(recipe: Any) -> Batch:
    found = synthetic_batch(recipe, VOCABULARY, [20, 9, 15])
    return replace(found, samples=torch.tensor([70, 80, 90]))


def searched(model: Ecamp, batch: Batch) -> Culprit | None:
    search = Search(model)
    with search.looking():
        search.clear()
        search.enter(1, 2, batch)
        losses = model(batch)
        search.terms(losses)
        losses.total.backward()
    return search.first


def test_where_all_is_finite_nobody_is(recipe: Any, batch: Batch) -> None:
    assert searched(Ecamp(recipe, VOCABULARY), batch) is None


def test_a_picture(recipe: Any, batch: Batch) -> None:
    image = torch.rand(batch.image.shape)
    image[1, 0, 3, 4] = math.inf
    found = searched(Ecamp(recipe, VOCABULARY), replace(batch, image=image))
    assert found == Culprit("input", "image", 1, 2, (80,))


def test_a_word(recipe: Any, batch: Batch) -> None:
    """The embedding of one word that only the last sample has."""
    model, text = Ecamp(recipe, VOCABULARY), batch.text
    assert model.text is not None and text is not None
    start, stop = text.cu_seqlens[2:4].tolist()
    rare = VOCABULARY - 1
    ids = text.ids.clone()
    ids[ids == rare] = rare - 1
    ids[start + 1] = rare
    assert stop > start + 1
    with torch.no_grad():
        model.text.embeddings.word[rare] = math.nan
    found = searched(model, replace(batch, text=replace(text, ids=ids)))
    assert found is not None and found.kind == "activation" and found.name.startswith("text") and found.samples == (90,)


def test_a_weight_blames_every_sample(recipe: Any, batch: Batch) -> None:
    model = Ecamp(recipe, VOCABULARY)
    assert model.decoder is not None
    with torch.no_grad():
        next(model.decoder.parameters()).fill_(math.nan)
    found = searched(model, batch)
    assert found is not None and found.kind == "activation" and found.samples == (70, 80, 90)
    assert found.name.startswith("decoder")


def test_a_gradient(recipe: Any, batch: Batch) -> None:
    model = Ecamp(recipe, VOCABULARY)
    name, parameter = next((name, p) for name, p in model.named_parameters() if name.startswith("encoder"))
    parameter.register_hook(lambda gradient: gradient * math.nan)
    found = searched(model, batch)
    assert found is not None and (found.kind, found.name) == ("gradient", name)


def test_the_first_stays(recipe: Any) -> None:
    search = Search(Ecamp(recipe, VOCABULARY))
    search.tensors("", {"exp_avg a.b": torch.tensor([math.nan])})
    search.tensors("gradient", {"c": torch.tensor([math.nan])})
    assert search.first == Culprit("exp_avg", "a.b")
