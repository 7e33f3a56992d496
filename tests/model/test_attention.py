"""Every backend against attention written out sample by sample in float64."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import Recipe, load_recipe, recipe_names
from ecamp_fast.model import attention as module
from ecamp_fast.model.attention import BACKENDS, attention, choose, describe_choice
from ecamp_fast.model.attention_backends import AttentionCase, Backend
from ecamp_fast.model.ecamp import Ecamp, attention_cases
from ecamp_fast.model.sequences import SequenceLayout, gather_rows
from ecamp_fast.text.packing.layout import Capacity

HEADS, WIDTH, LONG = 2, 8, 256
VOCABULARY = 40
CUDA = torch.cuda.is_available()
counts_of_samples = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def rows(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, HEADS, WIDTH, dtype=dtype)


def packed(counts: list[int], bound: int = 9) -> SequenceLayout:
    return SequenceLayout.packed(torch.tensor([0, *counts]).cumsum(0), sum(counts), bound)


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One sample.  q: (Lq, H, C)   k, v: (Lk, H, C)"""
    scores = torch.einsum("qhc,khc->hqk", q, k) / WIDTH**0.5
    return torch.einsum("hqk,khc->qhc", scores.softmax(-1), v)


def split_by_hand(leaves: list[Tensor], q_counts: list[int], k_counts: list[int]) -> Tensor:
    parts = zip(leaves[0].split(q_counts), leaves[1].split(k_counts), leaves[2].split(k_counts), strict=True)
    return torch.cat([by_hand(*part) for part in parts])


CASES = {
    "ragged": ([4, 9, 2, 7], None),
    "single sample": ([5], None),
    "all minimal": ([1, 1, 1], None),
    "all maximal": ([9, 9], None),
    "equal": (5, None),
    "text on pictures": ([3, 1, 5], 4),
    "pictures, and filler without one": ([3, 1, 9], [4, 4, 0]),
    "empty sequences at the end": ([3, 2, 0, 0], None),
    "a long text, and empty sequences": ([200, 2, 0], None),
}


def layouts_of(case: str) -> tuple[SequenceLayout, SequenceLayout, list[int], list[int]]:
    """queries, keys, and their counts."""
    q, k = CASES[case]
    queries = SequenceLayout.equal(3, q) if isinstance(q, int) else packed(q, LONG if max(q) > 9 else 9)
    q_counts = [q] * 3 if isinstance(q, int) else q
    if k is None:
        return queries, queries, q_counts, q_counts
    keys = SequenceLayout.equal(len(q_counts), k) if isinstance(k, int) else packed(k, 4)
    return queries, keys, q_counts, [k] * len(q_counts) if isinstance(k, int) else k


def moved(layout: SequenceLayout, device: str) -> SequenceLayout:
    if layout.cu_seqlens is None:
        return layout
    return SequenceLayout.packed(layout.cu_seqlens.to(device), layout.total, layout.max_seqlen)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_is_attention(backend: str, case: str) -> None:
    """Output and gradients. Float64 on a CPU; on a GPU bfloat16, whose own rounding is the tolerance."""
    device = "cuda" if CUDA and backend != "plain" else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float64
    queries, keys, q_counts, k_counts = layouts_of(case)
    leaves = [rows(n, dtype).requires_grad_() for n in (sum(q_counts), sum(k_counts), sum(k_counts))]
    copies = [leaf.detach().to(device).requires_grad_() for leaf in leaves]
    places = {"q_layout": moved(queries, device), "kv_layout": moved(keys, device)}
    reason = BACKENDS[backend].lacks(AttentionCase.of(copies[0], *places.values(), 0.0))
    if reason:
        pytest.skip(f"{backend}: {reason}")
    ours = attention(*copies, **places, dropout=0.0, backend=backend)
    theirs = split_by_hand([leaf.double() for leaf in leaves], q_counts, k_counts)
    tolerance = {"rtol": 1e-7, "atol": 1e-9} if device == "cpu" else {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(ours.cpu().double(), theirs, **tolerance)
    cotangent = torch.randn_like(theirs)
    gradients = torch.autograd.grad(ours, copies, cotangent.to(ours))
    expected = torch.autograd.grad(theirs, leaves, cotangent)
    for mine, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine.cpu().double(), other.double(), **tolerance)


@settings(max_examples=30, deadline=None)
@given(counts_of_samples)
def test_packed_rows_see_their_own_sample_only(counts: list[int]) -> None:
    layout = packed(counts)
    leaves = [rows(sum(counts)) for _ in range(3)]
    ours = attention(*leaves, q_layout=layout, kv_layout=layout, dropout=0.0)
    torch.testing.assert_close(ours, split_by_hand(leaves, counts, counts))


