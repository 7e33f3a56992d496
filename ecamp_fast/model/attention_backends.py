"""The libraries that compute attention, each behind the same two functions: what it lacks for a case, and the run.

Legend: Tq, Tk rows of the whole batch, H heads, C channels of a head, N sequences, L rows of the longest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention

from ecamp_fast.model.sequences import SequenceLayout

AMPERE = (8, 0)  # lowest compute capability of flash attention
LARGEST_HEAD = 256  # channels that flash attention takes
CUDNN_HEAD = 128  # and cuDNN's, forward and backward

Layout = Literal["equal", "packed", "cross", "padded"]  # of queries and keys, see ``AttentionCase``


@dataclass(frozen=True, slots=True)
class AttentionCase:
    """What decides which backends can be used, and which is fastest.

    layout    ``equal`` sequences; ``packed`` queries and keys; ``cross``: packed queries, keys in equal sequences;
              ``padded`` keys
    queries   rows of the longest sequence
    keys      likewise
    heads     how many
    channels  of a head
    dropout   whether there is any
    """

    cuda: bool
    dtype: torch.dtype
    layout: Layout
    queries: int
    keys: int
    heads: int
    channels: int
    dropout: bool

    @staticmethod
    def of(q: Tensor, q_layout: SequenceLayout, kv_layout: SequenceLayout, dropout: float) -> "AttentionCase":
        layout: Layout = "equal"
        if kv_layout.counts is not None:
            layout = "padded"
        elif q_layout.cu_seqlens is not None:
            layout = "packed" if kv_layout.max_seqlen == q_layout.max_seqlen else "cross"
        max_seqlen = q_layout.max_seqlen, kv_layout.max_seqlen
        heads, channels = q.shape[1:]
        return AttentionCase(q.is_cuda, q.dtype, layout, *max_seqlen, heads, channels, dropout > 0)

    @property
    def key(self) -> tuple[bool, torch.dtype, Layout, int, int, int, int, bool]:
        """Its fields in order: plain values, which a compiler can take for constants."""
        return self.cuda, self.dtype, self.layout, self.queries, self.keys, self.heads, self.channels, self.dropout

    @property
    def shape(self) -> str:
        """Its name in the table of measurements."""
        return f"{self.layout} {self.queries}x{self.keys}x{self.channels}{' dropout' if self.dropout else ''}"


Run = Callable[[Tensor, Tensor, Tensor, SequenceLayout, SequenceLayout, float], Tensor]


@dataclass(frozen=True, slots=True)
class Backend:
    """lacks: why it cannot do a case, None where it can   run: see ``attention.attention``"""

    lacks: Callable[[AttentionCase], str | None]
    run: Run


@cache
def unusable(package: str, module: str) -> str | None:
    """Why a library cannot be used here: it is not there, or was built against another PyTorch; None where it can."""
    if find_spec(package) is None:
        return "not installed"
    try:
        import_module(module)
    except Exception as error:
        return f"does not load: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return None


def _flash_lacks(case: AttentionCase) -> str | None:
    """The limits that all implementations of flash attention share."""
    if not case.cuda:
        return "needs CUDA tensors"
    if not _ampere():
        return "needs a GPU from Ampere (8.0) on"
    if case.dtype not in (torch.bfloat16, torch.float16):
        return f"takes no {case.dtype}"
    if case.channels > LARGEST_HEAD or case.channels % 8:
        return f"takes no heads of {case.channels} channels"
    if case.layout == "padded":
        return "has no mask for padded keys"
    return None


@cache
def _ampere() -> bool:
    return torch.cuda.get_device_capability() >= AMPERE


def _flash_attn_lacks(case: AttentionCase) -> str | None:
    return unusable("flash_attn", "flash_attn") or _flash_lacks(case)


def _run_flash_attn(
    q: Tensor, k: Tensor, v: Tensor, q_layout: SequenceLayout, kv_layout: SequenceLayout, dropout: float
) -> Tensor:
    from flash_attn import flash_attn_func, flash_attn_varlen_func

    if q_layout.full and kv_layout.full:
        dense = [layout.pad(rows) for layout, rows in ((q_layout, q), (kv_layout, k), (kv_layout, v))]
        return q_layout.unpad(flash_attn_func(*dense, dropout_p=dropout))
    places = q_layout.cumulative(q.device), kv_layout.cumulative(q.device)
    out: Tensor = flash_attn_varlen_func(q, k, v, *places, q_layout.max_seqlen, kv_layout.max_seqlen, dropout_p=dropout)
    return out


def _run_varlen(
    q: Tensor, k: Tensor, v: Tensor, q_layout: SequenceLayout, kv_layout: SequenceLayout, dropout: float
) -> Tensor:
    """PyTorch's flash attention of variable length by the operator below ``varlen_attn``, as xformers calls it.

    ``varlen_attn`` itself knows no dropout, and on Hopper it may go to cuDNN, whose versions before 9.25 give NaN for a
    sequence without keys: filler has none.
    """
    places = q_layout.cumulative(q.device), kv_layout.cumulative(q.device)
    max_seqlen = q_layout.max_seqlen, kv_layout.max_seqlen
    out: Tensor = torch.ops.aten._flash_attention_forward(q, k, v, *places, *max_seqlen, dropout, False, False)[0]
    return out


def _xformers_lacks(case: AttentionCase) -> str | None:
    return unusable("xformers", "xformers.ops") or _flash_lacks(case)


def _run_xformers(
    q: Tensor, k: Tensor, v: Tensor, q_layout: SequenceLayout, kv_layout: SequenceLayout, dropout: float
) -> Tensor:
    from xformers.ops import fmha

    if q_layout.full and kv_layout.full:
        dense = [layout.pad(rows) for layout, rows in ((q_layout, q), (kv_layout, k), (kv_layout, v))]
        return q_layout.unpad(fmha.memory_efficient_attention(*dense, p=dropout))
    blocks = fmha.attn_bias.BlockDiagonalMask(_seqlen_info(q_layout, q.device), _seqlen_info(kv_layout, q.device))
    out: Tensor = fmha.memory_efficient_attention(q[None], k[None], v[None], attn_bias=blocks, p=dropout)[0]
    return out


def _seqlen_info(layout: SequenceLayout, device: torch.device) -> Any:
    """What ``BlockDiagonalMask.from_seqlens`` would make of lengths that the host knows; ours are on the device."""
    from xformers.ops.fmha.attn_bias import _SeqLenInfo

    ends = [0] * layout.sequences + [layout.total]  # only the last is looked at
    return _SeqLenInfo(layout.cumulative(device), layout.max_seqlen, 0, ends)


def _cudnn_lacks(case: AttentionCase) -> str | None:
    if case.cuda and case.layout != "equal":
        return "is for sequences of equal length"
    if case.cuda and case.channels > CUDNN_HEAD:
        return f"takes no heads of {case.channels} channels"
    return _flash_lacks(case)


def _run_cudnn(
    q: Tensor, k: Tensor, v: Tensor, q_layout: SequenceLayout, kv_layout: SequenceLayout, dropout: float
) -> Tensor:
    """cuDNN's fused attention by PyTorch's own operator: no context manager, which a compiled block would not keep."""
    q, k, v = (rows.transpose(1, 2) for rows in (q_layout.pad(q), kv_layout.pad(k), kv_layout.pad(v)))
    out: Tensor = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, dropout)[0]
    return q_layout.unpad(out.transpose(1, 2))


def _run_sdpa(
    q: Tensor, k: Tensor, v: Tensor, q_layout: SequenceLayout, kv_layout: SequenceLayout, dropout: float
) -> Tensor:
    q, k, v = (rows.transpose(1, 2) for rows in (q_layout.pad(q), kv_layout.pad(k), kv_layout.pad(v)))
    out = scaled_dot_product_attention(q, k, v, attn_mask=_mask(kv_layout), dropout_p=dropout)
    return q_layout.unpad(out.transpose(1, 2))


def _mask(keys: SequenceLayout) -> Tensor | None:
    """(N, 1, 1, L) bool: real keys. A sequence without any sees its padding: zeros, and so its answer is."""
    valid = keys.valid()
    return None if valid is None else (valid | ~valid.any(1, keepdim=True))[:, None, None, :]


def _run_plain(
    q: Tensor, k: Tensor, v: Tensor, q_layout: SequenceLayout, kv_layout: SequenceLayout, dropout: float
) -> Tensor:
    if torch.compiler.is_compiling():  # which decides itself what to keep
        return _plain(q, k, v, q_layout, kv_layout, dropout)
    out: Tensor = _Recomputed.apply(q, k, v, q_layout, kv_layout, dropout)
    return out


class _Recomputed(torch.autograd.Function):
    """Attention by its definition; the backward computes the weights again instead of keeping them, dropout alike."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, q_layout: SequenceLayout, kv_layout: SequenceLayout, dropout: float
    ) -> Tensor:
        ctx.layouts = q_layout, kv_layout
        ctx.dropout = dropout
        state = torch.get_rng_state() if dropout else torch.empty(0)
        ctx.save_for_backward(q, k, v, state)
        return _plain(q, k, v, q_layout, kv_layout, dropout)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *leaves, state = ctx.saved_tensors
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        with torch.enable_grad(), torch.random.fork_rng(devices=[], enabled=ctx.dropout > 0):
            if ctx.dropout:
                torch.set_rng_state(state)
            q, k, v = leaves
            q_layout, kv_layout = ctx.layouts
            out = _plain(q, k, v, q_layout, kv_layout, ctx.dropout)
        return *torch.autograd.grad(out, leaves, gradient), None, None, None


def _plain(
    q: Tensor, k: Tensor, v: Tensor, q_layout: SequenceLayout, kv_layout: SequenceLayout, dropout: float
) -> Tensor:
    q, k, v = (rows.transpose(1, 2) for rows in (q_layout.pad(q), kv_layout.pad(k), kv_layout.pad(v)))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    mask = _mask(kv_layout)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return q_layout.unpad((drop(scores.softmax(-1), dropout) @ v).transpose(1, 2))


FLASH = Backend(_flash_attn_lacks, _run_flash_attn)
VARLEN = Backend(_flash_lacks, _run_varlen)
XFORMERS = Backend(_xformers_lacks, _run_xformers)
CUDNN = Backend(_cudnn_lacks, _run_cudnn)
SDPA = Backend(lambda case: None, _run_sdpa)
PLAIN = Backend(lambda case: "is for CPUs" if case.cuda else None, _run_plain)
