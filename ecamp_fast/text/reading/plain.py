"""One normal form of every text before it is read, whatever its source: a character of it knows where it came from.

Compatibility forms and ligatures are written out (NFKC), any white space is one blank, hyphens and apostrophes are the
plain ones. A line break that only wraps is a blank too; one that ends a sentence, as before the next item of a list, is
``BREAK``.
"""

import re
import unicodedata
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ecamp_fast.text.reading.entities import DEFAULT, EntityList
from ecamp_fast.text.reading.words import Span

BREAK = "\n\n"

_PART = re.compile(
    r"(?P<dash>[^\S\n\r]*[\u2014\u2015][^\S\n\r]*|[^\S\n\r]+\u2013[^\S\n\r]+)|(?P<blank>\s+)|(?P<plain>[!-~]+)"
    r"|(?P<other>[^\s!-~])"
)
_ODD = re.compile(r"[^ -~]|  ")  # what a text that is plain already has none of
_WRITTEN = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2043\u2212\ufe63\uff0d", "-"),
    **{"\u0153": "oe", "\u0152": "OE", "\u00e6": "ae", "\u00c6": "AE"},
    **dict.fromkeys("\u2018\u2019\u02bc\u2032\uff07", "'"),
}

_BULLET = r"(?:[-*+>\u2022\u00b7\u2023\u25aa\u25cf\u25e6\u2013\u2014]|\(?\d\d?[.)]|\(?[a-h][.)]|#\d*)(?=\s)"
_ITEM = re.compile(rf"{_BULLET}|[A-Z][A-Za-z]*(?:[ /&-]{{1,3}}[A-Za-z]+){{0,4}}\s?:")
# A line that ends with one of these goes on: the noun is still to come.
_GOES_ON = re.compile(
    r"(?:[,(/&-]|\b(?:a|an|the|this|that|these|those|no|not|nor|or|and|of|in|on|at|to|for|from|by|with|without|as|than"
    r"|is|are|was|were|be|been|has|have|had|may|might|could|can|will|would|should|which|but|if|its|his|her|right|left"
    r"|bilateral|both|upper|lower|mid|middle|mild|mildly|moderate|moderately|severe|small|large|tiny|trace|minimal|new"
    r"|old|acute|chronic|focal|stable|unchanged|normal|pleural|pulmonary|cardiac|venous|heart|lung|lobe|lobar|basilar"
    r"|basal|apical|interval|significant|possible|probable|likely|patchy|hazy|more|less|very|over|under|into|through"
    r"|throughout|between|within|near|along|there|longer|dr|mr|mrs|ms|any|evidence|signs?|versus|vs|also|again|now))\Z",
    re.IGNORECASE,
)
_CAPITAL = re.compile(r"[A-Z][a-z]+")
_NAMES = re.compile(
    r"(?:Swan|Ganz|Kerley|Hickman|Dobb?hoff|Port|Groshong|Mediport|Harrington|Bochdalek|Morgagni|Ghon)\b"
)
_OPENER = re.compile(r"(?:no|there|nil|negative|heart|lungs?|aorta|bones)\b", re.IGNORECASE)
# Behind a short line, an adjective or the name of a finding begins an item too.
_SHORT = 48
_NAMED = re.compile(
    r"(?:stable|unchanged|mild|mildly|moderate|severe|small|large|minimal|trace|left|right|bilateral|bibas[a-z]+|old"
    r"|new|calcified|healed|chronic|acute|enlarged|tortuous)\b",
    re.IGNORECASE,
)
_ADJECTIVE = re.compile(
    r"(?<!normal)(?<!clear)(?<!stable)\b(?!seen)[a-z]+(?:ive|al|ic|ous|ar|ary|ed|ing)\Z", re.IGNORECASE
)
_COMPOUND = re.compile(r"\b(?:rib|chest|bone|heart|lung|lobe|apex|base)\Z", re.IGNORECASE)
_CUT = re.compile(r"[^\W\d_]-\Z")


@dataclass(frozen=True, slots=True)
class Plain:
    """A text in its normal form.

    text     what is read
    origins  (len(text) + 1,) where each of its characters, and its end, stood; None: where they stand now
    """

    text: str
    origins: Sequence[int] | None = None

    def origin(self, span: Span) -> Span:
        """Characters [start, end) of the normal form, as characters of the text that it was made of."""
        if self.origins is None:
            return span
        start, end = span
        return self.origins[start], self.origins[end - 1] + 1 if end > start else self.origins[start]


@lru_cache(maxsize=4)  # sentences, mentions and distilled text of one report are found one after the other
def plain(text: str, entities: EntityList = DEFAULT) -> Plain:
    """The normal form of a text. That of a normal form is itself.

    entities: one at the beginning of a line begins an item
    """
    if not _ODD.search(text):
        return Plain(text)
    parts: list[str] = []
    origins = array("q")
    for match in _PART.finditer(text):
        if match["plain"]:
            parts.append(match[0])
            origins.extend(range(match.start(), match.end()))
            continue
        written = " - " if match["dash"] else _gap(text, match, entities) if match["blank"] else _letter(match[0])
        parts.append(written)
        origins.extend([match.start()] * len(written))
    origins.append(len(text))
    return Plain("".join(parts), origins)


def lowered(text: str) -> str:
    """The text in lower case, as long as it is."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c if len(c.lower()) > 1 else c.lower() for c in text)


def _letter(letter: str) -> str:
    if letter in _WRITTEN:
        return _WRITTEN[letter]
    if unicodedata.category(letter) == "Cf":  # of no width
        return ""
    return unicodedata.normalize("NFKC", letter)


def _gap(text: str, match: re.Match[str], entities: EntityList) -> str:
    """What white space is read as: a blank, or the end of a sentence."""
    lines = match[0].count("\n") + ("\n" not in match[0]) * match[0].count("\r")
    if not lines:
        return " "
    line_start = max(text.rfind("\n", 0, match.start()), text.rfind("\r", 0, match.start())) + 1
    before, after = text[line_start : match.start()], text[match.end() : match.end() + 80]
    if lines == 1 and _CUT.search(before) and after[:1].islower():
        return ""  # "port-a-" and "cath"
    return BREAK if lines > 1 or _ends(before.strip(), after, entities) else " "


def _ends(before: str, after: str, entities: EntityList) -> bool:
    """Whether a line break stands between two items, not within a sentence that was wrapped.

    before: the line that ends   after: how the next one begins
    """
    if _GOES_ON.search(before):
        return False
    if _ITEM.match(after):
        return True
    if _CAPITAL.match(after) and not before.isupper():
        return not _NAMES.match(after)
    if _ADJECTIVE.search(before) or _COMPOUND.search(before):
        return False
    if len(before) <= _SHORT and (_NAMED.match(after) or entities.begins(after)):
        return True
    return _OPENER.match(after) is not None
