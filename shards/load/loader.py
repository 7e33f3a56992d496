"""Micro-batches on the device, in an order, with crops and masks that depend on nothing but the seed and the position.

A background thread reads and prepares batch n + 1 while DALI decodes batch n and the model computes on one before it.
"""

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ecamp_fast.batch import Batch, Sentences, Text
from ecamp_fast.config import Recipe
from ecamp_fast.errors import DataError, StorageError
from ecamp_fast.fault_points import reach
from ecamp_fast.shards.load.batching import MicroBatches
from ecamp_fast.shards.load.capacity import measure_capacity, measure_sentences
from ecamp_fast.shards.load.captions import Captions
from ecamp_fast.shards.load.collate import Collated, Collator
from ecamp_fast.shards.load.decode import IN_FLIGHT, JpegDecoder
from ecamp_fast.shards.load.prefetch import prefetch
from ecamp_fast.shards.load.quarantine import Note, Quarantine
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.storage.presence import TRAINING
from ecamp_fast.text.packing.layout import Capacity, masked_batch
from ecamp_fast.text.packing.single_sentences import SentenceEncoder, lay_out_sentences
from ecamp_fast.text.statements import read_statements
from ecamp_fast.text.wordpiece import load_wordpiece

ARRAYS = ("attention", "window", "lengths", "keys", "samples")  # of a collated batch, as ``Batch`` has them

LISTED = 8  # samples named in a message

Places = tuple[np.ndarray, np.ndarray]  # epochs, samples: (B,) int64


