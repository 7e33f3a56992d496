"""Images of a split on the device, with labels, masks and boxes in one geometry, ahead of the model.

Legend: B samples, S pixels per side of the view, F classes, M masks.
"""

import io
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ecamp_fast.downstream.data.labels import Labels
from ecamp_fast.errors import DataError
from ecamp_fast.keyed_random import sample_keys
from ecamp_fast.machine import available_cores
from ecamp_fast.printable import items
from ecamp_fast.shards.format.manifest import IMAGE, MASKS, METADATA
from ecamp_fast.shards.format.metadata import read_metadata
from ecamp_fast.shards.load.crop import flips, random_boxes, whole_boxes
from ecamp_fast.shards.load.decode import IN_FLIGHT, JpegDecoder
from ecamp_fast.shards.load.order import global_samples
from ecamp_fast.shards.load.prefetch import prefetch
from ecamp_fast.shards.load.read import ShardSet

PREFETCH = 2  # batches
ASPECT = (3 / 4, 4 / 3)  # of random crops, width over height


@dataclass(frozen=True)
class TrainView:
    """Random crops and flips of training images, keyed by sample and epoch.

    area: share of the image, as torchvision's RandomResizedCrop has it   flip: probability
    """

    area: tuple[float, float] = (0.08, 1.0)
    flip: float = 0.5


