"""Masks against a plain reading of the rules, one token at a time, and what must hold for every text."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.keyed_random import Stream, sample_keys, uniform
from ecamp_fast.text.codes import MASK_ID, Mark, has, token_ids
from ecamp_fast.text.packing.assemble import assemble
from ecamp_fast.text.packing.masking import MaskedText, mask_text
from ecamp_fast.text.reading.annotate import Annotator
from ecamp_fast.text.reading.entities import PIECES
from ecamp_fast.text.wordpiece import Wordpiece

NONE = np.zeros(0, np.int32)
OFFICIAL = load_recipe("official")
PAPER = load_recipe("paper")
TEXTS = [
    "There is no pneumothorax. There is no evidence of consolidation. There is mild edema.",
    "Lungs show bibasilar opacities, massive effusion 1.5 cm.",
    "hyperinflate opacities. effusion. mass.",
    "normal lungs. the heart is normal",
    "There is no pleural effusion.",
    "edema",
    "no evidence of mild left effusion; large right mass. " * 40,
    "Edemas and effusions are small.",  # entities with a tail
]


def batch(codes: list[np.ndarray], recipe: Recipe, seed: int = 0) -> list[torch.Tensor]:
    """codes, offsets, lengths, keys of a micro-batch without distilled text."""
    keys = sample_keys(seed, 0, np.arange(len(codes)))
    parts = assemble(codes, [NONE] * len(codes), keys, recipe.text, padded=recipe.padded_text)
    return [torch.from_numpy(part) for part in (*parts, keys)]


def released_mask(words: list[str], draw: Callable[[], float]) -> list[bool]:
    """The released algorithm as its description reads: words of one padded sample, draws in its own order."""
    present = any(word in PIECES for word in words)
    masked, entities = [False] * len(words), []
    for i in range(1, len(words) - 1):
        if words[i] == "[PAD]":
            break
        if words[i].startswith("##"):
            masked[i] = masked[i - 1]
            continue
        if words[i] in PIECES:
            entities.append(i)
        u = draw()
        masked[i] = u < 0.75 if not present else u < 0.70 and words[i] not in PIECES
    for i in entities:
        masked[i] = draw() < 0.75
    return masked


@pytest.mark.parametrize("text", TEXTS)
def test_the_released_mask_bit_for_bit(text: str, annotator: Annotator, wordpiece: Wordpiece) -> None:
    codes, cu_seqlens, lengths, keys = batch([annotator.codes(text)], OFFICIAL)
    words = wordpiece.decode(token_ids(codes).tolist())
    for seed in range(50):
        rng, replay = random.Random(seed), random.Random(seed)
        expected = released_mask(words, rng.random)
        places = range(1, 255)
        heads = [i for i in places if words[i] != "[PAD]" and not words[i].startswith("##")]
        uniforms = torch.ones(2, len(words))
        uniforms[0, heads] = torch.tensor([replay.random() for _ in heads])
        found = [i for i in heads if words[i] in PIECES]
        uniforms[1, found] = torch.tensor([replay.random() for _ in found])
        masked = mask_text(codes, cu_seqlens, lengths, keys, OFFICIAL, uniforms=(uniforms[0], uniforms[1]))
        assert (masked.ids == MASK_ID).tolist() == expected


@pytest.mark.parametrize("recipe", [PAPER, OFFICIAL], ids=["paper", "official"])
def test_draws_are_those_of_the_streams_by_sample_and_position(recipe: Recipe, annotator: Annotator) -> None:
    codes, cu_seqlens, lengths, keys = batch([annotator.codes(text) for text in TEXTS] * 4, recipe)
    words, entities = (
        torch.from_numpy(np.concatenate([row[:n] for row, n in zip(table, cu_seqlens.diff().tolist(), strict=True)]))
        for table in (uniform(keys.numpy(), stream, 256) for stream in (Stream.WORDS, Stream.ENTITIES))
    )
    given = mask_text(codes, cu_seqlens, lengths, keys, recipe, uniforms=(words, entities))
    assert mask_text(codes, cu_seqlens, lengths, keys, recipe).ids.equal(given.ids)


def masked_by(text: str, recipe: Recipe, annotator: Annotator, word: float | list[float], entity: float) -> list[bool]:
    """Which rows are masked where words have these draws (one for all, or one a row) and every entity another."""
    codes, *rest = batch([annotator.codes(text)], recipe)
    words, entities = torch.empty(2, len(codes))
    words[:], entities[:] = torch.tensor(word), entity
    return (mask_text(codes, *rest, recipe, uniforms=(words, entities)).ids == MASK_ID).tolist()


def test_an_entity_has_a_draw_of_its_own(annotator: Annotator) -> None:
    """[CLS] hyperinfl ##ate lungs: an entity in two pieces, and a word."""
    assert masked_by("hyperinflate lungs", PAPER, annotator, word=0, entity=0.999) == [False, False, False, True]
    assert masked_by("hyperinflate lungs", PAPER, annotator, word=0.999, entity=0) == [False, True, True, False]


