"""The learning rate of a step: linear warm-up, then half a cosine down to the last step (SPEC 7)."""

import math

from ecamp_fast.downstream.training.settings import Settings


def factor(settings: Settings, step: int) -> float:
    """What the rate is multiplied by for update ``step``, counted from 1; 0 at the last.

    The released scheduler steps before the optimizer, so that update k uses f(k).
    """
    if step < settings.warmup:
        return step / settings.warmup
    progress = (step - settings.warmup) / (settings.steps - settings.warmup)
    return max(0.0, 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
