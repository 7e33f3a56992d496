"""Which entities a sentence denies: negation cues, how far they reach, and what only looks like one."""

import re
from collections.abc import Sequence
from itertools import pairwise

from ecamp_fast.text.reading.entities import Mention
from ecamp_fast.text.reading.words import Span

_SEEN = (
    r"(?:(?!be\b)\w+ )?"  # clearly, definitely, ...
    r"(?:seen|identified|present|visuali[sz]ed|evident|demonstrated|appreciated|detected|noted|found|apparent)"
)
_CHANGE = (
    r"(?:(?:significant|interval|appreciable|substantial|definite|other|further) )*(?:change|increase|decrease|"
    r"improvement|worsening|progression)s?"
)

_PHRASES = re.compile(r"\bthere is no(?: evidence of)?\b", re.IGNORECASE)
_BEFORE = re.compile(
    r"\b(?:no|not|without|absence of|lack of|negative for|free of|clear of|den(?:y|ies|ied)|never|neither|nor"
    r"|unlikely to|resolved|resolution of|interval clearing of)\b",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    rf"\b(?:(?:no longer|not) {_SEEN}|(?:has|have|is|are|was|were|been) (?:completely |now )?(?:resolved|cleared)"
    r"|(?:is|are|was|were|been) (?:absent|unlikely|negative(?! for)|excluded)|ruled out)\b"
    r"|\b(?:absent|resolved)(?=[.,;)]|\s*\Z)|:\s*(?:none|absent)\b",
    re.IGNORECASE,
)
# "The vasculature is not engorged, ..." denies the engorgement, neither the vasculature nor what comes next.
_NOT_SO = re.compile(r"\b(?:is|are|was|were) not\b", re.IGNORECASE)
_NEXT_PART = re.compile(r",|\band\b|\bwith\b", re.IGNORECASE)
# Cue words that deny nothing about the entity itself.
_NOT_A_CUE = re.compile(
    rf"\bno {_CHANGE}\b|\bwithout {_CHANGE}\b|\bnot (?:only|significantly changed|changed|necessarily|well)\b"
    r"|\b(?:can ?not|could not|(?:is|are|was|were) not|not) (?:be )?(?:entirely |completely |definitely )?"
    r"(?:exclude[d]?|ruled? out)\b|\b(?:can|to) (?:be )?ruled? out\b",
    re.IGNORECASE,
)
_STOPS = re.compile(
    r"\bbut\b|\bhowever\b|\bexcept\b|\balthough\b|\bthough\b|\bapart from\b|\baside from\b|\bother than\b|\bbesides\b"
    r"|\bthere (?:is|are|may|has|have)\b|, (?:now )?with\b|, (?:this|these|it)\b|\bwith residual\b|;",
    re.IGNORECASE,
)
_JOINT = re.compile(r",|\band\b|\bwhile\b|\bwhereas\b", re.IGNORECASE)
_VERB = re.compile(r"\b(?:is|are|was|were|has|have|remains?|appears?|shows?|demonstrates?)\b", re.IGNORECASE)


def negated(text: str, sentence: Span, mentions: Sequence[Mention], phrases_only: bool = False) -> list[bool]:
    """For each mention of a sentence, whether it is denied.

    sentence: the characters [start, end) in ``text``
    phrases_only: by "there is no" and "there is no evidence of" alone
    A cue before the entity reaches to the next but, however, except, ..., semicolon, to the next clause with a verb of
    its own, or to the end of the sentence; one behind it reaches back as far.
    """
    if phrases_only:
        stops = [match.start() for match in _STOPS.finditer(text, *sentence)]
        reaches = [(m.end(), _next(stops, m.end(), sentence[1])) for m in _PHRASES.finditer(text, *sentence)]
    else:
        reaches = _reaches(text, sentence)
    return [any(first <= mention.start < last for first, last in reaches) for mention in mentions]


def _reaches(text: str, sentence: Span) -> list[Span]:
    """The characters that each cue of a sentence denies."""
    start, end = sentence
    decoys = [match.span() for match in _NOT_A_CUE.finditer(text, start, end)]
    behind = [m.span() for m in _BEHIND.finditer(text, start, end) if not _inside(m.start(), decoys)]
    before = [m.span() for m in _BEFORE.finditer(text, start, end) if not _inside(m.start(), decoys + behind)]
    if not before and not behind:
        return []
    stops = sorted([m.start() for m in _STOPS.finditer(text, start, end)] + _clauses(text, sentence))
    denials_of_state = {match.end() for match in _NOT_SO.finditer(text, start, end)}
    reaches = [(_last(stops, first, start), first) for first, _ in behind]
    for _, cue_end in before:
        reach = _next(stops, cue_end, end)
        if cue_end in denials_of_state and (part := _NEXT_PART.search(text, cue_end, reach)):
            reach = part.start()
        reaches.append((cue_end, reach))
    return reaches


def _clauses(text: str, sentence: Span) -> list[int]:
    """Where a comma or an "and" parts two clauses that have each a verb."""
    joints = [match.start() for match in _JOINT.finditer(text, *sentence)]
    found: list[int] = []
    verb_before = False
    for start, end in pairwise([sentence[0], *joints, sentence[1]]):
        has_verb = _VERB.search(text, start, end) is not None
        if has_verb and verb_before:
            found.append(start)
        verb_before = verb_before or has_verb
    return found


def _next(stops: Sequence[int], position: int, end: int) -> int:
    return min((stop for stop in stops if stop >= position), default=end)


def _last(stops: Sequence[int], position: int, start: int) -> int:
    return max((stop for stop in stops if stop < position), default=start)


def _inside(position: int, spans: Sequence[Span]) -> bool:
    return any(first <= position < last for first, last in spans)
