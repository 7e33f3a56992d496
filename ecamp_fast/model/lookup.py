"""Rows of a table by number, whose gradient is summed in a fixed order on every device.

PyTorch's own backward sorts the numbers and sums each row's share one after the other. A compiler that opens the lookup
makes it an addition by float atomics instead, whose order and rounding differ from run to run; so it is closed to it.
Legend: V rows of the table, T rows that are looked up, D width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding

NONE = -1  # no row is padding


def lookup(table: Tensor, numbers: Tensor, padding: int = NONE) -> Tensor:
    """Rows of a table by number.

    table    (V, D)
    numbers  (T,) int64
    padding  a row that takes no gradient
    returns  (T, D)
    """
    if not torch.compiler.is_compiling():
        return embedding(numbers, table, None if padding == NONE else padding)
    rows: Tensor = _lookup(table, numbers, padding)
    return rows


@torch.library.custom_op("ecamp_fast::lookup", mutates_args=())
def _lookup(table: Tensor, numbers: Tensor, padding: int) -> Tensor:
    return torch.ops.aten.embedding(table, numbers, padding)


@_lookup.register_fake
def _(table: Tensor, numbers: Tensor, padding: int) -> Tensor:
    return table.new_empty(*numbers.shape, table.shape[1])


@torch.library.custom_op("ecamp_fast::lookup_backward", mutates_args=())
def _lookup_backward(gradient: Tensor, numbers: Tensor, count: int, padding: int) -> Tensor:
    return torch.ops.aten.embedding_dense_backward(gradient, numbers, count, padding, False)


@_lookup_backward.register_fake
def _(gradient: Tensor, numbers: Tensor, count: int, padding: int) -> Tensor:
    return gradient.new_empty(count, gradient.shape[-1])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    table, numbers, ctx.padding = inputs
    ctx.count = len(table)
    ctx.save_for_backward(numbers)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    (numbers,) = ctx.saved_tensors
    return _lookup_backward(gradient, numbers, ctx.count, ctx.padding), None, None


_lookup.register_autograd(_differentiate, setup_context=_save)
