"""Seven rows of two samples: the first of two tokens and one of padding, the second of four tokens."""

import torch

from ecamp_fast.text.codes import Mark, pack
from ecamp_fast.text.packing.rows import place_rows

ENTITY = torch.tensor([0, 0, 0, 1, 0, 1, 0], dtype=torch.int32)
ROWS = place_rows(pack(torch.arange(7).int(), ENTITY * int(Mark.ENTITY)), torch.tensor([0, 3, 7]), torch.tensor([2, 4]))


def test_every_row_has_its_place() -> None:
    assert ROWS.sample.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert ROWS.position.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert ROWS.real.tolist() == [True, True, False, True, True, True, True]
    assert ROWS.per_sample(ROWS.real).tolist() == [2, 4]


def test_a_look_ahead_ends_with_the_sample() -> None:
    assert ROWS.lookahead(ROWS.has(Mark.ENTITY), 1).nonzero()[:, 0].tolist() == [4]
    assert ROWS.lookahead(ROWS.has(Mark.ENTITY), 2).nonzero()[:, 0].tolist() == [3]


def test_the_latest_start_is_found() -> None:
    assert ROWS.last(ROWS.has(Mark.ENTITY)).tolist() == [0, 0, 0, 3, 3, 5, 5]
