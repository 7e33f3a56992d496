"""Attention over rows that lie end to end: one function for pictures, packed text and padded text, several backends.

Legend: Tq, Tk rows of the whole batch, H heads, C channels of a head.
"""

import json
import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ecamp_fast.config import DecoderConfig, Recipe, TextDecoderConfig, VisionConfig
from ecamp_fast.kernels.tuning import chip
from ecamp_fast.model import attention_backends as backends
from ecamp_fast.model.attention_backends import AttentionCase, Backend, Layout
from ecamp_fast.model.sequences import SequenceLayout

# In the order in which they are tried where nothing was measured
BACKENDS: dict[str, Backend] = {
    "flash-attn": backends.FLASH,
    "torch-varlen": backends.VARLEN,
    "xformers": backends.XFORMERS,
    "sdpa": backends.SDPA,
    "cudnn": backends.CUDNN,  # behind one that can do everything: only where it measured faster
    "plain": backends.PLAIN,
}
MEASURED = Path(__file__).with_name("attention.json")  # written by `ecamp-fast bench attention --tune`


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    q_layout: SequenceLayout,
    kv_layout: SequenceLayout,
    dropout: float,
    backend: str = "auto",
) -> Tensor:
    """softmax(q k^T / sqrt(C)) v within each sequence: every query sees all real keys of its own sequence.

    q          (Tq, H, C)
    k, v       (Tk, H, C)
    q_layout   which queries belong together
    kv_layout  which keys and values do: as many sequences
    dropout    probability, on the attention weights
    backend    one of ``BACKENDS``; auto: see ``choose``
    returns (Tq, H, C); zeros for a sequence without keys.  Raises ValueError for a backend that cannot do the case.
    """
    if len(q_layout) != len(kv_layout):
        raise ValueError(f"{len(q_layout)} sequences of queries, {len(kv_layout)} of keys")
    case = AttentionCase.of(q, q_layout, kv_layout, dropout)
    name = choose(*case.key) if backend == "auto" else backend
    if backend != "auto":
        reason = BACKENDS[name].lacks(case)
        if reason:
            raise ValueError(f"attention backend {name}: {reason}")
    return BACKENDS[name].run(q, k, v, q_layout, kv_layout, dropout)


@torch.compiler.assume_constant_result
def choose(
    cuda: bool, dtype: torch.dtype, layout: Layout, queries: int, keys: int, heads: int, channels: int, dropout: bool
) -> str:
    """The backend that measured fastest for an ``AttentionCase`` on this chip among those that can do it.

    ECAMP_ATTENTION names one that goes first. Where nothing was measured: the first of ``BACKENDS``; on a CPU ``plain``
    in bfloat16, where it is up to three times as fast and keeps less, and ``sdpa`` otherwise, which is up to twice as
    fast (EPYC, AVX512-BF16, torch 2.14: `ecamp-fast bench attention`).
    """
    case = AttentionCase(cuda, dtype, layout, queries, keys, heads, channels, dropout)
    if cuda:
        order = [*measured().get(_chip(), {}).get(case.shape, ()), *BACKENDS]
    else:
        order = ["plain", "sdpa"] if dtype == torch.bfloat16 else ["sdpa"]
    order = [name for name in (os.environ.get("ECAMP_ATTENTION"),) if name in BACKENDS] + order
    return next(name for name in order if BACKENDS[name].lacks(case) is None)


def training_case(
    recipe: Recipe,
    cuda: bool,
    sizes: VisionConfig | DecoderConfig | TextDecoderConfig,
    layout: Layout,
    queries: int,
    keys: int,
    dropout: float = 0.0,
) -> AttentionCase:
    """What a module of these sizes asks of attention when it is trained; each states its own (``attention_case``)."""
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    return AttentionCase(cuda, dtype, layout, queries, keys, sizes.heads, sizes.width // sizes.heads, dropout > 0)


def describe_choice(case: AttentionCase) -> str:
    """The backend for a case and why, as a run's log has it."""
    name = choose(*case.key)
    if not case.cuda:
        return name
    known = name in measured().get(_chip(), {}).get(case.shape, ())
    return f"{name} ({'measured' if known else 'not measured'} on {_chip()})"


@cache
def measured() -> dict[str, dict[str, list[str]]]:
    """Chip -> shape of a case -> backends, fastest first."""
    table: dict[str, dict[str, list[str]]] = json.loads(MEASURED.read_text())
    return table


@cache
def _chip() -> str:
    return chip(torch.device("cuda"))
