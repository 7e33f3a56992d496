"""The loader beside other ways to the same batch: the release's, webdataset's, PyTorch's, and libjpeg-turbo alone.

All on one core, in turns, in CPU time. The release reads originals of the hospital's size, the others the shards.
"""

import io
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from torch import Tensor

from ecamp_fast.bench.data.originals import original
from ecamp_fast.config import Recipe
from ecamp_fast.shards.format.manifest import IMAGE
from ecamp_fast.shards.load.batching import order_of
from ecamp_fast.shards.load.collate import Collator
from ecamp_fast.shards.load.decode import JpegDecoder
from ecamp_fast.shards.load.read import ShardSet

ORIGINALS = 4  # they take ten times as long
ROUNDS = 3


def measure_baselines(shards: ShardSet, recipe: Recipe, images: int) -> dict[str, dict[str, float]]:
    """Milliseconds of one core per image: ``median``, ``p20``, ``p80`` over rounds, by way.

    ours          all that the loader does for a batch, on one thread: read, check, crop, decode, resize, text
    libjpeg-turbo the same bytes decoded in full, nothing else: the floor
    half size     and to half their sides, by its smaller transforms: the floor of a loader that decodes to scale
    DataLoader    PyTorch's, in this process, on the shards: Pillow and torchvision's transforms
    webdataset    its own pipeline on the same tar files, with the same transforms
    release       as the released code reads: an original, Pillow, three channels, crop, flip, grey, normalised
    """
    count = min(images, shards.count("train"))
    jpegs = [bytes(shards.read("train", index, (IMAGE,))[IMAGE]) for index in range(count)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ways = {
            "ours": _ours(shards, recipe, count),
            "libjpeg-turbo": lambda: [Image.open(io.BytesIO(jpeg)).load() for jpeg in jpegs],
            "half size": lambda: [_half_size(jpeg) for jpeg in jpegs],
            "DataLoader": _data_loader(jpegs, recipe),
            "webdataset": _webdataset(shards, recipe, count),
            "release": _release(recipe, min(count, ORIGINALS)),
        }
        counts = {"release": min(count, ORIGINALS)}
        return {name: _summary(found, counts.get(name, count)) for name, found in _in_turns(ways).items()}
    finally:
        torch.set_num_threads(threads)


def _in_turns(ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """CPU seconds of this process, a round of each in turn; the first does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            if turn:
                found[name].append(time.process_time() - began)
    return found


def _summary(seconds: list[float], images: int) -> dict[str, float]:
    fifths = statistics.quantiles(seconds, n=5, method="inclusive")
    per_image = {"median": statistics.median(seconds), "p20": fifths[0], "p80": fifths[3]}
    return {name: value / images * 1e3 for name, value in per_image.items()}


def _ours(shards: ShardSet, recipe: Recipe, count: int) -> Callable[[], object]:
    alone = recipe.loader.model_copy(update={"threads": 1})
    collate = Collator(shards, "train", recipe.model_copy(update={"loader": alone}), train=True)
    micro = min(recipe.micro, count)
    decoder = JpegDecoder(micro, recipe.image.high_size, "cpu", 1)
    order = order_of(shards, "train", recipe)

    def read() -> None:
        with ThreadPoolExecutor(1) as pool:
            for start in range(0, count, micro):
                batch = collate(pool, *order(np.arange(start, min(start + micro, count))))
                decoder.decode(batch.names, batch.jpegs, batch.boxes, batch.flipped)

    return read


def _half_size(jpeg: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(jpeg))
    image.draft("L", (-(-image.width // 2), -(-image.height // 2)))
    image.load()
    return image


def _transform(recipe: Recipe, channels: int) -> Callable[[Image.Image], Tensor]:
    """The release's augmentation by torchvision.  channels: 3 as there, 1 where the image stays grey"""
    from torchvision import transforms

    image = recipe.image
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(
                image.high_size, scale=image.crop_area, interpolation=transforms.InterpolationMode.BICUBIC
            ),
            transforms.RandomHorizontalFlip(image.flip),
            *([transforms.Grayscale(3)] if channels == 3 else []),
            transforms.ToTensor(),
            transforms.Normalize([image.mean] * channels, [image.std] * channels),
        ]
    )


class _Jpegs(torch.utils.data.Dataset[Tensor]):
    def __init__(self, jpegs: list[bytes], transform: Callable[[Image.Image], Tensor]) -> None:
        self._jpegs, self._transform = jpegs, transform

    def __len__(self) -> int:
        return len(self._jpegs)

    def __getitem__(self, row: int) -> Tensor:
        return self._transform(Image.open(io.BytesIO(self._jpegs[row])))


def _data_loader(jpegs: list[bytes], recipe: Recipe) -> Callable[[], object]:
    dataset = _Jpegs(jpegs, _transform(recipe, 1))
    return lambda: list(torch.utils.data.DataLoader(dataset, batch_size=len(jpegs)))


def _webdataset(shards: ShardSet, recipe: Recipe, count: int) -> Callable[[], object]:
    urls = [shards.locate(shard.name) for shard in shards.manifest.of("train")]
    transform = _transform(recipe, 1)

    def read() -> Iterator[Any]:
        dataset = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).to_tuple(IMAGE)
        return (transform(Image.open(io.BytesIO(jpeg))) for _, (jpeg,) in zip(range(count), dataset, strict=False))

    return lambda: torch.stack(list(read()))


def _release(recipe: Recipe, count: int) -> Callable[[], object]:
    originals = [original(recipe.seed, number) for number in range(count)]
    transform = _transform(recipe, 3)
    return lambda: torch.stack([transform(Image.open(io.BytesIO(file)).convert("RGB")) for file in originals])
