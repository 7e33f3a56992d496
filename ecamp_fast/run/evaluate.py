"""The losses on the held-out split, every rank its share of the batches."""

from typing import Any

import torch

from ecamp_fast.run.metrics import LossMeter
from ecamp_fast.shards.load.loader import Loader


@torch.no_grad()
@torch.compiler.set_stance("force_eager")  # it comes too seldom to compile for, and its last batch is smaller
def evaluate(engine: Any, loader: Loader, limit: int | None) -> dict[str, float]:
    """Means over samples, without dropout and augmentation.  limit: samples at most; every rank calls it

    returns what ``LossMeter.drain`` does, and ``samples``.
    """
    meter = LossMeter(loader.device)
    engine.eval()
    for batch in loader.evaluation(limit):
        meter.add(engine.module(batch), batch, weight=len(batch))
    engine.train()
    return {"samples": loader.count if limit is None else min(limit, loader.count), **meter.drain()}
