"""Sentences for GLoRIA: wordpieces with the words they make up, and of a batch who states what. On the host.

Legend: B samples, U sentences, T rows of wordpieces.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from ecamp_fast.batch import Sentences
from ecamp_fast.keyed_random import Stream, uniform
from ecamp_fast.text.codes import CLS_ID, PAD_ID, SEP_ID
from ecamp_fast.text.packing.single_sentences import KNOWN, Statement, worths_of
from ecamp_fast.text.wordpiece import PREFIX, Wordpiece

TEXTS, ROWS = 8, 4  # that the numbers of sentences, and of wordpieces and words of the longest, are multiples of
NO_WORD = -1


class Vocabulary(NamedTuple):
    """What a tokenizer has to say.

    pieces    wordpieces of a text: their ids, and whether each goes on with the word before it
    begin, end, pad  ids of [CLS], [SEP] and [PAD]
    size      of the vocabulary
    """

    pieces: Callable[[str], list[tuple[int, bool]]]
    begin: int
    end: int
    pad: int
    size: int


def vocabulary_of(wordpiece: Wordpiece) -> Vocabulary:
    """Of the tokenizer of a shard set."""

    def pieces(text: str) -> list[tuple[int, bool]]:
        ids = [token.id for token in wordpiece.encode(text, specials=False)]
        return [(one, name.startswith(PREFIX)) for one, name in zip(ids, wordpiece.decode(ids), strict=True)]

    return Vocabulary(pieces, CLS_ID, SEP_ID, PAD_ID, wordpiece.vocab_size)


class Caption(NamedTuple):
    """A sentence as the text side reads it.

    ids    [CLS], wordpieces, [SEP]
    words  of each, the number of its word, [CLS] being 0; ``NO_WORD`` for [SEP]
    """

    ids: list[int]
    words: list[int]


class CaptionEncoder:
    """Sentences to wordpieces; each is kept once it was encoded.

    max_tokens: [CLS] and [SEP] among them
    """

    def __init__(self, vocabulary: Vocabulary, max_tokens: int) -> None:
        self.vocabulary, self._limit = vocabulary, max_tokens
        self._encode = lru_cache(KNOWN)(self._encoded)

    def __call__(self, sentence: str) -> Caption:
        return self._encode(sentence)

    def _encoded(self, sentence: str) -> Caption:
        pieces = self.vocabulary.pieces(sentence)[: self._limit - 2]
        numbers = np.cumsum([number == 0 or not goes_on for number, (_, goes_on) in enumerate(pieces)], dtype=np.int64)
        ids = [self.vocabulary.begin, *(one for one, _ in pieces), self.vocabulary.end]
        return Caption(ids, [0, *numbers.tolist(), NO_WORD])


class CaptionChoice(NamedTuple):
    """Which sentences of a batch are compared with its images.

    each      sentences of an image, drawn anew in every epoch; 0: all
    diagonal  whether a sentence belongs to the one image that it was drawn for; otherwise to all that state it
    poles     whether bare sentences and their negations come along
    """

    each: int
    diagonal: bool
    poles: bool


def lay_out_captions(
    stated: Sequence[Statement], keys: np.ndarray, encode: CaptionEncoder, choice: CaptionChoice
) -> Sentences:
    """The sentences of a micro-batch, and who states which.

    stated: of B samples   keys: (B,) int64 of the samples in this epoch
    Filler brings U and the longest sentence to multiples of ``TEXTS`` and ``ROWS``, so that few shapes occur.
    """
    drawn = [_draw(own, key, choice.each) for (own, _), key in zip(stated, keys, strict=True)]
    if choice.diagonal:
        pairs = [(number, text) for number, texts in enumerate(drawn) for text in texts]
        stating = np.zeros((len(stated), len(pairs)), bool)
        stating[[number for number, _ in pairs], range(len(pairs))] = True
        return _laid([text for _, text in pairs], stating, encode)
    poles = [bare if choice.poles else () for _, bare in stated]
    texts = [*(text for one in drawn for text in one), *(text for one in poles for pair in one for text in pair)]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    stating = np.zeros((len(stated), len(numbers)), bool)
    for sample, (own, bare) in enumerate(stated):
        holding = [*own, *(holds for holds, _ in bare)]
        stating[sample, [numbers[text] for text in holding if text in numbers]] = True
    return _with_poles(_laid(list(numbers), stating, encode), poles, numbers)


def pack_captions(sentences: Sequence[str], encode: CaptionEncoder) -> Sentences:
    """Sentences that no sample states, in their order: prompts."""
    return _laid(list(sentences), np.zeros((0, len(sentences)), bool), encode)


def _with_poles(laid: Sentences, poles: Sequence[Sequence[tuple[str, str]]], numbers: Mapping[str, int]) -> Sentences:
    """The same with each bare sentence's negation, and the worth of the choice between the two."""
    pairs = [(sample, numbers[holds], numbers[other]) for sample, one in enumerate(poles) for holds, other in one]
    negation = {one: two for _, holds, other in pairs for one, two in ((holds, other), (other, holds))}
    for number, other in negation.items():
        laid.negation[number] = other
    for sample, number, value in worths_of([(sample, holds) for sample, holds, _ in pairs], negation):
        laid.worth[sample, number] = value
    return laid


def _draw(sentences: Sequence[str], key: int, count: int) -> Sequence[str]:
    """``count`` of them without repetition, by the key of their sample; 0: all."""
    if not count or len(sentences) <= count:
        return sentences
    order = np.argsort(uniform(np.array([key], np.int64), Stream.CAPTIONS, len(sentences))[0], kind="stable")
    return [sentences[number] for number in sorted(order[:count].tolist())]


def _laid(texts: Sequence[str], stating: np.ndarray, encode: CaptionEncoder) -> Sentences:
    """texts: of which some may be alike   stating: (B, U) bool"""
    captions = [encode(text) for text in texts]
    lengths = [len(one.ids) for one in captions]
    room = -(-max(len(texts), 1) // TEXTS) * TEXTS
    ends = np.concatenate([[0], np.cumsum(lengths), np.full(room - len(texts), sum(lengths))])
    ids = [one for caption in captions for one in caption.ids] or [encode.vocabulary.pad]
    words = [one for caption in captions for one in caption.words] or [NO_WORD]
    filled = np.zeros((len(stating), room), bool)
    filled[:, : len(texts)] = stating
    return Sentences(
        ids=torch.tensor(ids),
        cu_seqlens=torch.from_numpy(ends.astype(np.int32)),
        real=torch.arange(room) < len(texts),
        stated=torch.from_numpy(filled),
        negation=torch.arange(room),
        worth=torch.zeros(len(stating), room),
        max_seqlen=-(-max(lengths, default=1) // ROWS) * ROWS,
        words=torch.tensor(words),
        max_words=-(-(1 + max(words)) // ROWS) * ROWS or ROWS,
    )
