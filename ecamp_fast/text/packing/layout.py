"""The masked text of a micro-batch in the shape the model takes: packed, on request to a capacity that stays the same.

On the host, where looking at numbers costs nothing: the device is told every count and has to tell none.
Legend: B samples, T text rows of the whole batch, R rows among them where a word is predicted.
"""

from dataclasses import dataclass, fields, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from ecamp_fast.batch import Text
from ecamp_fast.config import Recipe
from ecamp_fast.keyed_random import place_constants
from ecamp_fast.text.codes import MASK_ID
from ecamp_fast.text.packing.masking import MaskedText, mask_text

STEPS = 8  # a batch beyond its capacity gets the next multiple of this part of it, so that few shapes occur


@dataclass(frozen=True, slots=True)
class Capacity:
    """Room for the text of a micro-batch.  rows: of all its samples   predicted: rows where a word is predicted"""

    rows: int
    predicted: int


def masked_batch(
    codes: Tensor, cu_seqlens: Tensor, lengths: Tensor, keys: Tensor, recipe: Recipe, capacity: Capacity | None = None
) -> Text:
    """Mask the text of a micro-batch and lay it out.  On the CPU.

    codes       (T,) int32, as ``assemble`` gives them
    cu_seqlens  (B + 1,) int32, likewise
    lengths     (B,) int32, likewise
    keys        (B,) int64
    capacity    room that filler fills, in rows and predictions, for static shapes; None: no filler. A batch that does
                not fit loses nothing: it gets more room, and ``overflow`` says so. Padded text (``mlm_positions: all``)
                has one shape anyway.
    """
    masked = mask_text(codes, cu_seqlens, lengths, keys, recipe)
    max_tokens = recipe.text.max_tokens
    digest = mask_digest(masked, max_tokens)
    if capacity is None or recipe.padded_text:
        rows = masked.predicted.nonzero()[:, 0]
        max_seqlen = int(cu_seqlens.diff().max()) if len(lengths) else 0
        return _text(codes, masked, rows, cu_seqlens, max_seqlen, digest)
    total = room_for(len(codes), capacity.rows)
    codes, masked = pad(codes, (0, total - len(codes))), _with_filler(masked, total - len(codes))
    count = int(masked.predicted.sum())
    room = min(total, room_for(count, capacity.predicted))
    spare = (~masked.predicted).nonzero()[:, 0]
    extra = spare[len(spare) - (room - count) :]  # from the end: filler first
    masked = replace(masked, weights=masked.weights.index_fill(0, extra, 0.0))
    rows = masked.predicted.index_fill(0, extra, True).nonzero()[:, 0]
    ends = (cu_seqlens[-1] + max_tokens * torch.arange(1, -(-total // max_tokens) + 1)).clamp(max=total).int()
    overflow = total > capacity.rows or room > capacity.predicted
    return _text(codes, masked, rows, torch.cat([cu_seqlens, ends]), max_tokens, digest, overflow)


def mask_digest(masked: MaskedText, max_tokens: int) -> int:
    """Of which words of which samples are masked: the sum of key times a constant of the place, modulo 2**64.

    So it does not depend on the order of samples, and those of micro-batches add up.  max_tokens: of a sample
    """
    keys = masked.key * (masked.ids == MASK_ID)
    return int(torch.dot(_place_constants(max_tokens)[masked.position], keys)) % 2**64


@cache
def _place_constants(count: int) -> Tensor:
    """(count,) int64"""
    return torch.from_numpy(place_constants(count))


def _with_filler(masked: MaskedText, filler: int) -> MaskedText:
    """Rows of [PAD] behind the text, of which none is predicted."""
    return MaskedText(*(pad(getattr(masked, field.name), (0, filler)) for field in fields(masked)))


def _text(
    codes: Tensor,
    masked: MaskedText,
    rows: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    digest: int,
    overflow: bool = False,
) -> Text:
    return Text(
        codes=codes,
        ids=masked.ids,
        rows=rows,
        labels=masked.labels[rows],
        weights=masked.weights[rows],
        cu_seqlens=cu_seqlens,
        predicted=torch.searchsorted(rows, cu_seqlens.long()).int(),
        max_seqlen=max_seqlen,
        overflow=overflow,
        digest=digest,
    )


def room_for(count: int, capacity: int) -> int:
    """The capacity, or what a larger batch gets."""
    step = max(1, capacity // STEPS)
    return capacity if count <= capacity else -(-count // step) * step
