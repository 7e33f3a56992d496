"""A distiller without a language model: one short sentence per finding, in the paper's template (Appendix C)."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ecamp_fast.text.reading.annotate import Description, describe_plain
from ecamp_fast.text.reading.doubt import Doubts
from ecamp_fast.text.reading.entities import DEFAULT, EntityList, find_mentions
from ecamp_fast.text.reading.modifiers import FINDINGS, MANY
from ecamp_fast.text.reading.noun_phrase import (
    NounPhrase,
    adjectives_before,
    noun_of,
    phrase_of,
    said_of,
    subject,
)
from ecamp_fast.text.reading.places import place_behind, place_in_front
from ecamp_fast.text.reading.plain import plain
from ecamp_fast.text.reading.sentence_words import Sentence
from ecamp_fast.text.reading.sentences import plain_sentences
from ecamp_fast.text.reading.states import state_behind, state_of_property, states_in

_IS, _MAY, _NO = "There is", "There may be", "There is no"
_ADJACENT = re.compile(r"[\s-]?")
# Behind an entity these speak of what was or will be done about it, not of a finding: "hernia repair".
_PROCEDURES = frozenset(
    "repair repairs surgery resection screening prophylaxis precautions protocol treatment therapy".split()  # noqa: SIM905
)
_DENIALS = frozenset(("no", "without"))


class Statement(NamedTuple):
    """One distilled sentence without its beginning.  head: how many of its words end with the noun"""

    entity: str
    opening: str
    words: tuple[str, ...]
    head: int

    def told(self, entities: EntityList) -> str:
        """The whole sentence."""
        words, opening = list(self.words), self.opening
        noun = words[self.head - 1]
        if opening == _NO and entities.is_plural(noun) and MANY.isdisjoint(words):
            words[self.head - 1] = noun = entities.singular(noun)
        if opening != _MAY and entities.is_plural(noun):
            opening = opening.replace("is", "are")
        return f"{opening} {' '.join(words)}."


def distill(text: str, entities: EntityList = DEFAULT) -> str:
    """ "There is/are [adjectives] X.", "There may be ..." where doubted, "There is no X." where denied; '' for none.

    Each entity is stated once per way it is said to be, with the most that is said of it; the words are the report's
    own or stand in the tables of nouns. Organs are stated only with what is said of them.
    """
    stated: dict[tuple[str, str], Statement] = {}
    for statement in _statements(plain(text, entities).text, entities):
        key = statement.entity, statement.opening
        earlier = stated.setdefault(key, statement)
        if statement.opening != _NO and set(earlier.words) < set(statement.words):
            stated[key] = statement
    return " ".join(statement.told(entities) for statement in stated.values())


def _statements(text: str, entities: EntityList) -> Iterator[Statement]:
    """The statements of a text in its normal form."""
    descriptions = describe_plain(text, entities)
    starts = [description.mention.start for description in descriptions]
    for span in plain_sentences(text):
        inside = descriptions[bisect_left(starts, span[0]) : bisect_left(starts, span[1])]
        if not inside:
            continue
        sentence = Sentence.read(text, span, [description.mention for description in inside], entities)
        doubts = Doubts(text, span, entities)
        for compound in _compounds(text, inside, entities):
            if statement := _statement(sentence, compound, doubts):
                yield statement


def _compounds(text: str, descriptions: Sequence[Description], entities: EntityList) -> Iterator[list[Description]]:
    """The mentions of a sentence, those together that are one finding: "cardiomediastinal silhouette"."""
    compound: list[Description] = []
    for description in descriptions:
        mention = description.mention
        if compound and (
            not _ADJACENT.fullmatch(text, compound[-1].mention.end, mention.start)
            or compound[-1].denied != description.denied
            or entities.is_verb(_surface(text, description))
            or not _describes(text, compound[-1], mention.entity in entities.organs, entities)
        ):
            yield compound
            compound = []
        compound.append(description)
    if compound:
        yield compound


def _describes(text: str, description: Description, organ: bool, entities: EntityList) -> bool:
    """Whether a mention can describe the one behind it, or be said of an organ: "calcified aorta"."""
    surface = _surface(text, description)
    if entities.is_verb(surface) or entities.is_plural(surface):
        return False
    return not organ or description.mention.entity in entities.organs or entities.is_adjective(surface)


def _surface(text: str, description: Description) -> str:
    return text[description.mention.start : description.mention.end].lower()


def _statement(sentence: Sentence, compound: Sequence[Description], doubts: Doubts) -> Statement | None:
    """What is said of a finding, None if nothing is."""
    last, entities = compound[-1], sentence.entities
    entity = last.mention.entity
    first_word, _ = sentence.words_of(compound[0].mention)
    last_word, end = sentence.words_of(last.mention)
    if sentence.follows(end) and sentence.words[end] in _PROCEDURES:
        return None
    organ = entity in entities.organs and sentence.words[last_word] != "silhouetting"
    phrase = phrase_of(sentence, first_word, last_word, end, "" if organ else entities.noun(entity))
    opening = _NO if last.denied else _MAY if doubts.cover(last.mention) else _IS
    if organ:
        found = _organ(sentence, phrase, opening, any(one.mention.entity not in entities.organs for one in compound))
        if not found:
            rest = compound[:-1]  # "calcified hilar [blacked out]"
            return (
                _statement(sentence, rest, doubts) if rest and rest[-1].mention.entity not in entities.organs else None
            )
        opening, phrase = found
    elif opening != _NO:
        told, behind = said_of(sentence, phrase.first, phrase.next)
        if "to" not in told or not set(told).intersection(phrase.before):
            phrase.before = [word for word in told if word not in phrase.before] + phrase.before
        if told and not phrase.place:
            phrase.place, _ = place_behind(sentence, behind)
        phrase.place = phrase.place or place_in_front(sentence, phrase.first)
    if opening != _NO and sentence.words[max(0, phrase.first - 1)] in _DENIALS and not sentence.gap(phrase.first):
        # what is denied is a change in it ("no effusion growth"), or the finding all the same ("no hilar enlargement")
        if phrase.head[-1] not in FINDINGS:
            return None
        opening = _NO
    if opening == _NO and phrase.head[-1] in (
        "change",
        "changes",
    ):  # of nothing that came before: "no fibrotic changes"
        if organ:
            return None
        phrase.head = [entities.noun(entity)]
    if entity == "obscure" and opening == _IS and max(sentence.owner) == 0 and _is_bare(phrase):
        return None  # of what, nobody says
    return _stated(entity, opening, phrase, {one.mention.entity for one in compound}, entities)


def _is_bare(phrase: NounPhrase) -> bool:
    """Whether nothing is said of a finding but that it is there."""
    return len(phrase.head) == 1 and not phrase.before and not phrase.place


def _organ(sentence: Sentence, phrase: NounPhrase, opening: str, found: bool) -> tuple[str, NounPhrase] | None:
    """Organs are there always: what is stated is how they are, or the finding that they have.

    found: whether a finding is a part of the phrase, as in "calcified aorta"
    """
    if sentence.entities.is_adjective(phrase.head[-1]) and phrase.head[-1] != "aerated":
        return None
    noun = noun_of(sentence, phrase.first)
    if noun is not None:
        before, first = adjectives_before(sentence, noun)
        place = [*sentence.words[noun + 1 : phrase.first], *phrase.before, *phrase.head]
        return opening, NounPhrase([sentence.words[noun]], first, phrase.last, before, place)
    if found or phrase.head[-1] in FINDINGS:
        return opening, phrase
    if opening == _NO:
        return None
    phrase.place = []
    if phrase.head[-1] == "aerated" and (lungs := subject(sentence, phrase.first)):
        phrase.head += lungs
    if states_in([*phrase.before, *phrase.head]):
        return opening, phrase
    if phrase.head[-1] == "aerated":
        return None
    state = state_of_property(sentence, phrase.first) or state_behind(sentence, phrase)
    phrase.before = state + phrase.before
    return (_IS, phrase) if state else None


def _stated(entity: str, opening: str, phrase: NounPhrase, named: set[str], entities: EntityList) -> Statement | None:
    """The statement, without adjectives and place where these mention another entity ("enlarged heart contour")."""
    for before, place in ((phrase.before, phrase.place), ([], []))[: 1 if entity in entities.organs else 2]:
        words = (*before, *phrase.head, *place)
        if {mention.entity for mention in find_mentions(" ".join(words), entities)} == named:
            return Statement(entity, opening, words, len(before) + len(phrase.head))
    return None
