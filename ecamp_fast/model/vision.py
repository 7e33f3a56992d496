"""The image side: a ViT encoder over the kept patches, a narrow ViT decoder over all of them (paper 3.2, after MAE).

Legend: B samples, K kept patches, N patches, D width, P pixels per side of a patch, T rows (B times tokens).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from ecamp_fast.config import Recipe
from ecamp_fast.kernels.patch_gather import patch_gather
from ecamp_fast.kernels.unshuffle import unshuffle
from ecamp_fast.model.attention import attention, training_case
from ecamp_fast.model.attention_backends import AttentionCase
from ecamp_fast.model.positions import position_table
from ecamp_fast.model.sequences import SequenceLayout, gather_rows

CHANNELS = 3  # of the released weights; radiographs are grey
EPSILON = 1e-6


class Block(nn.Module):
    """Pre-norm transformer block without dropout."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, EPSILON)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, EPSILON)
        self.fc1 = nn.Linear(width, int(width * mlp_ratio))
        self.fc2 = nn.Linear(int(width * mlp_ratio), width)

    def forward(self, x: Tensor, layout: SequenceLayout, projected: Tensor | None = None) -> Tensor:
        """x: (T, D)   projected: (T, 3*D) by ``project_qkv``, None: to be computed   returns (T, D)."""
        projected = self.project_qkv(x) if projected is None else projected
        q, k, v = projected.unflatten(1, (3, self.heads, -1)).unbind(1)
        mixed = attention(q, k, v, q_layout=layout, kv_layout=layout, dropout=0.0)
        x = x + self.proj(mixed.flatten(1))
        return x + self.fc2(gelu(self.fc1(self.norm2(x))))

    def project_qkv(self, x: Tensor) -> Tensor:
        """Query, key and value of each row.  x: (..., D)   returns (..., 3*D)."""
        projected: Tensor = self.qkv(self.norm1(x))
        return projected


def _run_blocks(blocks: nn.ModuleList, x: Tensor, projected: Tensor | None = None) -> Tensor:
    """x: (B, tokens, D)   projected: (B, tokens, 3*D) for the first block, or None   returns the shape of x."""
    layout = SequenceLayout.equal(x.shape[0], x.shape[1])
    rows = x.flatten(0, 1)
    for block in blocks:
        rows = block(rows, layout, projected if projected is None else projected.flatten(0, 1))
        projected = None
    return rows.unflatten(0, x.shape[:2])


class PatchEmbedding(nn.Module):
    """The released convolution on grey pixels: equal channels, so its weights are summed over the channels first."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        like = nn.Conv2d(CHANNELS, width, patch, patch)  # for the default initialisation of its bias
        self.weight = nn.Parameter(like.weight.detach())
        self.bias = nn.Parameter(like.bias.detach())  # type: ignore[union-attr]

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: (B, K, P*P), one channel   returns (B, K, D)."""
        return linear(pixels, self.weight.sum(1).flatten(1), self.bias)


class Encoder(nn.Module):
    """Only kept patches are embedded and encoded, class token first, in the order of ``keep``."""

    positions: Tensor

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        vision = recipe.model.vision
        self.patch_size = vision.patch
        self.patch = PatchEmbedding(vision.width, vision.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, vision.width))
        self.register_buffer("positions", position_table(vision.width, recipe.grid, recipe.model.position_table))
        self.blocks = nn.ModuleList(Block(vision.width, vision.heads, vision.mlp_ratio) for _ in range(vision.depth))
        self.norm = nn.LayerNorm(vision.width, EPSILON)

    @staticmethod
    def attention_case(recipe: Recipe, cuda: bool) -> AttentionCase:
        """What its blocks ask of attention: the class token and the kept patches of each picture."""
        rows = 1 + recipe.kept_patches
        return training_case(recipe, cuda, recipe.model.vision, "equal", rows, rows)

    def forward(self, low: Tensor, keep: Tensor) -> Tensor:
        """low: (B, 1, H, W) floating, normalised   keep: (B, K) int64 patch numbers   returns (B, 1+K, D)."""
        pixels = patch_gather(low, keep, self.patch_size, dtype=self.patch.weight.dtype)
        positions = self.positions.to(pixels.dtype)  # an engine that makes the weights bfloat16 leaves buffers alone
        patches = self.patch(pixels) + positions[0, 1:][keep]
        first = (self.class_token + positions[:, :1]).expand(len(patches), -1, -1)
        return self.norm(_run_blocks(self.blocks, torch.cat([first, patches], dim=1)))


