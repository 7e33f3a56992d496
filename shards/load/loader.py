"""Micro-batches on the device, in an order, with crops and masks that depend on nothing but the seed and the position.

A background thread reads and prepares batch n + 1 while DALI decodes batch n and the model computes on one before it.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ecamp_fast.batch import Batch, Text
from ecamp_fast.config import Recipe
from ecamp_fast.errors import DataError
from ecamp_fast.shards.load.batching import MicroBatches
from ecamp_fast.shards.load.capacity import measure_capacity
from ecamp_fast.shards.load.collate import Collated, Collator
from ecamp_fast.shards.load.decode import IN_FLIGHT, JpegDecoder
from ecamp_fast.shards.load.prefetch import prefetch
from ecamp_fast.shards.load.quarantine import Note, Quarantine
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.storage.presence import TRAINING
from ecamp_fast.text.packing.layout import Capacity, masked_batch

ARRAYS = ("attention", "window", "lengths", "keys", "samples")  # of a collated batch, as ``Batch`` has them

Places = tuple[np.ndarray, np.ndarray]  # epochs, samples: (B,) int64


class Loader:
    """Batches of one split for one rank.

    train: random crops and flips, endless epochs (``batches``); otherwise the centre view (``evaluation``)
    note: receives a record of every damaged training sample, see ``Quarantine``.
    Raises ConfigError where the recipe's batch does not divide among the ranks, DataError where there is no such split,
    or images without text in it for a recipe that learns from text.
    """

    def __init__(
        self,
        shard_set: ShardSet,
        split: str,
        recipe: Recipe,
        *,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        train: bool = True,
        note: Note = lambda record: None,
    ) -> None:
        self.count = shard_set.count(split)
        require_text(shard_set, recipe, (split,))
        self.device = torch.device(device)
        if self.device.type == "cuda" and self.device.index is None:
            self.device = torch.device("cuda", torch.cuda.current_device())  # another thread has another current device
        self._recipe = recipe
        self._rank, self._world = rank, world
        lost = shard_set.lost.tolist() if split == TRAINING else []
        self.quarantine = Quarantine(self.count, recipe.loader.quarantine, recipe.seed, note, lost) if train else None
        self._collate = Collator(shard_set, split, recipe, train=train, quarantine=self.quarantine)
        self._micro_batches = MicroBatches(shard_set, split, recipe)
        packed = recipe.losses.mlm and not recipe.padded_text
        fixed = train and packed and recipe.fixed_text(self.device.type == "cuda")
        self.capacity = measure_capacity(shard_set, split, recipe) if fixed else None
        if train:
            recipe.accumulation(world)  # raises now what would be found at the first step

    def batches(self, start_step: int, stop_step: int) -> Generator[Batch, None, None]:
        """This rank's micro-batches of the optimizer steps ``start_step`` to ``stop_step`` - 1.

        ``Recipe.accumulation`` batches a step, each of ``batch.micro`` samples. Raises DataError on damaged data.
        Closing the iterator, or dropping it, stops its threads.
        """
        return self._stream(self._training_places(start_step, stop_step))

    def evaluation(self, samples: int | None = None) -> Generator[Batch, None, None]:
        """The first ``samples`` of the split (None: all), each once and in order, with the keys of epoch 0.

        The last batch may be smaller. Each rank gets its share of the batches.
        """
        places = self._evaluation_places(self.count if samples is None else min(samples, self.count))
        return self._stream(islice(places, self._rank, None, self._world))

    def _training_places(self, start_step: int, stop_step: int) -> Iterator[Places]:
        for step in range(start_step, stop_step):
            epochs, samples = self._micro_batches(step)
            yield from zip(epochs[self._rank :: self._world], samples[self._rank :: self._world], strict=True)

    def _evaluation_places(self, count: int) -> Iterator[Places]:
        micro = self._recipe.micro
        for start in range(0, count, micro):
            samples = np.arange(start, min(start + micro, count), dtype=np.int64)
            yield np.zeros_like(samples), samples

    def _stream(self, places: Iterable[Places]) -> Generator[Batch, None, None]:
        for batch in prefetch(self._produce(places), self._recipe.loader.prefetch):
            if self.device.type == "cuda":
                _belongs_to_current_stream(batch)
            yield batch

    def _produce(self, places: Iterable[Places]) -> Generator[Batch, None, None]:
        """Runs in the background thread."""
        recipe, threads = self._recipe, self._recipe.loader.threads
        waiting: deque[Collated] = deque()
        with ThreadPoolExecutor(self._collate.readers, thread_name_prefix="ecamp-fast-read") as pool:
            decoder = JpegDecoder(
                recipe.micro,
                recipe.image.high_size,
                self.device,
                threads,
                region=recipe.loader.region,
                hardware=recipe.loader.hardware,
                pool=pool,
            )
            for epochs, samples in places:
                collated = self._collate(pool, epochs, samples)
                decoder.submit(collated.names, collated.jpegs, collated.boxes, collated.flipped)
                waiting.append(collated)
                if len(decoder) == IN_FLIGHT:
                    yield self._batch(waiting.popleft(), decoder)
            while waiting:
                yield self._batch(waiting.popleft(), decoder)

    def _batch(self, collated: Collated, decoder: JpegDecoder) -> Batch:
        """Everything on the device."""
        text = _text(collated, self._recipe, self.capacity)
        device = decoder.device
        with decoder.context():
            arrays = {name: _on(getattr(collated, name), device) for name in ARRAYS}
            text = text.to(device) if text else None
            image = decoder.fetch()  # after the copies, since it waits for them too
        return Batch(image=image, text=text, **arrays)


def _text(collated: Collated, recipe: Recipe, capacity: Capacity | None) -> Text | None:
    """Masks are drawn here, on the host: then every count is known where shapes are made."""
    if not recipe.losses.mlm:
        return None
    arrays = collated.codes, collated.cu_seqlens, collated.lengths, collated.keys
    codes, cu_seqlens, lengths, keys = (torch.from_numpy(array) for array in arrays)
    return masked_batch(codes, cu_seqlens, lengths, keys, recipe, capacity)


def require_text(shard_set: ShardSet, recipe: Recipe, splits: Iterable[str]) -> None:
    """Raises DataError where one of ``splits`` has images without text and the recipe learns from text.

    By the manifest alone. Without ``losses.mlm`` the model has no part that reads text.
    """
    for split in splits if recipe.losses.mlm else ():
        alone = shard_set.manifest.without_text(split)
        if not alone:
            continue
        raise DataError(
            f"{shard_set.path}: {alone:,} of {shard_set.count(split):,} samples of split '{split}' have no text, which "
            "losses.mlm learns from",
            "build the set without --empty-reports keep, or train on images alone: --set losses.mlm=false",
        )


def _on(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _belongs_to_current_stream(batch: Batch) -> None:
    """The memory was allocated on the loader's stream and must not return there before the model has used it."""
    current = torch.cuda.current_stream(batch.image.device)
    for tensor in [*batch.tensors().values(), *(batch.text.tensors().values() if batch.text else ())]:
        tensor.record_stream(current)
