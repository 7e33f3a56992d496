"""The losses on the held-out split, every rank its share of the batches."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ecamp_fast.batch import Batch
from ecamp_fast.run.metrics import LossMeter
from ecamp_fast.shards.load.loader import Loader


@torch.no_grad()
@torch.compiler.set_stance("force_eager")  # it comes too seldom to compile for, and its last batch is smaller
def evaluate(
    engine: Any, loader: Loader, limit: int | None, watched: Callable[[Iterable[Batch]], Iterable[Batch]] = iter
) -> dict[str, float]:
    """Means over samples, without dropout and augmentation; every rank calls it.

    limit: samples at most   watched: what the batches pass on their way

    returns what ``LossMeter.drain`` does, and ``samples``; of the predicted tokens, all alike, ``nats_per_token`` and
    ``accuracy``.
    """
    model, meter = engine.module, LossMeter(loader.device, engine.module.recipe)
    words = torch.zeros(3, dtype=torch.float64, device=loader.device)
    engine.eval()
    for batch in watched(loader.evaluation(limit)):
        losses, scores = model.losses_and_words(batch)
        meter.add(losses, batch, weight=len(batch))
        if scores:
            for slot, value in enumerate((scores.nats.sum(), scores.hits.sum(), len(scores.nats))):
                words[slot] += value
    engine.train()
    samples = loader.count if limit is None else min(limit, loader.count)
    return {"samples": samples, **meter.drain(), **_of_words(words)}


def _of_words(sums: Tensor) -> dict[str, float]:
    """Means over the tokens of all ranks.  sums: of nats, of hits, of tokens on this rank"""
    if dist.is_initialized():
        dist.all_reduce(sums)
    nats, hits, count = sums.tolist()
    return {"nats_per_token": nats / count, "accuracy": hits / count} if count else {}
