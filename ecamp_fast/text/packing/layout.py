"""The masked text of a micro-batch in the shape the model takes: packed, on request to a capacity that stays the same.

On the host, where looking at numbers costs nothing: the device is told every count and has to tell none.
Legend: B samples, T text rows of the whole batch, R rows among them where a word is predicted, G groups of text rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from ecamp_fast.batch import Text
from ecamp_fast.config import Recipe
from ecamp_fast.text.codes import token_ids
from ecamp_fast.text.packing.masking import mask_text

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

    codes (T,) int32, offsets (B + 1,) int32, lengths (B,) int32: as ``assemble`` gives them   keys: (B,) int64
    capacity: pads rows and predictions with filler to this room, for static shapes; None: no filler. A batch that does
    not fit loses nothing: it gets more room, and ``overflow`` says so. Padded text (``mlm_positions: all``) has one
    shape anyway.
    """
    masked = mask_text(codes, cu_seqlens, lengths, keys, recipe)
    predicted, max_tokens = masked.predicted, recipe.text.max_tokens
    if capacity is None or recipe.padded_text:
        rows = predicted.nonzero()[:, 0]
        max_seqlen = int(cu_seqlens.diff().max()) if len(lengths) else 0
        return _text(codes, masked.ids, masked.weights, rows, cu_seqlens, max_seqlen)
    total = _room(len(codes), capacity.rows)
    filler = total - len(codes)
    room = min(total, _room(int(predicted.sum()), capacity.predicted))
    predicted = pad(predicted, (0, filler))
    spare = (~predicted).nonzero()[:, 0]
    extra = spare[len(spare) - (room - int(predicted.sum())) :]  # from the end: filler first
    weights = pad(masked.weights, (0, filler)).index_fill(0, extra, 0.0)
    rows = predicted.index_fill(0, extra, True).nonzero()[:, 0]
    ends = (cu_seqlens[-1] + max_tokens * torch.arange(1, -(-total // max_tokens) + 1)).clamp(max=total).int()
    overflow = total > capacity.rows or room > capacity.predicted
    groups = torch.cat([cu_seqlens, ends])
    return _text(pad(codes, (0, filler)), pad(masked.ids, (0, filler)), weights, rows, groups, max_tokens, overflow)


def _text(
    codes: Tensor,
    ids: Tensor,
    weights: Tensor,
    rows: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    overflow: bool = False,
) -> Text:
    return Text(
        codes=codes,
        ids=ids,
        rows=rows,
        labels=token_ids(codes).long()[rows],
        weights=weights[rows],
        cu_seqlens=cu_seqlens,
        predicted=torch.searchsorted(rows, cu_seqlens.long()).int(),
        max_seqlen=max_seqlen,
        overflow=overflow,
    )


def _room(count: int, capacity: int) -> int:
    """The capacity, or what a larger batch gets."""
    step = max(1, capacity // STEPS)
    return capacity if count <= capacity else -(-count // step) * step
