"""What a report says, as answers about it are judged: its entities, how each is said to be, and in which words.

All reading of reports and of answers goes through here, by a list of entities.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from ecamp_fast.distill.vocabulary import limits_of, roots_of, words_of
from ecamp_fast.text.reading.annotate import Description, describe_plain
from ecamp_fast.text.reading.doubt import Doubts
from ecamp_fast.text.reading.entities import DEFAULT, EntityList, Mention
from ecamp_fast.text.reading.negation import negated
from ecamp_fast.text.reading.plain import plain
from ecamp_fast.text.reading.rules import distill
from ecamp_fast.text.reading.sentences import plain_sentences
from ecamp_fast.text.reading.words import Span, word_spans


class State(StrEnum):
    """How a text says an entity to be, the strongest first."""

    PRESENT = "present"
    POSSIBLE = "possible"
    ABSENT = "absent"


STRENGTH = tuple(State)
# Reports that are kept as they were read: each is asked about, judged and asked about again, with up to 1,024 others
# under way between. They take some 20 kB each.
KNOWN = 2048

# Sentences that speak to a model and not of a patient
_BEGIN = r"(?:\A|[.:;!?\"“\n])\W*"
_COMMAND = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b[^.]{0,60}\b(?:instruct\w*|prompts?|directions|rules|guidelines"
    r"|(?:everything|all|the text) before|above)\b"
    rf"|{_BEGIN}(?:assistant|system|developer)(?: (?:prompt|message))?\s?:|<\||\[/?inst\]|<</?sys>>"
    r"|\byou are (?:now|an? (?:ai|assistant|language|helpful|chat))\b|\bas an ai\b|\b(?:language model|chatgpt|llm)\b"
    rf"|{_BEGIN}(?:please |now |then |instead,? |and |just |only )*"
    r"(?:respond|reply|answer|output|print|write|say|generate)\b"
    r":?(?: (?:only|exactly|just|with|that|there|instead|as|the (?:following|words?|text|sentences?))\b| ?[\"“‘'])",
    re.IGNORECASE,
)
# What chat templates part the turns of a conversation with, and all between two of them
_TURNS = re.compile(r"<\|.*\|>|\[INST\].*\[/INST\]", re.DOTALL)
# What a state is denied of an organ: "is not enlarged or tortuous"
_NOT = re.compile(r"\b(?:not|never)\b[^,;.]{0,40}|n['’]t\b[^,;.]{0,40}", re.IGNORECASE)
_OF_IT = re.compile(r"\s*(?:it|this|these|they|those)\b", re.IGNORECASE)
_QUOTES = re.compile(r"[\"“”]")
# The answer that Table S3 shows leaves out "No evidence of active or latent tb.": the paper has no abbreviations.
_ABBREVIATED = frozenset(("tb",))
_PLACE = re.compile(r"\b(?:in|on|at|of|within|over|near|throughout|along|about|behind|above|below|around|across)\b")


def without_commands(report: str, entities: EntityList = DEFAULT) -> str:
    """The report without sentences that tell a model what to do, and what these quote; itself where it has none."""
    rest = _TURNS.sub(" ", report)
    text = plain(rest, entities).text
    if not _COMMAND.search(text):
        return rest
    kept: list[str] = []
    quoting = False
    for start, end in plain_sentences(text):
        sentence = text[start:end]
        if quoting or _COMMAND.search(sentence):
            quoting ^= len(_QUOTES.findall(sentence)) % 2 == 1
        else:
            kept.append(sentence)
    return "".join(kept).strip()


@dataclass(frozen=True, slots=True)
class StatedMention:
    """A mention with its state, and with what else is said around it.

    words   roots of the words of its sentence
    held    those of them that are not denied, and those of a next sentence that goes on about it: "It is small."
    limits  what the rules tell of it that excludes something else (``vocabulary.limits_of``); {} for nothing, or where
            the sentence mentions the entity twice
    near    entities of its sentence
    """

    entity: str
    surface: str
    state: State
    words: frozenset[str]
    held: frozenset[str]
    limits: dict[str, frozenset[str]]
    near: frozenset[str]


@dataclass(frozen=True, slots=True)
class ReportReading:
    """A report as it is read.

    known     the list that it is read by
    text      without sentences that tell a model what to do
    stated    each mention, in order
    states    of an entity, all that are told of it, by mentions or by the rules' sentences
    required  the findings that a faithful text states, with the strongest of their states
    count     words
    """

    known: EntityList
    text: str
    stated: tuple[StatedMention, ...]
    states: dict[str, frozenset[State]]
    required: dict[str, State]
    count: int

    @property
    def entities(self) -> list[str]:
        """Those that it mentions, each once, in order."""
        return list(dict.fromkeys(one.entity for one in self.stated))

    def of(self, entity: str, state: State) -> list[StatedMention]:
        """What is said of an entity in a state; of the entity where nothing is."""
        own = [one for one in self.stated if one.entity == entity]
        return [one for one in own if one.state is state] or own


@lru_cache(maxsize=KNOWN)
def read_source(report: str, entities: EntityList = DEFAULT) -> ReportReading:
    """Read a report."""
    text = plain(without_commands(report, entities), entities).text
    stated: list[StatedMention] = []
    states: dict[str, set[State]] = defaultdict(set)
    required: dict[str, State] = {}
    sentences = plain_sentences(text)
    descriptions = describe_plain(text, entities)
    inside = [[one for one in descriptions if start <= one.mention.start < end] for start, end in sentences]
    for number, (span, found) in enumerate(zip(sentences, inside, strict=True)):
        if not found:
            continue
        after = ""
        if number + 1 < len(sentences) and not inside[number + 1]:
            after = text[slice(*sentences[number + 1])]
        distilled = list(read_sentences(distill(text[slice(*span)], entities), entities))
        own = list(_stated(text, span, found, after, distilled, entities))
        stated += own
        for _, state, mentions in distilled:
            entity = mentions[-1].entity
            states[entity].add(state)
            if entity not in entities.organs and not _is_abbreviated(own, entity, state):
                required[entity] = min(state, required.get(entity, state), key=STRENGTH.index)
    for one in stated:
        states[one.entity].add(one.state)
    told_states = {name: frozenset(told) for name, told in states.items()}
    return ReportReading(entities, text, tuple(stated), told_states, required, len(words_of(text)))


def read_marks(report: str, entities: EntityList = DEFAULT) -> list[tuple[Span, str, State]]:
    """Where a report, as it stands, mentions which entity in which state."""
    form = plain(report, entities)
    sentences = plain_sentences(form.text)
    marks = []
    for one in describe_plain(form.text, entities):
        sentence = next(span for span in sentences if span[0] <= one.mention.start < span[1])
        span = (one.mention.start, one.mention.end)
        marks.append((form.origin(span), one.mention.entity, _state(form.text, sentence, one, entities)))
    return marks


def read_sentences(text: str, entities: EntityList = DEFAULT) -> Iterator[tuple[str, State, list[Mention]]]:
    """Each sentence of a text in the normal form that mentions an entity, the state that its opening gives, and its
    mentions up to the last one before any place: the one that the sentence is about. Spans are those in the sentence.
    """
    for start, end in plain_sentences(text):
        sentence = text[start:end].strip()
        if mentions := entities.find(sentence):
            place = _PLACE.search(sentence, mentions[0].end)
            head = [one for one in mentions if place is None or one.start < place.start()]
            yield sentence, _opened(sentence), head


def _opened(sentence: str) -> State:
    if sentence.startswith("There may be "):
        return State.POSSIBLE
    return State.ABSENT if sentence.startswith(("There is no ", "There are no ")) else State.PRESENT


def state_in(sentence: str, mention: Mention, entities: EntityList = DEFAULT) -> State:
    """How one sentence, in its normal form of a report, says one of its mentions to be."""
    found = [one for one in describe_plain(sentence, entities) if one.mention == mention]
    return _state(sentence, (0, len(sentence)), found[0], entities) if found else State.PRESENT


def _state(text: str, sentence: Span, description: Description, entities: EntityList) -> State:
    if description.denied:
        return State.ABSENT
    return State.POSSIBLE if Doubts(text, sentence, entities).cover(description.mention) else State.PRESENT


def _is_abbreviated(stated: list[StatedMention], entity: str, state: State) -> bool:
    """Whether an entity is denied by a name alone that the paper's list does not know."""
    return state is State.ABSENT and all(one.surface in _ABBREVIATED for one in stated if one.entity == entity)