@settings(max_examples=20, deadline=None)
@given(counts_of_samples, st.integers(0, 3))
def test_padded_queries_see_real_keys_only(counts: list[int], spare: int) -> None:
    length = max(counts) + spare
    q, k, v = (rows(len(counts) * length) for _ in range(3))
    queries = SequenceLayout.equal(len(counts), length)
    ours = attention(
        q, k, v, q_layout=queries, kv_layout=SequenceLayout.padded(torch.tensor(counts), length), dropout=0.0
    )
    samples = zip(q.split(length), k.split(length), v.split(length), counts, strict=True)
    torch.testing.assert_close(ours, torch.cat([by_hand(a, b[:n], c[:n]) for a, b, c, n in samples]))


@pytest.mark.parametrize("ragged", [False, True])
def test_bfloat16_on_a_cpu_is_near_float32(ragged: bool) -> None:
    layout = packed([4, 9, 2]) if ragged else SequenceLayout.equal(3, 5)
    leaves = [rows(15, torch.bfloat16).requires_grad_() for _ in range(3)]
    fine = [leaf.detach().float().requires_grad_() for leaf in leaves]
    ours, theirs = (attention(*x, q_layout=layout, kv_layout=layout, dropout=0.0) for x in (leaves, fine))
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), theirs, atol=0.03, rtol=0.03)
    for mine, other in zip(
        torch.autograd.grad(ours.sum(), leaves), torch.autograd.grad(theirs.sum(), fine), strict=True
    ):
        torch.testing.assert_close(mine.float(), other, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_follows_the_seed_and_keeps_the_mean(dtype: torch.dtype) -> None:
    layout = SequenceLayout.equal(1, 400)
    q, k, v = rows(400, dtype), rows(400, dtype), torch.ones(400, HEADS, WIDTH, dtype=dtype)

    def run() -> Tensor:
        torch.manual_seed(1)
        return attention(q, k, v, q_layout=layout, kv_layout=layout, dropout=0.3)

    assert torch.equal(run(), run())
    assert run().float().std() > 0.01
    assert run().float().mean().item() == pytest.approx(1.0, abs=0.02)


def test_the_backward_drops_what_the_forward_dropped() -> None:
    """``plain`` computes the weights again: against SDPA, which keeps them, with the same draws."""
    layout = packed([4, 9, 2])
    leaves = [rows(15, torch.float32).requires_grad_() for _ in range(3)]
    cotangent, found = rows(15, torch.float32), []
    for backend in ("plain", "sdpa"):
        torch.manual_seed(3)
        out = attention(*leaves, q_layout=layout, kv_layout=layout, dropout=0.4, backend=backend)
        torch.rand(7)  # the draws between forward and backward must not matter
        after = torch.get_rng_state()
        found.append([out, *torch.autograd.grad(out, leaves, cotangent)])
        assert torch.equal(after, torch.get_rng_state())
    torch.testing.assert_close(*found)


def test_nothing_of_the_size_of_the_weights_is_kept() -> None:
    layout = SequenceLayout.equal(2, 50)
    leaves = [rows(100, torch.bfloat16).requires_grad_() for _ in range(3)]
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        attention(*leaves, q_layout=layout, kv_layout=layout, dropout=0.1)
    assert sum(t.numel() for t in kept if t.is_floating_point()) == sum(leaf.numel() for leaf in leaves)


@given(counts_of_samples)
def test_positions_and_sequences(counts: list[int]) -> None:
    layout = packed([*counts, 0])
    assert layout.position.tolist() == [i for n in counts for i in range(n)]
    assert layout.sequence.tolist() == [b for b, n in enumerate(counts) for _ in range(n)]
    assert len(layout) == len(counts) + 1
    assert SequenceLayout.equal(2, 3).cumulative(torch.device("cpu")).tolist() == [0, 3, 6]


def test_gathered_rows_give_their_gradient_back() -> None:
    source, places = torch.randn(5, 3, requires_grad=True), torch.tensor([1, 2, 4])
    gather_rows(source, places).mul(torch.arange(1.0, 4)).sum().backward()
    assert source.grad.tolist() == [[0.0] * 3, [1, 2, 3], [1, 2, 3], [0.0] * 3, [1, 2, 3]]


def test_refuses_other_numbers_of_samples_and_backends_that_cannot() -> None:
    with pytest.raises(ValueError, match="2 sequences of queries, 1 of keys"):
        attention(rows(4), rows(4), rows(4), q_layout=packed([2, 2]), kv_layout=packed([4]), dropout=0.0)
    layout = packed([4])
    with pytest.raises(ValueError, match="attention backend torch-varlen: needs CUDA tensors"):
        attention(*[rows(4)] * 3, q_layout=layout, kv_layout=layout, dropout=0.0, backend="torch-varlen")


CPU = AttentionCase(False, torch.float32, "packed", 256, 256, 6, 128, False)


def test_the_choice_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(*CPU.key) == "sdpa"
    assert choose(False, torch.bfloat16, "equal", 50, 50, 12, 64, False) == "plain"
    assert choose(False, torch.bfloat16, "packed", 256, 256, 6, 128, True) == "plain"
    monkeypatch.setenv("ECAMP_ATTENTION", "plain")
    assert choose(*CPU.key) == "plain"
    monkeypatch.setenv("ECAMP_ATTENTION", "xformers")  # cannot be used here
    assert choose(*CPU.key) == "sdpa"


def test_the_choice_follows_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that can do the case; where nothing was measured, in the order of ``BACKENDS``. Compilers see a name."""
    can = Backend(lambda case: None, BACKENDS["sdpa"].run)
    cannot = Backend(lambda case: "broken", BACKENDS["sdpa"].run)
    table = {"sm_90": {"packed 256x256x128": ["flash-attn", "xformers", "sdpa"]}}
    backends = {"flash-attn": cannot, "torch-varlen": can, "xformers": can, "sdpa": can}
    for name, value in {"_chip": lambda: "sm_90", "measured": lambda: table, "BACKENDS": backends}.items():
        monkeypatch.setattr(module, name, value)
    case = AttentionCase(True, torch.bfloat16, "packed", 256, 256, 6, 128, False)
    assert case.shape in table["sm_90"] and choose(*case.key) == "xformers"
    assert describe_choice(case) == "xformers (measured on sm_90)"
    other = AttentionCase(True, torch.bfloat16, "equal", 50, 50, 12, 64, False)
    assert describe_choice(other) == "torch-varlen (not measured on sm_90)"
    compiled = torch.compile(lambda x: x + len(choose(*case.key)), fullgraph=True, backend="eager")
    assert compiled(torch.zeros(1)).item() == len("xformers")


@pytest.mark.parametrize("name", recipe_names())
def test_the_modules_state_what_they_ask_for(
    small: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In a training step with texts of a fixed capacity, in the order in which the parts of the model compute."""
    recipe = small(name, "model.text.dropout=0.1")
    asked: list[tuple] = []
    monkeypatch.setattr(module, "choose", lambda *key: (asked.append(key), choose(*key))[1])
    model = Ecamp(recipe, VOCABULARY).to(torch.bfloat16 if recipe.precision == "bf16" else torch.float32)
    model(synthetic_batch(recipe, VOCABULARY, [24, 9, 17], capacity=Capacity(80, 60)))
    assert list(dict.fromkeys(asked)) == [case.key for case in attention_cases(recipe, cuda=False).values()]


def test_a_recipe_asks_for_four_cases() -> None:
    shapes = {part: case.shape for part, case in attention_cases(load_recipe("paper"), cuda=False).items()}
    assert shapes == {
        "encoder": "equal 50x50x64",
        "decoder": "equal 197x197x32",
        "text": "packed 256x256x128 dropout",
        "fusion": "cross 256x49x128 dropout",
    }
    assert list(attention_cases(load_recipe("mae"), cuda=False)) == ["encoder", "decoder"]
    official = attention_cases(load_recipe("official"), cuda=False)
    assert official["text"].layout == "padded" and official["fusion"].layout == "equal"


def test_the_operator_of_variable_length_has_the_arguments_it_is_given() -> None:
    """It is not part of torch's public interface, so a new torch may change it."""
    schema = torch.ops.aten._flash_attention_forward.default._schema
    expected = "query key value cum_seq_q cum_seq_k max_q max_k dropout_p is_causal return_debug_mask"
    assert [argument.name for argument in schema.arguments][:10] == expected.split()


def test_cudnn_is_for_equal_sequences_and_never_chosen_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecamp_fast.model.attention_backends._ampere", lambda: True)
    monkeypatch.setattr("ecamp_fast.model.attention._chip", lambda: "sm_90")
    lacks = BACKENDS["cudnn"].lacks
    assert "CUDA" in lacks(CPU)
    equal = replace(CPU, cuda=True, dtype=torch.bfloat16, layout="equal", channels=64)
    assert lacks(equal) is None and "heads of 160" in lacks(replace(equal, channels=160))
    assert all("equal length" in lacks(replace(equal, layout=layout)) for layout in ("packed", "cross", "padded"))
    assert choose(*equal.key) != "cudnn"
    table = {"sm_90": {equal.shape: ["cudnn", "torch-varlen"]}}
    monkeypatch.setattr("ecamp_fast.model.attention.measured", lambda: table)
    assert choose(*equal.key) == "cudnn"


def test_cudnns_operator_takes_what_it_is_given() -> None:
    """Its signature is PyTorch's own and private: a version that changes it must show here, not on a GPU."""
    schema = torch.ops.aten._scaled_dot_product_cudnn_attention.default._schema
    names = [argument.name for argument in schema.arguments]
    assert names[:6] == ["query", "key", "value", "attn_bias", "compute_log_sumexp", "dropout_p"]
    assert schema.returns[0].name == "output"
