"""Which rows of a batch belong together: pictures of equal size, packed text, padded text.

Legend: N sequences (samples, and filler behind them), T rows of the whole batch, H heads, C channels of a head,
L rows of the longest sequence.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SequenceLayout:
    """Which rows of a batch make a sequence, of which no row looks into another.

    sequences   N
    max_seqlen  no sequence has more rows
    total       T
    cu_seqlens  (N + 1,) int32    where sequences of unequal length lie end to end: rows of sequence n are cu_seqlens[n]
                                  to cu_seqlens[n + 1]; None: every sequence has ``max_seqlen`` rows
    sequence    (T,) int64        with cu_seqlens: the sequence of each row
    position    (T,) int64        with cu_seqlens: its place within the sequence
    counts      (N,) integers     without cu_seqlens: real rows at the head of each sequence; None: all are real
    """

    sequences: int
    max_seqlen: int
    total: int
    cu_seqlens: Tensor | None = None
    sequence: Tensor | None = None
    position: Tensor | None = None
    counts: Tensor | None = None

    @staticmethod
    def equal(sequences: int, rows: int) -> "SequenceLayout":
        """``sequences`` sequences of ``rows`` rows each."""
        return SequenceLayout(sequences, rows, sequences * rows)

    @staticmethod
    def padded(counts: Tensor, rows: int) -> "SequenceLayout":
        """``rows`` rows for every sequence, of which the first ``counts`` ((N,) integers) are real."""
        return SequenceLayout(len(counts), rows, len(counts) * rows, counts=counts)

    @staticmethod
    def packed(cu_seqlens: Tensor, total: int, max_seqlen: int) -> "SequenceLayout":
        """Sequences of unequal length end to end.

        cu_seqlens  (N + 1,) int32
        total       cu_seqlens[-1], which the caller knows from a shape
        max_seqlen  no sequence has more rows
        """
        row = torch.arange(total, device=cu_seqlens.device)
        sequence = torch.searchsorted(cu_seqlens[1:].contiguous(), row, right=True)
        return SequenceLayout(
            len(cu_seqlens) - 1, max_seqlen, total, cu_seqlens.int(), sequence, row - cu_seqlens[sequence]
        )

    def __len__(self) -> int:
        return self.sequences

    @property
    def full(self) -> bool:
        """Whether every sequence has ``max_seqlen`` real rows."""
        return self.cu_seqlens is None and self.counts is None

    def cumulative(self, device: torch.device) -> Tensor:
        """(N + 1,) int32: the first row of each sequence, and T; not for padded sequences."""
        if self.cu_seqlens is not None:
            return self.cu_seqlens
        return torch.arange(0, self.total + 1, self.max_seqlen, device=device, dtype=torch.int32)

    def valid(self) -> Tensor | None:
        """(N, L) bool: which places of the dense layout hold a real row; None: all."""
        counts = self.counts if self.cu_seqlens is None else self.cu_seqlens.diff()
        if counts is None:
            return None
        return torch.arange(self.max_seqlen, device=counts.device) < counts[:, None]

    def pad(self, rows: Tensor) -> Tensor:
        """To the dense layout.  rows: (T, H, C)   returns (N, L, H, C), zeros where there was no row."""
        if self.cu_seqlens is not None:
            rows = _Scatter.apply(rows, self._places, self.sequences * self.max_seqlen)
        return rows.unflatten(0, (self.sequences, self.max_seqlen))

    def unpad(self, padded: Tensor) -> Tensor:
        """The inverse of ``pad``."""
        rows = padded.flatten(0, 1)
        return rows if self.cu_seqlens is None else gather_rows(rows, self._places)

    @property
    def _places(self) -> Tensor:
        """(T,) int64: where each row lies in the dense layout, flattened."""
        assert self.sequence is not None and self.position is not None, "equal sequences lie in their places already"
        return self.sequence * self.max_seqlen + self.position


def gather_rows(source: Tensor, places: Tensor) -> Tensor:
    """Rows at distinct places.  source: (T, ...)   places: (R,) int64   returns (R, ...).

    Autograd's own index backward adds, which is slow and on a GPU has no fixed order; distinct places need only a copy.
    """
    gathered: Tensor = _Gather.apply(source, places)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.count = source.shape[0]
        return source.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return _spread(gradient, places, ctx.count), None


class _Scatter(torch.autograd.Function):
    """Rows to distinct places among zeros: the adjoint of ``_Gather``."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(places)
        return _spread(rows, places, count)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return gradient.index_select(0, places), None, None


def _spread(rows: Tensor, places: Tensor, count: int) -> Tensor:
    zeros = rows.new_zeros((count, *rows.shape[1:]))
    if torch.compiler.is_compiling():  # torch 2.11 loses gradients where a compiled function writes in place
        return zeros.index_copy(0, places, rows)
    return zeros.index_copy_(0, places, rows)
