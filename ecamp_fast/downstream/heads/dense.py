"""Heads that turn patch tokens into one logit per pixel: the paper's, a linear one, and a small convolutional one.

Legend: B images, G patches a side, D width of the tokens, S pixels a side, M masks.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ecamp_fast.downstream.heads.dpt import DPT
from ecamp_fast.downstream.trunk import as_map

HeadName = Literal["setr", "linear", "convolutional", "dpt"]
HEADS: tuple[HeadName, ...] = get_args(HeadName)
WIDEST = 512  # channels of SETR's first stage, for tokens of 768
CHANNELS = 64  # of the convolutional head


class SETR(nn.Module):
    """The head of MGCA, which the paper takes (SPEC 7.2): 5.68 M weights for tokens of 768 and patches of 16.

    A linear layer on the tokens; stages of 3 x 3 convolution, batch norm, ReLU and doubling (bilinear, corners
    aligned); a 3 x 3 convolution to one logit. There are as many stages as it takes to come to S from G; the first has
    2/3 of D channels, a multiple of 8 and at most 512, each later one half as many.
    """

    def __init__(self, width: int, grid: int, size: int) -> None:
        super().__init__()
        self.grid = grid
        self.embed = nn.Linear(width, width)
        self.sides = _doublings(grid, size)
        channels, first = width, min(WIDEST, max(8, round(width / 12) * 8))
        stages = []
        for number in range(len(self.sides)):
            wanted = max(first >> number, 1)
            stages.append(_convolution(channels, wanted))
            channels = wanted
        self.stages = nn.ModuleList(stages)
        self.predict = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, G*G, D)   returns logits (B, 1, S, S)."""
        x = as_map(self.embed(tokens), self.grid)
        for stage, side in zip(self.stages, self.sides, strict=True):
            x = interpolate(stage(x), (side, side), mode="bilinear", align_corners=True)
        logits: Tensor = self.predict(x)
        return logits


class Linear(nn.Module):
    """One logit per patch from its token alone, interpolated: it measures the tokens, not a decoder.

    The tokens come before any norm, so each of their D numbers is standardised first, by a batch norm without weights.
    """

    def __init__(self, width: int, grid: int, size: int) -> None:
        super().__init__()
        self.grid, self.size = grid, size
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.predict = nn.Conv2d(width, 1, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, G*G, D)   returns logits (B, 1, S, S)."""
        return _enlarge(self.predict(self.norm(as_map(tokens, self.grid))), self.size)


class Convolutional(nn.Module):
    """Two 3 x 3 convolutions of 64 channels on the grid, then as ``Linear``: a patch sees the two around it."""

    def __init__(self, width: int, grid: int, size: int) -> None:
        super().__init__()
        self.grid, self.size = grid, size
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.mix = nn.Sequential(_convolution(width, CHANNELS), _convolution(CHANNELS, CHANNELS))
        self.predict = nn.Conv2d(CHANNELS, 1, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, G*G, D)   returns logits (B, 1, S, S)."""
        return _enlarge(self.predict(self.mix(self.norm(as_map(tokens, self.grid)))), self.size)


class Heads(nn.Module):
    """One head for each mask, each with weights of its own, as the paper has disc and cup on one trunk.

    levels: blocks whose tokens are given side by side; more than one to ``dpt`` alone
    """

    def __init__(self, name: HeadName, masks: int, width: int, grid: int, size: int, levels: int = 1) -> None:
        """Raises EnvironmentFault for ``dpt`` where its library is not installed."""
        super().__init__()
        self.heads = nn.ModuleList(
            DPT(width, grid, size, levels) if name == "dpt" else _KINDS[name](width, grid, size) for _ in range(masks)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, G*G, levels * D)   returns logits (B, M, S, S) float32."""
        return torch.cat([head(tokens) for head in self.heads], 1).float()


_KINDS: dict[HeadName, Callable[[int, int, int], nn.Module]] = {
    "setr": SETR,
    "linear": Linear,
    "convolutional": Convolutional,
}


def _convolution(channels: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, wanted, 3, padding=1), nn.BatchNorm2d(wanted), nn.ReLU())


def _doublings(grid: int, size: int) -> list[int]:
    """Sides of the map after each stage, twice the one before; the last is ``size``."""
    sides = []
    while grid < size:
        grid = min(2 * grid, size)
        sides.append(grid)
    return sides


def _enlarge(logits: Tensor, size: int) -> Tensor:
    """(B, 1, G, G) to (B, 1, S, S), a patch's logit at its centre."""
    return interpolate(logits, (size, size), mode="bilinear", align_corners=False)
