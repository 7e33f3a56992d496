import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ecamp_fast.batch import Sentences
from ecamp_fast.config import load_recipe
from ecamp_fast.kernels.guidance import Window
from ecamp_fast.kernels.masked_mse import masked_mse
from ecamp_fast.kernels.sr_torch import Convolutions
from ecamp_fast.objectives import align_loss, guidance_of, mim_loss, mlm_loss, super_resolution_loss, total

SMALL = Path(__file__).resolve().parents[0] / "data" / "small.yaml"


@pytest.fixture
def rows() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 4), torch.randn(9, 4), torch.randn(9), torch.randint(0, 9, (6,)), torch.rand(6) + 0.5


@pytest.mark.parametrize("normaliser", ["budget", "weighted_mean", "sum"])
def test_mlm_normalisers(rows, normaliser: str) -> None:
    hidden, vocabulary, bias, labels, weights = rows
    recipe = load_recipe("paper", [f"losses.mlm_normaliser={normaliser}"])
    each = cross_entropy(hidden @ vocabulary.T + bias, labels, reduction="none") * weights
    divisor = {"budget": 2 * 256, "weighted_mean": weights.sum(), "sum": 2}[normaliser]
    torch.testing.assert_close(mlm_loss(recipe, *rows, batch=2), each.sum() / divisor)


@pytest.mark.fault("T3.no-entity")
@pytest.mark.parametrize("normaliser", ["budget", "weighted_mean", "sum"])
def test_a_batch_without_predicted_words_has_no_mlm_loss(rows, normaliser: str) -> None:
    hidden, vocabulary, bias, labels, weights = rows
    recipe = load_recipe("paper", [f"losses.mlm_normaliser={normaliser}"])
    assert mlm_loss(recipe, hidden[:0], vocabulary, bias, labels[:0], weights[:0], batch=2) == 0


@pytest.fixture
def sentences() -> Sentences:
    """Six, of which the last is filler, and four images: two state sentence 0, none states 3, the last says nothing."""
    stated = torch.tensor([[1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0]]).bool()
    worth = torch.zeros(4, 6)
    worth[0, 0], worth[1, 0], worth[2, 4] = 0.25, 0.25, 0.5
    none = torch.zeros(0, dtype=torch.long)
    real, negation = torch.arange(6) < 5, torch.tensor([4, 3, 2, 1, 0, 5])
    return Sentences(none, none.int(), real, stated, negation, worth, max_seqlen=1)


def align_by_hand(logits: list[list[float]], sentences: Sentences) -> float:
    """One image and one sentence after the other, in Python's own numbers."""

    def log_softmax(values: list[float], at: int) -> float:
        return values[at] - math.log(sum(map(math.exp, values)))

    stated, real = sentences.stated.tolist(), sentences.real.tolist()
    columns = [number for number, there in enumerate(real) if there]
    images = []
    for row, states in zip(logits, stated, strict=True):
        own = [log_softmax([row[c] for c in columns], columns.index(c)) for c in columns if states[c]]
        images += [sum(own) / len(own)] if own else []
    texts = []
    for column in columns:
        who = [row for row, states in enumerate(stated) if states[column]]
        if 0 < len(who) < len(logits):
            texts.append(sum(log_softmax([row[column] for row in logits], one) for one in who) / len(who))
    choice = 0.0
    for row, values in enumerate(logits):
        for column, value in enumerate(values):
            other = values[int(sentences.negation[column])]
            choice += float(sentences.worth[row, column]) * math.log(1 + math.exp(other - value))
    means = [sum(found) / len(found) if found else 0.0 for found in (images, texts)]
    return choice - sum(means) / 2


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_alignment_is_the_loop_over_images_and_sentences(sentences: Sentences, scale: float) -> None:
    logits = scale * torch.randn(4, 6)
    found = align_loss(logits, sentences)
    assert found.ndim == 0 and float(found) == pytest.approx(align_by_hand(logits.tolist(), sentences), rel=1e-6)
    filled = logits.clone()
    filled[:, 5] = 40.0
    assert align_loss(filled, sentences) == found
    assert torch.autograd.gradcheck(lambda given: align_loss(given, sentences), logits.double().requires_grad_())


