"""Where sentences begin and end in a report: at items of lists and at full stops, but for numbers and abbreviations."""

import re
from itertools import pairwise

from ecamp_fast.text.reading.entities import DEFAULT, EntityList
from ecamp_fast.text.reading.plain import BREAK, plain
from ecamp_fast.text.reading.words import Span

# A run of stops, or a break between items. Not within a number (1.5 cm), not behind a title, an initial (Dr. J. Smith),
# the parts of e.g. and p.m., or the number of a list's item (1. No effusion. 2. ...).
_STOP = re.compile(rf"[.!?]+|{BREAK}")
_TITLE = r"(?:dr|mr|mrs|ms|prof|vs|approx|fig|st|e\.g|i\.e|cf|resp|incl)"
_ABBREVIATION = re.compile(rf"(?:\b{_TITLE}|\b(?:dr|mr|mrs|ms|prof)\.? [a-z]|(?:\A|[.!?:\n])\s*\d\d?)\Z", re.IGNORECASE)
_LETTER = re.compile(r"(?<![^\W_])[^\W\d_]\Z")
_ANSWER = re.compile(r" (?:no|none|nil|absent|negative|yes)(?=[.;,]|\Z)", re.IGNORECASE)
# An item of a list that runs on: "1. No effusion 2. Mild edema", "1) ... 2) ..."
_NUMBER = re.compile(r"(?:\A|(?<=[\s:]))\(?(?P<number>\d\d?)[.)] (?=\S)")


def sentence_spans(text: str, entities: EntityList = DEFAULT) -> list[Span]:
    """The characters [start, end) of each sentence, end to end over the whole text."""
    form = plain(text, entities)
    spans = plain_sentences(form.text)
    if form.origins is None or not spans:
        return spans
    starts = [0, *(form.origins[start] for start, _ in spans[1:]), form.origin(spans[-1])[1]]
    return list(pairwise(starts))


def plain_sentences(text: str) -> list[Span]:
    """The same for a text in its normal form (``plain``)."""
    items = _items(text)
    numbers = {end for _, end in items}
    stops = [match.end() for match in _STOP.finditer(text) if _ends_sentence(text, match)]
    ends: list[int] = []
    for end in sorted({*(stop for stop in stops if stop not in numbers), *(start for start, _ in items)}):
        if text[ends[-1] if ends else 0 : end].strip():
            ends.append(end)
    if not ends or text[ends[-1] :].strip():
        ends.append(len(text))
    return list(zip([0, *ends], ends, strict=False))


def _items(text: str) -> list[Span]:
    """The numbers of the second and further items of numbered lists, with their full stops."""
    found: list[Span] = []
    expected = 1
    for match in _NUMBER.finditer(text):
        number = int(match["number"])
        if number == expected and number > 1:
            found.append((match.start(), match.end() - 1))
        expected = number + 1 if number in (1, expected) else expected
    return found


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    if match[0] == "?" and _ANSWER.match(text, match.end()):
        return False
    if match[0] == "?" and (match.start() == 0 or text[match.start() - 1] in " ("):
        following = text[match.end() : match.end() + 2]
        return not (following[:1].isalpha() or following.strip()[:1].islower())  # "?LLL pneumonia", "? pneumonia"
    if match[0] != ".":
        return True
    before, after = text[max(0, match.start() - 8) : match.start()], text[match.end() : match.end() + 1]
    if before[-1:].isdigit() and after.isdigit():
        return False
    if after.isalpha() and _LETTER.search(before):
        return False
    return not (after and _ABBREVIATION.search(before))
