"""Token rows of one sample to words of a report, with the model's answers at the masked ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from ecamp_fast.text.codes import CLS_ID, PAD_ID, SEP_ID, SPECIALS

NO_WORDS = frozenset(SPECIALS[number] for number in (CLS_ID, SEP_ID, PAD_ID))
PREFIX = "##"
CLINGING = frozenset(".,;:!?)]}%'")  # punctuation that follows a word without a space
OPENING = frozenset("([{")


@dataclass(frozen=True)
class Word:
    """One word of a report.

    true    what the report says   shown  the model's word if masked, else the true one
    masked  whether any of its pieces was hidden   entity  whether it belongs to an entity mention
    glued   whether no space stands before it
    """

    true: str
    shown: str
    masked: bool
    entity: bool
    glued: bool = False

    @property
    def right(self) -> bool:
        return self.shown == self.true


def join_words(true: Sequence[str], shown: Sequence[str], masked: Sequence[bool], entity: Sequence[bool]) -> list[Word]:
    """Join wordpieces ("##") to words; special tokens are left out.

    true, shown: tokens of the report and of the model's reading of it, row by row   masked, entity: per row
    """
    groups: list[list[int]] = []
    for row, token in enumerate(true):
        if token in NO_WORDS:
            continue
        if groups and token.startswith(PREFIX):
            groups[-1].append(row)
        else:
            groups.append([row])
    words: list[Word] = []
    for rows in groups:
        word = _glue([true[row] for row in rows])
        words.append(
            Word(
                true=word,
                shown=_glue([shown[row] if masked[row] else true[row] for row in rows]),
                masked=any(masked[row] for row in rows),
                entity=any(entity[row] for row in rows),
                glued=bool(words) and (set(word) <= CLINGING or words[-1].true in OPENING),
            )
        )
    return words


def _glue(pieces: list[str]) -> str:
    """Pieces to a word. A model may answer a whole word where a piece belongs: a middle dot shows the seam."""
    first, *rest = pieces
    return first + "".join(p.removeprefix(PREFIX) if p.startswith(PREFIX) else f"·{p}" for p in rest)
