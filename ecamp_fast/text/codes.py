"""One int32 per token: its id and everything the masking rules need to know about it.

A report is annotated once, when shards are built; at step time the text is an array of these codes and nothing else.
Bits 0 to 19 hold the wordpiece id, the bits above the marks. Works alike on numpy arrays and torch tensors. The ids of
the special tokens stand here too.
"""

from enum import IntFlag
from typing import TypeVar

ID_BITS = 20

# The ids that every vocabulary begins with
PAD_ID, UNK_ID, CLS_ID, MASK_ID, SEP_ID = range(5)
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]")  # how they are written, by id

Array = TypeVar("Array")


class Mark(IntFlag):
    """What a token is. The first group follows whole words, the second the released code's wordpiece rules."""

    CONTINUATION = 1 << 0  # a "##" piece: belongs to the piece before it
    SENTENCE_START = 1 << 1  # first token of a sentence: the slots where distilled text may enter
    ENTITY = 1 << 2  # every piece of every word of an entity mention
    DESCRIPTOR = 1 << 3  # every piece of the up to two words before an entity, within its sentence
    NEGATIVE_LEXICON = 1 << 4  # a descriptor in the group of an entity negated by the phrases or the lexicon
    NEGATIVE_PHRASE = 1 << 5  # the same, by the two literal phrases alone

    PIECE_ENTITY = 1 << 6  # this very wordpiece is one of the 44 entity strings
    PERIOD = 1 << 7  # the token "."
    PHRASE = 1 << 8  # inside "there is no" or "there is no evidence of"
    PHRASE_START = 1 << 9  # its first token

    JOINED = (
        1 << 10
    )  # no "##" piece, yet not the first of its word: the "." and the "5" of "1.5", the "s" of "patient's"


INSIDE = Mark.CONTINUATION | Mark.JOINED  # behind the first piece of a word, as a reader counts words


def pack(ids: Array, marks: Array) -> Array:
    """ids, marks: integer arrays of one shape   returns the codes, same shape and dtype."""
    return ids | (marks << ID_BITS)  # type: ignore[operator, return-value]


def token_ids(codes: Array) -> Array:
    """codes: int32   returns the wordpiece ids, same shape and dtype."""
    return codes & ((1 << ID_BITS) - 1)  # type: ignore[operator, return-value]


def has(codes: Array, mark: Mark) -> Array:
    """codes: int32   returns bool: where any bit of ``mark`` is set."""
    return (codes & (int(mark) << ID_BITS)) != 0  # type: ignore[operator, return-value]
