"""The text side: embeddings, context fusion, a BERT stack, and the head that names the masked words.

Legend: B samples, T text rows of the whole batch, R rows where a word is predicted, K kept patches, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from ecamp_fast.config import Recipe
from ecamp_fast.model.attention import training_case
from ecamp_fast.model.attention_backends import AttentionCase, Layout
from ecamp_fast.model.fusion import ContextFusion
from ecamp_fast.model.lookup import lookup
from ecamp_fast.model.sequences import SequenceLayout, gather_rows
from ecamp_fast.model.text_layer import EPSILON, QueryRows, TextLayer
from ecamp_fast.text.codes import PAD_ID

TYPES = 2  # rows of the released token-type table; every token has type 0


class Embeddings(nn.Module):
    """Dropout(LN(word + position + type 0))."""

    def __init__(self, recipe: Recipe, vocab_size: int) -> None:
        super().__init__()
        text = recipe.model.text
        self.word = nn.Parameter(torch.empty(vocab_size, text.width))
        self.position = nn.Parameter(torch.empty(recipe.text.max_tokens, text.width))
        self.token_type = nn.Parameter(torch.empty(TYPES, text.width))
        self.norm = nn.LayerNorm(text.width, EPSILON)
        self.dropout = nn.Dropout(text.dropout)

    def forward(self, ids: Tensor, layout: SequenceLayout) -> Tensor:
        """ids: (T,) int64   returns (T, D)."""
        places = self.position + self.token_type[0]  # of all positions: fewer than text rows
        if layout.position is None:
            positions = places[: layout.max_seqlen].repeat(len(layout), 1)
        else:
            positions = lookup(places, layout.position)
        words = lookup(self.word, ids, PAD_ID)  # whose embedding is zero and takes no gradient
        return self.dropout(self.norm(words + positions))


class MlmHead(nn.Module):
    """Dense, GELU, norm; then the vocabulary, which the loss multiplies itself (``kernels.weighted_cross_entropy``)."""

    def __init__(self, width: int, vocabulary: nn.Parameter) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, EPSILON)
        self.vocabulary = vocabulary
        self.bias = nn.Parameter(torch.empty(vocabulary.shape[0]))

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (R, D)   returns (R, D), to be multiplied by ``vocabulary``."""
        return self.norm(gelu(self.dense(hidden)))


class TextDecoder(nn.Module):
    """From masked ids and encoded patches to hidden rows."""

    def __init__(self, recipe: Recipe, vocab_size: int) -> None:
        super().__init__()
        text = recipe.model.text
        self.bridge = nn.Linear(recipe.model.vision.width, text.width)
        self.embeddings = Embeddings(recipe, vocab_size)
        self.fusion = ContextFusion(text, recipe.fusion)
        self.layers = nn.ModuleList(TextLayer(text) for _ in range(text.depth))
        tied = recipe.model.tie_embeddings
        self.head = MlmHead(
            text.width, self.embeddings.word if tied else nn.Parameter(torch.empty(vocab_size, text.width))
        )

    @staticmethod
    def attention_case(recipe: Recipe, cuda: bool) -> AttentionCase:
        """What its layers, and self-attention in fusion, ask of attention: texts at their longest."""
        text, tokens = recipe.model.text, recipe.text.max_tokens
        layout: Layout = "padded" if recipe.padded_text else "packed"
        return training_case(recipe, cuda, text, layout, tokens, tokens, text.dropout)

    def forward(
        self,
        ids: Tensor,
        latent: Tensor,
        queries: SequenceLayout,
        keys: SequenceLayout,
        query_rows: QueryRows | None = None,
    ) -> Tensor:
        """Hidden rows: (T, D), with ``query_rows`` (R, D).

        ids         (T,) int64
        latent      (B, 1+K, D) of the image encoder; its class token is not used
        query_rows  rows whose result is wanted; the last layer computes no others
        """
        x: Tensor = self.fusion(self.embeddings(ids, queries), self.bridge(latent[:, 1:]), queries, keys)
        if not self.layers:
            return x if query_rows is None else gather_rows(x, query_rows.rows)
        *layers, last = self.layers
        for layer in layers:
            x = layer(x, queries, keys)
        result: Tensor = last(x, queries, keys, query_rows)
        return result

    def cross_attention(self, ids: Tensor, latent: Tensor, queries: SequenceLayout, keys: SequenceLayout) -> Tensor:
        """Where each text row looks: (T, H, K) probabilities over the patches of its sample, see ``ContextFusion``.

        ids, latent, queries, keys: as of ``forward``
        """
        patches = self.bridge(latent.narrow(1, 1, latent.shape[1] - 1))  # without the class token, as above
        return self.fusion.cross_attention(self.embeddings(ids, queries), patches, queries, keys)

    def alone(self, ids: Tensor, layout: SequenceLayout) -> Tensor:
        """Hidden rows of text without a picture, by the same weights.  ids: (T,) int64   returns (T, D)"""
        x: Tensor = self.fusion.alone(self.embeddings(ids, layout), layout)
        for layer in self.layers:
            x = layer(x, layout, layout)
        return x
