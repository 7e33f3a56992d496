"""The three losses of ECAMP, one that is no part of the paper, and their plain sum (paper Eq. 2, 4, 5, 6)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ecamp_fast.batch import Sentences
from ecamp_fast.config import Recipe
from ecamp_fast.geometry import window_size
from ecamp_fast.kernels.guidance import Guidance, Window
from ecamp_fast.kernels.masked_mse import masked_mse
from ecamp_fast.kernels.sr_loss import Convolutions, sr_loss
from ecamp_fast.kernels.weighted_cross_entropy import weighted_cross_entropy


@dataclass(frozen=True, slots=True)
class Losses:
    """0-d float32 tensors; a term that the recipe turns off is zero. ``total`` is the sum and carries the gradient.

    keep: (B, K) int64, the patches that the encoder saw; None where it was not the whole model that computed
    align: None where it is off
    local, whole: the parts of the total where ``losses.gloria`` is on, of which the other terms are zero
    """

    total: Tensor
    mim: Tensor
    sr: Tensor
    mlm: Tensor
    keep: Tensor | None = None
    align: Tensor | None = None
    local: Tensor | None = None
    whole: Tensor | None = None


def total(mim: Tensor | None, sr: Tensor | None, mlm: Tensor | None, align: Tensor | None = None) -> Losses:
    """The plain sum of the terms that are there (Eq. 6)."""
    given = [term for term in (mim, sr, mlm, align) if term is not None]
    zero = torch.zeros_like(given[0], requires_grad=False)
    terms = [zero if term is None else term for term in (mim, sr, mlm)]
    return replace(Losses(torch.stack(given).sum(), *terms), align=align)


def mim_loss(recipe: Recipe, prediction: Tensor, low: Tensor, masked: Tensor) -> Tensor:
    """Reconstruction of the masked patches (Eq. 2), times ``losses.mim_scale``.

    The released code's mean over all pixels of masked images is 0.75 of the mean over masked pixels: scale 0.75.
    prediction: (B, N, P*P*3)   low: (B, 1, H, W) normalised   masked: (B, M) int64, patch numbers   returns 0-d.
    """
    losses, patch = recipe.losses, recipe.model.vision.patch
    return losses.mim_scale * masked_mse(prediction, low, masked, patch, norm_pix=losses.norm_pix)


def super_resolution_loss(
    recipe: Recipe, low: Tensor, convolutions: Convolutions, image: Tensor, attention: Tensor, window: Tensor
) -> Tensor:
    """Error of the super-resolved prediction, weighted by ``sr.guidance`` (Eq. 5).

    low           (B, 3, S/2, S/2)   the prediction
    convolutions                     of the super-resolution head
    image         (B, 1, S, S)       uint8, or floating and normalised
    attention     (B, G, G)          >= 0; all zero: every pixel alike
    window        (B, 2)             its first patch (row, column)
    returns       0-d
    """
    guidance, pixels = guidance_of(recipe, attention, window), recipe.image
    return sr_loss(low, convolutions, image, guidance, pixels.mean, pixels.std, recipe.sr.final_relu)


def guidance_of(recipe: Recipe, attention: Tensor, window: Tensor) -> Guidance:
    """What ``sr.guidance`` names. A window spans 12 of 14 patches per side, or in proportion."""
    if recipe.sr.guidance == "none":
        return None
    if recipe.sr.guidance == "soft":
        return attention
    return Window(window, window_size(recipe.grid), 2 * recipe.model.vision.patch)


def mlm_loss(
    recipe: Recipe, hidden: Tensor, vocabulary: Tensor, bias: Tensor, labels: Tensor, weights: Tensor, batch: int
) -> Tensor:
    """Weighted cross-entropy of the predicted rows (Eq. 4), divided as ``losses.mlm_normaliser`` says.

    ``budget``: by batch * text.max_tokens, the released code's mean over all places, filled or not;
    ``weighted_mean``: by the sum of the weights; ``sum``: the paper's sum over words, mean over samples.

    hidden      (R, D)
    vocabulary  (V, D)
    bias        (V,)
    labels      (R,) int64
    weights     (R,) float
    batch                    samples
    returns     0-d
    """
    return weighted_cross_entropy(hidden, vocabulary, bias, labels, weights) / mlm_divisor(recipe, weights, batch)


def mlm_divisor(recipe: Recipe, weights: Tensor, batch: int) -> Tensor | int:
    """What ``mlm_loss`` divides the weighted nats by.  weights: (R,) float   batch: samples"""
    if recipe.losses.mlm_normaliser == "weighted_mean":
        return weights.sum().clamp_min(torch.finfo(weights.dtype).eps)
    return batch * recipe.text.max_tokens if recipe.losses.mlm_normaliser == "budget" else batch


def align_loss(logits: Tensor, sentences: Sentences) -> Tensor:
    """Images of a micro-batch against the sentences that they state: a contrast both ways, and the choice of Yes or No.

    Contrast: of an image among all sentences, -mean log softmax over those that it states; of a sentence among all
    images likewise, where some image states it and another does not. Means over images and over sentences, halved.
    Choice: between a sentence that the image states and its negation, log(1 + exp(negated - stated)), by ``worth``.

    logits    (B, U) float32, similarities divided by the temperature
    returns   contrast + choice, 0-d; 0 where nothing is stated
    """
    stated, real = sentences.stated, sentences.real
    by_image = (logits.masked_fill(~real, -torch.inf)).log_softmax(1)
    by_sentence = logits.log_softmax(0)
    told = stated.any(0) & ~stated.all(0)
    contrast = (_mean_over(by_image, stated, 1) + _mean_over(by_sentence, stated & told, 0)) / 2
    choice = (sentences.worth * softplus(logits.index_select(1, sentences.negation) - logits)).sum()
    return choice - contrast


def _mean_over(values: Tensor, where: Tensor, dim: int) -> Tensor:
    """Mean along ``dim`` over the places that count, then over the lines that have any; 0 without.  (B, U) each"""
    counts = where.sum(dim)
    means = torch.where(where, values, 0.0).sum(dim) / counts.clamp_min(1)
    return means.sum() / (counts > 0).sum().clamp_min(1)
