"""The analytic count of work against torch's counter, which watches the model compute."""

from pathlib import Path

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ecamp_fast.bench.data.synthetic import synthetic_batch, text_lengths
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.flops import Work, step_work, summed

SMALL = Path(__file__).parents[1] / "data" / "small.yaml"
VOCABULARY = 500
TINY = [  # the structure of a recipe at sizes that all differ
    "image.high_size=128",
    "image.low_size=64",
    "text.max_tokens=96",
    *("model.vision.width=96", "model.vision.depth=3", "model.vision.heads=4", "model.vision.patch=8"),
    *("model.decoder.width=64", "model.decoder.depth=2", "model.decoder.heads=2"),
    *("model.text.width=80", "model.text.depth=3", "model.text.heads=5", "model.text.ffn=112"),
]


def counted(recipe: Recipe, lengths: list[int]) -> tuple[dict[str, int], int, int]:
    """The forward's operations by module ("Global": all), the backward's, and how many words were predicted."""
    model = Ecamp(recipe, VOCABULARY)
    batch = synthetic_batch(recipe, VOCABULARY, lengths)
    view = model.view(batch)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # fused attention hides its products
        loss = model.losses(view).total
        forward = {module: sum(found.values()) for module, found in counter.get_flop_counts().items()}
        loss.backward()
    predicted = len(view.text.rows) if view.text else 0
    return forward, counter.get_total_flops() - forward["Global"], predicted


RECIPES = [
    ("paper", [], [40, 40, 40]),
    ("paper", [], [2, 70, 31, 96]),
    ("paper", ["share_projections=false"], [40, 40, 40]),
    ("official", [], [20, 50, 96]),
    ("paper", ["losses={mlm: false}"], [30, 30]),
    ("paper", ["losses={sr: false}"], [30, 30]),
    ("paper", ["losses={mim: false, sr: false}"], [30, 50]),
    ("paper", ["fusion={use_global: false, projection: separate}"], [30, 50]),
    ("paper", ["fusion={use_local: false, projection: separate}"], [30, 50]),
    ("paper", ["fusion={use_local: false}"], [30, 50]),
    ("paper", ["model.tie_embeddings=true", "masking.image_ratio=0.5"], [30, 50]),
]


@pytest.mark.parametrize(("name", "changes", "lengths"), RECIPES)
def test_agrees_with_the_counter(name: str, changes: list[str], lengths: list[int]) -> None:
    recipe = load_recipe(name, [*TINY, *changes])
    forward, backward, predicted = counted(recipe, lengths)
    work = step_work(recipe, VOCABULARY, lengths, predicted, padded_to=max(lengths))
    head = work.get("MLM head", Work())  # on a CPU gradients of vocabulary and SR loss are made in the forward pass
    vocabulary = round(head.backward * VOCABULARY / (VOCABULARY + recipe.model.text.width))
    early = vocabulary + work.get("super-resolution", Work()).backward
    assert summed(work).forward + early == pytest.approx(forward["Global"], rel=0.01)
    assert summed(work).backward - early == pytest.approx(backward, rel=0.01)


def test_every_component_agrees_with_the_counter() -> None:
    """Forward only: in the backward pass the counter does not tell neighbours apart."""
    recipe, lengths = load_recipe("paper", TINY), [40, 40, 40]
    forward, _, predicted = counted(recipe, lengths)
    work = step_work(recipe, VOCABULARY, lengths, predicted)
    found = {
        "patch embedding": forward["Encoder.patch"],
        "encoder": forward["Encoder"] - forward["Encoder.patch"],
        "decoder": forward["ImageDecoder"],
        "fusion": forward["TextDecoder.bridge"] + forward["TextDecoder.fusion"],
        "text layers": sum(forward[f"TextDecoder.layers.{layer}"] for layer in range(3)),
    }
    for component, operations in found.items():
        assert work[component].forward == pytest.approx(operations, rel=0.01), component
    rest = forward["Global"] - sum(found.values())  # and in the backward pass what the losses make in the forward
    vocabulary = 2 * 2 * predicted * VOCABULARY * recipe.model.text.width
    assert work["super-resolution"].total + work["MLM head"].forward + vocabulary == pytest.approx(rest, rel=0.01)


def test_super_resolution_agrees_with_the_counter() -> None:
    with_it, without = (load_recipe("paper", [*TINY, f"losses={{sr: {sr}, mlm: false}}"]) for sr in ("true", "false"))
    (forward, backward, _), (forward_without, backward_without, _) = (counted(r, [5, 5]) for r in (with_it, without))
    work = step_work(with_it, VOCABULARY, [5, 5], 0)["super-resolution"]
    assert work.total == pytest.approx(forward["Global"] - forward_without["Global"], rel=0.01)  # both, on a CPU
    assert backward == backward_without


def test_small_recipe_agrees_with_the_counter() -> None:
    recipe, lengths = load_recipe(SMALL), [60, 61]
    forward, backward, predicted = counted(recipe, lengths)
    work = summed(step_work(recipe, VOCABULARY, lengths, predicted))
    assert work.total == pytest.approx(forward["Global"] + backward, rel=0.01)


def test_real_pairs_are_fewer_than_padded_ones() -> None:
    recipe = load_recipe("paper", TINY)
    real, padded = (step_work(recipe, VOCABULARY, [10, 50], 40, to)["text layers"].total for to in (None, 50))
    asked = 50**2 * 2 - (50**2 + 10**2) * 40 // 60  # of the last layer, whose queries are the predicted rows
    assert padded - real == 3 * 4 * (2 * (50**2 - 10**2) + asked) * 80  # passes, operations, pairs, width


def test_the_paper_recipe_is_within_its_budget() -> None:
    """At 110 tokens, three quarters of which are predicted: 79 GFLOP a sample."""
    per_sample = summed(step_work(load_recipe("paper"), 30_000, [110], round(0.75 * 109))).total
    assert 70e9 < per_sample <= 79e9


def test_lengths_have_the_mean_that_is_asked_for() -> None:
    for batch, mean, spread, limit in ((8, 110, 0.4, 256), (3, 5, 2.0, 96), (1, 96, 0.4, 96), (256, 33.3, 0.0, 128)):
        lengths = text_lengths(batch, mean, spread, limit)
        assert (
            len(lengths) == batch and sum(lengths) == round(mean * batch) and 2 <= min(lengths) <= max(lengths) <= limit
        )
    assert text_lengths(4, 500, 0.4, 256) == [256] * 4
