"""Text rows of a micro-batch with their place: which sample, which position, real or padding.

Legend: B samples, T text rows of the whole batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ecamp_fast.text.codes import Mark, has


@dataclass(frozen=True, slots=True)
class Rows:
    """Text rows with their place.

    codes     (T,) int32
    sample    (T,) int64
    position  (T,) int64  within the sample
    real      (T,) bool   no padding
    batch     B
    """

    codes: Tensor
    sample: Tensor
    position: Tensor
    real: Tensor
    batch: int

    def has(self, mark: Mark) -> Tensor:
        """(T,) bool: real rows with the mark."""
        return has(self.codes, mark) & self.real

    def per_sample(self, values: Tensor) -> Tensor:
        """Sum over each sample.  values: (T,) bool or number   returns (B,) float32."""
        zeros = torch.zeros(self.batch, dtype=torch.float32, device=values.device)
        return zeros.index_add_(0, self.sample, values.float())

    def lookahead(self, values: Tensor, distance: int) -> Tensor:
        """For each row, the value ``distance`` rows further on in the same sample; False beyond its end. (T,) bool."""
        shifted = torch.zeros_like(values)
        shifted[:-distance] = values[distance:] & (self.sample[distance:] == self.sample[:-distance])
        return shifted

    def last(self, starts: Tensor) -> Tensor:
        """(T,) int64: for each row, the latest row up to it where ``starts`` is true; row 0 where there is none."""
        rows = torch.arange(len(starts), device=starts.device)
        return torch.where(starts, rows, 0).cummax(0).values


def place_rows(codes: Tensor, cu_seqlens: Tensor, lengths: Tensor) -> Rows:
    """codes: (T,) int32   cu_seqlens: (B + 1,) int32   lengths: (B,) int32   (see ``Batch``)."""
    batch = len(lengths)
    counts = cu_seqlens[1:] - cu_seqlens[:-1]
    numbers = torch.arange(batch, device=codes.device)
    sample = numbers.repeat_interleave(counts.long(), output_size=len(codes))
    position = torch.arange(len(codes), device=codes.device) - cu_seqlens.long()[sample]
    return Rows(codes, sample, position, position < lengths[sample], batch)
