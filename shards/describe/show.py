"""Samples of a shard set drawn into one picture: image, attention map, outlines of masks, boxes, and the text beside.

The picture holds report text and pixels: it is as confidential as the set itself.
"""

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ecamp_fast.errors import DataError
from ecamp_fast.keyed_random import Stream, sample_keys, uniform
from ecamp_fast.shards.format.labels import NEGATIVE, POSITIVE
from ecamp_fast.shards.format.manifest import ATTENTION, DISTILLED, IMAGE, MASKS, METADATA, PLANES, REPORT
from ecamp_fast.shards.format.metadata import read_metadata
from ecamp_fast.shards.images.encode import read_pgm
from ecamp_fast.shards.images.planes import nearest
from ecamp_fast.shards.load.read import Sample, ShardSet

_SIDE = 320  # pixels of a picture
_TEXT = 320  # pixels of the text beside it
_GAP = 10
_LETTERS = 52  # per line of text
_LINES = 20
_BLEND = 0.45  # share of the colours at the map's highest value

_OUTLINES = ((90, 200, 255), (255, 120, 200), (120, 255, 140), (255, 150, 60), (190, 140, 255), (250, 250, 110))
_EXTENSIONS = (IMAGE, ATTENTION, MASKS, REPORT, DISTILLED, METADATA)


def show(shards: ShardSet, split: str, count: int, seed: int = 0, keys: Sequence[str] = ()) -> tuple[bytes, list[str]]:
    """Draw ``count`` random samples of a split, or those named by ``keys`` from any split.

    Returns the picture, RGB as PNG, and the keys of the samples in it.
    Raises DataError for a key that the set lacks.
    """
    keys = list(dict.fromkeys(keys))  # each once
    places = _find(shards, keys) if keys else [(split, index) for index in _pick(shards.count(split), count, seed)]
    samples = [shards.read(*place, _EXTENSIONS) for place in places]
    panels = [_panel(sample) for sample in samples]
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    width, height = panels[0].size
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number % columns * width, number // columns * height))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue(), [sample.key for sample in samples]


def colours(values: np.ndarray) -> np.ndarray:
    """values: (...) in [0, 1]   returns (..., 3) uint8: blue over green and yellow to red."""
    return (np.clip(1.5 - np.abs(4 * values[..., None] - np.array([3.0, 2.0, 1.0])), 0, 1) * 255).astype(np.uint8)


def overlay(image: Image.Image, attention: np.ndarray | None) -> Image.Image:
    """The map laid over a grey picture, stronger where it is higher.  attention: (h, w) uint8 over the whole image."""
    grey = image.convert("RGB")
    if attention is None or not attention.any():
        return grey
    high = Image.fromarray(attention).resize(image.size, Image.Resampling.BILINEAR)
    values = np.asarray(high, np.float32) / max(int(attention.max()), 1)
    share = _BLEND * values[..., None]
    return Image.fromarray((np.asarray(grey) * (1 - share) + colours(values) * share).astype(np.uint8))


def outlined(image: Image.Image, planes: np.ndarray) -> Image.Image:
    """The outlines of masks drawn into a picture, each in a colour of its own.  planes: (h, w), bit i = mask i"""
    pixels = np.array(image.convert("RGB"))
    bits = nearest(planes, image.size)
    for bit in range(PLANES):
        mask = np.pad(bits >> bit & 1, 1).astype(bool)
        inside = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        pixels[mask[1:-1, 1:-1] & ~inside] = _OUTLINES[bit % len(_OUTLINES)]
    return Image.fromarray(pixels)


def _panel(sample: Sample) -> Image.Image:
    metadata = read_metadata(sample[METADATA], sample.key)
    image = Image.open(io.BytesIO(sample[IMAGE]), formats=("JPEG",))
    drawn = overlay(image, read_pgm(sample[ATTENTION]) if ATTENTION in sample else None)
    scale = _SIDE / max(drawn.size)
    drawn = drawn.resize((max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale))))
    if MASKS in sample:
        drawn = outlined(drawn, np.asarray(Image.open(io.BytesIO(sample[MASKS]), formats=("PNG",))))
    draw = ImageDraw.Draw(drawn)
    for box in metadata.get("boxes", ()):
        x, y, w, h = (box[name] * scale for name in ("x", "y", "width", "height"))
        draw.rectangle((x, y, x + w, y + h), outline=(255, 210, 60), width=2)
    panel = Image.new("RGB", (_SIDE + _TEXT + 3 * _GAP, _SIDE + 2 * _GAP), "white")
    panel.paste(drawn, (_GAP, _GAP))
    font = ImageFont.load_default(12)
    ImageDraw.Draw(panel).multiline_text((_SIDE + 2 * _GAP, _GAP), _words(sample, metadata), "black", font)
    return panel


def _words(sample: Sample, metadata: dict[str, Any]) -> str:
    report = _wrapped(sample.get(REPORT, b"(no report)").decode())
    distilled = _wrapped(sample.get(DISTILLED, b"").decode())
    head = [
        sample.key,
        f"{metadata['split']}  {metadata['view'] or 'view not stated'}  {_stated(metadata['labels'])}",
    ]
    head = [line[:_LETTERS] for line in head]
    room = _LINES - len(head) - 2 - min(len(distilled), 6)
    lines = [*head, "", *_shortened(report, room), *(["", *_shortened(distilled, 6)] if distilled else [])]
    return "\n".join(lines)


def _stated(labels: dict[str, int]) -> str:
    """The classes that are present, and with a question mark those that are uncertain."""
    return "; ".join(f"{name}{'' if value == POSITIVE else '?'}" for name, value in labels.items() if value != NEGATIVE)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _LETTERS)


def _shortened(lines: list[str], room: int) -> list[str]:
    return lines if len(lines) <= room else [*lines[: room - 1], "..."]


def _pick(total: int, count: int, seed: int) -> list[int]:
    uniforms = uniform(sample_keys(seed, 0, np.arange(total)), Stream.ORDER, 1)[:, 0]
    return np.argsort(uniforms, kind="stable")[:count].tolist()


def _find(shards: ShardSet, keys: Sequence[str]) -> list[tuple[str, int]]:
    places = {}
    for split in shards.splits:
        names = (key for shard in shards.manifest.of(split) for key in shard.keys)
        places.update({key: (split, index) for index, key in enumerate(names)})
    missing = [key for key in keys if key not in places]
    if missing:
        raise DataError(
            f"{shards.path}: no sample {', '.join(missing)}", "name keys as `tar tf` lists them, without ending"
        )
    return [places[key] for key in keys]
