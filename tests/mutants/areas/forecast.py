"""Bytes, steps and hours that `train --dry-run` forecasts."""

from typing import Any

from mutant import mutants

TESTS = "tests/forecast"


def sizes() -> Any:
    from pathlib import Path

    from ecamp_fast.config import load_recipe
    from ecamp_fast.doctor.recipe import meta_model
    from ecamp_fast.forecast.dataset import facts_of
    from ecamp_fast.forecast.disk import disk_of
    from ecamp_fast.forecast.memory import memory_of

    recipe = load_recipe("demo", ["checkpoint.milestones=[1, 2]", "evaluation.every_steps=50"])
    data = facts_of(recipe, (), Path("nowhere"))
    disk = disk_of(meta_model(recipe, 100), recipe, data, 300, Path())
    memory = memory_of(meta_model(recipe, 100), recipe, 40.0, 2, 2)
    return {key: value for key, value in disk.items() if key != "free"}, memory, data


def rates() -> Any:
    from ecamp_fast.config import load_recipe
    from ecamp_fast.forecast import hours

    paper = load_recipe("paper", ["batch.micro=64"])
    projected = hours._projected(paper, 4, (30000, 110.0), 2, ("A100",))
    return projected, hours._hours(3600, [1.0, 2.0])


MUTANTS = [
    *mutants(
        "ecamp_fast/forecast/disk.py",
        TESTS,
        sizes,
        {
            "a checkpoint without its moments": ("one = STATE_BYTES * numbers", "one = 4 * numbers"),
            "milestones are forgotten": (":]} | milestones", ":]}"),
            "weights in halves": ('"weights": 4 * numbers', '"weights": 2 * numbers'),
            "one checkpoint too few": ("sorted(saved)[-recipe.checkpoint.keep :]", "sorted(saved)[-1:]"),
        },
    ),
    *mutants(
        "ecamp_fast/forecast/memory.py",
        TESTS,
        sizes,
        {
            "a sample weighs half": ("each = (many - few) // (_FEW[1] - _FEW[0])", "each = (many - few) // _FEW[1]"),
            "weights count as activations": ("if storage._cdata not in weights:", "if storage:"),
        },
    ),
    *mutants(
        "ecamp_fast/run/auto_batch.py",
        f"{TESTS} tests/run/test_auto_batch.py",
        sizes,
        {
            "one moment": ('"moments": 8 * own', '"moments": 4 * own'),
            "states are not shared out": ("-(-parameters // (world if stage else 1))", "parameters"),
        },
    ),
    *mutants(
        "ecamp_fast/forecast/hours.py",
        TESTS,
        rates,
        {
            "ranks do not add up": ('rows["doubter"] * ranks', 'rows["doubter"]'),
            "hours are minutes": ("images / rate / 3600", "images / rate / 60"),
        },
    ),
]
