"""Recipes: what is shipped loads; what cannot be meant is refused, all at once, with the key and the nearest one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.config import dump_recipe, load_recipe, parse_recipe, parse_yaml, recipe_names
from ecamp_fast.errors import ConfigError


def test_the_shipped_recipes() -> None:
    assert recipe_names() == ["demo", "large", "mae", "official", "paper", "paper_8layer", "paper_literal", "worth"]


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_survives_being_written_down(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(parse_yaml(dump_recipe(recipe), "copy"), "copy") == recipe


def test_a_file_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("optim: {lr: 3e-4}\nrebalance: off\n")
    recipe = load_recipe(path, ["model.vision.depth=8"])
    assert (recipe.name, recipe.optim.lr, recipe.rebalance, recipe.model.vision.depth) == ("mine", 3e-4, "off", 8)


def test_an_unknown_recipe_names_the_nearest(refused: Callable[..., str]) -> None:
    assert "did you mean 'paper'?" in refused(source="papr")


def test_all_faults_are_named_at_once(refused: Callable[..., str]) -> None:
    message = refused("optim.lrr=1", "batch.total=-3", "sr.guidance=hard", "model.vision.depth=2.5")
    for key in ("optim.lrr", "batch.total", "sr.guidance", "model.vision.depth"):
        assert key in message


@pytest.mark.parametrize(
    "text",
    [
        "optim: {lr: 1}\noptim: {lr: 2}",  # a key twice
        "optim: {lr: 1, lr: 2}",
        "- a\n- b",  # no mapping
        "just words",
        "a: [1, 2",  # not YAML
        "a: 2001-99-99",
        "[" * 1500,
        "1: 2",
        "? [a, b]\n: 1",  # a key that is a list
        "!!python/object/apply:os.getcwd []",
        "a: !!python/name:os.system",
    ],
)
def test_a_file_that_is_no_recipe(refused: Callable[..., str], text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    refused(source=str(path))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_a_fault_with_a_name(text: str) -> None:
    try:
        parse_recipe(parse_yaml(text, "x"), "x")
    except ConfigError as error:
        assert error.hint
