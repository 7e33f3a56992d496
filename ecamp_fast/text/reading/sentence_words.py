"""The words of a sentence, which of them mention an entity, and the function words by which phrases are told apart."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from ecamp_fast.text.reading.entities import DEFAULT, EntityList, Mention
from ecamp_fast.text.reading.words import Span, word_spans

COPULAS = frozenset("is are was were appear appears appeared remain remains remained".split())  # noqa: SIM905
ARTICLES = frozenset("the a an both either each this that its their".split())  # noqa: SIM905
AND_OR = frozenset(("and", "or"))
# Prepositions of place, and what is as good as one.
IN = frozenset(
    """
    in on at within throughout along over overlying involving near of about around behind above below beneath under
    underlying across
    """.split()  # noqa: SIM905
)
# What may stand between a finding and where it is, or how it is: "is again seen".
SEEN = frozenset(
    """
    seen noted present identified located visualized visualised demonstrated evident appreciated again also now situated
    found centered best most only mainly predominantly still projecting projected projects to be has
    have been developed persists persist particularly especially
    """.split()  # noqa: SIM905
)


@dataclass(slots=True)
class Sentence:
    """The words of one sentence of a report, and which of them mention an entity.

    spans     characters [start, end) of every word in ``text``
    words     the same in lower case
    owner     for a word that mentions an entity, the number of the mention in the sentence; -1 for the others
    entities  the list that the mentions are of
    """

    text: str
    spans: list[Span]
    words: list[str]
    owner: list[int]
    entities: EntityList = DEFAULT

    @classmethod
    def read(cls, text: str, span: Span, mentions: Sequence[Mention], entities: EntityList = DEFAULT) -> "Sentence":
        spans = word_spans(text, *span)
        starts, ends = [start for start, _ in spans], [end for _, end in spans]
        owner = [-1] * len(spans)
        for number, mention in enumerate(mentions):
            for word in range(bisect_right(ends, mention.start), bisect_left(starts, mention.end)):
                owner[word] = number
        words = [text[start:end].lower().removeprefix("xxxx-") for start, end in spans]
        return cls(text, spans, words, owner, entities)

    def words_of(self, mention: Mention) -> Span:
        """The words [first, last) that hold a mention."""
        first = bisect_right(self.spans, (mention.start, len(self.text) + 1)) - 1
        return first, bisect_left(self.spans, (mention.end, 0))

    def gap(self, word: int) -> str:
        """What parts a word from the one before it: '' for blanks, "," for a comma, else the characters."""
        return self.text[self.spans[word - 1][1] : self.spans[word][0]].strip() if word else "."

    def follows(self, word: int) -> bool:
        """Whether a word exists and stands right behind the one before it, with nothing but blanks between."""
        return word < len(self.words) and self.gap(word) == ""
