"""The learning rate and the number of steps."""

from typing import Any

from mutant import mutants


def rates() -> Any:
    from ecamp_fast.config import load_recipe
    from ecamp_fast.run.schedule import learning_rate, total_steps

    recipes = [load_recipe(name) for name in ("paper", "official", "demo")]
    return [
        (total_steps(r, 100_000), *(learning_rate(r, step, 100_000) for step in range(0, 3000, 17))) for r in recipes
    ]


MUTANTS = mutants(
    "ecamp_fast/run/schedule.py",
    "tests/run/test_schedule.py",
    rates,
    {
        "no warm-up": ("if epoch < schedule.warmup_epochs:", "if False:"),
        "warm-up in steps": (
            "return peak * epoch / schedule.warmup_epochs",
            "return peak * step / schedule.warmup_epochs",
        ),
        "the epoch is whole": (
            "epoch = step * recipe.batch.total / samples",
            "epoch = step * recipe.batch.total // samples",
        ),
        "the epoch is that after the step": ("epoch = step * recipe", "epoch = (step + 1) * recipe"),
        "the cosine begins at 0": ("progress = (epoch - schedule.warmup_epochs)", "progress = epoch"),
        "the cosine ends with the run": ("schedule.horizon_epochs - schedule", "schedule.epochs - schedule"),
        "the cosine comes back": ("min(progress, 1.0)", "progress"),
        "the last step is left out": ("math.ceil(", "math.floor("),
    },
)
