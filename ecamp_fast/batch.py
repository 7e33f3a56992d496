"""What the loader hands to the model: one micro-batch on one device.

Legend: B samples, S pixels per side of the high-resolution image, C cells per side of the attention grid (28),
T text rows of the whole batch, R rows among them where a word is predicted, N sequences of text rows.
"""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


class _OnDevice:
    """Tensors that move together."""

    __slots__ = ()

    def to(self, device: torch.device | str) -> Self:
        """The same on another device; copies from pinned memory do not block."""
        moved = {name: value.to(device, non_blocking=True) for name, value in self.tensors().items()}
        parts = {name: part.to(device) for name, part in self._fields().items() if isinstance(part, _OnDevice)}
        return replace(self, **moved, **parts)  # type: ignore[type-var]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by field name, without those of parts."""
        return {name: value for name, value in self._fields().items() if isinstance(value, Tensor)}

    def _fields(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Text(_OnDevice):
    """The masked text of a micro-batch. Sequences lie end to end: the samples, and behind them filler, if any.

    Filler is there where shapes must not change from batch to batch: words that no sample sees and no loss counts.
    codes      (T,) int32       token id and marks (``text.codes``)
    ids        (T,) int64       token ids as the model sees them
    rows       (R,) int64       ascending: where the model predicts a word
    labels     (R,) int64       the true ids there
    weights    (R,) float32     worth of the loss there; 0 for filler
    cu_seqlens (N + 1,) int32   rows of sequence n are cu_seqlens[n] to cu_seqlens[n + 1]; the first B are the samples
    predicted  (N + 1,) int32   entries of ``rows`` of each sequence, likewise
    max_seqlen                  no sequence has more rows
    overflow                    whether the batch had more rows than its capacity, and so another shape than the others
    digest                      of which words of which samples are masked, in [0, 2**64); 0: not taken
    """

    codes: Tensor
    ids: Tensor
    rows: Tensor
    labels: Tensor
    weights: Tensor
    cu_seqlens: Tensor
    predicted: Tensor
    max_seqlen: int
    overflow: bool = False
    digest: int = 0


@dataclass(frozen=True, slots=True)
class Sentences(_OnDevice):
    """The distinct sentences of a micro-batch, which images are compared with (``text.packing.single_sentences``).

    U sentences, of which the last may be filler, and behind them sequences of filler, if any: N in all.

    ids        (T,) int64       tokens, [CLS] before each sentence; sequences lie end to end
    cu_seqlens (N + 1,) int32   rows of sequence n are cu_seqlens[n] to cu_seqlens[n + 1]; the first U are the sentences
    real       (U,) bool        no filler
    stated     (B, U) bool      whether the sample states the sentence
    negation   (U,) int64       the sentence that says the opposite; its own number where there is none
    worth      (B, U) float32   of the choice between a stated sentence and its negation; sums to 1, or 0
    max_seqlen                  no sequence has more rows
    overflow                    whether there were more than the capacity, and so another shape than in other batches
    words      (T,) int64       number of the word that each row is of, within its sentence; -1: of none. None where
                                nobody asks (``text.packing.captions``)
    max_words                   no sentence has more of them
    """

    ids: Tensor
    cu_seqlens: Tensor
    real: Tensor
    stated: Tensor
    negation: Tensor
    worth: Tensor
    max_seqlen: int
    overflow: bool = False
    words: Tensor | None = None
    max_words: int = 0


@dataclass(frozen=True, slots=True)
class Batch(_OnDevice):
    """One micro-batch; every tensor is on the same device.

    image      (B, 1, S, S) uint8   grey, cropped and flipped
    attention  (B, C, C) float32    the attention map over the same view, not normalised, >= 0; all zero: weigh every
                                    pixel alike (no map, or no positive entity)
    window     (B, 2) int32         first patch (row, column) of the super-resolution window (``sr.guidance: window_*``)
    text       masked text          None where the recipe has no language loss
    lengths    (B,) int32           real tokens of each sample, at the head of its rows; equal to the row count where
                                    text is packed, smaller where it is padded (recipe ``losses.mlm_positions: all``)
    keys       (B,) int64           key of the sample in this epoch (``keyed_random``): masks are drawn from it
    samples    (B,) int64           index of the sample in the shard set
    sentences  what the samples state  None where the recipe has neither ``losses.align`` nor ``losses.gloria``
    """

    image: Tensor
    attention: Tensor
    window: Tensor
    text: Text | None
    lengths: Tensor
    keys: Tensor
    samples: Tensor
    sentences: Sentences | None = None

    def __len__(self) -> int:
        return self.image.shape[0]
