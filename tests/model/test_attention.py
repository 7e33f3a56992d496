import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ecamp_fast.model.attention import Lengths, attention

HEADS, WIDTH = 2, 5
counts_of_samples = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def rows(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, HEADS, WIDTH, dtype=dtype)


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One sample.  q: (Lq, H, C)   k, v: (Lk, H, C)"""
    scores = torch.einsum("qhc,khc->hqk", q, k) / WIDTH**0.5
    return torch.einsum("hqk,khc->qhc", scores.softmax(-1), v)


def packed(counts: list[int], bound: int = 9) -> Lengths:
    return Lengths.packed(torch.tensor(counts), sum(counts), bound)


@settings(max_examples=30, deadline=None)
@given(counts_of_samples)
def test_packed_rows_see_their_own_sample_only(counts: list[int]) -> None:
    lengths = packed(counts)
    leaves = [rows(sum(counts)).requires_grad_() for _ in range(3)]
    ours = attention(*leaves, q_lengths=lengths, kv_lengths=lengths, dropout=0.0)
    theirs = torch.cat([by_hand(*x) for x in zip(*(leaf.split(counts) for leaf in leaves), strict=True)])
    torch.testing.assert_close(ours, theirs)
    cotangent = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, leaves, cotangent), torch.autograd.grad(theirs, leaves, cotangent), strict=True
    ):
        torch.testing.assert_close(mine, other)


@settings(max_examples=20, deadline=None)
@given(counts_of_samples, st.integers(0, 3))
def test_padded_queries_see_real_keys_only(counts: list[int], spare: int) -> None:
    most = max(counts) + spare
    q, k, v = (rows(len(counts) * most) for _ in range(3))
    queries = Lengths.equal(len(counts), most, q.device)
    ours = attention(q, k, v, q_lengths=queries, kv_lengths=Lengths.padded(torch.tensor(counts), most), dropout=0.0)
    samples = zip(q.split(most), k.split(most), v.split(most), counts, strict=True)
    torch.testing.assert_close(ours, torch.cat([by_hand(a, b[:n], c[:n]) for a, b, c, n in samples]))


@settings(max_examples=20, deadline=None)
@given(counts_of_samples)
def test_packed_and_padded_text_agree(counts: list[int]) -> None:
    """The same samples in both layouts give the same real rows."""
    most, lengths = max(counts), packed(counts)
    q, k, v = (rows(sum(counts)) for _ in range(3))
    places = lengths.places
    padded = [torch.randn(len(counts) * most, HEADS, WIDTH).double().index_copy(0, places, x) for x in (q, k, v)]
    queries, keys = Lengths.equal(len(counts), most, q.device), Lengths.padded(torch.tensor(counts), most)
    ours = attention(q, k, v, q_lengths=lengths, kv_lengths=lengths, dropout=0.0)
    torch.testing.assert_close(ours, attention(*padded, q_lengths=queries, kv_lengths=keys, dropout=0.0)[places])


def test_text_looks_at_the_patches_of_its_picture() -> None:
    counts, patches = [3, 1, 5], 4
    q, k, v = rows(sum(counts)), rows(3 * patches), rows(3 * patches)
    seen = Lengths.equal(3, patches, q.device)
    ours = attention(q, k, v, q_lengths=packed(counts), kv_lengths=seen, dropout=0.0)
    samples = zip(q.split(counts), k.split(patches), v.split(patches), strict=True)
    torch.testing.assert_close(ours, torch.cat([by_hand(*sample) for sample in samples]))


@pytest.mark.parametrize("ragged", [False, True])
def test_bfloat16_on_a_cpu_is_near_float32(ragged: bool) -> None:
    lengths = packed([4, 9, 2]) if ragged else Lengths.equal(3, 5, torch.device("cpu"))
    leaves = [rows(15, torch.bfloat16).requires_grad_() for _ in range(3)]
    fine = [leaf.detach().float().requires_grad_() for leaf in leaves]
    ours, theirs = (attention(*x, q_lengths=lengths, kv_lengths=lengths, dropout=0.0) for x in (leaves, fine))
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), theirs, atol=0.03, rtol=0.03)
    for mine, other in zip(
        torch.autograd.grad(ours.sum(), leaves), torch.autograd.grad(theirs.sum(), fine), strict=True
    ):
        torch.testing.assert_close(mine.float(), other, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_follows_the_seed_and_keeps_the_mean(dtype: torch.dtype) -> None:
    lengths = Lengths.equal(1, 400, torch.device("cpu"))
    q, k, v = rows(400, dtype), rows(400, dtype), torch.ones(400, HEADS, WIDTH, dtype=dtype)

    def run() -> Tensor:
        torch.manual_seed(1)
        return attention(q, k, v, q_lengths=lengths, kv_lengths=lengths, dropout=0.3)

    assert torch.equal(run(), run())
    assert run().float().std() > 0.01
    assert run().float().mean().item() == pytest.approx(1.0, abs=0.02)


@given(counts_of_samples)
def test_positions_and_samples(counts: list[int]) -> None:
    lengths = packed(counts)
    assert lengths.position.tolist() == [i for n in counts for i in range(n)]
    assert lengths.sample.tolist() == [b for b, n in enumerate(counts) for _ in range(n)]
    assert lengths.longest == max(counts) and len(lengths) == len(counts)
    equal = Lengths.equal(2, 3, torch.device("cpu"))
    assert equal.position.tolist() == [0, 1, 2] * 2 and equal.sample.tolist() == [0] * 3 + [1] * 3


def test_refuses_other_numbers_of_samples() -> None:
    with pytest.raises(ValueError, match="2 samples of queries, 1 of keys"):
        attention(rows(4), rows(4), rows(4), q_lengths=packed([2, 2]), kv_lengths=packed([4]), dropout=0.0)
