"""The values of the shipped recipes, and what counts as another recipe."""

from typing import Any

from mutant import mutants


def values() -> Any:
    from ecamp_fast.config import load_recipe

    recipes = [load_recipe(name) for name in ("paper", "paper_literal", "official", "mae", "large")]
    one = load_recipe("demo", ["batch={total: 64, micro: 8}"])
    changed = load_recipe("demo", ["optim.lr=1e-3", "log_every=3"])
    accumulation = [one.accumulation(world) for world in (1, 2, 4, 8)]
    kept = [recipe.kept_patches for recipe in recipes]
    return [recipe.model_dump() for recipe in recipes], accumulation, kept, sorted(changed.identity())


MUTANTS = [
    *mutants(
        "ecamp_fast/recipes/official.yaml",
        "tests/config/test_recipe_tables.py",
        values,
        {
            "official masks descriptors always": ("descriptors: random", "descriptors: always"),
            "official masks fewer words": ("word_ratio: 0.75", "word_ratio: 0.70"),
            "official has the right position table": ("position_table: official", "position_table: standard"),
            "official counts masked words only": ("mlm_positions: all", "mlm_positions: masked"),
            "official trains as long as paper": ("epochs: 120", "epochs: 115"),
        },
    ),
    *mutants(
        "ecamp_fast/recipes/paper_literal.yaml",
        "tests/config/test_recipe_tables.py",
        values,
        {
            "paper_literal keeps the cap": ("rebalance_cap: null\n", ""),
            "paper_literal has an official decoder": (
                "width: 768, depth: 4, heads: 12",
                "width: 512, depth: 4, heads: 16",
            ),
            "paper_literal scales the image loss": ("mim_scale: 1.0, ", ""),
        },
    ),
    *mutants(
        "ecamp_fast/config/sections.py",
        "tests/config/test_recipe_tables.py",
        values,
        {
            "another deviation of the pixels": ("std: float = key(0.3037", "std: float = key(0.2449"),
            "another second beta": (
                "betas: tuple[float, float] = key((0.9, 0.95)",
                "betas: tuple[float, float] = key((0.9, 0.999)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/config/recipe.py",
        "tests/config/test_recipe.py tests/config/test_recipe_tables.py",
        values,
        {
            "negatives weigh ten times more": ("lambda_neg: float = key(0.05", "lambda_neg: float = key(0.5"),
            "accumulation forgets the ranks": ("return total // (micro * world)", "return total // micro"),
            "the learning rate is free to change": (
                '"schedule.epochs", "compile"',
                '"optim.lr", "compile"',
            ),
            "how often a line is written is not free": ('"log_every", "batch.micro"', '"batch.micro"'),
            "a visible patch more": (
                "int(self.patches * (1 - self.masking.image_ratio))",
                "int(self.patches * (1 - self.masking.image_ratio)) + 1",
            ),
        },
    ),
]
