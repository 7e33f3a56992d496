"""Grows a WordPiece vocabulary from word counts: byte-pair merges of the most frequent neighbours, deterministic.

The trainer of the tokenizers library breaks ties by the order of a hash table and gives another vocabulary in every
process; a shard set's digest must not depend on that.
"""

import heapq
import string
from collections import Counter, defaultdict
from collections.abc import Mapping

PREFIX = "##"
MIN_COUNT = 2  # a pair seen once is a memory of one word, not a piece
ALPHABET = 1000  # characters at most, each in two forms; the rest of Unicode is unknown

Pair = tuple[str, str]


def grow_vocabulary(counts: Mapping[str, int], size: int) -> list[str]:
    """The pieces of a vocabulary, characters first, then merges in the order of their making.

    counts: occurrences of each (normalised) word   size: at most this many pieces.
    """
    pieces = _alphabet(counts, size)
    known = set(pieces)
    corpus = [(_split(word), count) for word, count in sorted(counts.items())]
    corpus = [(word, count) for word, count in corpus if known.issuperset(word)]
    return pieces + _merge(corpus, known, size - len(pieces))


def _alphabet(counts: Mapping[str, int], size: int) -> list[str]:
    seen: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            seen[character] += count
    ranked = sorted(seen, key=lambda c: (-seen[c], c))[:ALPHABET]
    ascii_first = list(dict.fromkeys([*(string.ascii_lowercase + string.digits), *ranked, *string.punctuation]))
    forms = [form for c in ascii_first for form in (c, PREFIX + c)]
    return sorted(forms[:size])


def _split(word: str) -> list[str]:
    return [word[0], *(PREFIX + c for c in word[1:])]


def _join(pair: Pair) -> str:
    return pair[0] + pair[1].removeprefix(PREFIX)


def _merge(corpus: list[tuple[list[str], int]], known: set[str], room: int) -> list[str]:
    """Merge the most frequent pair (ties: the alphabetically first) until there is no room or no pair left."""
    frequency: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for i, (word, count) in enumerate(corpus):
        for pair in zip(word, word[1:], strict=False):
            frequency[pair] += count
            where[pair].add(i)
    heap = [(-count, pair) for pair, count in frequency.items()]
    heapq.heapify(heap)
    made: list[str] = []
    while heap and len(made) < room:
        count, pair = heapq.heappop(heap)
        if -count != frequency[pair]:
            continue  # stale: the pair was pushed again when its count changed
        if -count < MIN_COUNT:
            break
        if (piece := _join(pair)) not in known:
            known.add(piece)
            made.append(piece)
        changed: set[Pair] = set()
        for i in where.pop(pair):
            word, times = corpus[i]
            changed |= _replace(word, pair, piece, times, frequency, where, i)
        del frequency[pair]
        for other in changed - {pair}:
            if frequency[other] > 0:
                heapq.heappush(heap, (-frequency[other], other))
    return made


def _replace(
    word: list[str], pair: Pair, piece: str, times: int, frequency: Counter[Pair], where: dict[Pair, set[int]], i: int
) -> set[Pair]:
    """Merge ``pair`` within one word, in place; returns the pairs whose frequency changed."""
    before = list(zip(word, word[1:], strict=False))
    k = 0
    while k < len(word) - 1:
        if (word[k], word[k + 1]) == pair:
            word[k : k + 2] = [piece]
        k += 1
    after = list(zip(word, word[1:], strict=False))
    for old in before:
        frequency[old] -= times
    for new in after:
        frequency[new] += times
        where[new].add(i)
    return set(before) | set(after)
