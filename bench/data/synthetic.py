"""Micro-batches made of noise, shaped like real ones: for measuring, where no shards are needed."""

from collections.abc import Sequence

import torch

from ecamp_fast.batch import Batch, Text
from ecamp_fast.config import Recipe
from ecamp_fast.geometry import ATTENTION_GRID
from ecamp_fast.text.codes import CLS_ID, SPECIALS, Mark, pack
from ecamp_fast.text.packing.layout import Capacity, masked_batch

FIRST_WORD = len(SPECIALS)  # the first id that is not special
ROUND = 512  # of predicted words: capacities are multiples
DESCRIPTORS = 0.28  # share of tokens that are, in phantom reports


def synthetic_batch(
    recipe: Recipe, vocab_size: int, lengths: list[int], seed: int = 0, capacity: Capacity | None = None
) -> Batch:
    """A micro-batch on the CPU.  lengths: (B,) tokens of each text, the first of them [CLS]   capacity: of its text"""
    draw, batch, side = torch.Generator().manual_seed(seed), len(lengths), recipe.image.high_size
    text, keys = _text(recipe, vocab_size, lengths, draw, capacity)
    return Batch(
        image=torch.randint(0, 256, (batch, 1, side, side), dtype=torch.uint8, generator=draw),
        attention=torch.rand(batch, ATTENTION_GRID, ATTENTION_GRID, generator=draw),
        window=torch.randint(0, 2, (batch, 2), dtype=torch.int32, generator=draw),
        text=text,
        lengths=torch.tensor(lengths, dtype=torch.int32),
        keys=keys,
        samples=torch.arange(batch),
    )


def _text(
    recipe: Recipe, vocab_size: int, lengths: list[int], draw: torch.Generator, capacity: Capacity | None = None
) -> tuple[Text | None, torch.Tensor]:
    """The masked text, if the recipe has a loss on it, and the keys of the samples."""
    rows = [recipe.text.max_tokens] * len(lengths) if recipe.padded_text else lengths
    texts = []
    for length, row_count in zip(lengths, rows, strict=True):
        ids = torch.randint(min(FIRST_WORD, vocab_size - 1), vocab_size, (length,), generator=draw)
        marks = (torch.rand(length, generator=draw) < DESCRIPTORS) * int(Mark.DESCRIPTOR)
        ids[0], marks[0] = CLS_ID, 0
        texts.append(torch.nn.functional.pad(pack(ids, marks), (0, row_count - length)))
    codes, cu_seqlens = torch.cat(texts).to(torch.int32), torch.tensor([0, *rows]).cumsum(0).to(torch.int32)
    counts = torch.tensor(lengths, dtype=torch.int32)
    keys = torch.randint(2**62, (len(lengths),), generator=draw)
    return (masked_batch(codes, cu_seqlens, counts, keys, recipe, capacity) if recipe.losses.mlm else None), keys


def one_shape(recipe: Recipe, vocab_size: int, lengths: list[int], seeds: Sequence[int]) -> list[Batch]:
    """Micro-batches on the CPU, one for each seed, with room for the most words that one of them predicts.

    So all have one shape, as the loader's have on a GPU; rounded up, so that other seeds mostly give the same one.
    """
    texts = [_text(recipe, vocab_size, lengths, torch.Generator().manual_seed(seed))[0] for seed in seeds]
    max_tokens = max((len(text.rows) for text in texts if text), default=0)
    room = next((Capacity(len(t.ids), min(len(t.ids), -(-max_tokens // ROUND) * ROUND)) for t in texts if t), None)
    return [synthetic_batch(recipe, vocab_size, lengths, seed, room) for seed in seeds]


def text_lengths(batch: int, mean: float, spread: float, max_tokens: int) -> list[int]:
    """(B,) lengths of the given mean, as near as whole tokens allow: evenly spaced quantiles of a normal distribution.

    spread: standard deviation over mean   max_tokens: none is longer; none is shorter than two.
    """
    quantiles = torch.special.ndtri((torch.arange(batch, dtype=torch.float64) + 0.5) / batch)
    wanted = (mean * (1 + spread * quantiles)).round().long().clamp(2, max_tokens)
    lengths: list[int] = wanted.tolist()
    missing, step = round(mean * batch) - sum(lengths), 0
    while missing and step < batch * max_tokens:  # what rounding and clamping took, one token at a time
        index, change = step % batch, (1 if missing > 0 else -1)
        if 2 <= lengths[index] + change <= max_tokens:
            lengths[index] += change
            missing -= change
        step += 1
    return lengths
