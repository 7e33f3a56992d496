"""A report read once, when shards are built: sentences, entities, descriptors, negation, as marks on its wordpieces."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecamp_fast.text.codes import ID_BITS, INSIDE, Mark
from ecamp_fast.text.reading.entities import DEFAULT, EntityList, Mention, find_mentions
from ecamp_fast.text.reading.negation import negated
from ecamp_fast.text.reading.plain import plain
from ecamp_fast.text.reading.sentences import plain_sentences, sentence_spans
from ecamp_fast.text.reading.words import Span, word_spans
from ecamp_fast.text.wordpiece import PREFIX, Wordpiece

REACH = 2  # words before an entity that describe it (paper 3.2: beta)

_BARRIER = re.compile(r";|:(?!\d)|(?<!\d):")  # a description does not reach across these; "10:30" is a word


@dataclass(frozen=True, slots=True)
class Description:
    """A mention with what is said about it.

    mention           the entity, and where it stands
    words             characters [start, end) of the up to two words before it, nearest first, none part of an entity
    denied            whether a phrase or the lexicon denies it
    denied_by_phrase  whether one of the two literal phrases alone does
    """

    mention: Mention
    words: tuple[Span, ...]
    denied: bool
    denied_by_phrase: bool


def describe(text: str, entities: EntityList = DEFAULT) -> list[Description]:
    """Every mention of a text with its descriptors and its negation, sentence by sentence."""
    form = plain(text, entities)
    found = describe_plain(form.text, entities)
    if form.origins is None:
        return found
    return [
        Description(
            Mention(one.mention.entity, *form.origin(one.mention[1:])),
            tuple(form.origin(span) for span in one.words),
            one.denied,
            one.denied_by_phrase,
        )
        for one in found
    ]


def describe_plain(text: str, entities: EntityList = DEFAULT) -> list[Description]:
    """The same for a text in its normal form (``plain``)."""
    mentions = find_mentions(text, entities)
    starts = [mention.start for mention in mentions]
    out: list[Description] = []
    for sentence in plain_sentences(text):
        inside = mentions[bisect_left(starts, sentence[0]) : bisect_left(starts, sentence[1])]
        if inside:
            denied = negated(text, sentence, inside, entities=entities)
            by_phrase = negated(text, sentence, inside, phrases_only=True, entities=entities)
            words = _words_before(text, sentence, inside)
            out += map(Description, inside, words, denied, by_phrase)
    return out


def _words_before(text: str, sentence: Span, mentions: Sequence[Mention]) -> list[tuple[Span, ...]]:
    """For each mention the two words before it. An entity among them counts, but describes nothing."""
    words = word_spans(text, *sentence)
    word_starts, word_ends = [start for start, _ in words], [end for _, end in words]
    barriers = [sentence[0], *(match.end() for match in _BARRIER.finditer(text, *sentence))]
    within = {w for m in mentions for w in words[bisect_right(word_ends, m.start) : bisect_left(word_starts, m.end)]}
    out: list[tuple[Span, ...]] = []
    for mention in mentions:
        last = bisect_right(word_ends, mention.start)
        barrier = barriers[bisect_right(barriers, mention.start) - 1]
        earlier = reversed(words[max(0, last - REACH) : last])
        out.append(tuple(span for span in earlier if span[0] >= barrier and span not in within))
    return out


def _joined(text: str, starts: np.ndarray) -> np.ndarray:
    """(n,) bool: the pieces that stand in the same word as the piece before.  starts: (n,), their first characters"""
    words = np.array([*word_spans(text), (len(text), len(text))])
    word = np.searchsorted(words[:, 0], starts, side="right") - 1
    word[(word < 0) | (starts >= words[word, 1])] = -1
    joined = np.zeros(len(starts), bool)
    joined[1:] = (word[1:] == word[:-1]) & (word[1:] >= 0)
    return joined


class Annotator:
    """Texts to codes with one tokenizer and one list of entities."""

    def __init__(self, wordpiece: Wordpiece, entities: EntityList = DEFAULT) -> None:
        self._wordpiece = wordpiece
        self._entities = entities
        pieces = wordpiece.decode(range(wordpiece.vocab_size))
        marks = [
            Mark.CONTINUATION * piece.startswith(PREFIX)
            | Mark.PIECE_ENTITY * (piece in entities.pieces)
            | Mark.PERIOD * (piece == ".")
            for piece in pieces
        ]
        self._piece_marks = np.array(marks, np.int32)
        self._phrase = [wordpiece.id(word) for word in ("there", "is", "no", "evidence", "of")]

    def codes(self, text: str) -> np.ndarray:
        """text: a report, or distilled text   returns (n,) int32 codes, without [CLS], not truncated."""
        tokens = self._wordpiece.encode(text, specials=False)  # a report cannot write padding or masks
        if not tokens:
            return np.zeros(0, np.int32)
        table = np.array(tokens, np.int64)
        ids, starts = table[:, 0].astype(np.int32), table[:, 1]
        marks = self._piece_marks[ids]
        marks[_joined(text, starts) & ((marks & Mark.CONTINUATION) == 0)] |= Mark.JOINED
        heads = (marks & INSIDE) == 0
        for start, _ in sentence_spans(text, self._entities):
            first = int(np.searchsorted(starts, start))
            if first < len(marks):
                marks[first] |= Mark.SENTENCE_START
        spans = np.searchsorted(starts[heads], starts, side="right") - 1  # word of each piece
        word_starts = starts[heads]
        for description in describe(text, self._entities):
            self._mark(marks, spans, word_starts, description)
        self._mark_phrases(marks, ids)
        return ids | (marks << ID_BITS)

    @staticmethod
    def _mark(marks: np.ndarray, words: np.ndarray, word_starts: np.ndarray, description: Description) -> None:
        def pieces(start: int, end: int) -> np.ndarray:
            first, last = np.searchsorted(word_starts, start, side="right") - 1, np.searchsorted(word_starts, end)
            return (words >= first) & (words < last)

        marks[pieces(description.mention.start, description.mention.end)] |= Mark.ENTITY
        group = (
            Mark.DESCRIPTOR
            | Mark.NEGATIVE_LEXICON * description.denied
            | Mark.NEGATIVE_PHRASE * description.denied_by_phrase
        )
        for span in description.words:
            marks[pieces(*span)] |= group

    def _mark_phrases(self, marks: np.ndarray, ids: np.ndarray) -> None:
        """ "there is no evidence of" where it stands, else "there is no": as the released code scans for them."""
        for start in np.flatnonzero(ids == self._phrase[0]):
            length = next((n for n in (5, 3) if ids[start : start + n].tolist() == self._phrase[:n]), 0)
            if length:
                marks[start : start + length] |= Mark.PHRASE
                marks[start] |= Mark.PHRASE_START
