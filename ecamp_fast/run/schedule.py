"""The learning rate of a step: linear warm-up, then a cosine to the horizon (paper 4.1, the released launcher)."""

import math

from ecamp_fast.config import Recipe


def learning_rate(recipe: Recipe, step: int, samples: int) -> float:
    """The rate used by optimizer step ``step`` (from 0) on a training split of ``samples``.

    The epoch is a fraction, e = step * batch / samples, taken at the start of the step. Past the horizon it is 0.
    """
    epoch = step * recipe.batch.total / samples
    schedule, peak = recipe.schedule, recipe.optim.lr
    if epoch < schedule.warmup_epochs:
        return peak * epoch / schedule.warmup_epochs
    progress = (epoch - schedule.warmup_epochs) / (schedule.horizon_epochs - schedule.warmup_epochs)
    return peak * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def total_steps(recipe: Recipe, samples: int) -> int:
    """Optimizer steps of the whole run; the last one may reach into the next epoch."""
    return steps_of(recipe.schedule.epochs, recipe, samples)


def steps_of(epochs: float, recipe: Recipe, samples: int) -> int:
    """Optimizer steps until that many epochs of ``samples`` are done."""
    return math.ceil(epochs * samples / recipe.batch.total)
