"""The byte model: it splits the counted operations without losing any, and moves what a hand count moves."""

from pathlib import Path

import pytest

from ecamp_fast.bench.roofline.bytes import KINDS, KernelGroup, attention_operations, step_bytes
from ecamp_fast.config import load_recipe
from ecamp_fast.model.flops import step_work

SMALL = Path(__file__).parents[2] / "data" / "small.yaml"
VOCABULARY, LENGTHS, PREDICTED = 200, [5, 20, 30], 40


def groups(recipe: str | Path = SMALL, *overrides: str, lengths: list[int] = LENGTHS) -> list[KernelGroup]:
    return step_bytes(load_recipe(recipe, overrides), VOCABULARY, lengths, PREDICTED, parameters=1000)


@pytest.mark.parametrize("recipe", [SMALL, "paper", "official", "mae", "demo"])
def test_operations_are_those_that_were_counted(recipe: str | Path) -> None:
    operations: dict[str, float] = {}
    for group in groups(recipe):
        assert group.kind in KINDS and group.operations >= 0 and group.bytes >= 0, group
        operations[group.component] = operations.get(group.component, 0) + group.operations
    work = step_work(load_recipe(recipe), VOCABULARY, LENGTHS, PREDICTED)
    assert {name: count for name, count in operations.items() if count} == {n: done.total for n, done in work.items()}


def test_a_layer_by_hand() -> None:
    """Encoder of one layer: rows n, width D, hidden 4 D; bfloat16; forward once, backward twice."""
    by_kind = {g.kind: g for g in groups(SMALL, "model.vision.depth=1") if g.component == "encoder"}
    recipe = load_recipe(SMALL)
    tokens, width = recipe.kept_patches + 1, 192
    n = 3 * tokens
    weights, rows = 12 * width**2, 4 * n * width + 2 * n * width + 5 * n * width + 5 * n * width
    assert by_kind["product"].bytes == 2 * 3 * (weights + rows)
    assert by_kind["attention"].operations == attention_operations(3 * tokens**2, width)
    assert by_kind["attention"].bytes == 2 * 12 * n * width
    assert by_kind["pointwise"].bytes == 2 * (16 * n * width + 5 * n * 4 * width)


def test_weights_count_once_a_micro_batch_and_rows_every_time() -> None:
    one, two = (sum(g.bytes for g in groups(lengths=LENGTHS * times)) for times in (1, 2))
    assert one < two < 2 * one


def test_the_optimizer_is_shared_by_its_micro_steps() -> None:
    recipe = load_recipe(SMALL)
    alone, shared = (step_bytes(recipe, VOCABULARY, LENGTHS, PREDICTED, 1000, n)[-1] for n in (1, 4))
    assert alone.component == "optimizer" and alone.bytes == 4 * shared.bytes == 30_000


def test_parts_that_the_recipe_turns_off_move_nothing() -> None:
    components = {g.component for g in groups(SMALL, "losses={mlm: false, sr: false}")}
    assert components == {"patch embedding", "encoder", "decoder", "image loss", "optimizer"}
