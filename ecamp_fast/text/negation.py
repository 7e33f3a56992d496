"""Which entities a sentence denies: negation cues, how far they reach, and what only looks like one."""

import re
from collections.abc import Sequence

from ecamp_fast.text.entities import Mention

_PHRASES = re.compile(r"\bthere is no(?: evidence of)?\b", re.IGNORECASE)
_BEFORE = re.compile(
    r"\b(?:no|not|without|absence of|absent|negative for|free of|clear of|den(?:y|ies|ied)|never|neither|nor"
    r"|resol(?:ved|ution of)|interval clearing of)\b",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    r"\b(?:(?:is|are|was|were|has been|have been|been) (?:not|no longer|absent|ruled out|excluded|resolved)"
    r"|(?:has|have) (?:completely )?(?:resolved|cleared)|(?:not|no longer) (?:seen|identified|present|visuali[sz]ed"
    r"|evident|demonstrated|appreciated|detected|noted)|ruled out|absent|resolved)\b",
    re.IGNORECASE,
)
# Cue words that deny nothing about the entity itself.
_NOT_A_CUE = re.compile(
    r"\bno (?:significant |interval |appreciable |substantial |definite )*(?:change|increase|decrease|improvement)s?\b"
    r"|\bwithout (?:significant |interval |appreciable |substantial )*(?:change|increase|decrease)\b"
    r"|\b(?:can ?not|could not|not) (?:be )?(?:entirely |completely |definitely )?(?:excluded|ruled out)\b"
    r"|\bnot (?:only|significantly changed|changed|well)\b|\b(?:rule|r/o) out\b",
    re.IGNORECASE,
)
_STOPS = re.compile(
    r"\bbut\b|\bhowever\b|\bexcept\b|\balthough\b|\bthough\b|\bapart from\b|\baside from\b|\bother than\b"
    r"|\bthere (?:is|are|may|has|have)\b|;",
    re.IGNORECASE,
)


def negated(
    text: str, sentence: tuple[int, int], mentions: Sequence[Mention], phrases_only: bool = False
) -> list[bool]:
    """For each mention of a sentence, whether it is denied.

    sentence: the characters [start, end) in ``text``
    phrases_only: by "there is no" and "there is no evidence of" alone
    A cue before the entity reaches to the next but, however, except, ..., semicolon, or the end of the sentence; one
    behind it reaches back as far.
    """
    start, end = sentence
    stops = [match.start() for match in _STOPS.finditer(text, start, end)]
    if phrases_only:
        reaches = [(m.end(), _next(stops, m.end(), end)) for m in _PHRASES.finditer(text, start, end)]
    else:
        decoys = [match.span() for match in _NOT_A_CUE.finditer(text, start, end)]
        before = [m for m in _BEFORE.finditer(text, start, end) if not _inside(m, decoys)]
        behind = [m for m in _BEHIND.finditer(text, start, end) if not _inside(m, decoys)]
        reaches = [(m.end(), _next(stops, m.end(), end)) for m in before]
        reaches += [(_last(stops, m.start(), start), m.start()) for m in behind]
    return [any(first <= mention.start < last for first, last in reaches) for mention in mentions]


def _next(stops: Sequence[int], position: int, end: int) -> int:
    return min((stop for stop in stops if stop >= position), default=end)


def _last(stops: Sequence[int], position: int, start: int) -> int:
    return max((stop for stop in stops if stop < position), default=start)


def _inside(match: re.Match[str], spans: Sequence[tuple[int, int]]) -> bool:
    return any(first <= match.start() < last for first, last in spans)
