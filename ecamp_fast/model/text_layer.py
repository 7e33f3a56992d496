"""The post-norm layer of BERT over rows that lie end to end, and its two halves, which context fusion uses as well.

Legend: T text rows of the whole batch, R rows among them, D width.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from ecamp_fast.config import TextDecoderConfig
from ecamp_fast.model.attention import attention
from ecamp_fast.model.sequences import SequenceLayout, gather_rows

EPSILON = 1e-12


@dataclass(frozen=True, eq=False)
class QueryRows:
    """Some of the rows, where only their results are wanted.  rows: (R,) int64, ascending   layout: their sequences"""

    rows: Tensor
    layout: SequenceLayout


class SelfAttention(nn.Module):
    """LN(Dropout(W_o a + b_o) + x), a = attention of x with itself. Query, key and value are one matrix."""

    def __init__(self, sizes: TextDecoderConfig) -> None:
        super().__init__()
        self.heads, self.rate = sizes.heads, sizes.dropout
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)
        self.norm = nn.LayerNorm(sizes.width, EPSILON)

    def forward(
        self, x: Tensor, queries: SequenceLayout, keys: SequenceLayout, query_rows: QueryRows | None = None
    ) -> Tensor:
        """x: (T, D)   queries, keys: layout of the rows as such   returns (T, D), with ``query_rows`` (R, D)."""
        if query_rows is None:
            q, k, v = self.qkv(x).unflatten(1, (3, self.heads, -1)).unbind(1)
        else:
            queries = query_rows.layout
            (w_q, w_kv), (b_q, b_kv) = (t.tensor_split((t.shape[0] // 3,)) for t in (self.qkv.weight, self.qkv.bias))
            k, v = linear(x, w_kv, b_kv).unflatten(1, (2, self.heads, -1)).unbind(1)
            x = gather_rows(x, query_rows.rows)
            q = linear(x, w_q, b_q).unflatten(1, (self.heads, -1))
        rate = self.rate if self.training else 0.0
        mixed = attention(q, k, v, q_layout=queries, kv_layout=keys, dropout=rate)
        return self.norm(self.dropout(self.out(mixed.flatten(1))) + x)


class FeedForward(nn.Module):
    """LN(Dropout(W_2 GELU(W_1 x)) + x)."""

    def __init__(self, sizes: TextDecoderConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(sizes.width, sizes.ffn)
        self.fc2 = nn.Linear(sizes.ffn, sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)
        self.norm = nn.LayerNorm(sizes.width, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """x: (T, D)   returns (T, D)."""
        return self.norm(self.dropout(self.fc2(gelu(self.fc1(x)))) + x)


class TextLayer(nn.Module):
    """One layer of the text decoder."""

    def __init__(self, sizes: TextDecoderConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(sizes)
        self.ffn = FeedForward(sizes)

    def forward(
        self, x: Tensor, queries: SequenceLayout, keys: SequenceLayout, query_rows: QueryRows | None = None
    ) -> Tensor:
        """x: (T, D)   returns (T, D), with ``query_rows`` (R, D)."""
        return self.ffn(self.attention(x, queries, keys, query_rows))
