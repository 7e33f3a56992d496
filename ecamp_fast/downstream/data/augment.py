"""Turning and scaling an image together with its masks and boxes, a batch at once (SPEC 7.2).

The released code did so through albumentations, for SIIM to the image alone, its mask untouched (SPEC 2.4 row 25).
Here one matrix per sample moves all three. The pixels of a batch go through one grid, since torchvision takes one angle
a call: a call per image costs more than a frozen ViT-B of the same batch. What comes out is torchvision's ``affine``.

Legend: B images, M masks, S pixels a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms.v2 import functional as vision
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat

from ecamp_fast.keyed_random import Stream, sample_keys, uniform


@dataclass(frozen=True)
class Turns:
    """How each of B samples is turned and enlarged about its centre.

    angles  (B,) float64, degrees clockwise
    scales  (B,) float64
    """

    angles: np.ndarray
    scales: np.ndarray

    def pixels(self, planes: Tensor, mode: str) -> Tensor:
        """planes: (B, C, S, S) floating   mode: bilinear or nearest   returns the same shape; beyond the border 0."""
        radians = np.deg2rad(self.angles)
        cosine, sine = np.cos(radians) / self.scales, np.sin(radians) / self.scales
        zero = np.zeros_like(sine)
        inverse = np.stack([np.stack([cosine, sine, zero], 1), np.stack([-sine, cosine, zero], 1)], 1)
        matrix = torch.from_numpy(inverse).to(planes)
        grid = affine_grid(matrix, list(planes.shape), align_corners=False)
        return grid_sample(planes, grid, mode=mode, padding_mode="zeros", align_corners=False)

    def boxes(self, row: int, boxes: Tensor, size: int) -> Tensor:
        """Of sample ``row``: the upright boxes around the turned ones, clipped.  boxes: (n, 4) x1, y1, x2, y2."""
        held = BoundingBoxes(boxes, format=BoundingBoxFormat.XYXY, canvas_size=(size, size))  # type: ignore[call-overload]
        moved = vision.affine(held, float(self.angles[row]), [0, 0], float(self.scales[row]), [0.0, 0.0])
        return moved.as_subclass(Tensor)


def draw_turns(
    seed: int, epochs: ArrayLike, samples: np.ndarray, *, angle: float = 10.0, scale: float = 0.1, chance: float = 0.5
) -> Turns:
    """Of each sample in its epoch: with ``chance`` an angle and a scale, uniform in +-angle and 1 +- scale; else none.

    A function of (seed, epoch, sample) alone, so a resumed run turns as one that was never stopped.

    epochs: a number or (B,)   samples: (B,) integers
    """
    chosen, turn, grow = uniform(sample_keys(seed, epochs, samples), Stream.TURN, 3).astype(np.float64).T
    moves = chosen < chance
    return Turns(np.where(moves, (2 * turn - 1) * angle, 0.0), np.where(moves, 1 + (2 * grow - 1) * scale, 1.0))


def turn_images(images: Tensor, turns: Turns) -> Tensor:
    """Bilinear.  images: (B, 1, S, S) uint8   returns the same."""
    return turns.pixels(images.float(), "bilinear").round().to(torch.uint8)


def turn_masks(masks: Tensor, turns: Turns) -> Tensor:
    """The nearest pixel's value.  masks: (B, M, S, S) floating   returns the same."""
    return turns.pixels(masks, "nearest")


def turn_boxes(
    boxes: Sequence[Tensor], labels: Sequence[Tensor], turns: Turns, size: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Both without the boxes that left the image.  boxes: per image (n, 4) in pixels of S   labels: per image (n,)"""
    moved = [turns.boxes(row, one, size) for row, one in enumerate(boxes)]
    inside = [(one[:, 2] > one[:, 0]) & (one[:, 3] > one[:, 1]) for one in moved]
    return (
        [one[kept] for one, kept in zip(moved, inside, strict=True)],
        [one[kept] for one, kept in zip(labels, inside, strict=True)],
    )
