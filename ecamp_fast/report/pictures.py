"""What the model made of a few samples, as pictures and words for people to look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.evidence.images import masked_correlation, pixel_mask
from ecamp_fast.model.ecamp import Reconstruction
from ecamp_fast.report.words import Word, join_words
from ecamp_fast.text.codes import MASK_ID, Mark, has, token_ids
from ecamp_fast.text.wordpiece import Wordpiece

HIDDEN = (38, 52, 74)  # colour of a patch the model does not see: a blue that no radiograph has
GLOW = np.array([(215, 48, 15), (255, 150, 20), (255, 240, 130)], np.float32)  # attention, low to high


@dataclass(frozen=True)
class Pictures:
    """One sample. Arrays are uint8; S is the side of the high-resolution image, H of the low-resolution one.

    target            (S, S)      what the model should arrive at
    masked            (H, H, 3)   what the encoder saw, hidden patches in one colour
    reconstruction    (H, H)      prediction at hidden patches, true pixels at visible ones; None without an image term
    super_resolution  (S, S)      None without the head
    attention         (S, S, 3)   attention map over the target; None where every pixel weighs alike
    correlation       of prediction and truth over the hidden pixels
    words             the report, empty without the language loss
    """

    key: str
    target: np.ndarray
    masked: np.ndarray
    reconstruction: np.ndarray | None = None
    super_resolution: np.ndarray | None = None
    attention: np.ndarray | None = None
    correlation: float | None = None
    words: list[Word] = field(default_factory=list)


def draw(
    batch: Batch, output: Reconstruction, recipe: Recipe, wordpiece: Wordpiece | None, keys: Mapping[int, str]
) -> list[Pictures]:
    """Pictures of some samples of a batch.

    output     what ``Ecamp.reconstruct`` made of the batch
    wordpiece  the tokenizer of its codes; None: it has none
    keys       the name of each sample to draw, by its row
    """
    correlations = None if output.prediction is None else masked_correlation(output.prediction, output.low, output.mask)
    hidden = pixel_mask(output.mask, output.low.shape[-1]).cpu().numpy()
    low = _grey(output.low, recipe)
    prediction = None if output.prediction is None else _grey(output.prediction, recipe)
    sharp = None if output.super_resolution is None else _grey(output.super_resolution, recipe)
    targets, maps = batch.image[:, 0].cpu().numpy(), batch.attention.float().cpu().numpy()
    return [
        Pictures(
            key=key,
            target=targets[row],
            masked=_covered(low[row], hidden[row]),
            reconstruction=None if prediction is None else np.where(hidden[row], prediction[row], low[row]),
            super_resolution=None if sharp is None else sharp[row],
            attention=glow(targets[row], maps[row]) if maps[row].max() > 0 else None,
            correlation=None if correlations is None else float(correlations[row]),
            words=_words(batch, output, row, wordpiece),
        )
        for row, key in keys.items()
    ]


def glow(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """A map laid over a picture: where it is zero the picture shows as it is.

    image: (S, S) uint8   attention: (G, G) float, >= 0, not all zero   returns (S, S, 3) uint8.
    """
    strength = Image.fromarray((attention / attention.max()).astype(np.float32))
    side = (image.shape[1], image.shape[0])
    values = np.asarray(strength.resize(side, Image.Resampling.BILINEAR)).clip(0, 1)[..., None]
    level = values * (len(GLOW) - 1)
    below = np.minimum(level.astype(int), len(GLOW) - 2)[..., 0]
    colour = GLOW[below] + (GLOW[below + 1] - GLOW[below]) * (level - below[..., None])
    share = 0.7 * np.sqrt(values)
    return (image[..., None] * (1 - share) + colour * share).astype(np.uint8)


def _words(batch: Batch, output: Reconstruction, row: int, wordpiece: Wordpiece | None) -> list[Word]:
    if wordpiece is None or output.text is None or output.words is None:
        return []
    text = output.text
    start = int(text.cu_seqlens[row])
    rows = slice(start, start + int(batch.lengths[row]))
    return join_words(
        wordpiece.decode(token_ids(text.codes[rows]).tolist()),
        wordpiece.decode(output.words[rows].tolist()),
        (text.ids[rows] == MASK_ID).tolist(),
        has(text.codes[rows], Mark.ENTITY).tolist(),
    )


def _grey(image: torch.Tensor, recipe: Recipe) -> np.ndarray:
    """Normalised (B, 1, H, W) to grey levels (B, H, W) uint8."""
    levels = (image[:, 0].float() * recipe.image.std + recipe.image.mean) * 255
    return levels.round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def _covered(image: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    return np.where(hidden[..., None], np.array(HIDDEN, np.uint8), image[..., None].repeat(3, -1))
