"""What the samples of a micro-batch state, sentence by sentence, for ``losses.align``: on the host.

A sample states the sentences of its distilled text. "There is large apical pneumothorax." states "There is
pneumothorax." as well, since adjectives and place only narrow it; "There is no focal consolidation." is taken to deny
consolidation, as radiologists mean it. These two bare sentences, "There is X." and "There is no X.", are each other's
negation: whoever states one denies the other. Organs, which are never denied, and what may be have no bare sentence.
Legend: B samples, U sentences, T text rows, N sequences of text rows.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from ecamp_fast.batch import Sentences
from ecamp_fast.text.codes import CLS_ID, PAD_ID
from ecamp_fast.text.packing.layout import room_for
from ecamp_fast.text.reading.entities import ANATOMY, find_mentions
from ecamp_fast.text.reading.nouns import NOMINAL, is_verb
from ecamp_fast.text.reading.sentences import sentence_spans
from ecamp_fast.text.wordpiece import Wordpiece

MAX_TOKENS = 64  # of a sentence, [CLS] among them
KNOWN = 1 << 16  # sentences and texts that are kept as they were read

_OPENING = re.compile(r"there (?:is|are) (?P<no>no )?", re.IGNORECASE)


class Statement(NamedTuple):
    """A sentence.  finding: what it is about, None where it neither says nor denies that something is there"""

    sentence: str
    finding: str | None
    denied: bool


@dataclass(frozen=True, slots=True)
class SentenceCapacity:
    """Room for the sentences of a micro-batch.  sentences: U   rows: T"""

    sentences: int
    rows: int


def prompt(finding: str, denied: bool) -> str:
    """The bare sentence.  finding: as ``finding_of`` names it"""
    return f"There is {'no ' * denied}{finding}."


def finding_of(phrase: str) -> str | None:
    """The noun of the last finding that a phrase mentions, by the list of entities; None: it mentions none."""
    found = [mention.entity for mention in find_mentions(phrase) if mention.entity not in ANATOMY]
    return (NOMINAL[found[-1]] if is_verb(found[-1]) else found[-1]) if found else None


@lru_cache(KNOWN)
def read_statement(sentence: str) -> Statement:
    """What a sentence states, by its opening and the last finding that it names."""
    opening = _OPENING.match(sentence)
    finding = finding_of(sentence[opening.end() :]) if opening else None
    return Statement(sentence, finding, bool(opening and opening["no"]))


@lru_cache(KNOWN)
def read_statements(text: str) -> tuple[Statement, ...]:
    """The statements of a distilled text, each once, in order."""
    sentences = (" ".join(text[start:end].split()) for start, end in sentence_spans(text))
    return tuple(map(read_statement, dict.fromkeys(filter(None, sentences))))


class SentenceEncoder:
    """Sentences to token ids, with the tokenizer of a shard set; each is kept once it was encoded.

    max_tokens: of the text decoder's positions
    """

    def __init__(self, wordpiece: Wordpiece, max_tokens: int) -> None:
        self.limit = min(max_tokens, MAX_TOKENS)
        self._encode = lru_cache(KNOWN)(lambda text: [t.id for t in wordpiece.encode(text, specials=False)])

    def __call__(self, sentence: str) -> list[int]:
        """The ids, [CLS] first, at most ``limit``."""
        return [CLS_ID, *self._encode(sentence)][: self.limit]


def lay_out_sentences(
    texts: Sequence[str], encode: SentenceEncoder, limit: int, capacity: SentenceCapacity | None = None
) -> Sentences:
    """The distinct sentences of a micro-batch, and who states which.

    texts     B distilled texts
    limit     of statements of a sample, the first
    capacity  room that filler fills, for static shapes; None: no filler. More than that gets more room.
    """
    found = _Stated()
    for sample, text in enumerate(texts):
        found.add(sample, read_statements(text)[:limit])
    return _packed([encode(sentence) for sentence in found.numbers], found, len(texts), encode.limit, capacity)


def pack_sentences(sentences: Iterable[str], encode: SentenceEncoder) -> Sentences:
    """Sentences that no sample states, in their order: prompts."""
    found = _Stated()
    for sentence in sentences:
        found.number(sentence)
    return _packed([encode(sentence) for sentence in found.numbers], found, 0, encode.limit, None)


class _Stated:
    """Who states what.  numbers: sentence -> its number   pairs: (sample, number)"""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.pairs: list[tuple[int, int]] = []
        self._poles: dict[str, tuple[list[int], list[int]]] = {}  # finding -> samples that state it, that deny it

    def number(self, sentence: str) -> int:
        return self.numbers.setdefault(sentence, len(self.numbers))

    def add(self, sample: int, statements: Iterable[Statement]) -> None:
        """What a sample states. A finding that it both states and denies, on either side say, is there."""
        findings: dict[str, bool] = {}
        stated: dict[int, None] = {}
        for sentence, finding, denied in statements:
            stated[self.number(sentence)] = None
            if finding is not None:
                findings[finding] = findings.get(finding, True) and denied
        for finding, denied in findings.items():
            stated[self.number(prompt(finding, denied))] = None
            self.number(prompt(finding, not denied))
            self._poles.setdefault(finding, ([], []))[denied].append(sample)
        self.pairs += [(sample, number) for number in stated]

    def negations(self) -> list[tuple[int, int]]:
        """(sentence, the one that denies it), both ways."""
        both = [tuple(self.numbers[prompt(finding, denied)] for denied in (False, True)) for finding in self._poles]
        return [pair for one, other in both for pair in ((one, other), (other, one))]

    def worths(self) -> list[tuple[int, int, float]]:
        """(sample, sentence, worth) of the choices between a sentence and its negation.

        Findings that some sample states and another denies count alike, and so do their two sides: else the commoner
        side would be the answer to every picture. What all say is no choice.
        """
        settled = {finding: sides for finding, sides in self._poles.items() if all(sides)}
        return [
            (sample, self.numbers[prompt(finding, denied)], 0.5 / len(side) / len(settled))
            for finding, sides in settled.items()
            for denied, side in zip((False, True), sides, strict=True)
            for sample in side
        ]


def _packed(
    ids: list[list[int]], found: _Stated, batch: int, limit: int, capacity: SentenceCapacity | None
) -> Sentences:
    lengths = np.array([len(one) for one in ids], np.int64)
    rows, count = int(lengths.sum()), len(ids)
    if capacity is None:
        total, room, longest = max(rows, 1), max(count, 1), int(lengths.max(initial=1))
    else:
        total, room, longest = room_for(rows, capacity.rows), room_for(count, capacity.sentences), limit
    ends = np.concatenate([[0], lengths.cumsum(), np.full(room - count, rows)])
    if capacity or total > rows:
        behind = -(-total // longest)  # sequences of filler: as many whatever the sentences take
        ends = np.concatenate([ends, np.minimum(rows + longest * np.arange(1, behind + 1), total)])
    tokens = np.full(total, PAD_ID, np.int64)
    tokens[:rows] = list(chain.from_iterable(ids))
    stated, worth, negation = np.zeros((batch, room), bool), np.zeros((batch, room), np.float32), np.arange(room)
    for sample, number in found.pairs:
        stated[sample, number] = True
    for sample, number, value in found.worths():
        worth[sample, number] = value
    for one, other in found.negations():
        negation[one] = other
    return Sentences(
        ids=torch.from_numpy(tokens),
        cu_seqlens=torch.from_numpy(ends.astype(np.int32)),
        real=torch.arange(room) < count,
        stated=torch.from_numpy(stated),
        negation=torch.from_numpy(negation),
        worth=torch.from_numpy(worth),
        max_seqlen=longest,
        overflow=capacity is not None and (total > capacity.rows or room > capacity.sentences),
    )
