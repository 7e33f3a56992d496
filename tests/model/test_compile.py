"""Compiled blocks compute what eager ones do, without a graph break, and are compiled once."""

import random
from collections.abc import Iterator

import pytest
import torch
from torch._dynamo.utils import counters

from ecamp_fast.batch import Batch
from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import Recipe
from ecamp_fast.model.compile import compile_blocks, recompute_blocks
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.text.packing.layout import Capacity

VOCABULARY, SAMPLES = 60, 3
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # operations this small
    yield
    torch.set_num_threads(threads)
    torch._dynamo.reset()


def batches(recipe: Recipe, count: int) -> Iterator[Batch]:
    """Micro-batches of ragged texts in one shape, as the loader makes them."""
    draw, max_tokens = random.Random(0), recipe.text.max_tokens
    capacity = Capacity(SAMPLES * max_tokens, SAMPLES * max_tokens - 7)
    for number in range(count):
        yield synthetic_batch(
            recipe, VOCABULARY, [draw.randint(2, max_tokens) for _ in range(SAMPLES)], number, capacity=capacity
        )


@pytest.mark.slow
def test_looking_at_words_compiles_nothing(small) -> None:
    """Reconstructions have texts of any shape; in training only those of the loader's are met."""
    recipe = small("paper", "compile=default", "text.capacity=fixed")
    model = Ecamp(recipe, VOCABULARY)
    compile_blocks(model, recipe, CPU, backend="aot_eager")
    for length in (5, 7, 9):
        model.reconstruct(synthetic_batch(recipe, VOCABULARY, [length, 12]))
    assert not counters["stats"]["unique_graphs"]


@pytest.mark.slow
def test_compiled_once_and_without_a_break(small) -> None:
    """The first step compiles; 20 more with other lengths, masks and dropout compile nothing."""
    recipe = small("paper", "compile=default", "text.capacity=fixed", "model.text={dropout: 0.1}")
    model = Ecamp(recipe, VOCABULARY)
    assert compile_blocks(model, recipe, CPU, backend="aot_eager")
    graphs = []
    for batch in batches(recipe, 21):
        model(batch).total.backward()
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] > 0 and set(graphs) == {graphs[0]}
    assert not counters["graph_break"]


@pytest.mark.slow
@pytest.mark.parametrize("recomputed", [False, True])
def test_compiled_is_eager(small, recomputed: bool) -> None:
    recipe = small("paper", "compile=default", "text.capacity=fixed")
    models = [Ecamp(recipe, VOCABULARY).eval() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    compile_blocks(models[1], recipe, CPU, backend="aot_eager")
    if recomputed:
        recompute_blocks(models[1])
    (batch,) = batches(recipe, 1)
    losses = [model(batch).total for model in models]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0)
    for loss in losses:
        loss.backward()
    assert counters["stats"]["unique_graphs"] > 0
    for (name, mine), other in zip(models[1].named_parameters(), models[0].parameters(), strict=True):
        scale = float(other.grad.abs().max())
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-5 * scale, msg=lambda m, n=name: n + m)


def test_what_is_compiled_follows_the_recipe(small) -> None:
    off, exact, fixed = (
        small("paper", f"compile={mode}", f"text.capacity={capacity}")
        for mode, capacity in (("auto", "auto"), ("default", "exact"), ("default", "fixed"))
    )
    model = Ecamp(fixed, VOCABULARY)
    names = list(model.state_dict())
    image = ["encoder.blocks.0", "encoder.blocks.1", "decoder.blocks.0"]
    text = ["text.embeddings", "text.fusion", "text.layers.0", "text.layers.1", "text.head"]

    def compiled() -> list[str]:
        return [name for name, module in model.named_modules() if "forward" in vars(module)]

    assert not compile_blocks(model, off, CPU)
    assert compiled() == []
    compile_blocks(model, exact, CPU)
    assert compiled() == image  # text of another shape in every batch stays as it is
    compile_blocks(model, fixed, CPU)
    assert compiled() == image + text
    assert list(model.state_dict()) == names
