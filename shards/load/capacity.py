"""How much room the text of a micro-batch needs, by the shard set and the way its samples are assigned."""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
import torch

from ecamp_fast.config import Recipe
from ecamp_fast.errors import DataError
from ecamp_fast.keyed_random import sample_keys
from ecamp_fast.shards.format.manifest import DISTILLED, TOKENS
from ecamp_fast.shards.format.tokens import unpack_tokens
from ecamp_fast.shards.load.batching import MicroBatches, TokenEstimate
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.packing.assemble import assemble
from ecamp_fast.text.packing.layout import Capacity
from ecamp_fast.text.packing.masking import mask_text
from ecamp_fast.text.packing.single_sentences import SentenceCapacity, SentenceEncoder, lay_out_sentences
from ecamp_fast.text.statements import read_statements

SAMPLES = 2048  # read
STEPS = 64  # whose micro-batches are looked at, by the manifest alone: more than an epoch of the paper
DEVIATIONS = 3.3  # of a batch's sum, above its mean: one batch in a thousand needs more
MULTIPLE = 128  # rows of a tile of a matrix product
FEWEST = 8  # micro-batches whose sentences are looked at
SENTENCES = 16  # that sentences, and their rows, are a multiple of

Texts = tuple[np.ndarray, np.ndarray]  # codes of a sample's report and of its distilled text


def measure_capacity(shard_set: ShardSet, split: str, recipe: Recipe) -> Capacity:
    """Rows and predictions that all but a few in a thousand micro-batches of ``batch.micro`` samples stay within.

    The micro-batches of the first steps, by estimated lengths, tell the spread that assignment leaves; some samples,
    evenly spaced, assembled and masked as in epoch 0, tell what stands behind an estimate. A function of shard set and
    recipe alone, so all ranks, however many, find the same. Damaged samples are left out where others may stand in for
    them; otherwise they raise DataError.
    """
    micro_batches, estimate = MicroBatches(shard_set, split, recipe), TokenEstimate(shard_set, split, recipe)
    epochs, samples = (np.concatenate(places) for places in zip(*map(micro_batches, range(STEPS)), strict=True))
    sums = estimate(epochs.ravel(), samples.ravel()).reshape(samples.shape).sum(1)

    count = shard_set.count(split)
    looked_at = np.unique(np.linspace(0, count - 1, min(count, SAMPLES)).astype(np.int64))
    looked_at, stored = _read_tokens(shard_set, split, recipe, looked_at)
    estimates = estimate(np.zeros_like(looked_at), looked_at)
    lengths, predicted = _true_counts(recipe, looked_at, stored)
    rows = _room(lengths, estimates, sums, recipe)
    return Capacity(rows, min(rows, _room(predicted, estimates, sums, recipe)))


def measure_sentences(shard_set: ShardSet, split: str, recipe: Recipe, encode: SentenceEncoder) -> SentenceCapacity:
    """Sentences and rows that all but a few micro-batches stay within; like ``measure_capacity`` alike on all ranks.

    Mean and ``DEVIATIONS`` standard deviations of the first micro-batches, ``FEWEST`` of them or ``SAMPLES`` samples.
    """
    micro_batches, counts = MicroBatches(shard_set, split, recipe), []
    for step in count():
        for samples in micro_batches(step)[1]:
            texts = _read_distilled(shard_set, split, recipe, samples)
            stated = [read_statements(text, recipe.align.sentences, shard_set.manifest.entities) for text in texts]
            found = lay_out_sentences(stated, encode)
            counts.append((len(found.real), len(found.ids)))
            if len(counts) >= max(FEWEST, SAMPLES // recipe.micro):
                table = np.array(counts, np.float64)
                room = np.ceil((table.mean(0) + DEVIATIONS * table.std(0)) / SENTENCES) * SENTENCES
                return SentenceCapacity(*room.astype(int).tolist())
    raise AssertionError  # steps have no end


def _read_distilled(shard_set: ShardSet, split: str, recipe: Recipe, samples: np.ndarray) -> list[str]:
    """Empty texts for damaged samples, where others may stand in for them."""

    def text(sample: int) -> str:
        try:
            return shard_set.read(split, sample, (DISTILLED,)).get(DISTILLED, b"").decode(errors="replace")
        except DataError:
            if not recipe.loader.quarantine:
                raise
            return ""

    with ThreadPoolExecutor(shard_set.store.readers) as pool:
        return list(pool.map(text, samples.tolist()))


def _read_tokens(
    shard_set: ShardSet, split: str, recipe: Recipe, samples: np.ndarray
) -> tuple[np.ndarray, list[Texts]]:
    """The samples (n,) that can be read, and the codes of report and distilled text of each."""

    def texts(sample: int) -> Texts | DataError:
        try:
            return unpack_tokens(shard_set.read(split, sample, (TOKENS,))[TOKENS])
        except DataError as error:
            return error

    with ThreadPoolExecutor(shard_set.store.readers) as pool:
        found = list(zip(samples.tolist(), pool.map(texts, samples.tolist()), strict=True))
    faults = [one for _, one in found if isinstance(one, DataError)]
    if faults and (not recipe.loader.quarantine or len(faults) == len(found)):
        raise faults[0]
    whole = [(sample, one) for sample, one in found if not isinstance(one, DataError)]
    return np.array([sample for sample, _ in whole], np.int64), [one for _, one in whole]


def _true_counts(recipe: Recipe, samples: np.ndarray, stored: list[Texts]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, and words predicted, of samples (n,) in epoch 0: two (n,) int64."""
    keys = sample_keys(recipe.seed, np.zeros_like(samples), samples)
    reports, distilled = zip(*stored, strict=True)
    arrays = assemble(reports, distilled, keys, recipe.text, padded=False)
    codes, cu_seqlens, lengths = (torch.from_numpy(array) for array in arrays)
    predicted = mask_text(codes, cu_seqlens, lengths, torch.from_numpy(keys), recipe).predicted
    ends = torch.nn.functional.pad(predicted.cumsum(0), (1, 0))[cu_seqlens.long()]
    return lengths.long().numpy(), ends.diff().numpy()


def _room(counts: np.ndarray, estimates: np.ndarray, sums: np.ndarray, recipe: Recipe) -> int:
    """The room for what is counted.  counts, estimates: (n,) of samples   sums: (m,) of estimates, of micro-batches.

    A count is a share of its estimate, the same for all samples, and a rest, independent from sample to sample.
    """
    batch = recipe.micro
    share = counts.sum() / estimates.sum()
    spread = math.sqrt(share**2 * sums.var() + batch * (counts - share * estimates).var())
    room = math.ceil((share * sums.mean() + DEVIATIONS * spread) / MULTIPLE) * MULTIPLE
    return min(batch * recipe.text.max_tokens, room)
