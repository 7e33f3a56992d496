"""GLoRIA: images and sentences in one space, region by region and word by word (SPEC 6.1, 6.2)."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ecamp_fast.attend.images import image_side
from ecamp_fast.attend.losses import Sharpness, local_similarity, pair_loss, word_attention
from ecamp_fast.attend.texts import TextSide
from ecamp_fast.batch import Batch, Sentences
from ecamp_fast.config import Recipe
from ecamp_fast.objectives import Losses, total


class Likeness(NamedTuple):
    """Of B images and U sentences, (B, U) float32.

    local   log of the sum over words of exp(5 cos): GLoRIA's local similarity
    whole   cosine of the whole image and the whole sentence
    """

    local: Tensor
    whole: Tensor


class Gloria(nn.Module):
    """One model for an engine, as ``Ecamp`` is one: ``forward`` takes a batch of the loader, and gives losses.

    vocab_size  of the shard set, where ``gloria.bert`` names no other
    fresh       whether weights that the recipe begins with (``gloria.bert``, ``gloria.image_weights``) are left unread,
                since others will take their place
    """

    def __init__(self, recipe: Recipe, vocab_size: int, fresh: bool = False) -> None:
        super().__init__()
        self.recipe, self.vocab_size = recipe, vocab_size
        self.sharpness = Sharpness(*recipe.gloria.sharpness)
        self.text = TextSide(recipe, vocab_size, fresh)
        self.image = image_side(recipe, self.text.width, fresh)

    def forward(self, batch: Batch) -> Losses:
        """Local and global loss, scaled, and their sum."""
        gloria, sentences = self.recipe.gloria, batch.sentences
        assert sentences is not None
        likeness = self.compare(batch.image, sentences)
        local = gloria.local_scale * pair_loss(likeness.local, sentences, self.sharpness, gloria.poles)
        whole = gloria.global_scale * pair_loss(likeness.whole, sentences, self.sharpness, gloria.poles)
        keep = batch.keys.new_zeros(len(batch), 0)  # no patch is masked
        return replace(total(None, None, None, local + whole), keep=keep, align=None, local=local, whole=whole)

    @torch.no_grad()
    def losses_and_words(self, batch: Batch) -> tuple[Losses, None]:
        """For ``run.evaluate``: no word is predicted."""
        return self(batch), None

    def compare(self, image: Tensor, sentences: Sentences) -> Likeness:
        """image: (B, 1, S, S) uint8, of the recipe's ``image.high_size``   sentences: U of them"""
        regions, whole = self.image(image)
        words, real, texts = self.text(sentences)
        local = local_similarity(regions, words, real, self.sharpness)
        return Likeness(local, normalize(whole.float(), dim=-1) @ normalize(texts.float(), dim=-1).mT)

    @torch.no_grad()
    def attention(self, image: Tensor, sentences: Sentences) -> Tensor:
        """Where each word looks: (B, U, W, G, G) float32, a map sums to 1, those of no word are 0.

        Word 0 is [CLS]; word n the n-th of the sentence.
        """
        regions, _ = self.image(image)
        words, real, _ = self.text(sentences)
        maps = word_attention(regions, words, real, self.sharpness)
        return maps.unflatten(-1, (round(maps.shape[-1] ** 0.5), -1))
