"""The entities that reports are read for: the 44 of ECAMP (paper Table S1), or a list of one's own.

Lists are objects: what reads a text takes one, and ``DEFAULT`` where it is given none.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Any, NamedTuple

from ecamp_fast.text.reading import nouns

# Entity -> regular expression of its mentions: plurals, inflections, aliases, British spelling. Order does not matter:
# where two match at one place, the longer mention wins.
FORMS = {
    "abnormality": r"abnormalit(?:y|ies)",
    "abscess": r"abscess(?:es)?",
    "aerate": r"(?:(?:under|well)[- ]?)?aerat(?:es?|ed|ing|ion)",
    "aorta": r"aort(?:as?|ic)",
    "atelectasis": r"atelecta(?:sis|ses|tic)",
    "bronchiectasis": r"bronchiecta(?:sis|ses|tic)",
    "calcification": r"calcif(?:ications?|ied)",
    "cardiomediastinal": r"cardio-?mediastinal",
    "cardiomegaly": r"cardiomegaly|(?:cardiac|heart) enlargement|enlarged heart|enlargement of the heart",
    "catheter": r"catheters?|picc(?: lines?)?|central (?:venous )?lines?|port-?a-?caths?",
    "chf": r"chf|(?:congestive )?(?:heart|cardiac) failure",
    "collapse": r"collaps(?:es?|ed|ing)",
    "congestion": r"congest(?:ion|ed)",
    "consolidation": r"consolidat(?:ions?|ive|ed|ing)",
    "contour": r"contours?",
    "copd": r"copd|chronic obstructive (?:pulmonary|airways?|lung) disease",
    "deformity": r"deformit(?:y|ies)",
    "dilation": r"dilat(?:at)?(?:es?|ions?|ed)",
    "distention": r"disten(?:tion|sion|ded)",
    "edema": r"o?edema(?:tous)?",
    "effusion": r"effusions?",
    "embolism": r"embol(?:isms?|us|i)",
    "emphysema": r"emphysema(?:tous)?",
    "engorgement": r"engorge(?:ment|d)",
    "fibrosis": r"fibros[ie]s|fibrotic",
    "fracture": r"fractur(?:es?|ed)",
    "granuloma": r"granulom(?:as?|ata|atous)",
    "hernia": r"hernia(?:s|e|tions?|ted)?",
    "hilar": r"hil(?:ar|um|a|i)",
    "hyperinflate": r"(?:hyper|over)[- ]?(?:inflat(?:es?|ed|ing|ion)|expan(?:ded|sion)|aerat(?:ed|ion))",
    "hemidiaphragm": r"hemi-?diaphragms?",
    "infiltrate": r"infiltrat(?:es?|ed|ing|ions?|ive)",
    "mass": r"mass(?:es)?(?![- ](?:effect|like)\b)",
    "nodule": r"nodul(?:es?|ar|arity)",
    "obscure": r"obscur(?:es?|ed|ing|ation)",
    "opacity": r"opacit(?:y|ies)|opacif(?:ications?|ied)",
    "perihilar": r"peri-?hilar",
    "pneumonia": r"(?:broncho)?pneumonias?",
    "pneumothorax": r"(?:hydro)?pneumothora(?:x|ces|xes)",
    "sarcoidosis": r"sarcoid(?:osis)?",
    "silhouette": r"silhouett(?:es?|ed|ing)",
    "thickening": r"thicken(?:ings?|ed)",
    "tuberculosis": r"tubercul(?:osis|ous)|tb",
    "vasculature": r"vasculatures?|vascularity",
}

# Organs, their outlines and their air, which everybody has: a report says how they are, and to deny them means
# something else.
ANATOMY = frozenset(
    (
        "aorta",
        "aerate",
        "cardiomediastinal",
        "contour",
        "hemidiaphragm",
        "hilar",
        "perihilar",
        "silhouette",
        "vasculature",
    )
)

# The strings by which the released code matches single wordpieces; "COPD" is upper case there and never matches.
PIECES = frozenset(FORMS) - {"copd"} | {"COPD"}

# Named groups would be slower: the alternatives are told apart afterwards, by the first form that matches whole.
# "non-calcified" says nothing of calcifications.
_NOT_NON = r"(?<!\w)(?<!\bnon[-\s\u2010\u2011])"


def _pattern(forms: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"{_NOT_NON}(?:{'|'.join(forms)})(?!\w)", re.IGNORECASE)


_ANY = _pattern(sorted(FORMS.values(), key=len, reverse=True))
_EACH = {name: re.compile(form, re.IGNORECASE) for name, form in FORMS.items()}


class Entity(NamedTuple):
    """An entity by the words that name it, in lower case.

    name        its name in the list, and the noun for it
    forms       other nouns that name it
    adjectives  words that say it of something: "scoliotic"
    plural      of the name; '' for what the rule of English makes of it. The name itself: it has no singular
    organ       whether everybody has one: then a text says how it is, and to deny it means something else

    One of the 44 by name alone has the forms and the noun of the paper's list.
    """

    name: str
    forms: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()
    plural: str = ""
    organ: bool = False

    @property
    def of_paper(self) -> bool:
        """Whether its forms are those of the paper's list."""
        return self.name in FORMS and not (self.forms or self.adjectives or self.plural)

    def nouns(self) -> list[tuple[str, str]]:
        """The nouns that name it, each with its plural."""
        return [(self.name, self.plural or plural_of(self.name)), *((form, plural_of(form)) for form in self.forms)]