def test_a_word_has_the_draw_of_its_first_piece(annotator: Annotator) -> None:
    """[CLS] res ##e ##a ##u lungs."""
    masked = [False, True, True, True, True, False]
    assert masked_by("réseau lungs", PAPER, annotator, [0, 0, 0.9, 0.9, 0.9, 0.9], 0) == masked
    assert masked_by("réseau lungs", PAPER, annotator, [0, 0.9, 0, 0, 0, 0.9], 0) == [False] * 6


def test_padding_is_never_masked(annotator: Annotator) -> None:
    for unit in ("word", "wordpiece"):
        recipe = load_recipe("official", ["text.max_tokens=8", f"masking.unit={unit}"])
        assert masked_by("lungs", recipe, annotator, 0, 0) == [False, True, *[False] * 6]


def test_true_ids_are_predicted_where_they_are_masked_or_everywhere(annotator: Annotator) -> None:
    for recipe, everywhere in ((PAPER, False), (OFFICIAL, True)):
        codes, *rest = batch([annotator.codes(text) for text in TEXTS], recipe)
        masked = mask_text(codes, *rest, recipe)
        assert masked.labels.equal(token_ids(codes).long())
        assert masked.predicted.equal((masked.ids == MASK_ID) | everywhere)


def test_the_last_place_stays_visible_to_the_released_rule(annotator: Annotator) -> None:
    recipe = load_recipe("official", ["text.max_tokens=8"])
    assert masked_by("lungs are normal " * 3, recipe, annotator, 0, 0) == [False, *[True] * 6, False]
    assert masked_by("edema " * 9, recipe, annotator, 0, 0) == [False, *[True] * 6, False]


def frequencies(text: str, recipe: Recipe, annotator: Annotator, uniforms: int = 4000) -> torch.Tensor:
    codes = annotator.codes(text)
    masked = mask_text(*batch([codes] * uniforms, recipe), recipe)
    chosen = (masked.ids == MASK_ID).view(uniforms, -1)
    return chosen.float().mean(0)[: len(codes) + 1]


def test_golden_frequencies(golden_annotator: Annotator) -> None:
    codes = golden_annotator.codes(TEXTS[0])
    entity = np.concatenate([[False], has(codes, Mark.PIECE_ENTITY)])
    found = frequencies(TEXTS[0], OFFICIAL, golden_annotator)
    assert found[0] == 0
    assert (found[torch.from_numpy(entity)] - 0.75).abs().max() < 0.03
    assert (found[1:][torch.from_numpy(~entity[1:])] - 0.70).abs().max() < 0.03
    assert (frequencies(TEXTS[3], OFFICIAL, golden_annotator)[1:] - 0.75).abs().max() < 0.03


def test_descriptors_are_always_masked(annotator: Annotator) -> None:
    found = frequencies(TEXTS[0], PAPER, annotator)
    descriptor = torch.from_numpy(np.concatenate([[False], has(annotator.codes(TEXTS[0]), Mark.DESCRIPTOR)]))
    assert (found[descriptor] == 1).all() and descriptor.sum() == 6
    assert (found[1:][~descriptor[1:]] - 0.75).abs().max() < 0.03
    random_ones = frequencies(TEXTS[0], load_recipe("paper", ["masking.descriptors=random"]), annotator)
    assert (random_ones[1:] - 0.75).abs().max() < 0.03


def test_ratios_follow_the_recipe(annotator: Annotator) -> None:
    recipe = load_recipe(
        "paper", ["masking.word_ratio=0.1", "masking.ratio_with_entity=0.3", "masking.entity_ratio=0.9"]
    )
    with_entity = frequencies("the heart edema", recipe, annotator)
    assert with_entity[3] == pytest.approx(0.9, abs=0.03)
    assert frequencies("lungs are normal", recipe, annotator)[1:].mean() == pytest.approx(0.1, abs=0.03)
    spared = load_recipe("paper", ["masking.ratio_with_entity=0.3", "masking.descriptors=random"])
    assert frequencies("the heart edema", spared, annotator)[1:3].mean() == pytest.approx(0.3, abs=0.03)


