"""From tensors to pictures and words: each pixel and each word where it belongs."""

import numpy as np
import pytest
import torch

from ecamp_fast.batch import Batch, Text
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.model.ecamp import Reconstruction
from ecamp_fast.report.gallery import gallery, report_words
from ecamp_fast.report.pictures import HIDDEN, draw, glow
from ecamp_fast.report.words import Word
from ecamp_fast.text.codes import MASK_ID, SPECIALS, Mark, pack, token_ids
from ecamp_fast.text.wordpiece import Wordpiece, build_tokenizer

WORDS = ["no", "eff", "##usion", ".", "clear"]


@pytest.fixture(scope="module")
def wordpiece() -> Wordpiece:
    tokenizer = build_tokenizer({token: number for number, token in enumerate([*SPECIALS, *WORDS])})
    return Wordpiece(tokenizer, b"")


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("demo", ["image.high_size=32", "image.low_size=16", "model.vision.patch=8"])


def masked(codes: torch.Tensor) -> Text:
    """ "effusion" and "clear" are masked."""
    rows = torch.tensor([2, 3, 6])
    ids = token_ids(codes).long()
    places = {"cu_seqlens": torch.tensor([0, 5, 8]).int(), "predicted": torch.tensor([0, 2, 3]).int(), "max_seqlen": 5}
    return Text(codes, ids.index_fill(0, rows, MASK_ID), rows, ids[rows], torch.ones(3), **places)


@pytest.fixture
def batch() -> Batch:
    """Two samples: "[CLS] no effusion." with a map, "[CLS] clear." without."""
    ids = torch.tensor([2, 5, 6, 7, 8, 2, 9, 8], dtype=torch.int32)
    marks = torch.zeros_like(ids)
    marks[2:4] = int(Mark.ENTITY)
    attention = torch.zeros(2, 28, 28)
    attention[0, 0, 0] = 1.0
    return Batch(
        image=torch.arange(32 * 32).reshape(1, 1, 32, 32).remainder(256).to(torch.uint8).repeat(2, 1, 1, 1),
        attention=attention,
        window=torch.zeros(2, 2, dtype=torch.int32),
        text=masked(pack(ids, marks)),
        lengths=torch.tensor([5, 3], dtype=torch.int32),
        keys=torch.zeros(2, dtype=torch.int64),
        samples=torch.arange(2),
    )


@pytest.fixture
def output(batch: Batch) -> Reconstruction:
    """Black pictures, white predictions, the first patch hidden; "effusion" and "clear" masked, both answered "no"."""
    words = batch.text.ids.index_fill(0, batch.text.rows, 5)
    mask = torch.tensor([[True, False, False, False]]).repeat(2, 1)
    return Reconstruction(
        low=torch.full((2, 1, 16, 16), -9.0),
        mask=mask,
        prediction=torch.full((2, 1, 16, 16), 9.0),
        super_resolution=torch.zeros(2, 1, 32, 32),
        text=batch.text,
        words=words,
    )


def test_prediction_where_hidden_truth_where_seen(
    batch: Batch, output: Reconstruction, recipe: Recipe, wordpiece: Wordpiece
) -> None:
    (first,) = draw(batch, output, recipe, wordpiece, {0: "a"})
    patch = np.zeros((16, 16), bool)
    patch[:8, :8] = True
    assert first.reconstruction is not None and (first.reconstruction == np.where(patch, 255, 0)).all()
    assert (first.masked[patch] == HIDDEN).all() and (first.masked[~patch] == 0).all()
    assert first.super_resolution is not None and (first.super_resolution == round(recipe.image.mean * 255)).all()
    assert (first.target == batch.image[0, 0].numpy()).all()


def test_words_of_the_right_sample(batch: Batch, output: Reconstruction, recipe: Recipe, wordpiece: Wordpiece) -> None:
    first, second = draw(batch, output, recipe, wordpiece, {0: "a", 1: "b"})
    assert [(w.true, w.shown, w.masked, w.entity) for w in first.words] == [
        ("no", "no", False, False),
        ("effusion", "no·no", True, True),
        (".", ".", False, False),
    ]
    assert [(w.true, w.shown) for w in second.words] == [("clear", "no"), (".", ".")]


def test_a_map_is_laid_over_the_picture_or_left_out(
    batch: Batch, output: Reconstruction, recipe: Recipe, wordpiece: Wordpiece
) -> None:
    first, second = draw(batch, output, recipe, wordpiece, {0: "a", 1: "b"})
    assert second.attention is None and first.attention is not None
    grey = first.target[..., None].repeat(3, -1)
    assert (first.attention[8:, 8:] == grey[8:, 8:]).all() and (first.attention[0, 0] != grey[0, 0]).any()


def test_glow_is_strongest_at_the_maximum() -> None:
    attention = np.zeros((4, 4), np.float32)
    attention[1, 2] = 3.0
    drawn = glow(np.zeros((64, 64), np.uint8), attention).sum(-1)
    assert abs(np.array(np.unravel_index(drawn.argmax(), drawn.shape)) - [24, 40]).max() <= 8


def test_recipes_without_some_terms(batch: Batch, recipe: Recipe, wordpiece: Wordpiece) -> None:
    bare = Reconstruction(torch.zeros(2, 1, 16, 16), torch.ones(2, 4, dtype=torch.bool), None, None, None, None)
    pictures = draw(batch, bare, recipe, wordpiece, {0: "a"})
    assert pictures[0].words == [] and pictures[0].reconstruction is None and pictures[0].correlation is None
    page = gallery(pictures)
    assert "no super-resolution in this recipe" in page and page.count("<img") == 3


def test_report_text_is_never_markup() -> None:
    hostile = "<script>alert(1)</script>"
    words = [Word(hostile, hostile, False, True), Word("a", hostile, True, False), Word(hostile, '"<b', True, True)]
    page = report_words(words)
    assert "<script" not in page and '"<b' not in page
    assert page.count("&lt;script&gt;") == 3


def test_right_and_wrong_words() -> None:
    page = report_words(
        [Word("mass", "mass", True, False), Word("edema", "mass", True, False), Word("is", "is", False, False)]
    )
    assert page.count('class="word right"') == page.count('class="word wrong"') == 1
    assert "<rt>edema</rt></ruby> is</p>" in page
