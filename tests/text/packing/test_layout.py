"""Text in the shape the model takes: every token once, filler that counts for nothing, no batch cut short."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.batch import Text
from ecamp_fast.config import load_recipe
from ecamp_fast.keyed_random import sample_keys
from ecamp_fast.text.codes import MASK_ID, Mark, pack, token_ids
from ecamp_fast.text.packing.layout import Capacity, masked_batch
from ecamp_fast.text.packing.masking import mask_text

RECIPE = load_recipe("paper", ["text.max_tokens=16"])
LENGTHS = st.lists(st.integers(1, 16), min_size=1, max_size=6)


def parts(lengths: list[int]) -> list[torch.Tensor]:
    """codes, offsets, lengths, keys."""
    codes = torch.arange(5, 5 + sum(lengths), dtype=torch.int32)
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).int()
    keys = torch.from_numpy(sample_keys(1, 0, np.arange(len(lengths))))
    return [codes, cu_seqlens, torch.tensor(lengths, dtype=torch.int32), keys]


def per_group(ends: torch.Tensor) -> list[int]:
    return ends.diff().tolist()


@pytest.mark.parametrize(
    ("capacity", "rows", "cu_seqlens", "predicted", "overflow"),
    [
        (None, [1, 5], [0, 3, 7], [0, 1, 2], False),
        (Capacity(10, 4), [1, 5, 8, 9], [0, 3, 7, 10, 10], [0, 1, 2, 4, 4], False),
        (Capacity(10, 5), [1, 5, 7, 8, 9], [0, 3, 7, 10, 10], [0, 1, 2, 5, 5], False),
        (Capacity(7, 2), [1, 5], [0, 3, 7, 7], [0, 1, 2, 2], False),
        (Capacity(7, 1), [1, 5], [0, 3, 7, 7], [0, 1, 2, 2], True),
        (Capacity(6, 2), [1, 5], [0, 3, 7, 7], [0, 1, 2, 2], True),
    ],
)
def test_two_samples_with_a_masked_descriptor_each(
    capacity: Capacity | None, rows: list[int], cu_seqlens: list[int], predicted: list[int], overflow: bool
) -> None:
    ratios = [f"masking.{name}=0" for name in ("word_ratio", "ratio_with_entity", "entity_ratio")]
    recipe = load_recipe("paper", ["text.max_tokens=8", *ratios])
    codes, *rest = parts([3, 4])
    codes[[1, 5]] = pack(codes[[1, 5]], int(Mark.DESCRIPTOR))
    text = masked_batch(codes, *rest, recipe, capacity)
    filler = cu_seqlens[-1] - 7
    assert text.ids.tolist() == [5, MASK_ID, 7, 8, 9, MASK_ID, 11] + [0] * filler
    assert text.rows.tolist() == rows
    assert text.labels.tolist() == [6, 10] + [0] * (len(rows) - 2)
    assert text.weights.tolist() == [1, 1] + [0] * (len(rows) - 2)
    assert (text.cu_seqlens.tolist(), text.predicted.tolist()) == (cu_seqlens, predicted)
    assert (text.max_seqlen, text.overflow) == (4 if capacity is None else 8, overflow)


@given(LENGTHS)
def test_without_a_capacity_there_is_no_filler(lengths: list[int]) -> None:
    codes, cu_seqlens, *rest = parts(lengths)
    text, masked = masked_batch(codes, cu_seqlens, *rest, RECIPE), mask_text(codes, cu_seqlens, *rest, RECIPE)
    assert text.codes.equal(codes) and text.ids.equal(masked.ids) and text.cu_seqlens.equal(cu_seqlens)
    assert text.rows.equal(masked.predicted.nonzero()[:, 0])
    assert text.labels.equal(token_ids(codes).long()[text.rows]) and text.weights.equal(masked.weights[text.rows])
    assert text.max_seqlen == max(lengths) and not text.overflow
    assert per_group(text.predicted) == [int(p.sum()) for p in masked.predicted.split(lengths)]


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 120), st.integers(1, 120))
def test_filler_counts_for_nothing(lengths: list[int], rows: int, predicted: int) -> None:
    inputs = parts(lengths)
    capacity = Capacity(rows, min(rows, predicted))
    text, exact = masked_batch(*inputs, RECIPE, capacity), masked_batch(*inputs, RECIPE)
    real, total = sum(lengths), len(text.ids)
    assert text.ids[:real].equal(exact.ids) and (text.ids[real:] == 0).all()
    assert text.cu_seqlens[: len(lengths) + 1].equal(exact.cu_seqlens)
    assert text.cu_seqlens[-1] == total and max(per_group(text.cu_seqlens)) <= text.max_seqlen == 16
    counted = text.weights > 0
    assert text.rows[counted].equal(exact.rows[exact.weights > 0])
    assert text.labels[counted].equal(exact.labels[exact.weights > 0])
    assert text.weights.sum() == pytest.approx(float(exact.weights.sum()))
    assert text.rows.unique().equal(text.rows)  # ascending, each once
    assert per_group(text.predicted) == [int((group == text.rows[:, None]).sum()) for group in groups(text)]
    fits = real <= rows and len(exact.rows) <= capacity.predicted
    assert text.overflow == (not fits)
    if fits:
        assert (total, len(text.rows)) == (capacity.rows, capacity.predicted)


def test_a_batch_that_just_fits_has_its_capacity() -> None:
    """25 rows: the next multiple of an eighth would be 27."""
    text = masked_batch(*parts([16, 9]), RECIPE, Capacity(25, 25))
    assert (len(text.ids), len(text.rows), text.overflow) == (25, 25, False)


def groups(text: Text) -> tuple[torch.Tensor, ...]:
    return torch.arange(len(text.ids)).split(per_group(text.cu_seqlens))


def test_shapes_are_few() -> None:
    """Whatever the lengths, batches that fit have one shape, and the others one of a few."""
    capacity, draw = Capacity(80, 64), np.random.default_rng(0)
    texts = [masked_batch(*parts(draw.integers(1, 17, 8).tolist()), RECIPE, capacity) for _ in range(60)]
    shapes = {(len(t.ids), len(t.rows), len(t.cu_seqlens)) for t in texts if not t.overflow}
    assert shapes == {(80, 64, 8 + 5 + 1)}
    assert sum(t.overflow for t in texts) > 0 and {len(t.ids) for t in texts} <= {80, 90, 100, 110, 120, 130}


def test_padded_text_needs_no_capacity() -> None:
    recipe = load_recipe("official", ["text.max_tokens=16"])
    codes = torch.cat([torch.arange(5, 12), torch.zeros(9)]).int()
    inputs = [codes, torch.tensor([0, 16]).int(), torch.tensor([7]).int(), torch.tensor([3])]
    text = masked_batch(*inputs, recipe, Capacity(64, 64))
    assert text.rows.tolist() == list(range(16)) and len(text.ids) == 16
    assert (text.ids[7:] == 0).all() and (text.ids == MASK_ID).any()