class Loader:
    """Batches of one split for one rank.

    train: random crops and flips, endless epochs (``batches``); otherwise the centre view (``evaluation``)
    note: receives a record of every damaged training sample, see ``Quarantine``.
    patience: seconds to wait for a batch, from the second on, before it is a StorageError; None: for ever
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
        patience: float | None = None,
    ) -> None:
        self.count = shard_set.count(split)
        require_text(shard_set, recipe, (split,))
        self.device = torch.device(device)
        if self.device.type == "cuda" and self.device.index is None:
            self.device = torch.device("cuda", torch.cuda.current_device())  # another thread has another current device
        self._recipe = recipe
        self._rank, self._world = rank, world
        self._set, self._split, self._patience = shard_set, split, patience
        self._reading = np.zeros(0, np.int64)  # samples that the background thread is at
        lost = shard_set.lost.tolist() if split == TRAINING else []
        self.quarantine: Quarantine | None = None
        if train:
            share, visits = recipe.loader.quarantine, shard_set.visits(split)
            self.quarantine = Quarantine(self.count, share, recipe.seed, note, lost, visits)
        self._collate = Collator(shard_set, split, recipe, train=train, quarantine=self.quarantine)
        self._micro_batches = MicroBatches(shard_set, split, recipe)
        packed = recipe.losses.mlm and not recipe.padded_text
        fixed = train and packed and recipe.fixed_text(self.device.type == "cuda")
        self.capacity = measure_capacity(shard_set, split, recipe) if fixed else None
        self._encode = self.sentence_capacity = None
        if recipe.losses.align:
            self._encode = SentenceEncoder(load_wordpiece(shard_set.wordpiece_path), recipe.text.max_tokens)
            if train and recipe.fixed_text(self.device.type == "cuda"):
                self.sentence_capacity = measure_sentences(shard_set, split, recipe, self._encode)
        self._captions = Captions(shard_set, recipe) if recipe.losses.gloria else None
        if train:
            recipe.accumulation(world)  # raises now what would be found at the first step

    def batches(self, start_step: int, stop_step: int) -> Generator[Batch, None, None]:
        """This rank's micro-batches of the optimizer steps ``start_step`` to ``stop_step`` - 1.

        ``Recipe.accumulation`` batches a step, each of ``batch.micro`` samples. Raises DataError on damaged data,
        StorageError where the background thread stalls. Closing the iterator, or dropping it, stops its threads.
        """
        return self._stream(self._training_places(start_step, stop_step))

    def evaluation(self, samples: int | None = None) -> Generator[Batch, None, None]:
        """The first ``samples`` of the split (None: all), each once and in order, with the keys of epoch 0.

        The last batch may be smaller. Each rank gets its share of the batches.
        """
        places = self._evaluation_places(self.count if samples is None else min(samples, self.count))
        return self._stream(islice(places, self._rank, None, self._world))

    def __iter__(self) -> Generator[Batch, None, None]:
        """Batches of one pass: training, the steps of the first epoch (the last may reach into the next), else all.

        Raises as ``batches`` and ``evaluation``.
        """
        if self.quarantine is None:
            return self.evaluation()
        return self.batches(0, math.ceil(self._set.epoch(self._split) / self._recipe.batch.total))

    def training_keys(self, step: int, part: int, rank: int) -> list[str]:
        """Keys of the samples of micro-batch ``part`` of a step on a rank, without the substitutes of damaged ones."""
        _, samples = self._micro_batches(step)
        return self._keys(samples[rank :: self._world][part])

    def evaluation_keys(self, step: int, part: int, rank: int) -> list[str]:
        """Keys of the samples of batch ``part`` of an evaluation on a rank; at every ``step`` the same."""
        micro = self._recipe.micro
        start = (part * self._world + rank) * micro
        return self._keys(self._set.first(self._split, start + micro)[start:])

    def _keys(self, samples: np.ndarray) -> list[str]:
        return [self._set.key(self._split, sample) for sample in samples.tolist()]

    def _training_places(self, start_step: int, stop_step: int) -> Iterator[Places]:
        for step in range(start_step, stop_step):
            epochs, samples = self._micro_batches(step)
            yield from zip(epochs[self._rank :: self._world], samples[self._rank :: self._world], strict=True)

    def _evaluation_places(self, count: int) -> Iterator[Places]:
        held, micro = self._set.first(self._split, count), self._recipe.micro
        for start in range(0, count, micro):
            samples = held[start : start + micro]
            yield np.zeros_like(samples), samples

    def _stream(self, places: Iterable[Places]) -> Generator[Batch, None, None]:
        batches = prefetch(self._produce(places), self._recipe.loader.prefetch, self._patience)
        while True:
            try:
                batch = next(batches, None)
            except TimeoutError as error:
                raise self._stalled(error) from None
            if batch is None:
                return
            if self.device.type == "cuda":
                _belongs_to_current_stream(batch)
            yield batch

    def _stalled(self, error: TimeoutError) -> StorageError:
        keys = self._keys(self._reading)
        more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
        return StorageError(
            f"{self._set.path}: the loader stands still ({error}); its thread ecamp-fast-loader was at samples "
            f"{', '.join(keys[:LISTED]) or '(none)'}{more}",
            "look at the disk or the network that the set lies on; safety.watchdog.data is the limit",
        )

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
                self._reading = samples
                reach("loader.read", split=self._split)
                collated = self._collate(pool, epochs, samples)
                decoder.submit(collated.names, collated.jpegs, collated.boxes, collated.flipped)
                waiting.append(collated)
                if len(decoder) == IN_FLIGHT:
                    yield self._batch(waiting.popleft(), decoder)
            while waiting:
                yield self._batch(waiting.popleft(), decoder)

    def _batch(self, collated: Collated, decoder: JpegDecoder) -> Batch:
        """Everything on the device."""
        text, sentences = _text(collated, self._recipe, self.capacity), self._sentences(collated)
        device = decoder.device
        with decoder.context():
            arrays = {name: _on(getattr(collated, name), device) for name in ARRAYS}
            text, sentences = text and text.to(device), sentences and sentences.to(device)
            image = decoder.fetch()  # after the copies, since it waits for them too
        return Batch(image=image, text=text, sentences=sentences, **arrays)

    def _sentences(self, collated: Collated) -> Sentences | None:
        if self._captions:
            return self._captions(collated.statements, collated.keys)
        if self._encode is None:
            return None
        limit, entities = self._recipe.align.sentences, self._set.manifest.entities
        stated = [read_statements(text, limit, entities) for text in collated.statements]
        return lay_out_sentences(stated, self._encode, self.sentence_capacity)


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
    for part in (batch, batch.text, batch.sentences):
        for tensor in part.tensors().values() if part else ():
            tensor.record_stream(current)
