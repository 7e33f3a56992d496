"""What is asked of a GLoRIA about an image: a sentence for every entity that its own text states (SPEC 6.4)."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ecamp_fast.shards.load.captions import SENTENCES
from ecamp_fast.text.packing.captions import CaptionEncoder
from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.entities import EntityList, Mention, find_mentions
from ecamp_fast.text.reading.modifiers import Kind, describes_a_finding, kind
from ecamp_fast.text.reading.words import word_spans
from ecamp_fast.text.statements import KNOWN, prompt, read_statements

_ENDS = " .;:!?"


class Question(NamedTuple):
    """An entity, and how it is asked for.

    entity    its name in the list of entities
    sentence  that the model is given
    first     of the words whose mean is the map; word 0 is [CLS]
    stop      behind the last of them
    """

    entity: str
    sentence: str
    first: int
    stop: int


class Questions:
    """From a text to its questions, in the order in which it states them.

    form   ``bare``: "There is X.", as it was learned with ``gloria.poles``; ``own``: the sentence that states X. Of an
           organ always its own, since it has no bare one
    words  ``all``: all of the sentence but [CLS] and the full stop; ``entity``: those that name X
    """

    def __init__(self, encode: CaptionEncoder, entities: EntityList, form: str = "own", words: str = "all") -> None:
        self._encode, self._entities = encode, entities
        self._bare, self._whole = form == "bare", words == "all"
        self._of_sentence = lru_cache(KNOWN)(lambda sentence: tuple(self._ask(sentence)))

    def __call__(self, text: str) -> list[Question]:
        """Each once. An entity may be asked for by several of its own sentences."""
        sentences = read_statements(text, SENTENCES, self._entities).sentences
        return list(dict.fromkeys(one for sentence in sentences for one in self._of_sentence(sentence)))

    def _ask(self, sentence: str) -> Iterator[Question]:
        for mention in stated(sentence, self._entities):
            name = mention.entity
            if self._bare and name not in self._entities.organs:
                noun = self._entities.noun(name) if self._entities.is_verb(name) else name
                asked = prompt(noun, False)
                found = next((one for one in find_mentions(asked, self._entities) if one.entity == name), None)
                yield self._question(asked, found or Mention(name, len(prompt("", False)) - 1, len(asked) - 1))
            else:
                yield self._question(sentence, mention)

    def _question(self, sentence: str, mention: Mention) -> Question:
        first, stop = 1, self._count(sentence.rstrip(_ENDS)) + 1
        if not self._whole:
            start, end = self._count(sentence[: mention.start]) + 1, self._count(sentence[: mention.end]) + 1
            if start < min(end, stop):  # the words are not cut off
                first, stop = start, min(end, stop)
        return Question(mention.entity, sentence, first, max(stop, first + 1))

    def _count(self, beginning: str) -> int:
        """Words in the beginning of a sentence."""
        return max(self._encode(beginning).words)


def stated(sentence: str, entities: EntityList) -> list[Mention]:
    """Mentions of what a sentence says is there, or may be: what it does not deny. Each entity once.

    Organs count where no finding does, and only if they are not said to be normal: everybody has them.
    """
    positive = [one.mention for one in describe(sentence, entities) if not one.denied]
    findings = {one.entity: one for one in positive if one.entity not in entities.organs}
    if findings or _is_normal(sentence):
        return list(findings.values())
    return list({one.entity: one for one in positive}.values())


def _is_normal(sentence: str) -> bool:
    """Whether a word says of an organ that nothing is wrong with it."""
    words = (sentence[start:end].lower() for start, end in word_spans(sentence, 0, len(sentence)))
    return any(kind(word) is Kind.ADJECTIVE and not describes_a_finding(word) for word in words)
