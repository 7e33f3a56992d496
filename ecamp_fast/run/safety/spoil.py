"""Where tests make numbers of a step go bad: ``fault_points`` with the words ``nan``, ``spike`` and ``wild``.

Facts given at each point: ``step`` (from 1), ``rank``, and ``micro`` of the micro-step. Without ECAMP_FAULT nothing
here does anything.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from ecamp_fast.batch import Batch
from ecamp_fast.fault_points import reach
from ecamp_fast.kernels.pixels import normalise
from ecamp_fast.objectives import Losses

BAD, WILD = "nan", "wild"
FACTORS = {BAD: math.nan, "spike": 1000.0}  # of a loss, by word


def spoiled_rate(rate: float, step: int) -> float:
    """The learning rate; point ``rate``."""
    return 1e30 if reach("rate", step=step) == WILD else rate


def spoiled_batch(batch: Batch, step: int, rank: int, micro: int) -> Batch:
    """The batch; at the point ``batch.pixel`` the middle of its last picture is a NaN."""
    if reach("batch.pixel", step=step, rank=rank, micro=micro) != BAD:
        return batch
    image = normalise(batch.image, 0.5, 0.25)
    image[-1, 0, image.shape[2] // 2, image.shape[3] // 2] = math.nan
    return replace(batch, image=image)


def spoiled_losses(losses: Losses, step: int, rank: int, micro: int) -> Losses:
    """The losses; at the point ``loss.term`` that of the words, and the total, is a NaN or 1,000 times as high."""
    factor = FACTORS.get(reach("loss.term", step=step, rank=rank, micro=micro))
    return replace(losses, mlm=losses.mlm * factor, total=losses.total * factor) if factor else losses


def spoil_states(engine: Any, gradients: Callable[[Any], list[Tensor]], step: int, rank: int) -> None:
    """In place, before the update: points ``gradient``, ``weight`` (as the optimizer keeps it) and ``moment``.

    gradients: of ``run.update``
    """
    weight = engine.basic_optimizer.param_groups[0]["params"][0]
    if reach("gradient", step=step, rank=rank) == BAD:
        gradients(engine)[0].view(-1)[0] = math.nan
    if reach("weight", step=step, rank=rank) == BAD:
        weight.data.view(-1)[0] = math.nan
    if reach("moment", step=step, rank=rank) == BAD:
        engine.basic_optimizer.state[weight]["exp_avg"].view(-1)[0] = math.nan
