"""Pictures and single sentences in one space, where ``losses.align`` is on; no part of the paper.

    g = normalise(W_g mean(l)),  p_k = normalise(W_p l_k)      l: patch tokens of the encoder
    s = normalise(W_s mean(h))                                 h: rows of the sentence, read without a picture
    similarity = (g s + sum_k softmax_k(p_k s / t) p_k s) / 2  the whole picture, and the patches most like the sentence
Legend: B samples, K patches, U sentences, T text rows, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ecamp_fast.batch import Sentences
from ecamp_fast.config import Recipe
from ecamp_fast.model.sequences import SequenceLayout
from ecamp_fast.model.text_decoder import TextDecoder


class Aligner(nn.Module):
    """The projections into the common space."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        vision, text, width = recipe.model.vision.width, recipe.model.text.width, recipe.align.width
        self.temperature = recipe.align.temperature
        self.picture = nn.Linear(vision, width)
        self.patch = nn.Linear(vision, width)
        self.sentence = nn.Linear(text, width)

    def sentences(self, decoder: TextDecoder, sentences: Sentences) -> Tensor:
        """The sentences by themselves; filler too.  returns (U, D) float32 of length 1"""
        layout = SequenceLayout.packed(sentences.cu_seqlens, len(sentences.ids), sentences.max_seqlen)
        rows = layout.pad(decoder.alone(sentences.ids, layout)[:, None])[: len(sentences.real), :, 0]
        counts = sentences.cu_seqlens.diff()[: len(rows)].clamp_min(1)
        means = rows.sum(1) / counts[:, None].to(rows.dtype)
        return _direction(self.sentence(means))

    def pictures(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """patches: (B, K, D) of the encoder   returns (B, D) and (B, K, D) float32 of length 1"""
        return _direction(self.picture(patches.mean(1))), _direction(self.patch(patches))

    def forward(self, patches: Tensor, sentences: Tensor) -> Tensor:
        """patches: (B, K, D) of the encoder   sentences: (U, D) by ``sentences``   returns (B, U) float32 in [-1, 1]"""
        return self.compare(patches, sentences)[0]

    def compare(self, patches: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``, and of each patch: (B, U) and (B, K, U) float32 in [-1, 1]."""
        picture, parts = self.pictures(patches)
        alike = parts @ sentences.T
        local = ((alike / self.temperature).softmax(1) * alike).sum(1)
        return (picture @ sentences.T + local) / 2, alike


def _direction(rows: Tensor) -> Tensor:
    """Rows of length 1, in float32 at least.  rows: (..., D)"""
    return normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)
