"""Visible tokens back to their places, a mask token in every other, plus the position table: the decoder's input.

    full[b, 0] = visible[b, 0] + positions[0]
    full[b, 1+n] = (visible[b, 1+k] if keep[b, k] == n for some k, else mask_token) + positions[1+n]

Moves (1+K)*D elements in and (1+N)*D out a sample, once each: the floor. The table, the mask token and keep stay in
cache; where a token comes from is found by comparing, so no inverse permutation is in memory.
The backward reads the gradient of the output once, writes d_visible, and sums d_mask_token per sample in float32.
Legend: B samples, K visible patches, N patches, D width.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecamp_fast.kernels.dispatch import Backend, accum_dtype, check_indices, choose
from ecamp_fast.kernels.tuning import launch, tuned

SLOTS = tl.constexpr(64)  # entries of keep compared at once: 49 of 196 patches are visible


def unshuffle_ref(visible: Tensor, mask_token: Tensor, positions: Tensor, keep: Tensor) -> Tensor:
    """The definition. Any dtype, any device."""
    batch, width = visible.shape[0], visible.shape[2]
    patches = positions.shape[1] - 1
    places = keep[..., None].expand(-1, -1, width)
    full = mask_token.expand(batch, patches, width).scatter(1, places, visible[:, 1:])
    return torch.cat([visible[:, :1], full], dim=1) + positions


@triton.jit
def _source(keep_ptr, token, kept, N: tl.constexpr):
    """Row of ``visible`` for each token, -1 for a masked one; beyond ``kept`` for all if keep has an invalid one."""
    row = tl.where(token == 0, 0, -1)
    for start in range(0, kept, SLOTS):
        slot = start + tl.arange(0, SLOTS)
        patch = tl.load(keep_ptr + slot, mask=slot < kept, other=-1)
        in_range = (patch >= 0) & (patch < N)
        number = tl.where(in_range, patch, -2).to(tl.int32)
        found = tl.where(number[None, :] + 1 == token[:, None], slot[None, :] + 1, -1)
        invalid = tl.where(in_range | (slot >= kept), -1, kept + 1)
        row = tl.maximum(tl.maximum(row, tl.max(found, axis=1)), tl.max(invalid, axis=0))
    return row


@triton.jit(do_not_specialize=["kept"])
def _fwd(
    visible_ptr, mask_token_ptr, positions_ptr, keep_ptr, out_ptr,  # data
    kept,  # K
    N: tl.constexpr, D: tl.constexpr,  # shapes
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,  # of the output, one program's
):  # fmt: skip
    sample = tl.program_id(0).to(tl.int64)  # fastest: programs that run together share rows of the table in L1
    token = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    live = (token <= N)[:, None] & (column < D)
    position = tl.load(positions_ptr + token[:, None] * D + column, mask=live, other=0.0).to(tl.float32)
    mask_token = tl.load(mask_token_ptr + column, mask=column < D, other=0.0).to(tl.float32)
    row = _source(keep_ptr + sample * kept, token, kept, N)[:, None]
    seen = (row >= 0) & (row <= kept)
    place = (sample * (kept + 1) + row) * D + column
    value = tl.load(visible_ptr + place, mask=live & seen, other=0.0).to(tl.float32)
    value = tl.where(seen, value, tl.where(row < 0, mask_token, float("nan")))
    tl.store(out_ptr + (sample * (N + 1) + token[:, None]) * D + column, value + position, mask=live)


@triton.jit(do_not_specialize=["kept"])
def _bwd(
    grad_out_ptr, keep_ptr, d_visible_ptr, d_mask_token_ptr,  # data
    kept,  # K
    N: tl.constexpr, D: tl.constexpr,  # shapes
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,  # a program takes COLUMNS of a sample, ROWS at a time
):  # fmt: skip
    sample = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    masked_sum = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, N + 1, ROWS):
        token = start + tl.arange(0, ROWS)
        live = (token <= N)[:, None] & (column < D)
        grad_out = tl.load(grad_out_ptr + (sample * (N + 1) + token[:, None]) * D + column, mask=live, other=0.0)
        row = _source(keep_ptr + sample * kept, token, kept, N)[:, None]
        invalid = row > kept
        grad_out = tl.where(invalid, float("nan"), grad_out)
        row = tl.where(invalid, token[:, None], row)
        seen = (row >= 0) & (row <= kept)
        tl.store(d_visible_ptr + (sample * (kept + 1) + row) * D + column, grad_out, mask=live & seen)
        masked_sum += tl.where((row < 0) | invalid, grad_out.to(tl.float32), 0.0)
    d_mask_token = tl.sum(masked_sum, axis=0)[None, :]
    tl.store(d_mask_token_ptr + sample * D + column, d_mask_token, mask=column < D)


def _forward(visible: Tensor, mask_token: Tensor, positions: Tensor, keep: Tensor) -> Tensor:
    visible, mask_token, positions, keep = (t.contiguous() for t in (visible, mask_token, positions, keep))
    out = _fake(visible, mask_token, positions, keep)
    (batch, tokens, width), kept = out.shape, keep.shape[1]
    constants = tuned("unshuffle", visible.device)
    grid = (batch, triton.cdiv(tokens, constants["ROWS"]), triton.cdiv(width, constants["COLUMNS"]))
    launch(_fwd, grid, visible, mask_token, positions, keep, out, kept, N=tokens - 1, D=width, **constants)
    return out


def _fake(visible: Tensor, mask_token: Tensor, positions: Tensor, keep: Tensor) -> Tensor:
    return visible.new_empty(visible.shape[0], positions.shape[1], visible.shape[2])


def _backward(grad_out: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """(d_visible (B, 1+K, D), d_mask_token (B, D) float32 of each sample)."""
    grad_out, keep = grad_out.contiguous(), keep.contiguous()
    d_visible, d_mask_token = _fake_backward(grad_out, keep)
    (batch, tokens, width), kept = grad_out.shape, keep.shape[1]
    constants = tuned("unshuffle_backward", grad_out.device)
    grid = (batch, triton.cdiv(width, constants["COLUMNS"]))
    launch(_bwd, grid, grad_out, keep, d_visible, d_mask_token, kept, N=tokens - 1, D=width, **constants)
    return d_visible, d_mask_token


def _fake_backward(grad_out: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, width = grad_out.shape
    return grad_out.new_empty(batch, keep.shape[1] + 1, width), grad_out.new_empty(batch, width, dtype=torch.float32)


_op = torch.library.custom_op("ecamp_fast::unshuffle", _forward, mutates_args=())
_op.register_fake(_fake)
_op_backward = torch.library.custom_op("ecamp_fast::unshuffle_backward", _backward, mutates_args=())
_op_backward.register_fake(_fake_backward)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, mask_token, positions, keep = inputs
    ctx.save_for_backward(keep)
    ctx.dtypes = mask_token.dtype, positions.dtype


def _gradients(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    (keep,) = ctx.saved_tensors
    of_mask_token, of_positions = ctx.dtypes
    d_visible = d_mask_token = d_positions = None
    if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
        d_visible, d_mask_token = _op_backward(grad_out, keep)
        d_mask_token = d_mask_token.sum(0).to(of_mask_token)[None, None]
    if ctx.needs_input_grad[2]:
        d_positions = grad_out.to(accum_dtype(grad_out)).sum(0, keepdim=True).to(of_positions)
    needed = zip((d_visible, d_mask_token, d_positions), ctx.needs_input_grad, strict=False)
    return *(grad if wanted else None for grad, wanted in needed), None


_op.register_autograd(_gradients, setup_context=_save)


def unshuffle(
    visible: Tensor, mask_token: Tensor, positions: Tensor, keep: Tensor, backend: Backend = "auto"
) -> Tensor:
    """The full sequence, class token first.

    visible: (B, 1+K, D), class token first   mask_token: (1, 1, D)   positions: (1, 1+N, D)
    keep: (B, K) int64, the patch number of each visible token, no number twice   returns (B, 1+N, D).
    """
    _check(visible, mask_token, positions, keep)
    runs = choose(backend, "unshuffle", visible=visible, mask_token=mask_token, positions=positions, keep=keep)
    if runs == "triton":
        full: Tensor = _op(visible, mask_token, positions, keep)
        return full
    return unshuffle_ref(visible, mask_token.to(visible.dtype), positions.to(visible.dtype), keep)


def _check(visible: Tensor, mask_token: Tensor, positions: Tensor, keep: Tensor) -> None:
    if visible.ndim != 3 or keep.ndim != 2 or len(visible) != len(keep):
        raise ValueError(
            f"unshuffle: visible {tuple(visible.shape)} and keep {tuple(keep.shape)}, must be (B, 1+K, D) and (B, K)"
        )
    if visible.shape[1] != keep.shape[1] + 1:
        raise ValueError(f"unshuffle: {visible.shape[1]} visible tokens for {keep.shape[1]} patches and a class token")
    width = visible.shape[2]
    if mask_token.shape != (1, 1, width):
        raise ValueError(f"unshuffle: mask_token is {tuple(mask_token.shape)}, must be (1, 1, {width})")
    if positions.ndim != 3 or positions.shape[0] != 1 or positions.shape[1] < 1 or positions.shape[2] != width:
        raise ValueError(f"unshuffle: positions is {tuple(positions.shape)}, must be (1, 1+N, {width})")
    for name, tensor in (("visible", visible), ("mask_token", mask_token), ("positions", positions)):
        if not tensor.is_floating_point():
            raise TypeError(f"unshuffle: {name} is {tensor.dtype}, must be floating")
    if keep.shape[1] >= positions.shape[1]:
        raise ValueError(f"unshuffle: keep has {keep.shape[1]} patches of {positions.shape[1] - 1} in positions")
    if keep.dtype != torch.int64 or not torch.compiler.is_compiling():
        check_indices("unshuffle", "keep", keep, positions.shape[1] - 1)