class Mention(NamedTuple):
    """An entity in a text: its name in the list (``entity``), and the characters [start, end) that mention it."""

    entity: str
    start: int
    end: int


class EntityList:
    """Entities, and how texts mention them; may be shared by threads and sent to other processes.

    names   of its entities, sorted
    organs  those that everybody has
    pieces  the strings by which the released code matches single wordpieces; of a list of one's own, names of one word
    digest  of all that it was built from: lists of equal entities are equal
    """

    def __init__(self, entities: Iterable[Entity]) -> None:
        self._entities = tuple(sorted(entities))
        self.names = tuple(one.name for one in self._entities)
        self.organs = frozenset(one.name for one in self._entities if one.organ)
        self.digest = hashlib.sha256(json.dumps(self.tree()).encode()).hexdigest()
        own = {one.name: one for one in self._entities if not one.of_paper}
        self._paper = [name for name in FORMS if name in self.names and name not in own]
        self.pieces = (
            PIECES if len(self._paper) == len(FORMS) == len(self) else frozenset(filter(str.isalnum, self.names))
        )
        self._own = own
        self._forms = _owners(own.values())
        self._solid = {_solid(form): name for form, name in self._forms.items()}
        self._any = _mentions([FORMS[name] for name in self._paper], self._forms)
        self._kinds = WordKinds(own.values())
        self._find_name = lru_cache(maxsize=4096)(self._name)

    def __reduce__(self) -> tuple[Any, ...]:
        return EntityList, (self._entities,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntityList) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __len__(self) -> int:
        return len(self._entities)

    def __iter__(self) -> Iterator[Entity]:
        return iter(self._entities)

    def tree(self) -> list[dict[str, Any]]:
        """The entities as JSON holds them; what is empty is left out."""
        return [
            {name: list(value) if isinstance(value, tuple) else value for name, value in one._asdict().items() if value}
            for one in self._entities
        ]

    def find(self, text: str) -> list[Mention]:
        """Every mention in a text, in order, none overlapping another."""
        return [Mention(self._find_name(match[0]), match.start(), match.end()) for match in self._any.finditer(text)]

    def begins(self, text: str) -> bool:
        """Whether the first word of a text is an entity."""
        return self._any.match(text) is not None

    def noun(self, entity: str) -> str:
        """The noun that stands for an entity's adjectives and verbs."""
        return entity if entity in self._own else nouns.NOMINAL.get(entity, entity)

    def is_adjective(self, surface: str) -> bool:
        """Whether a mention in lower case, or its last word, says how something is ("calcified") and is no noun."""
        known = self._kinds.of(surface)
        return known is WordKind.ADJECTIVE if known else nouns.is_adjective(surface)

    def is_verb(self, surface: str) -> bool:
        """Whether a mention in lower case is what something does: "obscures the border"."""
        return not self._kinds.of(surface) and nouns.is_verb(surface)

    def is_plural(self, noun: str) -> bool:
        """Whether "are" goes with a lower-case noun."""
        return self._kinds.is_plural(noun)

    def singular(self, noun: str) -> str:
        """The singular of a lower-case noun."""
        return self._kinds.singular(noun)

    def _name(self, surface: str) -> str:
        if own := self._solid.get(_solid(surface)):
            return own
        if paper := next((name for name in self._paper if _EACH[name].fullmatch(surface)), None):
            return paper
        # letters that are one to the pattern alone, as the dotless i
        return next(name for form, name in self._forms.items() if re.fullmatch(_spelled(form), surface, re.IGNORECASE))