class ImageDecoder(nn.Module):
    """From the encoded patches to a prediction for every patch."""

    positions: Tensor

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        vision, decoder = recipe.model.vision, recipe.model.decoder
        self.embed = nn.Linear(vision.width, decoder.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder.width))
        self.register_buffer("positions", position_table(decoder.width, recipe.grid, recipe.model.position_table))
        self.blocks = nn.ModuleList(
            Block(decoder.width, decoder.heads, decoder.mlp_ratio) for _ in range(decoder.depth)
        )
        self.norm = nn.LayerNorm(decoder.width, EPSILON)
        self.predict = nn.Linear(decoder.width, vision.patch**2 * CHANNELS)
        self.share_projections = recipe.share_projections

    @staticmethod
    def attention_case(recipe: Recipe, cuda: bool) -> AttentionCase:
        """What its blocks ask of attention: the class token and all patches of each picture."""
        rows = 1 + recipe.patches
        return training_case(recipe, cuda, recipe.model.decoder, "equal", rows, rows)

    def forward(self, latent: Tensor, keep: Tensor) -> Tensor:
        """latent: (B, 1+K, D)   keep: (B, K) int64   returns (B, N, P*P*3): each patch by row, column, channel."""
        tokens = unshuffle(self.embed(latent), self.mask_token, self.positions, keep)
        projected = self._first_block_qkv(tokens, keep) if self.share_projections else None
        return self.predict(self.norm(_run_blocks(self.blocks, tokens, projected)[:, 1:]))

    def _first_block_qkv(self, tokens: Tensor, keep: Tensor) -> Tensor:
        """The first block's projections: masked patches enter it alike in every sample, so theirs are computed once.

        tokens: (B, 1+N, D)   returns (B, 1+N, 3*D).
        """
        first_block = self.blocks[0]
        assert isinstance(first_block, Block)
        project_qkv = first_block.project_qkv
        alike = project_qkv((self.mask_token + self.positions.to(self.mask_token.dtype))[0])
        first = torch.arange(0, tokens[..., 0].numel(), tokens.shape[1], device=keep.device)[:, None]
        places = (first + nn.functional.pad(keep + 1, (1, 0))).flatten()  # the class token is seen too
        seen = project_qkv(gather_rows(tokens.flatten(0, 1), places))
        laid: Tensor = _ScatterOver.apply(alike, seen, places, len(tokens))
        return laid.unflatten(0, tokens.shape[:2])


class _ScatterOver(torch.autograd.Function):
    """The same rows in every sample, and over them other rows at distinct places."""

    @staticmethod
    def forward(ctx: Any, alike: Tensor, seen: Tensor, places: Tensor, batch: int) -> Tensor:
        """alike: (N, D)   seen: (R, D)   places: (R,) int64, below batch * N   returns (batch * N, D)."""
        ctx.save_for_backward(places)
        ctx.batch = batch
        return alike.repeat(batch, 1).index_copy_(0, places, seen)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (places,) = ctx.saved_tensors
        alike = gradient.index_fill(0, places, 0.0).unflatten(0, (ctx.batch, -1)).sum(0)
        return alike, gradient.index_select(0, places), None, None


def unpatchify(prediction: Tensor, patch: int) -> Tensor:
    """Patches to pictures.  prediction: (B, N, P*P*C)   returns (B, C, H, W), channels-last in memory."""
    batch, count, _ = prediction.shape
    grid = int(count**0.5)
    cells = prediction.reshape(batch, grid, grid, patch, patch, -1).transpose(2, 3)
    return cells.reshape(batch, grid * patch, grid * patch, -1).permute(0, 3, 1, 2)