def _stated(
    text: str,
    span: Span,
    found: list[Description],
    after: str,
    distilled: list[tuple[str, State, list[Mention]]],
    entities: EntityList,
) -> Iterator[StatedMention]:
    """The mentions of one sentence.

    after: the next one, where it mentions nothing   distilled: what the rules make of it
    """
    words, held = _words(text, span, [one.mention for one in found], entities)
    more = roots_of(words_of(after)) if _OF_IT.match(after) else frozenset()
    near = frozenset(one.mention.entity for one in found)
    for one in found:
        entity = one.mention.entity
        surface = text[one.mention.start : one.mention.end].lower()
        told = [sentence for sentence, _, mentions in distilled if mentions[-1].entity == entity]
        twice = sum(other.mention.entity == entity for other in found) > 1
        limits = {} if twice or len(told) != 1 else limits_of(words_of(told[0]), entity in entities.organs)
        yield StatedMention(entity, surface, _state(text, span, one, entities), words, held | more, limits, near)


def _words(
    text: str, sentence: Span, mentions: list[Mention], entities: EntityList
) -> tuple[frozenset[str], frozenset[str]]:
    """The roots of the words of a sentence, and of those that it does not deny."""
    spans = word_spans(text, *sentence)
    free = [span for span in spans if not any(one.start < span[1] and span[0] < one.end for one in mentions)]
    marks = sorted([*mentions, *(Mention("", *span) for span in free)], key=lambda one: one.start)
    denied = {mark[1:] for mark, no in zip(marks, negated(text, sentence, marks, entities=entities), strict=True) if no}
    for match in _NOT.finditer(text, *sentence):
        denied |= {span for span in spans if match.start() <= span[0] < match.end()}
    words = [text[start:end].lower() for start, end in spans]
    held = [word for word, span in zip(words, spans, strict=True) if span not in denied]
    return roots_of(words), roots_of(held)
