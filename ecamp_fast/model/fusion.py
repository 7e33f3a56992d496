"""Multi-scale context fusion: text meets the picture, patch by patch and as a whole (paper 3.4).

    f_t = SelfAttention(E)                                   E: embedded masked text
    c   = softmax(Q(f_t) K(l)^T / sqrt(C)) V(l)              l: patch tokens after the bridge; the local scale
    g   = W_g mean(l) + b_g                                  the global scale, the same for every row of a sample
    shared projection:    x = LN(Dropout(W_o (c + g) + b_o) + f_t)      as the released code has it
    separate projection:  x = LN(Dropout(W_o c + b_o + g) + f_t)        the plain three-way sum of the paper
    y   = LN(Dropout(W_2 GELU(W_1 x)) + x)
With one scale off, its term and its weights do not exist.
Legend: B samples, T text rows of the whole batch, K kept patches, D width.
"""

import torch
from torch import Tensor, nn

from ecamp_fast.config import FusionConfig, Recipe, TextDecoderConfig
from ecamp_fast.model.attention import attention, training_case
from ecamp_fast.model.attention_backends import AttentionCase, Layout
from ecamp_fast.model.lookup import lookup
from ecamp_fast.model.sequences import SequenceLayout
from ecamp_fast.model.text_layer import EPSILON, FeedForward, SelfAttention


class ContextFusion(nn.Module):
    """One layer, in front of the text decoder."""

    def __init__(self, sizes: TextDecoderConfig, fusion: FusionConfig) -> None:
        super().__init__()
        self.heads, self.rate = sizes.heads, sizes.dropout
        self.shared = fusion.projection == "shared"
        self.attention = SelfAttention(sizes)
        if fusion.use_local:
            self.query = nn.Linear(sizes.width, sizes.width)
            self.key_value = nn.Linear(sizes.width, 2 * sizes.width)
        if fusion.use_global:
            self.global_proj = nn.Linear(sizes.width, sizes.width)
        if fusion.use_local or self.shared:
            self.out = nn.Linear(sizes.width, sizes.width)
        self.use_local, self.use_global = fusion.use_local, fusion.use_global
        self.dropout = nn.Dropout(sizes.dropout)
        self.norm = nn.LayerNorm(sizes.width, EPSILON)
        self.ffn = FeedForward(sizes)

    @staticmethod
    def attention_case(recipe: Recipe, cuda: bool) -> AttentionCase:
        """What the local scale asks of attention: texts, at their longest, look at the kept patches."""
        text, tokens = recipe.model.text, recipe.text.max_tokens
        layout: Layout = "equal" if recipe.padded_text else "cross"
        return training_case(recipe, cuda, text, layout, tokens, recipe.kept_patches, text.dropout)

    def forward(self, embedded: Tensor, patches: Tensor, queries: SequenceLayout, keys: SequenceLayout) -> Tensor:
        """embedded: (T, D)   patches: (B, K, D)   queries, keys: of the text   returns (T, D)."""
        text = self.attention(embedded, queries, keys)
        local = self._local(text, patches, queries) if self.use_local else None
        global_context = self._global_context(patches, queries) if self.use_global else None
        return self.ffn(self.norm(self.dropout(self._project(local, global_context)) + text))

    def alone(self, embedded: Tensor, layout: SequenceLayout) -> Tensor:
        """What the layer makes of text without a picture: its term is 0.  embedded: (T, D)   returns (T, D)"""
        return self.ffn(self.norm(self.attention(embedded, layout, layout)))

    def _local(self, text: Tensor, patches: Tensor, queries: SequenceLayout) -> Tensor:
        """Each text row looks at the patches of its own sample. Returns (T, D)."""
        q = self.query(text).unflatten(1, (self.heads, -1))
        k, v = self.key_value(patches).flatten(0, 1).unflatten(1, (2, self.heads, -1)).unbind(1)
        pictures = _picture_layout(patches, queries)
        rate = self.rate if self.training else 0.0
        return attention(q, k, v, q_layout=queries, kv_layout=pictures, dropout=rate).flatten(1)

    def cross_attention(
        self, embedded: Tensor, patches: Tensor, queries: SequenceLayout, keys: SequenceLayout
    ) -> Tensor:
        """Where each text row looks: the probabilities of the local scale (paper Fig. 4), in evaluation mode.

        Training has them nowhere, so they are computed here for looking at, from the same weights.
        embedded, patches, queries, keys: as of ``forward``, without filler
        returns (T, H, K), in the order of ``patches``; those of a row and head sum to one.
        Raises ValueError where there is no local scale.
        """
        if not self.use_local:
            raise ValueError("this fusion has no local scale: no text row looks at a patch")
        text = self.attention(embedded, queries, keys)
        q = queries.pad(self.query(text).unflatten(1, (self.heads, -1)))
        k = self.key_value(patches).unflatten(2, (2, self.heads, -1))[:, :, 0]
        scores = torch.einsum("blhc,bkhc->blhk", q, k) / q.shape[-1] ** 0.5
        return queries.unpad(scores.softmax(-1))

    def _global_context(self, patches: Tensor, queries: SequenceLayout) -> Tensor:
        """Each row gets the whole of its sample's picture. Returns (T, D)."""
        global_proj: Tensor = self.global_proj(patches.mean(1))
        if queries.sequence is None:
            return global_proj.repeat_interleave(queries.max_seqlen, 0)
        sequence = queries.sequence.clamp(max=len(global_proj) - 1)  # filler: any, since none of it counts
        # In float32 the backward sums up to 256 rows, as a GPU does anyway
        rows = global_proj if global_proj.is_cuda else global_proj.float()
        return lookup(rows, sequence).to(global_proj.dtype)

    def _project(self, local: Tensor | None, global_context: Tensor | None) -> Tensor:
        if local is None:
            assert global_context is not None  # the recipe keeps one of the two scales
            return self.out(global_context) if self.shared else global_context
        if global_context is None:
            return self.out(local)
        return self.out(local + global_context) if self.shared else self.out(local) + global_context


def _picture_layout(patches: Tensor, queries: SequenceLayout) -> SequenceLayout:
    """Whose patches are whose: each sample has its own, filler has none.  patches: (B, K, D)"""
    batch, kept = patches.shape[:2]
    if len(queries) == batch:
        return SequenceLayout.equal(batch, kept)
    cu_seqlens = torch.arange(len(queries) + 1, device=patches.device).clamp(max=batch) * kept
    return SequenceLayout.packed(cu_seqlens, batch * kept, kept)
