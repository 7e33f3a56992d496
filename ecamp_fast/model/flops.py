"""Counted work of a training step: multiply-adds of all matrix products and convolutions, two operations each.

An analytic model of ``Ecamp`` as it computes; tests/model/test_flops.py holds it against torch's FlopCounterMode.
The backward of a product is two products; one where its input needs no gradient (pixels). Attention is counted over
pairs of real tokens; what a flash kernel recomputes is not counted, nor are norms, activations and losses.
Legend: B samples, T text rows of the whole batch, R rows where a word is predicted, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecamp_fast.geometry import ATTENTION_GRID

if TYPE_CHECKING:
    from ecamp_fast.config import Recipe


CHANNELS = 3  # of prediction and super-resolution
TAPS, KERNEL = 16, 9  # of the bilinear doubling, per low-resolution pixel and channel; of a convolution


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations of the forward and of the backward pass."""

    forward: int = 0
    backward: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.forward + other.forward, self.backward + other.backward)

    @property
    def total(self) -> int:
        return self.forward + self.backward


def step_work(
    recipe: "Recipe", vocab_size: int, tokens: Sequence[int], predicted: int, padded_to: int | None = None
) -> dict[str, Work]:
    """The work of one micro-batch by component: those that the recipe turns on, in the order they run.

    tokens: (B,) real tokens of each sample   predicted: R
    padded_to: tokens to which an attention pads every sample; None: it touches real pairs only. Recipes that embed
    padding pad to ``text.max_tokens`` and predict every row, whatever is given.
    """
    batch, losses = len(tokens), recipe.losses
    work = {"patch embedding": _patches(recipe, batch), "encoder": _encoder(recipe, batch)}
    if losses.mim or losses.sr:
        work["decoder"] = _decoder(recipe, batch)
    if losses.sr:
        work["super-resolution"] = _super_resolution(recipe, batch)
    if losses.mlm:
        if recipe.padded_text:
            tokens = [recipe.text.max_tokens] * batch
            predicted = sum(tokens)
        attended = tokens if padded_to is None or recipe.padded_text else [padded_to] * batch
        work["fusion"] = _fusion(recipe, tokens, attended)
        work["text layers"] = _text_layers(recipe, tokens, attended, predicted)
        work["MLM head"] = _head(recipe, vocab_size, predicted)
    return work


def summed(work: dict[str, Work]) -> Work:
    """All components together."""
    return sum(work.values(), Work())


def _product(rows: int, inner: int, outer: int, backward: int = 2) -> Work:
    """rows x inner by inner x outer; ``backward``: products of that size in the backward pass."""
    forward = 2 * rows * inner * outer
    return Work(forward, backward * forward)


def _attention(pairs: int, width: int) -> Work:
    """Scores and mixing of queries and keys that meet in ``pairs``, all heads."""
    return _product(pairs, width, 2)


def _block(rows: int, pairs: int, width: int, hidden: int) -> Work:
    """A transformer layer: query, key, value and output products, attention, two products of the feed-forward part."""
    return _product(rows, width, 4 * width + 2 * hidden) + _attention(pairs, width)


def _times(count: int, work: Work) -> Work:
    return Work(count * work.forward, count * work.backward)


def _patches(recipe: "Recipe", batch: int) -> Work:
    """One grey channel, kept patches only; pixels take no gradient."""
    vision = recipe.model.vision
    return _product(batch * recipe.kept_patches, vision.patch**2, vision.width, backward=1)


def _encoder(recipe: "Recipe", batch: int) -> Work:
    vision, tokens = recipe.model.vision, recipe.kept_patches + 1
    block = _block(batch * tokens, batch * tokens**2, vision.width, int(vision.width * vision.mlp_ratio))
    return _times(vision.depth, block)


def _decoder(recipe: "Recipe", batch: int) -> Work:
    """Where masked patches are projected once for all samples, ``alike`` is what that takes from the first block."""
    vision, decoder = recipe.model.vision, recipe.model.decoder
    width, tokens = decoder.width, recipe.patches + 1
    block = _block(batch * tokens, batch * tokens**2, width, int(width * decoder.mlp_ratio))
    embedding = _product(batch * (recipe.kept_patches + 1), vision.width, width)
    prediction = _product(batch * recipe.patches, width, vision.patch**2 * CHANNELS)
    alike = _product(tokens - batch * (recipe.patches - recipe.kept_patches), width, 3 * width)
    shared = alike if recipe.share_projections else Work()
    return embedding + _times(decoder.depth, block) + shared + prediction


def _super_resolution(recipe: "Recipe", batch: int) -> Work:
    """Doubling as a transposed convolution with fixed weights; two 3 x 3 convolutions over the whole image; the map."""
    side, grid = recipe.image.high_size, ATTENTION_GRID
    low = batch * (recipe.image.low_size + 2) ** 2  # its edge is replicated by one pixel
    work = _product(low * CHANNELS, TAPS, 1, backward=1)
    work += _times(2, _product(batch * side**2, KERNEL * CHANNELS, CHANNELS))
    if recipe.sr.guidance == "soft":  # the map is enlarged along one axis, then along the other
        work += _product(batch * side, grid, grid, backward=0) + _product(batch * side, grid, side, backward=0)
    return work


def _fusion(recipe: "Recipe", tokens: Sequence[int], attended: Sequence[int]) -> Work:
    """The bridge from the encoder, self-attention, both scales, their projection, the feed-forward part."""
    text, fusion = recipe.model.text, recipe.fusion
    rows, width, batch = sum(tokens), text.width, len(tokens)
    patches = batch * recipe.kept_patches
    work = _product(patches, recipe.model.vision.width, width)
    work += _block(rows, sum(n * n for n in attended), width, text.ffn)
    if fusion.use_local:
        work += _product(rows, width, width) + _product(patches, width, 2 * width)
        work += _attention(sum(attended) * recipe.kept_patches, width)
    if fusion.use_global:
        work += _product(batch, width, width)
    if fusion.use_local or fusion.projection == "shared":
        work += _product(rows, width, width)
    return work


def _text_layers(recipe: "Recipe", tokens: Sequence[int], attended: Sequence[int], predicted: int) -> Work:
    """The last layer computes keys and values of all rows, and all else of the predicted ones."""
    text, rows = recipe.model.text, sum(tokens)
    if not text.depth:
        return Work()
    pairs = sum(n * n for n in attended)
    block = _block(rows, pairs, text.width, text.ffn)
    padded = attended is not tokens  # then queries are padded as well
    query_rows = pairs if padded else round(pairs * predicted / rows)
    last = _product(rows, text.width, 2 * text.width) + _product(predicted, text.width, 2 * (text.width + text.ffn))
    return _times(text.depth - 1, block) + last + _attention(query_rows, text.width)


def _head(recipe: "Recipe", vocab_size: int, predicted: int) -> Work:
    width = recipe.model.text.width
    return _product(predicted, width, width + vocab_size)
