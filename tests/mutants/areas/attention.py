"""Attention over sequences that lie end to end, and which backend computes it."""

from typing import Any

from mutant import mutants


def attended() -> Any:
    """Outputs and gradients of both backends of a CPU, over packed, padded and absent keys."""
    import torch

    from ecamp_fast.model.attention import attention
    from ecamp_fast.model.sequences import SequenceLayout

    def packed(*cu_seqlens: int) -> SequenceLayout:
        return SequenceLayout.packed(torch.tensor(cu_seqlens), cu_seqlens[-1], 5)

    torch.manual_seed(0)
    layouts = [
        (SequenceLayout.equal(3, 3), SequenceLayout.equal(3, 3)),
        (packed(0, 2, 7, 9), packed(0, 2, 7, 9)),
        (packed(0, 4, 7, 9), packed(0, 4, 9, 9)),
        (SequenceLayout.equal(3, 3), SequenceLayout.padded(torch.tensor([2, 3, 1]), 3)),
    ]
    leaves = [torch.randn(9, 2, 4, requires_grad=True) for _ in range(3)]
    cotangent, out = torch.randn(9, 2, 4), [SequenceLayout.equal(2, 3).cumulative(torch.device("cpu")).tolist()]
    for queries, keys in layouts:
        for backend in ("sdpa", "plain"):
            for dropout in (0.0, 0.4):
                torch.manual_seed(1)
                rows = attention(*leaves, q_layout=queries, kv_layout=keys, dropout=dropout, backend=backend)
                torch.rand(3)
                tensors = (rows, *torch.autograd.grad(rows, leaves, cotangent))
                out.append([tensor.double().round(decimals=4).tolist() for tensor in tensors])
    return out


def choices() -> Any:
    """The backend of many cases, on a CPU and on a chip where some were measured; and what recipes ask for."""
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.model import attention, attention_backends
    from ecamp_fast.model.attention_backends import AttentionCase
    from ecamp_fast.model.ecamp import attention_cases
    from ecamp_fast.model.sequences import SequenceLayout

    attention._chip = lambda: "sm_90"
    attention_backends._ampere = lambda: True
    shapes = ("equal 50x50x64", "equal 50x50x160", "packed 50x50x64", "cross 9x4x64")
    attention.measured = lambda: {"sm_90": {shape: ["cudnn", "flash-attn", "sdpa"] for shape in shapes}}
    layouts: Any = ("equal", "packed", "cross", "padded")
    cases = [
        AttentionCase(cuda, dtype, layout, *rows, 6, channels, dropout)
        for cuda in (False, True)
        for dtype in (torch.float32, torch.bfloat16)
        for layout in layouts
        for rows in ((50, 50), (9, 4))
        for channels in (64, 160)
        for dropout in (False, True)
    ]
    found = [attention.choose(*case.key) for case in cases]
    described = [attention.describe_choice(case) for case in cases]
    asked = [str(attention_cases(load_recipe(name), cuda=True)) for name in ("paper", "official")]
    of = [SequenceLayout.packed(torch.tensor([0, 2, 5]), 5, most) for most in (3, 4)]
    cases = [AttentionCase.of(torch.zeros(5, 6, 8), of[0], keys, 0.1) for keys in of]
    return found, described, asked, str(cases), [AttentionCase.of(torch.zeros(5, 6, 8), of[0], of[0], 0.0).dropout]


TESTS = "tests/model/test_attention.py"
EVERY = f"{TESTS}::test_every_backend_is_attention"

MUTANTS = [
    *mutants(
        "ecamp_fast/model/attention_backends.py",
        f"{EVERY} {TESTS}::test_padded_queries_see_real_keys_only",
        attended,
        {
            "scores are scaled by all heads' channels": (
                "(q * q.shape[-1] ** -0.5)",
                "(q * (q.shape[-1] * q.shape[1]) ** -0.5)",
            ),
            "plain attention knows no mask": ("    mask = _mask(kv_layout)\n", "    mask = None\n"),
            "SDPA knows no mask": ("attn_mask=_mask(kv_layout)", "attn_mask=None"),
        },
    ),
    *mutants(
        "ecamp_fast/model/attention_backends.py",
        f"{TESTS}::test_the_backward_drops_what_the_forward_dropped",
        attended,
        {
            "the backward drops other weights than the forward": ("torch.set_rng_state(state)", "pass"),
            "plain attention drops nothing": ("drop(scores.softmax(-1), dropout)", "scores.softmax(-1)"),
            "scores are dropped, not weights": (
                "drop(scores.softmax(-1), dropout)",
                "drop(scores, dropout).softmax(-1)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/sequences.py",
        f"{EVERY} {TESTS}::test_padded_queries_see_real_keys_only {TESTS}::test_positions_and_sequences",
        attended,
        {
            "the first row of a sequence is of the one before": ("row, right=True)", "row, right=False)"),
            "a row of padding is taken for a real one": ("< counts[:, None]", "<= counts[:, None]"),
            "equal sequences begin as many rows apart as there are sequences": (
                "torch.arange(0, self.total + 1, self.max_seqlen,",
                "torch.arange(0, self.total + 1, self.sequences,",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/attention.py",
        f"{TESTS}::test_the_choice_on_a_cpu",
        choices,
        {
            "half precision on a CPU takes SDPA": (
                'order = ["plain", "sdpa"] if dtype',
                'order = ["sdpa", "plain"] if dtype',
            ),
            "single precision on a CPU takes plain products": ('else ["sdpa"]', 'else ["plain"]'),
        },
    ),
    *mutants(
        "ecamp_fast/model/attention.py",
        f"{TESTS}::test_the_choice_follows_what_was_measured",
        choices,
        {
            "what was measured comes last": (
                "[*measured().get(_chip(), {}).get(case.shape, ()), *BACKENDS]",
                "[*BACKENDS, *measured().get(_chip(), {}).get(case.shape, ())]",
            ),
            "the slowest comes first": (
                "[*measured().get(_chip(), {}).get(case.shape, ()), *BACKENDS]",
                "[*reversed(measured().get(_chip(), {}).get(case.shape, ())), *BACKENDS]",
            ),
            "a chip that was measured counts as measured for every case": (
                "known = name in measured().get(_chip(), {}).get(case.shape, ())",
                "known = bool(measured().get(_chip()))",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/attention.py",
        f"{TESTS}::test_a_recipe_asks_for_four_cases",
        choices,
        {
            "a head has all channels": ("sizes.width // sizes.heads, dropout", "sizes.width, dropout"),
            "training never drops": ("sizes.heads, dropout > 0)", "sizes.heads, dropout > 1)"),
        },
    ),
    *mutants(
        "ecamp_fast/model/attention_backends.py",
        f"{TESTS}::test_the_modules_state_what_they_ask_for"
        f" {TESTS}::test_cudnn_is_for_equal_sequences_and_never_chosen_unmeasured",
        choices,
        {
            "texts that look at texts are told as texts that look at pictures": (
                '"packed" if kv_layout.max_seqlen == q_layout.max_seqlen else "cross"',
                '"cross" if kv_layout.max_seqlen == q_layout.max_seqlen else "packed"',
            ),
            "cuDNN takes packed text": (
                'case.cuda and case.layout != "equal"',
                'case.cuda and case.layout == "padded"',
            ),
            "cuDNN takes heads of any size": ("case.channels > CUDNN_HEAD", "case.channels > LARGEST_HEAD"),
        },
    ),
]
