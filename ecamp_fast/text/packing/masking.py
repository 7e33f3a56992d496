"""Which words are masked, and what each is worth: array operations over a whole micro-batch, on its device.

Two rules. ``unit: word`` is the paper's: descriptors always, every other word with its ratio, all pieces of a word
together. ``unit: wordpiece`` is the released code's, its defects included. Draws are keyed by sample and position.
Legend: B samples, T text rows of the whole batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ecamp_fast.config import Recipe
from ecamp_fast.keyed_random import Stream, torch_uniform_at
from ecamp_fast.text.codes import INSIDE, MASK_ID, Mark, has, token_ids
from ecamp_fast.text.packing.descriptors import released_descriptors
from ecamp_fast.text.packing.rebalance import token_weights
from ecamp_fast.text.packing.rows import Rows, place_rows


@dataclass(frozen=True, slots=True)
class MaskedText:
    """The text rows of a micro-batch after masking.

    ids        (T,) int64    token ids as the model sees them
    labels     (T,) int64    the true ids
    predicted  (T,) bool     rows that carry a loss
    weights    (T,) float32  the worth of each row's loss
    position   (T,) int64    within its sample
    key        (T,) int64    of its sample
    """

    ids: Tensor
    labels: Tensor
    predicted: Tensor
    weights: Tensor
    position: Tensor
    key: Tensor


def mask_text(
    codes: Tensor,
    cu_seqlens: Tensor,
    lengths: Tensor,
    keys: Tensor,
    recipe: Recipe,
    uniforms: tuple[Tensor, Tensor] | None = None,
) -> MaskedText:
    """Mask and weigh the text of a micro-batch as the recipe says. Never masks [CLS] (position 0) or padding.

    codes, cu_seqlens, lengths, keys: see ``Batch``
    uniforms: (T,) float32 in [0, 1) for words and for entities, instead of the keyed ones
    """
    rows = place_rows(codes, cu_seqlens, lengths)
    row_keys = keys[rows.sample]
    if uniforms is None:
        uniforms = (
            torch_uniform_at(row_keys, Stream.WORDS, rows.position),
            torch_uniform_at(row_keys, Stream.ENTITIES, rows.position),
        )
    choose = masked_words if recipe.masking.unit == "word" else masked_pieces
    chosen = choose(rows, recipe, *uniforms)
    labels = token_ids(codes).long()
    predicted = torch.ones_like(chosen) if recipe.losses.mlm_positions == "all" else chosen
    ids, weights = torch.where(chosen, MASK_ID, labels), token_weights(rows, recipe)
    return MaskedText(ids, labels, predicted, weights, rows.position, row_keys)


def masked_words(rows: Rows, recipe: Recipe, word_draws: Tensor, entity_draws: Tensor) -> Tensor:
    """Whole words (paper 3.2): a word's fate is decided at its first piece. Returns (T,) bool."""
    masking = recipe.masking
    head = rows.last(~has(rows.codes, INSIDE))
    entity = rows.has(Mark.ENTITY)
    chosen = torch.where(entity, entity_draws < masking.entity_ratio, word_draws < _ratio(rows, entity, recipe))
    if masking.descriptors == "always":
        chosen = chosen | rows.has(Mark.DESCRIPTOR)
    return chosen[head] & rows.real & (rows.position > 0)


def masked_pieces(rows: Rows, recipe: Recipe, word_draws: Tensor, entity_draws: Tensor) -> Tensor:
    """The released code's two passes over single wordpieces. Returns (T,) bool.

    A "##" piece follows the piece before it as the first pass left it, so the tail of a masked entity stays visible;
    the last of ``max_tokens`` places is never masked.
    """
    masking, last = recipe.masking, recipe.text.max_tokens - 1
    inside = rows.real & (rows.position > 0) & (rows.position < last)
    entity = rows.has(Mark.PIECE_ENTITY)
    head = rows.last(~has(rows.codes, Mark.CONTINUATION))
    first = (word_draws < _ratio(rows, entity, recipe)) & ~entity & inside
    chosen = first[head] & inside
    chosen = chosen | (entity & inside & (entity_draws < masking.entity_ratio))
    if masking.descriptors == "always":
        chosen = chosen | (released_descriptors(rows, recipe.text.max_tokens) & inside)
    return chosen


def _ratio(rows: Rows, entity: Tensor, recipe: Recipe) -> Tensor:
    """The masking probability of ordinary words, by whether their sample has an entity. Returns (T,) float32."""
    masking = recipe.masking
    with_entity = rows.per_sample(entity)[rows.sample] > 0
    return torch.where(with_entity, masking.ratio_with_entity, masking.word_ratio)
