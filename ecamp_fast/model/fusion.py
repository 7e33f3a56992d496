"""Multi-scale context fusion: text meets the picture, patch by patch and as a whole (paper 3.4).

    f_t = SelfAttention(E)                                   E: embedded masked text
    c   = softmax(Q(f_t) K(l)^T / sqrt(C)) V(l)              l: patch tokens after the bridge; the local scale
    g   = W_g mean(l) + b_g                                  the global scale, the same for every row of a sample
    shared projection:    x = LN(Dropout(W_o (c + g) + b_o) + f_t)      as the released code has it
    separate projection:  x = LN(Dropout(W_o c + b_o + g) + f_t)        the plain three-way sum of the paper
    y   = LN(Dropout(W_2 GELU(W_1 x)) + x)
With one scale off, its term and its weights are not there.
Legend: B samples, T text rows of the whole batch, K kept patches, D width.
"""

import torch
from torch import Tensor, nn

from ecamp_fast.config import Fusion, TextDecoder
from ecamp_fast.model.attention import attention
from ecamp_fast.model.lookup import lookup
from ecamp_fast.model.sequences import Lengths
from ecamp_fast.model.text_layer import EPSILON, FeedForward, SelfAttention


class ContextFusion(nn.Module):
    """One layer, in front of the text decoder."""

    def __init__(self, sizes: TextDecoder, fusion: Fusion) -> None:
        super().__init__()
        self.heads, self.rate = sizes.heads, sizes.dropout
        self.shared = fusion.projection == "shared"
        self.attention = SelfAttention(sizes)
        if fusion.use_local:
            self.query = nn.Linear(sizes.width, sizes.width)
            self.key_value = nn.Linear(sizes.width, 2 * sizes.width)
        if fusion.use_global:
            self.globe = nn.Linear(sizes.width, sizes.width)
        if fusion.use_local or self.shared:
            self.out = nn.Linear(sizes.width, sizes.width)
        self.use_local, self.use_global = fusion.use_local, fusion.use_global
        self.dropout = nn.Dropout(sizes.dropout)
        self.norm = nn.LayerNorm(sizes.width, EPSILON)
        self.ffn = FeedForward(sizes)

    def forward(self, embedded: Tensor, patches: Tensor, queries: Lengths, keys: Lengths) -> Tensor:
        """embedded: (T, D)   patches: (B, K, D)   queries, keys: of the text   returns (T, D)."""
        text = self.attention(embedded, queries, keys)
        local = self._local(text, patches, queries) if self.use_local else None
        whole = self._whole(patches, queries) if self.use_global else None
        return self.ffn(self.norm(self.dropout(self._project(local, whole)) + text))

    def _local(self, text: Tensor, patches: Tensor, queries: Lengths) -> Tensor:
        """Each text row looks at the patches of its own sample. Returns (T, D)."""
        q = self.query(text).unflatten(1, (self.heads, -1))
        k, v = self.key_value(patches).flatten(0, 1).unflatten(1, (2, self.heads, -1)).unbind(1)
        seen = _pictures(patches, queries)
        rate = self.rate if self.training else 0.0
        return attention(q, k, v, q_lengths=queries, kv_lengths=seen, dropout=rate).flatten(1)

    def _whole(self, patches: Tensor, queries: Lengths) -> Tensor:
        """Each row gets the whole of its sample's picture. Returns (T, D)."""
        globe: Tensor = self.globe(patches.mean(1))
        if queries.group is None:
            return globe.repeat_interleave(queries.longest, 0)
        group = queries.group.clamp(max=len(globe) - 1)  # filler: any, since none of it counts
        rows = globe if globe.is_cuda else globe.float()  # the backward sums up to 256 rows, on a GPU in float32 anyway
        return lookup(rows, group).to(globe.dtype)

    def _project(self, local: Tensor | None, whole: Tensor | None) -> Tensor:
        if local is None:
            assert whole is not None  # the recipe keeps one of the two scales
            return self.out(whole) if self.shared else whole
        if whole is None:
            return self.out(local)
        return self.out(local + whole) if self.shared else self.out(local) + whole


def _pictures(patches: Tensor, queries: Lengths) -> Lengths:
    """Whose patches are whose: each sample has its own, filler has none.  patches: (B, K, D)"""
    batch, kept = patches.shape[:2]
    if len(queries) == batch:
        return Lengths.equal(batch, kept)
    offsets = torch.arange(len(queries) + 1, device=patches.device).clamp(max=batch) * kept
    return Lengths.packed(offsets, batch * kept, kept)
