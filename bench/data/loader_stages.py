"""Where a core's time goes while the loader makes a batch: reading, checksums, views and text, decoding, resizing."""

import io
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from zlib_ng.zlib_ng import crc32

from ecamp_fast.config import Recipe
from ecamp_fast.shards.format.manifest import ATTENTION, IMAGE, TOKENS
from ecamp_fast.shards.load.batching import order_of
from ecamp_fast.shards.load.collate import Collated, Collator
from ecamp_fast.shards.load.decode import JpegDecoder
from ecamp_fast.shards.load.read import Sample, ShardSet
from ecamp_fast.shards.load.resize import resize

BATCHES = 8


def stages(shards: ShardSet, recipe: Recipe, device: str) -> dict[str, float]:
    """Milliseconds of one core per image, each the median over batches of ``batch.micro``, with one thread.

    read      from the page cache   checksum  CRC32 of what was read
    prepare   crops, windows, attention maps, text   decode  as the loader does; on a GPU with all that follows
    resize    on the CPU
    """
    recipe = recipe.model_copy(update={"loader": recipe.loader.model_copy(update={"threads": 1})})
    micro, loader = recipe.micro, recipe.loader
    collate = Collator(shards, "train", recipe, train=True)
    decoder = JpegDecoder(micro, recipe.image.high_size, device, 1, region=loader.region, hardware=loader.hardware)
    order = order_of(shards, "train", recipe)
    found: dict[str, list[float]] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(1) as pool:
            for start in range(0, (1 + BATCHES) * micro, micro):
                for name, seconds in _batch(
                    shards, collate, decoder, pool, *order(np.arange(start, start + micro))
                ).items():
                    found.setdefault(name, []).append(seconds / micro * 1e3)
    finally:
        torch.set_num_threads(threads)
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def _batch(
    shards: ShardSet,
    collate: Collator,
    decoder: JpegDecoder,
    pool: ThreadPoolExecutor,
    epochs: np.ndarray,
    samples: np.ndarray,
) -> dict[str, float]:
    """Seconds of one batch.  Stages that cannot be reached from outside are differences of those around them."""
    read: list[Sample] = []
    reading = _seconds(
        lambda: read.extend(shards.read("train", int(row), (IMAGE, ATTENTION, TOKENS)) for row in samples)
    )
    members = [member for sample in read for member in sample.values()]
    checking = _seconds(lambda: [crc32(member) for member in members])
    whole: list[Collated] = []
    preparing = _seconds(lambda: whole.append(collate(pool, epochs, samples)))
    batch = whole[0]
    decoding = _seconds(lambda: decoder.decode(batch.names, batch.jpegs, batch.boxes, batch.flipped))
    found = {"read": reading - checking, "checksum": checking, "prepare": preparing - reading}
    if decoder.device.type == "cuda":
        return found | {"decode": decoding}
    crops = [_crop(jpeg, box) for jpeg, box in zip(batch.jpegs, batch.boxes, strict=True)]
    resizing = _seconds(lambda: [resize(crop, decoder.high_size) for crop in crops])
    return found | {"decode": decoding - resizing, "resize": resizing}


def _crop(jpeg: bytes, box: np.ndarray) -> np.ndarray:
    top, left, height, width = box
    return np.array(Image.open(io.BytesIO(jpeg)))[top : top + height, left : left + width]


def _seconds(work: Callable[[], object]) -> float:
    """CPU time of this process, all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began
