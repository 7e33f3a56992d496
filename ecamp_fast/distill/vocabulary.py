"""Which words say the same: number, spelling on either side of the Atlantic, adjective and noun, what notes abbreviate.

A word of an answer stands in a report where the two share a root, or where all of its parts do.
"""

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import lru_cache

from ecamp_fast.text.reading.modifiers import STATES
from ecamp_fast.text.reading.nouns import degree, singular
from ecamp_fast.text.reading.words import word_spans

# Words of which one excludes another
_SIDES = {"left": "left", "right": "right", "left-sided": "left", "right-sided": "right"}
_BOTH = frozenset("bilateral bilaterally bibasilar bibasal biapical both".split())  # noqa: SIM905
_DEGREES = {"mild": "mild", "mildly": "mild", "moderate": "moderate", "moderately": "moderate", "severe": "severe"}
_DEGREES |= {"severely": "severe", "marked": "marked", "markedly": "marked"}
_DEGREES |= {word: word for word in ("small", "large", "tiny", "minimal", "trace", "massive")}

_SHORT = {  # for all of the words
    "rul": ("right", "upper", "lobe"),
    "rml": ("right", "middle", "lobe"),
    "rll": ("right", "lower", "lobe"),
    "lul": ("left", "upper", "lobe"),
    "lll": ("left", "lower", "lobe"),
}
_IMPLIES = {  # a report that has the one says the others
    "bibasilar": ("bilateral", "base"),
    "bibasal": ("bilateral", "base"),
    "biapical": ("bilateral", "apex"),
    "both": ("bilateral",),
    "limits": ("normal",),
    **_SHORT,
}
_SAME = {
    word: row.split()[0]
    for row in (
        "normal unremarkable",
        "base bases basilar basal",
        "apex apices apical",
        "bilateral bilaterally b/l",
        "heart cardiac",
        "lung lungs pulmonary",
        "pleura pleural",
    )
    for word in row.split()
}
_BRITISH = (("ae", "e"), ("oe", "e"), ("our", "or"), ("isation", "ization"), ("ised", "ized"), ("ising", "izing"))
_ENDING = re.compile(r"(?:osity|ous|ences?|ents?|ances?|ants?|ements?|ments?|ions?|ed|ing|ally|ly|es|s|e|y|al)\Z")
_SHORTEST = 4  # letters of a root that an ending leaves


def words_of(text: str) -> list[str]:
    """Its words in lower case."""
    return [text[start:end].lower() for start, end in word_spans(text)]


def roots_of(words: Iterable[str]) -> frozenset[str]:
    """All that the words of a report stand for."""
    found = frozenset(root for word in words for root in _all_roots(word))
    return found | _roots("bilateral") if found >= {"left", "right"} else found


def stands(word: str, found: AbstractSet[str]) -> bool:
    """Whether a word of an answer, or each of its parts, is among the roots of a report's words.  word: lower case"""
    parts = [_hyphened(word).split("-"), _SHORT.get(word, ())]
    if not found.isdisjoint(_roots(word) | _roots(_hyphened(word).replace("-", ""))):
        return True
    return any(len(part) > 1 and all(stands(one, found) for one in part if one) for part in parts)


def limits_of(words: Iterable[str], organ: bool) -> dict[str, frozenset[str]]:
    """Those of the words that exclude others, by the name of their group: sides, degrees, how an organ is."""
    told: dict[str, set[str]] = {"sides": set(), "degrees": set(), "states": set()}
    for word in words:
        if word in _SIDES:
            told["sides"].add(_SIDES[word])
        if word in _BOTH:
            told["sides"] |= {"left", "right"}
        if word in _DEGREES:
            told["degrees"].add(_DEGREES[word])
        if organ and word in STATES:
            told["states"].add(_SAME.get(word, word))
    return {name: frozenset(members) for name, members in told.items() if members}


def exclude(one: dict[str, frozenset[str]], other: dict[str, frozenset[str]]) -> bool:
    """Whether two texts tell of the same thing what cannot both be, by ``limits_of``."""
    return any(one[name].isdisjoint(other[name]) for name in one.keys() & other.keys())


@lru_cache(maxsize=8192)
def _all_roots(word: str) -> frozenset[str]:
    word = _hyphened(word)
    parts = {word, word.replace("-", ""), *word.split("-")} - {""}
    parts |= {implied for part in parts for implied in _IMPLIES.get(part, ())}
    return frozenset(root for part in parts for root in _roots(part))


def _hyphened(word: str) -> str:
    return word.replace("\u2010", "-").replace("\u2011", "-")


@lru_cache(maxsize=8192)
def _roots(word: str) -> frozenset[str]:
    forms = {word, singular(word), degree(word)} - {""}
    return frozenset(_root(_SAME.get(form, form)) for form in forms)


def _root(word: str) -> str:
    for british, american in _BRITISH:
        word = word.replace(british, american)
    if word.endswith("tre"):
        word = word[:-2] + "er"
    bare = _ENDING.sub("", word)
    return bare if len(bare) >= _SHORTEST else word
