"""An answer taken apart, whether text or JSON, and written in the normal form: one sentence per entity.

Models write more than the template: lists with numbers, "evidence of", two entities with an "or", the place of both
behind the second. All that is read; what comes out is what the rules would write, "There is small left effusion."
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ecamp_fast.distill.source import ReportReading, State, read_sentences, state_in
from ecamp_fast.distill.vocabulary import words_of
from ecamp_fast.strict_json import parse_json
from ecamp_fast.text.reading.entities import DEFAULT, EntityList, Mention
from ecamp_fast.text.reading.modifiers import STATES, Kind, kind
from ecamp_fast.text.reading.plain import plain
from ecamp_fast.text.reading.rules import Statement, distill
from ecamp_fast.text.reading.sentence_words import IN, SEEN
from ecamp_fast.text.reading.words import word_spans

KNOWN = 1 << 14  # sentences that are kept as they were read: most reports deny the same
OPENINGS = {State.PRESENT: "There is", State.POSSIBLE: "There may be", State.ABSENT: "There is no"}
FORM = re.compile(r"There (?:(?:is|are)(?: no)?|may be) [^\W_][^.;:,()!?\n]*\.")

_BEGIN = re.compile(r"\bthere(?: is| are| may| might| could|['’]s)\b", re.IGNORECASE)
_OPENING = re.compile(
    r"there(?: is| are|['’]s| may| might| could)(?: be)?(?: (?:no longer|not|no)\b)?(?: any\b)?", re.IGNORECASE
)
_BEFORE = re.compile(r"(?:[\s\"'“”]|conclusions?:|\(?\d{1,2}[.):]|[-*•·–—])*", re.IGNORECASE)  # the first sentence
_BETWEEN = re.compile(
    r"[\s\"'“”]*(?P<end>[.;,!]|\band\b,?|\n|\Z)(?:[\s\"'“”]|\(?\d{1,2}[.):]|[-*•·–—]|\band\b)*\Z", re.IGNORECASE
)
_INSIDE = re.compile(r"[^\w \-/,.'’()%&+\[\]\u2010\u2011]|[.!?]\s|\n")
_EVIDENCE = re.compile(
    r"\b(?:(?:definite |clear |convincing )?(?:evidence|signs?|indication|suggestion) of|at (?:this|the present) time"
    r"|in (?:this|the) (?:study|image|report|radiograph))\b ?"
)
_NO, _MAY = re.compile(r"\b(?:no|not)\b"), re.compile(r"\b(?:may|might|could)\b")
_JOINTS = frozenset("and or and/or & versus vs with plus".split())  # noqa: SIM905
_LISTS = frozenset((",", "or", "and/or"))  # "no pneumothorax, large effusion": of all of these there is none
_ARTICLES = frozenset("a an the any some this these".split())  # noqa: SIM905
_PREPOSITIONS = IN | {"of"}
# What stands in a sentence that is no noun phrase: the rules read that
_CLAUSE = re.compile(
    r"\b(?:is|are|was|were|that|which|who|has|have|had|due|secondary|represent\w*|suggest\w*|consistent|compatible"
    r"|reflect\w*|but|however|although|though|because|not|without|except|since|while"
    r"|when|as|from|for|may|might|could|cannot|if|causing|leading)\b"
)
# Our nouns for organs of which a report has adjectives alone
_ORGANS = {"hilar": "hila", "perihilar": "perihilar region", "cardiomediastinal": "cardiomediastinal structures"}
_ORGANS |= {"aerate": "aeration"}
OURS = frozenset(("region", "structures"))


class UnreadableAnswer(ValueError):
    """An answer that cannot be read.  fault: the name of its class"""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Item:
    """What an answer says of one entity.

    text      in the normal form
    entity    that it is about   others: that it mentions beside it   state: how it says it to be
    words     of the answer that say how the entity is and where
    """

    text: str
    entity: str
    others: frozenset[str]
    state: State
    words: tuple[str, ...]


@dataclass(slots=True)
class _Part:
    """Words of a sentence between two joints; those of one mention are one: "interval change".

    mentions: in it   joint: the word before it, "," for a comma
    """

    words: list[str]
    mentions: list[Mention] = field(default_factory=list)
    joint: str = ""

    @property
    def place(self) -> int:
        """Where the place begins."""
        return next((n for n, word in enumerate(self.words) if n and word in _PREPOSITIONS), len(self.words))


def schema(entities: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of an answer about a report that mentions ``entities``."""
    statement = {
        "type": "object",
        "properties": {
            "entity": {"type": "string", "enum": list(entities)},
            "state": {"type": "string", "enum": [str(state) for state in State]},
            "adjectives": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["entity", "state", "adjectives"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"statements": {"type": "array", "items": statement}},
        "required": ["statements"],
        "additionalProperties": False,
    }


def read_text(answer: str, entities: EntityList = DEFAULT) -> list[Item]:
    """The items of a plain answer.  Raises UnreadableAnswer: "prose", "truncated" where the last breaks off."""
    answer = answer.translate({ord("["): None, ord("]"): None})
    begins = [match.start() for match in _BEGIN.finditer(answer)]
    if not begins or not _BEFORE.fullmatch(answer, 0, begins[0]):
        raise UnreadableAnswer("prose")
    items: list[Item] = []
    for begin, end in zip(begins, [*begins[1:], len(answer)], strict=True):
        behind = _BETWEEN.search(answer, begin, end)
        sentence = answer[begin : behind.start() if behind else end]
        whole = behind is not None and behind["end"] != ""
        if not entities.find(sentence):
            raise UnreadableAnswer("prose" if whole else "truncated")
        if behind is None or _INSIDE.search(sentence):
            raise UnreadableAnswer("prose")
        items += read_sentence(sentence, entities)
    return items


def read_json(answer: str, source: ReportReading) -> list[Item]:
    """The items of a structured answer.  Raises UnreadableAnswer: "schema"."""
    try:
        value = parse_json(answer)
    except (ValueError, RecursionError):
        raise UnreadableAnswer("schema") from None
    if not isinstance(value, dict) or value.keys() != {"statements"} or not isinstance(value["statements"], list):
        raise UnreadableAnswer("schema")
    items: list[Item] = []
    for one in value["statements"]:
        entity, state, adjectives = _statement(one, source)
        if entity in source.known.organs and not adjectives and state is not State.ABSENT:
            continue  # there it is always
        place = [word for word in adjectives if word.split()[0] in _PREPOSITIONS]
        before = [word for word in adjectives if word not in place]
        read = read_sentence(" ".join([OPENINGS[state], *before, _noun(entity, source), *place]), source.known)
        if len(read) != 1 or read[0].state is not state or entity not in {read[0].entity, *read[0].others}:
            raise UnreadableAnswer("schema")
        items += read
    return items


@lru_cache(maxsize=KNOWN)
def read_sentence(sentence: str, entities: EntityList = DEFAULT) -> tuple[Item, ...]:
    """The items of one sentence.  Raises UnreadableAnswer: "prose"."""
    form = plain(" ".join(sentence.lower().split()).removesuffix("."), entities).text
    opening = _OPENING.match(form)
    if opening is None:
        raise UnreadableAnswer("prose")
    verbs = (form[one.start : one.end] for one in entities.find(form))
    if _CLAUSE.search(form, opening.end()) or any(map(entities.is_verb, verbs)):
        return tuple(_by_rules(form, entities))
    parts = _joined(_parts(form, opening.end(), entities), entities.organs)
    _share(parts, entities.organs)
    states = [_state(form, opening[0], part, part is parts[0], entities) for part in parts]
    return tuple(_item(part, state, entities) for part, state in zip(parts, states, strict=True))


def _state(form: str, opening: str, part: _Part, first: bool, entities: EntityList) -> State:
    """How a sentence says the first mention of one of its parts to be: its opening, or what stands behind it."""
    read = state_in(form, part.mentions[0], entities)
    if _NO.search(opening):
        return State.ABSENT if first or part.joint in _LISTS else read
    return State.POSSIBLE if _MAY.search(opening) and read is State.PRESENT else read


def _by_rules(form: str, entities: EntityList) -> list[Item]:
    """A sentence with clauses, as the rules read it; they must not lose a finding."""
    items = []
    for sentence, state, mentions in read_sentences(distill(f"{form}.", entities), entities):
        others = frozenset(one.entity for one in entities.find(sentence)) - {mentions[-1].entity}
        items.append(Item(sentence, mentions[-1].entity, others, state, _telling(sentence, entities)))
    told = {name for item in items for name in (item.entity, *item.others)}
    if not items or not told.union(entities.organs).issuperset(one.entity for one in entities.find(form)):
        raise UnreadableAnswer("prose")
    return items


def _telling(text: str, entities: EntityList) -> tuple[str, ...]:
    """The words of a sentence in the normal form that say how an entity is, or where."""
    named = {word for one in entities.find(text) for word in text[one.start : one.end].lower().split()}
    opening = _OPENING.match(text)
    words = words_of(text[opening.end() if opening else 0 :])
    return tuple(word for word in words if word not in named | _ARTICLES | _PREPOSITIONS | {*_JOINTS, "to", "than"})


def _parts(form: str, start: int, entities: EntityList) -> list[_Part]:
    """The words behind the opening, cut at commas, "and", "or" and "with"."""
    mentions = entities.find(form)
    for match in _EVIDENCE.finditer(form, start):
        if not any(one.start < match.end() and match.start() < one.end for one in mentions):
            form = form[: match.start()] + " " * len(match[0]) + form[match.end() :]
    parts = [_Part([])]
    last, before = start, None
    for begin, end in word_spans(form, start):
        word = form[begin:end]
        mention = next((one for one in mentions if one.start < end and begin < one.end), None)
        inside, before = mention is not None and mention is before, mention
        if inside:
            parts[-1].words[-1] += f" {word}"
            last = end
            continue
        if mention is None and (word in _JOINTS or "," in form[last:begin]):
            parts.append(_Part([], joint=word if word in _JOINTS else ","))
        elif "," in form[last:begin]:
            parts.append(_Part([], joint=","))
        last = end
        if mention is None and (word in _JOINTS or (not parts[-1].words and word == "no")):
            continue
        parts[-1].words.append(word)
        if mention is not None:
            parts[-1].mentions.append(mention)
    return [part for part in parts if part.words]


def _joined(parts: list[_Part], organs: frozenset[str]) -> list[_Part]:
    """Parts that mention something; the others go to the one before where that ends with a place, or to the next."""
    found: list[_Part] = []
    waiting: list[str] = []
    for part in parts:
        ends_with_place = bool(found) and found[-1].place < len(found[-1].words)
        goes_on = not waiting and part.joint not in ("with", ",") and not _says_how(part)
        if ends_with_place and goes_on and _of_organs(part, organs):
            found[-1].words += [part.joint, *part.words]
            found[-1].mentions += part.mentions
        elif not part.mentions:
            waiting += ([part.joint] if waiting and part.joint not in ("", ",") else []) + part.words
        else:
            joint = [part.joint] if waiting and part.joint not in ("", ",") else []
            part.words = [*waiting, *joint, *part.words]
            found.append(part)
            waiting = []
    if not found:
        raise UnreadableAnswer("prose")
    return found


def _says_how(part: _Part) -> bool:
    return not STATES.isdisjoint(" ".join(part.words).split())


def _share(parts: list[_Part], organs: frozenset[str]) -> None:
    """The place behind the last of several belongs to all, and how the first organ is said to be to the others."""
    place = parts[-1].words[parts[-1].place :]
    for part, following in zip(parts[-2::-1], parts[:0:-1], strict=False):
        if part.place < len(part.words) or following.joint == "with":
            break
        part.words += place
    how = [word for word in parts[0].words[: parts[0].place] if word in STATES and word != "well"]
    for part in parts[1:]:
        if _of_organs(parts[0], organs) and _of_organs(part, organs) and not _says_how(part):
            part.words = [*how, *part.words]


def _of_organs(part: _Part, organs: frozenset[str]) -> bool:
    return all(one.entity in organs for one in part.mentions)


def _item(part: _Part, state: State, entities: EntityList) -> Item:
    head, place = part.words[: part.place], part.words[part.place :]
    for words in (head, place):
        while words and words[-1] in SEEN | _PREPOSITIONS:
            words.pop()
    if not place and head != part.words[: part.place]:
        place = []
    told = (word for word in head if word not in _ARTICLES)
    whole = [word for word in told if kind(word) is not Kind.PASSED or entities.find(word)]
    kept = " ".join(whole).split()
    if not kept:
        raise UnreadableAnswer("prose")
    text = Statement("", OPENINGS[state], (*kept, *place), len(kept)).told(entities)
    read = list(read_sentences(text, entities))
    if not FORM.fullmatch(text) or len(read) != 1 or not _agrees(text, read[0][2][-1], state, entities):
        raise UnreadableAnswer("prose")
    entity = read[0][2][-1].entity
    mentions = entities.find(text)
    if not {one.entity for one in part.mentions} <= {one.entity for one in mentions}:
        raise UnreadableAnswer("prose")
    return Item(text, entity, frozenset(one.entity for one in mentions) - {entity}, state, _telling(text, entities))


def _agrees(text: str, mention: Mention, state: State, entities: EntityList) -> bool:
    """Whether a reader takes a sentence as it opens: no word in it denies or doubts."""
    read = state_in(text, mention, entities)
    return read is state or (state is State.POSSIBLE and read is State.PRESENT)


def _statement(one: Any, source: ReportReading) -> tuple[str, State, list[str]]:
    """One object of a structured answer.  Raises UnreadableAnswer: "schema"."""
    if not isinstance(one, dict) or one.keys() != {"entity", "state", "adjectives"}:
        raise UnreadableAnswer("schema")
    entity, state, adjectives = one["entity"], one["state"], one["adjectives"]
    if entity not in source.entities or state not in list(State) or not isinstance(adjectives, list):
        raise UnreadableAnswer("schema")
    words = [" ".join(word.lower().split()) for word in adjectives if isinstance(word, str)]
    if len(words) < len(adjectives) or any(_INSIDE.search(word) for word in words):
        raise UnreadableAnswer("schema")
    return entity, State(state), [word for word in words if word]


def _noun(entity: str, source: ReportReading) -> str:
    """What a sentence calls an entity: as the report does where it has a noun for it."""
    surfaces = [one.surface for one in source.stated if one.entity == entity]
    known = source.known
    nouns = [surface for surface in surfaces if not known.is_adjective(surface) and not known.is_verb(surface)]
    noun, organ = known.noun(entity), _ORGANS.get(entity, "")
    if noun == entity and [one.entity for one in known.find(organ)] == [entity]:
        noun = organ
    return min(nouns, key=known.is_plural, default=noun)