@dataclass(frozen=True)
class TaskBatch:
    """Samples on the device.

    images      (B, 1, S, S) uint8: the centred square, or a random crop, resized
    labels      (B, F) float32: 1, 0, NaN unknown
    masks       (B, M, S, S) float32 in 0..1, each the share of the pixel that is covered; None where none are asked for
    boxes       per image (n, 4) float32: x1, y1, x2, y2 in pixels of S, clipped to the view; None as above
    box_labels  per image (n,) int64 into the names that were asked for
    samples     (B,) int64, numbers within the split
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    boxes: list[Tensor] | None
    box_labels: list[Tensor] | None
    samples: Tensor


@dataclass(frozen=True)
class _Stored:
    """A sample as it lies in its shard, and its views."""

    key: str
    jpeg: bytes
    height: int
    width: int
    planes: np.ndarray | None
    boxes: list[tuple[float, float, float, float, int]]


class TaskData:
    """Some samples of a split.

    labels  of the whole split (``read_labels``)
    rows    (n,) int64 sample numbers; None: all
    size    S
    masks   names of masks that are wanted; an image without any has empty ones
    boxes   names of findings whose boxes are wanted

    Raises DataError where the set knows no such mask.
    """

    def __init__(
        self,
        shards: ShardSet,
        split: str,
        labels: Labels,
        rows: np.ndarray | None = None,
        *,
        size: int,
        masks: Sequence[str] = (),
        boxes: Sequence[str] = (),
        device: torch.device | str = "cpu",
        seed: int = 42,
    ) -> None:
        self.shards, self.split, self.labels, self.size, self.seed = shards, split, labels, size, seed
        self.rows = np.arange(shards.count(split), dtype=np.int64) if rows is None else np.asarray(rows, np.int64)
        self.mask_names, self.box_names = list(masks), list(boxes)
        self.device = torch.device(device)
        known = shards.manifest.masks
        if absent := [name for name in masks if name not in known]:
            raise DataError(f"{shards.path} has no masks of {items(absent)}", f"it has {items(known) or 'none at all'}")
        self._planes = [known.index(name) for name in masks]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def patients(self) -> list[str]:
        """Of ``rows``."""
        return [self.labels.patients[row] for row in self.rows]

    @cached_property
    def values(self) -> np.ndarray:
        """(n, F) float32, labels of ``rows``."""
        return self.labels.values[self.rows]

    def steps_per_epoch(self, batch: int) -> int:
        """Of training, the last one reaching into the next epoch."""
        return max(1, -(-len(self.rows) // batch))

    def ordered(self, batch: int) -> Generator[TaskBatch, None, None]:
        """Every sample once, in order, in the centre view."""
        starts = range(0, len(self.rows), batch)
        places = (
            (np.zeros(len(part), np.int64), part) for part in (self.rows[start : start + batch] for start in starts)
        )
        return self._stream(places, batch, None)

    def training(self, batch: int, start: int, stop: int, view: TrainView | None) -> Generator[TaskBatch, None, None]:
        """The batches ``start`` to ``stop`` - 1 of endless epochs, each a keyed permutation.

        view: None: the centre view
        """

        def places() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for step in range(start, stop):
                positions = np.arange(step * batch, (step + 1) * batch)
                epochs, numbers = global_samples(len(self.rows), self.seed, positions)
                yield epochs, self.rows[numbers]

        return self._stream(places(), batch, view)

    def _stream(
        self, places: Iterator[tuple[np.ndarray, np.ndarray]], batch: int, view: TrainView | None
    ) -> Generator[TaskBatch, None, None]:
        yield from prefetch(self._produce(places, batch, view), PREFETCH)

    def _produce(
        self, places: Iterator[tuple[np.ndarray, np.ndarray]], batch: int, view: TrainView | None
    ) -> Generator[TaskBatch, None, None]:
        """Runs in a background thread."""
        threads = max(1, min(available_cores(), 16))
        with ThreadPoolExecutor(threads, thread_name_prefix="ecamp-fast-task") as pool:
            decoder = JpegDecoder(batch, self.size, self.device, threads, pool=pool)
            waiting: deque[tuple[np.ndarray, list[_Stored], np.ndarray, np.ndarray]] = deque()
            for epochs, samples in places:
                stored = list(pool.map(self._read, samples))
                views, flipped = self._views(epochs, samples, stored, view)
                decoder.submit([one.key for one in stored], [one.jpeg for one in stored], views, flipped)
                waiting.append((samples, stored, views, flipped))
                if len(decoder) == IN_FLIGHT:
                    yield self._batch(decoder.fetch(), *waiting.popleft())
            while waiting:
                yield self._batch(decoder.fetch(), *waiting.popleft())

    def _read(self, sample: int) -> _Stored:
        wanted = (IMAGE, METADATA, MASKS) if self._planes else (IMAGE, METADATA)
        found = self.shards.read(self.split, int(sample), wanted)
        about = read_metadata(found[METADATA], f"{self.shards.locate(found.shard)}: {found.key}")
        planes = None
        if MASKS in found:
            planes = np.asarray(Image.open(io.BytesIO(found[MASKS])))
        boxes = [
            (box["x"], box["y"], box["width"], box["height"], self.box_names.index(box["finding"]))
            for box in about.get("boxes", ())
            if box.get("finding") in self.box_names
        ]
        return _Stored(found.key, found[IMAGE], about["height"], about["width"], planes, boxes)

    def _views(
        self, epochs: np.ndarray, samples: np.ndarray, stored: list[_Stored], view: TrainView | None
    ) -> tuple[np.ndarray, np.ndarray]:
        heights, widths = (np.array([getattr(one, name) for one in stored], np.int64) for name in ("height", "width"))
        if view is None:
            return whole_boxes(heights, widths), np.zeros(len(stored), bool)
        keys = sample_keys(self.seed, epochs, samples)
        return random_boxes(heights, widths, keys, view.area, ASPECT), flips(keys, view.flip)

    def _batch(
        self, images: Tensor, samples: np.ndarray, stored: list[_Stored], views: np.ndarray, flipped: np.ndarray
    ) -> TaskBatch:
        device, masks, boxes, box_labels = self.device, None, None, None
        if self._planes:
            parts = [self._masks(*one) for one in zip(stored, views, flipped, strict=True)]
            masks = torch.stack(parts).to(device)
        if self.box_names:
            pairs = [self._boxes(*one) for one in zip(stored, views, flipped, strict=True)]
            boxes, box_labels = [one.to(device) for one, _ in pairs], [one.to(device) for _, one in pairs]
        labels = torch.from_numpy(self.labels.values[samples]).to(device)
        return TaskBatch(images, labels, masks, boxes, box_labels, torch.from_numpy(samples))

    def _masks(self, stored: _Stored, view: np.ndarray, flipped: bool) -> Tensor:
        """(M, S, S), area-resized, which keeps the share that a mask covers."""
        if stored.planes is None:
            return torch.zeros(len(self._planes), self.size, self.size)
        top, left, height, width = view.tolist()
        part = stored.planes[top : top + height, left : left + width]
        planes = np.stack([(part >> np.asarray(plane, part.dtype)) & 1 for plane in self._planes]).astype(np.float32)
        out = interpolate(torch.from_numpy(planes)[None], (self.size, self.size), mode="area")[0]
        return out.flip(-1) if flipped else out

    def _boxes(self, stored: _Stored, view: np.ndarray, flipped: bool) -> tuple[Tensor, Tensor]:
        """(n, 4) and (n,): what of each box lies inside the view."""
        found = torch.tensor(stored.boxes, dtype=torch.float64).view(-1, 5)
        top, left, height, width = view.tolist()
        scale = torch.tensor([self.size / width, self.size / height], dtype=torch.float64)
        corners = (found[:, :2] - torch.tensor([left, top])) * scale
        ends = corners + found[:, 2:4] * scale
        both = torch.cat([corners, ends], 1).clamp(0, self.size)
        if flipped:
            both = torch.stack([self.size - both[:, 2], both[:, 1], self.size - both[:, 0], both[:, 3]], 1)
        kept = (both[:, 2] > both[:, 0]) & (both[:, 3] > both[:, 1])
        return both[kept].float(), found[kept, 4].long()
