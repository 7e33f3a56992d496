"""GLoRIA's losses as products over the whole batch (SPEC 6.2): what a word looks at, and who belongs to whom.

Legend: B images, R regions of an image, U texts, W words of a text, D numbers of a region and of a word.

The cosine of a word w and its context c = sum over r of a_r v_r needs neither c nor that the weights a sum to 1:
<c, w> = sum of a_r <v_r, w>, of which the scores are known, and |c|^2 = a' (V V') a, with one R x R product per image
where R is below D. So nothing has more numbers than B x U x W x R, and where that is too much, texts go by in parts.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ecamp_fast.batch import Sentences
from ecamp_fast.objectives import align_loss

ROOM = 1 << 25  # scores that are held at once; more are computed in parts, and each part again in the backward
EPSILON = 1e-8  # of a squared length
NOWHERE = -1e30  # added to the scores of what is no word: no share, and no infinity either


class Sharpness(NamedTuple):
    """GLoRIA's three temperatures.

    regions  of the choice among regions (temp1)
    words    of the sum over words (temp2)
    pairs    of both contrasts (temp3)
    """

    regions: float = 4.0
    words: float = 5.0
    pairs: float = 10.0


def word_attention(regions: Tensor, words: Tensor, real: Tensor, sharpness: Sharpness) -> Tensor:
    """Where each word looks: over words first, then over regions (SPEC 6.2, 1 and 2).

    regions: (B, R, D)   words: (U, W, D)   real: (U, W) bool, at least one of each text
    returns (B, U, W, R) float32 that sums to 1 over R; zeros at words that are not real
    """
    scores = _scores(regions, words)
    maps = (sharpness.regions * _over_words(scores, real)).softmax(1)
    return maps.permute(0, 2, 3, 1) * real[:, :, None]


def local_similarity(regions: Tensor, words: Tensor, real: Tensor, sharpness: Sharpness, room: int = ROOM) -> Tensor:
    """How well images answer the words of texts: log of the sum over words of exp(temp2 * cos(context, word)).

    regions, words, real: as of ``word_attention``   room: scores at once   returns (B, U) float32
    """
    basis = _basis(regions)
    per_text = regions.shape[0] * regions.shape[1] * words.shape[1]
    count = max(1, min(len(words), room // max(per_text, 1)))
    parts = list(zip(words.split(count), real.split(count), strict=True))
    if len(parts) == 1:
        return _similarity(regions, basis, words, real, sharpness)
    found = [
        checkpoint(_similarity, regions, basis, *part, sharpness, use_reentrant=False, preserve_rng_state=False)
        for part in parts
    ]
    return torch.cat(found, 1)


def pair_loss(similarity: Tensor, sentences: Sentences, sharpness: Sharpness, poles: bool) -> Tensor:
    """Contrast of images and texts, both ways: its two halves are summed, as GLoRIA does.

    Where every image states one text and no two the same, that is the two-way cross-entropy against the diagonal. An
    image may state several texts and a text be stated by several images: then the mean over those (``align_loss``).

    similarity: (B, U) float32   poles: whether the choice between a bare sentence and its negation counts too
    returns 0-d
    """
    held = sentences if poles else replace(sentences, worth=torch.zeros_like(sentences.worth))
    return 2 * align_loss(sharpness.pairs * similarity, held)


def _similarity(regions: Tensor, basis: Tensor, words: Tensor, real: Tensor, sharpness: Sharpness) -> Tensor:
    answered, squared = (
        found.view(-1, *real.shape) for found in _Contexts.apply(regions, basis, words, real, sharpness)
    )
    lengths = squared.clamp_min(EPSILON).sqrt() * words.float().square().sum(-1).clamp_min(EPSILON).sqrt()
    return (sharpness.words * answered / lengths).masked_fill(~real, -torch.inf).logsumexp(-1)


class _Contexts(torch.autograd.Function):
    """The context of each word without its numbers: its product with the word, and its squared length.

    Both of the sum of e_r v_r with e = exp(temp1 * p), whose sum is not taken off: a cosine does not see it. Written
    out, since there are few products here and many passes over B x R x U x W numbers, which autograd would double.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, regions: Tensor, basis: Tensor, words: Tensor, real: Tensor, sharpness: Sharpness
    ) -> tuple[Tensor, Tensor]:
        """basis: by ``_basis``   returns two (B, U * W) float32"""
        rows, texts = words.flatten(0, 1), real.shape
        scores = (regions @ rows.mT).float()
        scores += torch.where(real, 0.0, NOWHERE).flatten()
        weights = scores.unflatten(-1, texts).softmax(-1).mul_(sharpness.regions).exp_().flatten(2)
        ctx.by_region = _by_region(regions)
        looked = basis @ weights if ctx.by_region else basis.mT @ weights
        ctx.save_for_backward(regions, basis, rows, scores, weights, looked)
        ctx.texts, ctx.sharpness = texts, sharpness
        return (weights * scores).sum(1), ((weights if ctx.by_region else looked) * looked).sum(1)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, by_answered: Tensor, by_squared: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        regions, basis, rows, scores, weights, looked = ctx.saved_tensors
        near, far = by_answered[:, None], by_squared[:, None]
        by_looked = looked * (2 * far)
        if ctx.by_region:
            by_weights, by_basis = by_looked, (weights * far) @ weights.mT
        else:
            by_weights, by_basis = basis @ by_looked, weights @ by_looked.mT
        by_weights.addcmul_(scores, near).mul_(weights)
        chosen = (weights.log() / ctx.sharpness.regions).unflatten(-1, ctx.texts)
        summed = by_weights.unflatten(-1, ctx.texts)
        summed -= (summed * chosen).sum(-1, keepdim=True)
        by_scores = (by_weights * chosen.flatten(2)).mul_(ctx.sharpness.regions).addcmul_(weights, near)
        by_scores = by_scores.to(regions.dtype)
        by_rows = by_scores.flatten(0, 1).mT @ regions.flatten(0, 1)
        return by_scores @ rows, by_basis, by_rows.unflatten(0, ctx.texts), None, None


def _by_region(regions: Tensor) -> bool:
    """Whether an image has fewer regions than a region has numbers: then V V' is smaller than V."""
    return regions.shape[1] < regions.shape[2]


def _basis(regions: Tensor) -> Tensor:
    """What squared lengths are taken with, float32: V V', (B, R, R), or V itself, (B, R, D), whichever is smaller."""
    exact = regions.float()
    return exact @ exact.mT if _by_region(regions) else exact


def _scores(regions: Tensor, words: Tensor) -> Tensor:
    """(B, R, U, W) float32: products of regions and words, in the dtype of the model."""
    return (regions @ words.flatten(0, 1).mT).float().unflatten(-1, words.shape[:2])


def _over_words(scores: Tensor, real: Tensor) -> Tensor:
    """Softmax over the words of each text; 0 at those that are not real."""
    return scores.masked_fill(~real, -torch.inf).softmax(-1)
