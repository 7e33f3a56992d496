"""Area under the ROC curve by the rank formula of Mann and Whitney."""

import torch
from torch import Tensor


def auroc(scores: Tensor, positive: Tensor) -> Tensor:
    """The chance that a positive case scores above a negative one, ties counting one half.

    scores: (N, F) floating, any scale   positive: (N, F) bool
    returns (F,) float64; NaN for a finding that lacks positive or negative cases.
    """
    count = positive.sum(0).double()
    negatives = len(positive) - count
    rank_sum = torch.where(positive, average_ranks(scores), 0.0).sum(0)
    return (rank_sum - count * (count + 1) / 2) / (count * negatives)  # 0 / 0 is NaN


def mean_auroc(scores: Tensor, positive: Tensor) -> float:
    """Mean of ``auroc`` over the findings that have both classes; NaN where none has.

    scores: (N, F) floating   positive: (N, F) bool
    """
    return float(auroc(scores, positive).nanmean())


def average_ranks(values: Tensor) -> Tensor:
    """Ranks from 1 down each column; equal values share the mean of their ranks.

    values: (N, F) floating   returns (N, F) float64.
    """
    columns = values.T.contiguous()
    in_order = columns.sort(1).values
    below = torch.searchsorted(in_order, columns)
    not_above = torch.searchsorted(in_order, columns, right=True)
    return ((below + 1 + not_above).double() / 2).T
