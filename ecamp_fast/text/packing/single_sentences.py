"""The distinct sentences of a micro-batch in the shape the model takes, for ``losses.align``: on the host.

Legend: B samples, U sentences, T text rows, N sequences of text rows.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import torch

from ecamp_fast.batch import Sentences
from ecamp_fast.text.codes import CLS_ID, PAD_ID
from ecamp_fast.text.packing.layout import room_for
from ecamp_fast.text.wordpiece import Wordpiece

MAX_TOKENS = 64  # of a sentence, [CLS] among them
KNOWN = 1 << 16  # sentences that are kept as they were encoded

# What a sample states: its sentences; and of bare sentences the one that holds, with its negation (``text.statements``)
Statement = tuple[Sequence[str], Sequence[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class SentenceCapacity:
    """Room for the sentences of a micro-batch.  sentences: U   rows: T"""

    sentences: int
    rows: int


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
    stated: Sequence[Statement], encode: SentenceEncoder, capacity: SentenceCapacity | None = None
) -> Sentences:
    """The distinct sentences of a micro-batch, and who states which.

    stated    of B samples
    capacity  room that filler fills, for static shapes; None: no filler. More than that gets more room.
    """
    numbers: dict[str, int] = {}
    pairs: dict[tuple[int, int], None] = {}  # (sample, sentence) that it states
    negation: dict[int, int] = {}
    poles: list[tuple[int, int]] = []  # (sample, bare sentence) that holds
    for sample, (sentences, bare) in enumerate(stated):
        pairs |= dict.fromkeys((sample, numbers.setdefault(text, len(numbers))) for text in sentences)
        for holds, other in bare:
            one, two = (numbers.setdefault(text, len(numbers)) for text in (holds, other))
            negation |= {one: two, two: one}
            poles.append((sample, one))
    return _packed(numbers, encode, capacity, len(stated), [*pairs, *poles], negation, worths_of(poles, negation))


def pack_sentences(sentences: Iterable[str], encode: SentenceEncoder) -> Sentences:
    """Sentences that no sample states, in their order, each once: prompts."""
    numbers = {sentence: number for number, sentence in enumerate(dict.fromkeys(sentences))}
    return _packed(numbers, encode, None, 0, [], {}, [])


def worths_of(poles: Sequence[tuple[int, int]], negation: dict[int, int]) -> list[tuple[int, int, float]]:
    """(sample, sentence, worth) of the choices between a bare sentence and its negation.

    poles: (sample, bare sentence) that holds   negation: of each sentence, the other

    Findings that some sample states and another denies count alike, and so do their two sides: else the commoner side
    would be the answer to every picture. What all say is no choice.
    """
    counts = Counter(number for _, number in poles)
    settled = [(sample, number) for sample, number in poles if counts[negation[number]]]
    sides = len({number for _, number in settled})
    return [(sample, number, 1 / counts[number] / sides) for sample, number in settled]


def _packed(
    numbers: dict[str, int],
    encode: SentenceEncoder,
    capacity: SentenceCapacity | None,
    batch: int,
    pairs: Iterable[tuple[int, int]],
    negation: dict[int, int],
    worths: Iterable[tuple[int, int, float]],
) -> Sentences:
    ids = [encode(sentence) for sentence in numbers]
    lengths = np.array([len(one) for one in ids], np.int64)
    rows, count = int(lengths.sum()), len(ids)
    if capacity is None:
        total, room, longest = max(rows, 1), max(count, 1), int(lengths.max(initial=1))
    else:
        total, room, longest = room_for(rows, capacity.rows), room_for(count, capacity.sentences), encode.limit
    ends = np.concatenate([[0], lengths.cumsum(), np.full(room - count, rows)])
    if capacity or total > rows:
        behind = -(-total // longest)  # sequences of filler: as many whatever the sentences take
        ends = np.concatenate([ends, np.minimum(rows + longest * np.arange(1, behind + 1), total)])
    tokens, others = np.full(total, PAD_ID, np.int64), np.arange(room)
    tokens[:rows] = list(chain.from_iterable(ids))
    stated, worth = np.zeros((batch, room), bool), np.zeros((batch, room), np.float32)
    for sample, number in pairs:
        stated[sample, number] = True
    for sample, number, value in worths:
        worth[sample, number] = value
    for number, other in negation.items():
        others[number] = other
    return Sentences(
        ids=torch.from_numpy(tokens),
        cu_seqlens=torch.from_numpy(ends.astype(np.int32)),
        real=torch.arange(room) < count,
        stated=torch.from_numpy(stated),
        negation=torch.from_numpy(others),
        worth=torch.from_numpy(worth),
        max_seqlen=longest,
        overflow=capacity is not None and (total > capacity.rows or room > capacity.sentences),
    )
