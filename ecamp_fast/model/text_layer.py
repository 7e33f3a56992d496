"""The post-norm layer of BERT over rows that lie end to end, and its two halves, which context fusion uses as well.

Legend: B samples, T text rows of the whole batch, D width.
"""

from torch import Tensor, nn
from torch.nn.functional import gelu

from ecamp_fast.config import TextDecoder
from ecamp_fast.model.attention import Lengths, attention

EPSILON = 1e-12


class SelfAttention(nn.Module):
    """LN(Dropout(W_o a + b_o) + x), a = attention of x with itself. Query, key and value are one matrix."""

    def __init__(self, sizes: TextDecoder) -> None:
        super().__init__()
        self.heads, self.rate = sizes.heads, sizes.dropout
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)
        self.norm = nn.LayerNorm(sizes.width, EPSILON)

    def forward(self, x: Tensor, queries: Lengths, keys: Lengths) -> Tensor:
        """x: (T, D)   queries, keys: which rows ask, which are asked   returns (T, D)."""
        q, k, v = self.qkv(x).unflatten(1, (3, self.heads, -1)).unbind(1)
        rate = self.rate if self.training else 0.0
        mixed = attention(q, k, v, q_lengths=queries, kv_lengths=keys, dropout=rate)
        return self.norm(self.dropout(self.out(mixed.flatten(1))) + x)


class FeedForward(nn.Module):
    """LN(Dropout(W_2 GELU(W_1 x)) + x)."""

    def __init__(self, sizes: TextDecoder) -> None:
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

    def __init__(self, sizes: TextDecoder) -> None:
        super().__init__()
        self.attention = SelfAttention(sizes)
        self.ffn = FeedForward(sizes)

    def forward(self, x: Tensor, queries: Lengths, keys: Lengths) -> Tensor:
        """x: (T, D)   returns (T, D)."""
        return self.ffn(self.attention(x, queries, keys))
