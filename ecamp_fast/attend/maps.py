"""Where a GLoRIA looks for each entity of an image, and these maps brought together (SPEC 6.4). No files here.

A map covers the view of evaluation, the centred square. Legend: B images, M maps, G cells a side, h x w cells of a map
over the whole image, of which the square has G x G.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ecamp_fast.attend.losses import Sharpness, word_attention
from ecamp_fast.attend.model import Gloria
from ecamp_fast.attend.questions import Question
from ecamp_fast.downstream.threads import threads_for
from ecamp_fast.shards.load.crop import sample_maps, whole_boxes, windows
from ecamp_fast.text.packing.captions import CaptionEncoder, pack_captions

VALUES = ("product", "attention")
LABEL_GRID = 14  # patches a side, of which a window has 12 (SPEC 6.4, point 4)
_TOP = 255


@torch.no_grad()
def entity_maps(
    model: Gloria,
    images: Tensor,
    questions: Sequence[Sequence[Question]],
    encode: CaptionEncoder,
    values: str = "product",
) -> list[dict[str, np.ndarray]]:
    """Per image, its maps by entity: (G, G) float32, >= 0, the mean over a question's words.

    ``attention`` sums to 1 over a map. Words compete for regions in it; where one, often the first of the sentence, has
    won them all, each word has each region alike, and the map is flat. ``product`` is what they compete by: of a region
    and a word, below 0 on average nothing. Of an entity that is asked for by several sentences, the greatest at each
    place.

    model      in evaluation mode
    images     (B, 1, S, S) uint8, of the recipe's ``image.high_size``, on the device of the model
    questions  of each image; it may have none
    """
    rows = [row for row, asked in enumerate(questions) if asked]
    found: list[dict[str, np.ndarray]] = [{} for _ in questions]
    if not rows:
        return found
    sentences = {text: None for asked in questions for _, text, _, _ in asked}
    numbers = {text: number for number, text in enumerate(sentences)}
    look = _attention if values == "attention" else _product
    with threads_for(model.text.width, images.device):
        regions, _ = model.image(images[rows])
        words, real, _ = model.text(pack_captions(list(numbers), encode).to(images.device))
        parts = []
        for place, row in enumerate(rows):
            own = [numbers[asked.sentence] for asked in questions[row]]
            parts += look(regions[place], words[own], real[own], questions[row], model.sharpness)
        maps = torch.stack(parts).float().cpu().numpy()
    maps = maps.reshape(len(maps), grid_of(maps.shape[-1]), -1)
    pairs = ((row, asked.entity) for row in rows for asked in questions[row])
    for (row, entity), one in zip(pairs, maps, strict=True):
        earlier = found[row].get(entity)
        found[row][entity] = one if earlier is None else np.maximum(earlier, one)
    return found


def _attention(
    regions: Tensor, words: Tensor, real: Tensor, asked: Sequence[Question], sharpness: Sharpness
) -> list[Tensor]:
    """(R,) of each question about an image.  regions: (R, D)   words: (U, W, D)   real: (U, W) bool"""
    looked = word_attention(regions[None], words, real, sharpness)[0]
    return [one[question.first : question.stop].mean(0) for one, question in zip(looked, asked, strict=True)]


def _product(
    regions: Tensor, words: Tensor, real: Tensor, asked: Sequence[Question], sharpness: Sharpness
) -> list[Tensor]:
    """Likewise. The mean over words of products is the product with their mean."""
    pairs = zip(words, asked, strict=True)
    return [
        (regions.float() @ one[question.first : question.stop].float().mean(0)).clamp_min(0) for one, question in pairs
    ]


def grid_of(regions: int) -> int:
    """G of as many regions."""
    return round(regions**0.5)


def combine(maps: Sequence[np.ndarray], how: str = "max") -> np.ndarray:
    """One map of an image's entities: (G, G) float32, >= 0.

    maps: (G, G) each, at least one
    how: ``max``: the greatest value at each place, so that a map that is flat hides no sharp one; ``mean``: of the
    maps, each brought to 0 to 1 by its least and its greatest value
    """
    held = np.stack(maps).astype(np.float32)
    if how == "max":
        return np.asarray(held.max(0))
    low, high = held.min((1, 2), keepdims=True), held.max((1, 2), keepdims=True)
    return np.asarray(((held - low) / np.where(high > low, high - low, 1)).mean(0))


def in_levels(values: np.ndarray) -> np.ndarray:
    """As uint8, the greatest value of each map being 255; all zero where it is.  values: (..., h, w) >= 0"""
    high = values.max((-2, -1), keepdims=True)
    return np.rint(values * (_TOP / np.where(high > 0, high, 1))).astype(np.uint8)


def over_whole(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map of the centred square brought over the whole image, beyond the square by its border values.

    Bilinear between centres of cells. The short side has G cells, the long one as many more as it is longer.
    values: (G, G) floating   height, width: of the image in pixels   returns (h, w) float32
    """
    grid, (top, left, side, _) = len(values), whole_boxes(np.array([height]), np.array([width]))[0].tolist()
    rows, columns = (_weights(grid, length, first, side) for length, first in ((height, top), (width, left)))
    return np.asarray(rows @ values @ columns.T, np.float32)


def _weights(grid: int, length: int, first: int, side: int) -> np.ndarray:
    """Along one axis: how much each cell of the square gives to each cell of the whole.  returns (cells, G)"""
    cells = round(grid * length / side)
    centres = (np.arange(cells) + 0.5) * length / cells
    place = np.clip((centres - first) * grid / side - 0.5, 0, grid - 1)
    below = np.minimum(place.astype(np.int64), grid - 1)
    above, share = np.minimum(below + 1, grid - 1), place - below
    weights = np.zeros((cells, grid))
    np.add.at(weights, (np.arange(cells), below), 1 - share)
    np.add.at(weights, (np.arange(cells), above), share)
    return weights


def window_labels(maps: Sequence[np.ndarray], heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """First patch (row, column) of the 12 x 12 of 14 x 14 patches of the square that hold the most.

    maps: (h, w) uint8 each, over whole images   heights, widths: (B,) of these   returns (B, 2) int32, each 0 to 2;
    (1, 1) where there is nothing, and where several windows hold as much
    """
    views = sample_maps(maps, whole_boxes(heights, widths), np.zeros(len(maps), bool), heights, widths)
    return windows(views, LABEL_GRID)
