from collections.abc import Callable

import pytest
import torch

from ecamp_fast.config import Recipe, load_recipe

SIZES = (
    "image.high_size=64",
    "image.low_size=32",
    "text.max_tokens=24",
    "model.vision={width: 16, depth: 2, heads: 2, patch: 8}",
    "model.decoder={width: 8, depth: 1, heads: 2}",
    "model.text={width: 12, depth: 2, heads: 3, ffn: 20, dropout: 0.0}",
    "batch={total: 4, micro: 4}",
)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def small() -> Callable[..., Recipe]:
    """(recipe name, overrides) -> a recipe of very small sizes: 16 patches, 4 kept."""

    def make(name: str = "paper", *overrides: str) -> Recipe:
        return load_recipe(name, [*SIZES, *overrides])

    return make