def test_released_rule_with_descriptors_always(annotator: Annotator) -> None:
    recipe = load_recipe("official", ["masking.descriptors=always"])
    found = frequencies(TEXTS[1], recipe, annotator)
    words = ["[CLS]", "lungs", "show", "bibasilar", "opacities", ",", "massive", "effusion"]
    assert [words[i] for i in (found[:8] == 1).nonzero()[:, 0].tolist()] == [",", "massive"]


VOCABULARY = "there is no evidence of mild left effusion edema mass hyperinflate opacities lungs . , 1.5 cm but réseau"
WORDS = st.sampled_from(VOCABULARY.split())
TEXT = st.lists(WORDS, max_size=60).map(" ".join)
RECIPES = [
    PAPER,
    OFFICIAL,
    load_recipe("paper", ["masking.unit=wordpiece"]),
    load_recipe("official", ["masking.unit=word"]),
]


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=5), seed=st.integers(0, 99))
@pytest.mark.parametrize("recipe", RECIPES, ids=["paper", "official", "paper-pieces", "official-words"])
def test_what_always_holds(texts: list[str], seed: int, recipe: Recipe, annotator: Annotator) -> None:
    codes = [annotator.codes(text) for text in texts]
    rows, cu_seqlens, lengths, keys = batch(codes, recipe, seed)
    masked = mask_text(rows, cu_seqlens, lengths, keys, recipe)
    ids = token_ids(rows).long()
    chosen = masked.ids != ids
    place = torch.cat([torch.arange(n) for n in cu_seqlens.diff().tolist()])
    real = torch.cat([torch.arange(n) < m for n, m in zip(cu_seqlens.diff().tolist(), lengths.tolist(), strict=True)])
    assert masked.labels.equal(ids)
    assert not chosen[place == 0].any() and not chosen[~real].any()
    assert (masked.ids[chosen] == MASK_ID).all()
    assert masked.predicted.all() if recipe.padded_text else masked.predicted.equal(chosen)
    assert masked.weights.isfinite().all() and (masked.weights >= 0).all()
    if recipe.masking.unit == "word":
        continues = has(rows, Mark.CONTINUATION)
        assert chosen[1:][continues[1:]].equal(chosen[:-1][continues[1:]])  # whole words
    if recipe.masking.descriptors == "always" and recipe.masking.unit == "word":
        assert chosen[has(rows, Mark.DESCRIPTOR) & real].all()


@pytest.mark.parametrize("recipe", [PAPER, OFFICIAL], ids=["paper", "official"])
def test_a_mask_does_not_depend_on_the_batch(recipe: Recipe, annotator: Annotator) -> None:
    codes = [annotator.codes(text) for text in TEXTS]
    rows, cu_seqlens, lengths, keys = batch(codes, recipe)
    whole = mask_text(rows, cu_seqlens, lengths, keys, recipe)
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(1))
    for index in order.tolist():
        part = slice(int(cu_seqlens[index]), int(cu_seqlens[index + 1]))
        alone = mask_text(
            rows[part], cu_seqlens[index : index + 2] - cu_seqlens[index], lengths[[index]], keys[[index]], recipe
        )
        for name in MaskedText.__slots__:
            torch.testing.assert_close(getattr(alone, name), getattr(whole, name)[part], rtol=0, atol=0)


def test_epochs_mask_differently_and_the_same_epoch_the_same(annotator: Annotator) -> None:
    codes = [annotator.codes(text) for text in TEXTS]
    first, again, other = (mask_text(*batch(codes, PAPER, seed), PAPER).ids for seed in (0, 0, 1))
    assert first.equal(again) and not first.equal(other)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [PAPER, OFFICIAL], ids=["paper", "official"])
def test_it_compiles_without_a_break(recipe: Recipe, annotator: Annotator) -> None:
    parts = batch([annotator.codes(text) for text in TEXTS], recipe)

    def masked(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = mask_text(*inputs, recipe)
        return out.ids, out.labels, out.predicted, out.weights

    compiled = torch.compile(masked, fullgraph=True, backend="aot_eager")
    for found, expected in zip(compiled(*parts), masked(*parts), strict=True):
        assert found.equal(expected)
