"""The host's part of a micro-batch: read and check the bytes, choose the view, bring the map along, assemble the text.

Everything here is numpy and bytes; decoding the pictures comes after it.
"""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from ecamp_fast.config import Recipe
from ecamp_fast.errors import DataError
from ecamp_fast.keyed_random import sample_keys
from ecamp_fast.shards.format.manifest import ATTENTION, DISTILLED, IMAGE, REPORT, TOKENS
from ecamp_fast.shards.format.tokens import unpack_tokens
from ecamp_fast.shards.images.encode import read_pgm
from ecamp_fast.shards.load import crop
from ecamp_fast.shards.load.quarantine import Quarantine
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.packing.assemble import assemble

_HINT = "build the set again, or restore it from a copy"
_NO_TEXT = np.zeros(0, np.int32)  # of an image alone, which only recipes that read no text are given
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive


@dataclass(frozen=True, slots=True)
class Collated:
    """A micro-batch but for its pictures; the arrays of the second half are those of ``Batch``.

    names    (B,)        keys in the shard set
    jpegs    (B,)        file contents
    boxes    (B, 4)      int32: top, left, height, width of the view
    flipped  (B,)        bool
    statements  B texts whose sentences images are compared with; empty ones where they are not
    """

    names: list[str]
    jpegs: list[bytes]
    boxes: np.ndarray
    flipped: np.ndarray

    attention: np.ndarray
    window: np.ndarray
    codes: np.ndarray
    cu_seqlens: np.ndarray
    lengths: np.ndarray
    keys: np.ndarray
    samples: np.ndarray
    statements: list[str]


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is stored of one sample."""

    name: str
    jpeg: bytes
    height: int
    width: int
    attention: np.ndarray | None
    report: np.ndarray
    distilled: np.ndarray
    statements: str


class Collator:
    """Prepares micro-batches of one split.

    train: random crops and flips; otherwise the whole centre of the image   quarantine: for damaged samples; None: the
    first is an error
    """

    def __init__(
        self,
        shard_set: ShardSet,
        split: str,
        recipe: Recipe,
        *,
        train: bool,
        quarantine: Quarantine | None = None,
    ) -> None:
        self._set = shard_set
        self._quarantine = quarantine
        self._split = split
        self._recipe = recipe
        self._train = train
        self._stating = stating_member(recipe)
        self._members = (IMAGE, ATTENTION, TOKENS, *((self._stating,) if self._stating else ()))
        self.readers = max(recipe.loader.threads, shard_set.store.readers)  # threads that reading can use

    def __call__(self, pool: Executor, epochs: np.ndarray, samples: np.ndarray) -> Collated:
        """epochs, samples: (B,) int64   returns the batch.  Raises DataError that names the sample."""
        threads = min(self.readers, len(samples))
        parts = pool.map(self._read, np.array_split(epochs, threads), np.array_split(samples, threads))
        found, stored = zip(*(one for part in parts for one in part), strict=True)
        samples = np.array(found, np.int64)
        keys = sample_keys(self._recipe.seed, epochs, samples)
        heights = np.array([one.height for one in stored], np.int64)
        widths = np.array([one.width for one in stored], np.int64)
        boxes, flipped = self._view(keys, heights, widths)
        attention, window = self._guidance([one.attention for one in stored], boxes, flipped, heights, widths)
        codes, cu_seqlens, lengths = assemble(
            [one.report for one in stored],
            [one.distilled for one in stored],
            keys,
            self._recipe.text,
            padded=self._recipe.padded_text,
        )
        return Collated(
            names=[one.name for one in stored],
            jpegs=[one.jpeg for one in stored],
            boxes=boxes,
            flipped=flipped,
            attention=attention,
            window=window,
            codes=codes,
            cu_seqlens=cu_seqlens,
            lengths=lengths,
            keys=keys,
            samples=samples,
            statements=[one.statements for one in stored],
        )

    def _read(self, epochs: Iterable[int], samples: Iterable[int]) -> list[tuple[int, _Stored]]:
        return [self._read_or_replace(int(e), int(sample)) for e, sample in zip(epochs, samples, strict=True)]

    def _read_or_replace(self, epoch: int, wanted: int) -> tuple[int, _Stored]:
        """The sample, or what stands in where it is damaged; and its number."""
        sample, attempt = wanted, 0
        while True:
            try:
                return sample, _read_sample(self._set, self._split, sample, self._members, self._stating)
            except DataError as error:
                if self._quarantine is None:
                    raise
                sample = self._quarantine.replace(epoch, sample, attempt, error)
                attempt += 1

    def _view(self, keys: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self._train:
            return crop.whole_boxes(heights, widths), np.zeros(len(keys), bool)
        image = self._recipe.image
        boxes = crop.random_boxes(heights, widths, keys, image.crop_area, image.crop_aspect)
        return boxes, crop.flips(keys, image.flip)

    def _guidance(
        self,
        maps: list[np.ndarray | None],
        boxes: np.ndarray,
        flipped: np.ndarray,
        heights: np.ndarray,
        widths: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The attention over the view, and the window that ``sr.guidance`` asks for (else the middle one)."""
        count, sr, grid = len(maps), self._recipe.sr, self._recipe.grid
        if sr.maps == "centre":
            return np.repeat(crop.centre_map()[None], count, 0), crop.middle_windows(count, grid)
        attention = crop.sample_maps(maps, boxes, flipped, heights, widths)
        if sr.guidance == "window_aligned":
            return attention, crop.windows(attention, grid)
        if sr.guidance == "window_fixed":
            whole = np.stack((np.zeros(count), np.zeros(count), heights, widths), 1)
            seen = crop.sample_maps(maps, whole, np.zeros(count, bool), heights, widths)
            return attention, crop.windows(seen, grid)
        return attention, crop.middle_windows(count, grid)


def stating_member(recipe: Recipe) -> str | None:
    """The text whose sentences images are compared with; None where the recipe compares none."""
    if recipe.losses.gloria:
        return DISTILLED if recipe.gloria.text == "distilled" else REPORT
    return DISTILLED if recipe.losses.align else None


def _read_sample(shard_set: ShardSet, split: str, index: int, members: tuple[str, ...], stating: str | None) -> _Stored:
    sample = shard_set.read(split, index, members)
    try:
        height, width = jpeg_size(sample[IMAGE])
        stored = sample.get(ATTENTION)
        attention = None if stored is None else read_pgm(stored)
        text = sample.get(stating, b"").decode() if stating else ""
        report, distilled = unpack_tokens(sample[TOKENS]) if TOKENS in sample else (_NO_TEXT, _NO_TEXT)
    except ValueError as error:
        where = f"{shard_set.locate(sample.shard)}: sample {sample.key}"
        raise DataError(f"{where}: the checksums are right, the content is not: {error}", _HINT) from None
    return _Stored(sample.key, sample[IMAGE], height, width, attention, report, distilled, text)


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width by the frame header of a JPEG, which is faster to read than metadata.  Raises ValueError.

    A JPEG without its two ends is refused: a decoder that is asked for a crop would not read as far as it was cut.
    """
    if not (data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")):
        raise ValueError("no JPEG, or a truncated one")
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _FRAMES:
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("the JPEG has no frame header")