class WordKind(Enum):
    """What a word of an entity's form is."""

    NOUN = auto()
    ADJECTIVE = auto()


class WordKinds:
    """The words of one's own entities: nouns or adjectives, and of which number. All others are as ``nouns`` says.

    The last word of a form is known alone, too: a phrase ends with it.
    """

    def __init__(self, entities: Iterable[Entity]) -> None:
        self._kinds: dict[str, WordKind] = {}
        self._singular: dict[str, str] = {}  # by plural
        self._names: set[str] = set()
        for one in entities:
            for word in one.adjectives:
                self._kinds.setdefault(word, WordKind.ADJECTIVE)
                self._kinds.setdefault(_last(word), WordKind.ADJECTIVE)
            for noun, plural in one.nouns():
                self._kinds |= {word: WordKind.NOUN for form in (noun, plural) for word in (form, _last(form))}
                self._singular.setdefault(_last(plural), _last(noun))
            self._names |= set() if one.plural == one.name else {_last(one.name)}

    def of(self, surface: str) -> WordKind | None:
        """What a word, or a form, is; None for one of no own entity."""
        return self._kinds.get(surface)

    def is_plural(self, noun: str) -> bool:
        return noun not in self._names and (noun in self._singular or nouns.is_plural(noun))

    def singular(self, noun: str) -> str:
        return self._singular.get(noun, noun) if noun in self._kinds else nouns.singular(noun)


def plural_of(noun: str) -> str:
    """The plural of a noun by the rule of English: "scolioses", "masses", "opacities"."""
    if noun.endswith("sis"):
        return f"{noun[:-2]}es"
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def _owners(entities: Collection[Entity]) -> dict[str, str]:
    """The entity of every form. What a list states goes before the plurals that a rule makes."""
    found: dict[str, str] = {}
    solid: dict[str, str] = {}
    stated = [(form, one.name) for one in entities for form in (one.name, *one.forms, *one.adjectives)]
    plurals = [(plural, one.name) for one in entities for _, plural in one.nouns()]
    for form, name in (*stated, *plurals):
        if solid.setdefault(_solid(form), name) == name:
            found[form] = name
    return found


def _mentions(paper: Sequence[str], own: Collection[str]) -> re.Pattern[str]:
    """What finds every mention, the longest where several begin.

    paper: expressions of the paper's list   own: forms in words
    """
    known = sorted(paper, key=len, reverse=True)
    pattern = _pattern(known)
    longer = [form for form in own if paper and (found := pattern.match(form)) and found.end() < len(form)]
    return _pattern([*_grouped(longer), *known, *_grouped({*own} - {*longer})])


def _grouped(forms: Collection[str]) -> list[str]:
    """Forms as expressions, an expression a first letter: five thousand are not tried one by one at every word."""
    groups: dict[str, list[str]] = {}
    for form in sorted(forms, key=lambda one: (-len(one), one)):
        groups.setdefault(form[0], []).append(_spelled(form[1:]))
    return [f"{first}(?:{'|'.join(rest)})" for first, rest in groups.items()]


def _spelled(form: str) -> str:
    """A form as an expression: a blank or a hyphen in it may be either, and a hyphen be left out."""
    return re.escape(form).replace(r"\-", "[- ]?").replace(r"\ ", "[- ]")


def _solid(form: str) -> str:
    """A form without what may be written in several ways."""
    return form.lower().replace(" ", "").replace("-", "")


def _last(form: str) -> str:
    return form.rpartition(" ")[2]


DEFAULT = EntityList(Entity(name, organ=name in ANATOMY) for name in FORMS)


def find_mentions(text: str, entities: EntityList = DEFAULT) -> list[Mention]:
    """Every mention, in order, none overlapping another."""
    return entities.find(text)


def starts_with_mention(text: str, entities: EntityList = DEFAULT) -> bool:
    """Whether the first word of a text is an entity."""
    return entities.begins(text)
