"""How much room the text of a micro-batch needs, by the statistics of the shard set."""

import math

import numpy as np
import torch

from ecamp_fast.config import Recipe
from ecamp_fast.draws import sample_keys
from ecamp_fast.shards.format import TOKENS
from ecamp_fast.shards.pack import unpack_tokens
from ecamp_fast.shards.read import ShardSet
from ecamp_fast.text.assemble import assemble
from ecamp_fast.text.layout import Capacity
from ecamp_fast.text.masking import mask_text
from ecamp_fast.text.wordpiece import Wordpiece

LOOKED_AT = 2048  # samples
DEVIATIONS = 3.0  # of a batch's sum, above its mean: one batch in a thousand needs more
MULTIPLE = 128  # rows of a tile of a matrix product


def measure_capacity(shard_set: ShardSet, split: str, recipe: Recipe) -> Capacity:
    """Rows and predictions that 999 of 1000 micro-batches of ``batch.micro`` samples do not exceed.

    From the text of some samples, evenly spaced, as the recipe assembles and masks it in epoch 0: a function of shard
    set and recipe alone, so all ranks find the same.  Raises DataError where a sample is damaged.
    """
    count = shard_set.count(split)
    samples = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(np.int64))
    stored = [unpack_tokens(shard_set.read(split, int(sample), (TOKENS,))[TOKENS]) for sample in samples]
    keys = sample_keys(recipe.seed, np.zeros_like(samples), samples)
    special = {"cls_id": Wordpiece.cls_id, "pad_id": Wordpiece.pad_id}
    reports, distilled = zip(*stored, strict=True)
    arrays = assemble(reports, distilled, keys, recipe.text, padded=False, **special)
    codes, offsets, lengths = (torch.from_numpy(array) for array in arrays)
    predicted = mask_text(codes, offsets, lengths, torch.from_numpy(keys), recipe).predicted
    ends = torch.nn.functional.pad(predicted.cumsum(0), (1, 0))[offsets.long()]
    rows = _room(lengths.double(), recipe)
    return Capacity(rows, min(rows, _room(ends.diff().double(), recipe)))


def _room(counts: torch.Tensor, recipe: Recipe) -> int:
    """counts: (n,) of samples   returns the room for a micro-batch of such samples."""
    batch = recipe.batch.micro
    spread = float(counts.std(correction=0)) * math.sqrt(batch)
    most = batch * recipe.text.max_tokens
    return min(most, math.ceil((batch * float(counts.mean()) + DEVIATIONS * spread) / MULTIPLE) * MULTIPLE)
