"""The lookup that a compiler sees: its gradient by hand."""

import pytest
import torch

from ecamp_fast.model.lookup import NONE, _lookup


@pytest.mark.parametrize("padding", [NONE, 0])
def test_a_row_gets_the_sum_of_what_its_places_get_but_for_padding(padding: int) -> None:
    table, numbers = torch.randn(4, 2, requires_grad=True), torch.tensor([1, 0, 1, 3, 1])
    rows = _lookup(table, numbers, padding)
    assert torch.equal(rows, table[numbers])
    (gradient,) = torch.autograd.grad(rows, table, torch.arange(1.0, 11).reshape(5, 2))
    first = [3.0, 4.0] if padding == NONE else [0.0, 0.0]
    assert gradient.tolist() == [first, [1.0 + 5 + 9, 2.0 + 6 + 10], [0.0, 0.0], [7.0, 8.0]]
