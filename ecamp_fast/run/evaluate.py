"""The losses on the held-out split, every rank its share of the batches."""

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ecamp_fast.batch import Batch
from ecamp_fast.run.metrics import LossMeter
from ecamp_fast.shards.load.loader import Loader


@torch.no_grad()
@torch.compiler.set_stance("force_eager")  # it comes too seldom to compile for, and its last batch is smaller
def evaluate(
    engine: Any,
    loader: Loader,
    limit: int | None,
    watched: Callable[[Iterable[Batch]], Iterable[Batch]] = iter,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Means over samples, without dropout and augmentation; every rank calls it.

    limit    samples at most
    watched  what the batches pass on their way
    stopped  asked between batches; once any rank hears yes, all return nothing at all

    returns what ``LossMeter.drain`` does, and ``samples``; of the predicted tokens, all alike, ``nats_per_token`` and
    ``accuracy``.
    """
    model, meter = engine.module, LossMeter(loader.device, engine.module.recipe)
    words = torch.zeros(4, dtype=torch.float64, device=loader.device)  # the last: ranks that were cut short
    engine.eval()
    _share_statistics(model)
    with closing(loader.evaluation(limit)) as batches:
        for batch in watched(batches):
            if stopped():
                words[3] += 1
                break
            losses, scores = model.losses_and_words(batch)
            meter.add(losses, batch, weight=len(batch))
            if scores:
                for slot, value in enumerate((scores.nats.sum(), scores.hits.sum(), len(scores.nats))):
                    words[slot] += value
    engine.train()
    means = meter.drain()
    nats, hits, count, cut = _sums(words)
    if cut:
        return {}
    samples = loader.count if limit is None else min(limit, loader.count)
    of_words = {"nats_per_token": nats / count, "accuracy": hits / count} if count else {}
    return {"samples": samples, **means, **of_words}


def _share_statistics(model: nn.Module) -> None:
    """What batch norms have gathered on rank 0, which is what checkpoints keep, counts on all ranks.

    Training does not read it; so a run that went on from a checkpoint is judged like one that was never stopped.
    """
    if dist.is_initialized() and dist.get_world_size() > 1:
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                dist.broadcast(buffer, 0)


def _sums(words: Tensor) -> list[float]:
    """Over all ranks.  words: of nats, of hits, of tokens on this rank, and whether it was cut short"""
    if dist.is_initialized():
        dist.all_reduce(words)
    return words.tolist()
