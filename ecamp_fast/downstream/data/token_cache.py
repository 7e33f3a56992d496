"""Images with boxes, as whatever a detector is fitted to: the images, or the tokens of a trunk that stays as it is.

A frozen trunk gives an image the same tokens in every epoch where nothing is augmented, so they are computed once
(SPEC 9.21: that saves nine tenths of such a fit).

Legend: B samples, N = G * G tokens, D width, S pixels a side.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ecamp_fast.downstream.data.samples import TaskBatch, TaskData
from ecamp_fast.downstream.trunk import Trunk
from ecamp_fast.shards.load.order import global_samples

AT_ONCE = 128  # images


@dataclass(frozen=True)
class BoxBatch:
    """Samples on the device.

    inputs  (B, 1, S, S) uint8 images, or (B, N, D) floating tokens
    boxes   B of (n, 4) float32, x1, y1, x2, y2 in pixels of S
    labels  B of (n,) int64
    """

    inputs: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]


class BoxSource(Protocol):
    """Samples of a split, in order and in the order of training."""

    def ordered(self, batch: int) -> Iterator[BoxBatch]:
        """Each once."""

    def training(self, batch: int, start: int, stop: int) -> Iterator[BoxBatch]:
        """The batches ``start`` to ``stop`` - 1 of endless epochs, as ``TaskData.training``."""


class BoxImages:
    """Images as they are stored, for a trunk that is trained or whose tokens do not fit into memory."""

    def __init__(self, data: TaskData) -> None:
        self._data = data

    def ordered(self, batch: int) -> Iterator[BoxBatch]:
        """See ``BoxSource``."""
        return map(_with_boxes, self._data.ordered(batch))

    def training(self, batch: int, start: int, stop: int) -> Iterator[BoxBatch]:
        """See ``BoxSource``."""
        return map(_with_boxes, self._data.training(batch, start, stop, None))


class TokenCache:
    """Tokens of a split, held by the host.

    dtype: as they are kept; bfloat16 is what mixed precision makes of them anyway
    """

    def __init__(self, trunk: Trunk, data: TaskData, dtype: torch.dtype = torch.float32) -> None:
        self._data = data
        self._boxes: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._tokens = torch.empty(len(data), trunk.grid**2, trunk.width, dtype=dtype)
        start = 0
        with torch.no_grad():
            for part in BoxImages(data).ordered(AT_ONCE):
                self._tokens[start : start + len(part.boxes)] = trunk(part.inputs).to("cpu", dtype)
                self._boxes += part.boxes
                self._labels += part.labels
                start += len(part.boxes)

    @staticmethod
    def gib(trunk: Trunk, samples: int, dtype: torch.dtype) -> float:
        """Memory that so many samples take, GiB."""
        return samples * trunk.grid**2 * trunk.width * dtype.itemsize / 2**30

    def ordered(self, batch: int) -> Iterator[BoxBatch]:
        """See ``BoxSource``."""
        count = len(self._data)
        return (self._of(np.arange(start, min(start + batch, count))) for start in range(0, count, batch))

    def training(self, batch: int, start: int, stop: int) -> Iterator[BoxBatch]:
        """See ``BoxSource``; the order is that of ``TaskData.training``."""
        for step in range(start, stop):
            positions = np.arange(step * batch, (step + 1) * batch)
            yield self._of(global_samples(len(self._data), self._data.seed, positions)[1])

    def _of(self, numbers: np.ndarray) -> BoxBatch:
        tokens = self._tokens[torch.from_numpy(numbers)].to(self._data.device)
        chosen = numbers.tolist()
        return BoxBatch(tokens, [self._boxes[i] for i in chosen], [self._labels[i] for i in chosen])


def _with_boxes(batch: TaskBatch) -> BoxBatch:
    assert batch.boxes is not None and batch.box_labels is not None, "boxes were asked for"
    return BoxBatch(batch.images, batch.boxes, batch.box_labels)
