"""Attention over rows that lie end to end: one function for pictures, packed text and padded text.

Legend: B samples, T rows of the whole batch, H heads, C channels of a head, L rows of the longest sample.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True, eq=False)
class Lengths:
    """Which rows belong to which sample, and how they lie.

    counts: (B,) int64, rows of each sample that are real   longest: at least the largest count   total: rows there are
    dense: every sample has ``longest`` rows, its real ones first; otherwise only real rows are there, end to end
    full: dense, and every row is real
    """

    counts: Tensor
    longest: int
    total: int
    dense: bool
    full: bool

    @staticmethod
    def equal(batch: int, rows: int, device: torch.device) -> "Lengths":
        """``batch`` samples of ``rows`` rows each."""
        return Lengths(torch.full((batch,), rows, device=device), rows, batch * rows, dense=True, full=True)

    @staticmethod
    def padded(counts: Tensor, rows: int) -> "Lengths":
        """``rows`` rows for every sample, of which the first ``counts`` ((B,) integers) are real."""
        return Lengths(counts.long(), rows, len(counts) * rows, dense=True, full=False)

    @staticmethod
    def packed(counts: Tensor, total: int, bound: int) -> "Lengths":
        """Samples of unequal length end to end.

        counts: (B,) integers   total: their sum, which the caller knows from a shape
        bound: no count is larger; on a CPU, where looking costs nothing, the largest is used instead.
        """
        longest = int(counts.max()) if counts.device.type == "cpu" else bound
        return Lengths(counts.long(), longest, total, dense=False, full=False)

    def __len__(self) -> int:
        return self.counts.shape[0]

    @cached_property
    def valid(self) -> Tensor:
        """(B, L) bool: which places of the dense layout hold a real row."""
        return torch.arange(self.longest, device=self.counts.device) < self.counts[:, None]

    @cached_property
    def sample(self) -> Tensor:
        """(T,) int64: the sample of each row. Does not wait for the device."""
        numbers = torch.arange(len(self), device=self.counts.device)
        if self.dense:
            return numbers.repeat_interleave(self.longest)
        return numbers.repeat_interleave(self.counts, output_size=self.total)

    @cached_property
    def position(self) -> Tensor:
        """(T,) int64: the index of each row within its sample."""
        row = torch.arange(self.total, device=self.counts.device)
        if self.dense:
            return row % self.longest
        return row - (self.counts.cumsum(0) - self.counts)[self.sample]

    @cached_property
    def places(self) -> Tensor:
        """(T,) int64: where each row lies in the dense layout, flattened."""
        return self.sample * self.longest + self.position

    def pad(self, rows: Tensor) -> Tensor:
        """To the dense layout.  rows: (T, H, C)   returns (B, L, H, C), zeros where there was no row."""
        if not self.dense:
            rows = _Scatter.apply(rows, self.places, len(self) * self.longest)
        return rows.unflatten(0, (len(self), self.longest))

    def unpad(self, padded: Tensor) -> Tensor:
        """The inverse of ``pad``."""
        rows = padded.flatten(0, 1)
        return rows if self.dense else _Gather.apply(rows, self.places)


class _Gather(torch.autograd.Function):
    """Rows at distinct places. Autograd's own index backward adds, which is slow; distinct places need only a copy."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.count = source.shape[0]
        return source.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Scatter.apply(gradient, ctx.saved_tensors[0], ctx.count), None


class _Scatter(torch.autograd.Function):
    """Rows to distinct places among zeros: the adjoint of ``_Gather``."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(places)
        return rows.new_zeros((count, *rows.shape[1:])).index_copy_(0, places, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Gather.apply(gradient, ctx.saved_tensors[0]), None, None


def attention(q: Tensor, k: Tensor, v: Tensor, *, q_lengths: Lengths, kv_lengths: Lengths, dropout: float) -> Tensor:
    """softmax(q k^T / sqrt(C)) v within each sample; every row of a sample sees all real keys of the same sample.

    q: (Tq, H, C)   k, v: (Tk, H, C)   q_lengths, kv_lengths: which rows belong together, B samples each
    dropout: probability, on the attention weights   returns (Tq, H, C).
    """
    if len(q_lengths) != len(kv_lengths):
        raise ValueError(f"{len(q_lengths)} samples of queries, {len(kv_lengths)} of keys")
    mask = None if kv_lengths.full else kv_lengths.valid[:, None, None, :]
    dense = [q_lengths.pad(q), kv_lengths.pad(k), kv_lengths.pad(v)]
    q, k, v = (rows.transpose(1, 2) for rows in dense)
    # fused attention is 2 to 9 times slower in bf16 on a CPU than plain products (EPYC, AVX512-BF16, torch 2.14)
    fused = q.device.type != "cpu" or q.dtype != torch.bfloat16
    attend = scaled_dot_product_attention if fused else _plain
    return q_lengths.unpad(attend(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(1, 2))


def _plain(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None, dropout_p: float) -> Tensor:
    """``scaled_dot_product_attention`` by its definition.  q, k, v: (B, H, L, C)"""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    return functional.dropout(scores.softmax(-1), dropout_p) @ v