def test_all_who_state_a_sentence_are_its_positives_and_the_negation_is_a_negative(sentences: Sentences) -> None:
    logits = torch.zeros(4, 6, requires_grad=True)
    align_loss(logits, sentences).backward()
    gradient = logits.grad
    assert gradient is not None
    assert (gradient[sentences.stated] < 0).all() and (gradient[:, 5] == 0).all()
    assert gradient[0, 4] > gradient[0, 1] > 0  # what it denies is pushed away further than what it does not speak of
    assert gradient[2, 0] > gradient[3, 0] > 0


def test_what_all_images_state_is_no_contrast_between_them(sentences: Sentences) -> None:
    alike = replace(sentences, stated=torch.zeros(4, 6).bool().index_fill(1, torch.tensor([2]), True))
    logits = torch.randn(4, 6, requires_grad=True)
    align_loss(logits, replace(alike, worth=torch.zeros(4, 6))).backward()
    assert logits.grad is not None and logits.grad.sum(1).abs().max() < 1e-6  # by_image alone: rows of a softmax


def test_nothing_stated_is_no_loss(sentences: Sentences) -> None:
    silent = replace(sentences, stated=torch.zeros(4, 6).bool(), worth=torch.zeros(4, 6), real=torch.zeros(6).bool())
    logits = torch.randn(4, 6, requires_grad=True)
    loss = align_loss(logits, silent)
    loss.backward()
    assert loss == 0 and logits.grad is not None and (logits.grad == 0).all()


@pytest.mark.parametrize("scale", [0.75, 1.0])
def test_mim_scale(scale: float) -> None:
    recipe = load_recipe("paper", [f"losses.mim_scale={scale}"])
    prediction, low = torch.randn(1, 196, 768), torch.randn(1, 1, 224, 224)
    masked = torch.arange(147)[None]
    expected = scale * masked_mse(prediction, low, masked, 16)
    torch.testing.assert_close(mim_loss(recipe, prediction, low, masked), expected)


def test_pixels_are_standardised_within_their_patch_where_the_recipe_says_so() -> None:
    low = torch.randn(1, 1, 224, 224) * 3 + 1
    patches = nn.functional.unfold(low, 16, stride=16).mT[..., None].expand(-1, -1, -1, 3).flatten(2)
    standard = (patches - patches.mean(-1, keepdim=True)) / patches.std(-1, keepdim=True)
    masked = torch.arange(147)[None]
    for overrides, target in (["losses.norm_pix=true", "losses.sr=false"], standard), ([], patches):
        assert mim_loss(load_recipe("paper", overrides), target, low, masked) < 1e-9


@pytest.mark.parametrize("final_relu", [False, True])
def test_the_loss_of_super_resolution_is_what_the_recipe_says(final_relu: bool) -> None:
    """Convolutions of zero leave the bilinear picture; without guidance the loss is the plain mean."""
    recipe = load_recipe("paper", ["sr.guidance=none", f"sr.final_relu={final_relu}".lower()])
    low, image = torch.randn(2, 3, 8, 8), torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    zero = Convolutions(*(torch.zeros(shape) for shape in [(3, 3, 3, 3), (3,)] * 2))
    picture = nn.functional.interpolate(low, scale_factor=2, mode="bilinear")
    picture = picture.relu() if final_relu else picture
    target = (image / 255 - recipe.image.mean) / recipe.image.std
    loss = super_resolution_loss(recipe, low, zero, image, torch.zeros(2, 28, 28), torch.zeros(2, 2))
    torch.testing.assert_close(loss, (picture - target).square().mean())


def test_guidance_of_each_mode() -> None:
    attention, window = torch.rand(2, 28, 28), torch.tensor([[0, 1], [2, 2]])

    def guidance(mode: str):
        return guidance_of(load_recipe("paper", [f"sr.guidance={mode}"]), attention, window)

    assert guidance("none") is None and guidance("soft") is attention
    for mode in ("window_aligned", "window_fixed"):
        assert guidance(mode) == Window(window, 12, 32)  # 12 of 14 patches of 32 high-resolution pixels
    demo = guidance_of(load_recipe(SMALL, ["sr.guidance=window_aligned"]), attention, window)
    assert (demo.extent, demo.cell) == (6, 32)  # 6 of 7


def test_total_is_the_plain_sum_and_terms_that_are_off_are_zero() -> None:
    mim, mlm = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    losses = total(mim, None, mlm)
    assert losses.total == 5 and losses.sr == 0 and not losses.sr.requires_grad
    losses.total.backward()
    assert mim.grad == 1 and mlm.grad == 1
