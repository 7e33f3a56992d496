"""Which entities a sentence denies: cues of denial, how far they reach, and what only looks like one."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from ecamp_fast.text.reading import cues
from ecamp_fast.text.reading.clauses import VERB, clause_starts
from ecamp_fast.text.reading.cues import expand, one_of
from ecamp_fast.text.reading.entities import DEFAULT, EntityList, Mention
from ecamp_fast.text.reading.plain import lowered
from ecamp_fast.text.reading.words import Span

_PHRASES = re.compile(r"\bthere is no(?: evidence of)?\b")
_AHEAD, _TURNS, _BEHIND = one_of(cues.DENIES_AHEAD), one_of(cues.TURNS), one_of(cues.DENIES_BEHIND)
_DECOYS, _NO_CHANGE = one_of(cues.DENIES_NOT), one_of(cues.NO_CHANGE)
# Mentions that an adjective makes
_ADJECTIVAL = re.compile(r"(?:ed|ing|ic|ous|ive|ar|al|edematous)\Z")
# A sentence without any of these denies nothing.
_ANY_CUE = re.compile(
    r"\b(?:no|nil|never|neither|without|w/o|absen|lack|neg|free|clear|devoid|den[iy]|unlikely|rather|instead|fail|can"
    r"|resol|remov|disappear|vanish|subsid|gone|ruled|exclu|withdr|taken|pulled|discont|expl|extr|insufficient|out)"
    r"|n't\b|\(-\)"
)
_STOPS = one_of((*cues.STOPS, *cues.CIRCUMSTANCES))
_STOPS_BEHIND = one_of(cues.STOPS)
_MARKS = re.compile(
    r";| -+ |[(\[](?![a-z0-9/-]{1,8}[)\]])|, (?:now )?with\b|(?:, (?:and )?|\band )(?:the|this|these|those|his|her|its"
    r"|it|they|he|she|there)\b"
)
_STATE = "|".join(cues.STATES)
_NEW_ITEM = re.compile(
    rf"(?P<joint>,|\band\b|, and\b|\bwith\b) (?:a |an |the |there is |now |some |also )?(?:{_STATE})\b"
)
# "No cavitation in the mass or effusion": the mass is where there is none of it.
_PLACE = re.compile(
    r"(?<!evidence )(?<!sign )(?<!signs )(?<!suggestion )(?<!indication )(?<!recurrence )(?<!trace )"
    r"(?<!absence )(?<!lack )(?<!free )(?<!clear )(?<!none )(?<!resolution )(?<!removal )(?<!clearing )"
    r"(?<!disappearance )(?<!instead )"
    r"\b(?:(?:of|in|to|throughout|on) (?:the|this|that|these|those|either|both|his|her)|within|inside)\b"
    r".*?(?=[,;]|\b(?:or|nor|and|of(?! the)|for|that|is|are|was|were)\b|\Z)"
)
_SIDES = re.compile(r"and (?:left|right|bilateral|bibas[a-z]+)\b")
_DENIES_STATE = re.compile(expand(r"{IS_NOT}\Z"))
_NEXT_PART = re.compile(r",|\band\b|\bwith\b")
_NEXT_ANSWER = re.compile(r",|\([+-]\)")
_LEFT_BEHIND = re.compile(rf"\bwith\b|,|\band (?:a |an |the )?(?:new|{_STATE})\b|\bleaving\b")
_GOES_ON = re.compile(expand(r" ?{ADVERB}(?:{SEEN})?(?:,? or\b| to (?:suggest|indicate)\b)"))
_AS_ADJECTIVE = re.compile(
    r"(?:that|which) (?:(?:is|are|was|were|would|may|might|could)(?: be)? (?:[a-z]+ly )?"
    r"(?:suspicious|concerning|suggestive|consistent|diagnostic|worrisome|compatible|indicative|suggest)|appears?"
    r"|represents?)\b"
)
_SKIPS_VERB = re.compile(r"(?:neither|nothing|none)\b")
_AS_SEEN = re.compile(expand(r"{IS} {ADVERB}{SEEN}\b"))
_AS_BEFORE = re.compile(r"\b(?:as (?:before|previously)|unchanged|stable|again (?:seen|noted))\b")
_CLOSED = re.compile(r"[)\]]")
_PAIR = re.compile(r"\b(?:and|or|nor|/)\b")


def negated(
    text: str,
    sentence: Span,
    mentions: Sequence[Mention],
    phrases_only: bool = False,
    entities: EntityList = DEFAULT,
) -> list[bool]:
    """For each mention of a sentence, whether it is denied.

    text: in its normal form (``plain``)   sentence: the characters [start, end) in it
    phrases_only: by "there is no" and "there is no evidence of" alone   entities: the list that the mentions are of
    A cue before the entity reaches to the next finite verb, "but", circumstance ("following", "despite"), bracket or
    new item with a state of its own, or to the end of the sentence; one behind it reaches back to where its clause
    begins. The tables are in ``cues``.
    """
    start, end = sentence
    lower = lowered(text[start:end])
    places = [(mention.start - start, mention.end - start) for mention in mentions]
    organs = {mention.start - start for mention in mentions if mention.entity in entities.organs}
    if phrases_only:
        stops = [match.start() for match in (*_STOPS.finditer(lower), *_MARKS.finditer(lower))]
        stops.sort()
        reaches = [(m.end(), _next(stops, m.end(), len(lower))) for m in _PHRASES.finditer(lower)]
    else:
        reaches = _Denials(lower, places, organs).reaches if _ANY_CUE.search(lower) else []
    denied = _Spans(reaches)
    return [place in denied for place, _ in places]


class _Denials:
    """The cues of one sentence in lower case, and what each reaches: ``reaches``, characters [first, last)."""

    def __init__(self, sentence: str, mentions: Sequence[Span], organs: set[int]) -> None:
        self._text = sentence
        self._mentions = [start for start, _ in mentions]
        no_change = [m.span() for m in _NO_CHANGE.finditer(sentence) if not self._of_entity(m.span(), mentions)]
        decoys = _Spans([*no_change, *(match.span() for match in _DECOYS.finditer(sentence))])
        clauses = clause_starts(sentence)
        self._behind_stops = sorted(
            [m.start() for m in _STOPS_BEHIND.finditer(sentence)]
            + [m.start() for m in re.finditer(";", sentence)]
            + clauses
        )
        self._verbs = list(VERB.finditer(sentence))
        self._verb_starts = [match.start() for match in self._verbs]
        self._pairs = [match.start() for match in _PAIR.finditer(sentence)]
        self._stops = sorted({*self._behind_stops, *self._ahead_stops()})
        first = [*cues.INVERTED.finditer(sentence), *cues.NONE_OF.finditer(sentence), *cues.MINUS.finditer(sentence)]
        taken = _Spans(match.span() for match in first)
        relative = _Spans(match.span() for match in cues.RELATIVE.finditer(sentence))
        behind = [
            match
            for match in _BEHIND.finditer(sentence)
            if match.start() not in decoys and match.start() not in taken and match.start() not in relative
        ]
        answers = list(cues.ANSWERS.finditer(sentence))
        self.reaches = [(self._back(match.start()), match.start()) for match in (*behind, *answers)]
        self.reaches += [(match.end(), self._first(match)) for match in first]
        used = _Spans(match.span() for match in (*behind, *answers, *first))
        ahead = [
            (match.end(), self._ahead(match))
            for match in _AHEAD.finditer(sentence)
            if match.start() not in decoys and match.start() not in used
        ]
        self.reaches += _without(ahead, self._findings_in_places(organs))
        for match in _TURNS.finditer(sentence):
            if match.start() not in decoys and match.start() not in used:
                self.reaches.append((match.end(), self._part(match.end(), _LEFT_BEHIND)))

    def _of_entity(self, change: Span, mentions: Sequence[Span]) -> bool:
        """Whether a noun of change is a part of an entity, or describes one that is told by an adjective."""
        index = bisect_left(self._mentions, change[0])
        if index == len(mentions) or mentions[index][0] >= change[1]:
            return False
        start, end = mentions[index]
        return end >= change[1] or _ADJECTIVAL.search(self._text, start, end) is not None

    def _findings_in_places(self, organs: set[int]) -> list[Span]:
        """What stands in "in the mass": a finding in which something is not. Where an organ stands there, nothing."""
        found = []
        for match in _PLACE.finditer(self._text):
            first, last = (bisect_left(self._mentions, position) for position in match.span())
            if not organs.issuperset(self._mentions[first:last]):
                found.append(match.span())
        return found

    def _ahead_stops(self) -> list[int]:
        """Where what a cue before them denies ends, whatever the cue."""
        text = self._text
        stops = [match.start() for match in (*_STOPS.finditer(text), *_MARKS.finditer(text))]
        for match in _NEW_ITEM.finditer(text):
            if match["joint"] == "and":
                if not _SIDES.match(text, match.start()):
                    stops.append(match.start())
            elif not self._list_goes_on(match.end()):
                stops.append(match.start())
        return stops + self._subjects()

    def _subjects(self) -> list[int]:
        """The commas before an entity that is the subject of a verb of its own: "no infiltrate, emphysema persists"."""
        found = []
        for verb in (*self._verbs, *_AS_BEFORE.finditer(self._text)):
            comma = self._text.rfind(",", 0, verb.start())
            named = _next(self._mentions, comma, len(self._text)) < verb.start()
            if comma < 0 or not named or self._paired(comma, verb.start()):
                continue
            if not _AS_SEEN.match(self._text, verb.start()):
                found.append(comma)
        return found

    def _list_goes_on(self, position: int) -> bool:
        """Whether an "or" or "and" comes before the next verb: then the comma parts items of one list."""
        return self._paired(position, _next(self._verb_starts, position, len(self._text)))

    def _paired(self, start: int, end: int) -> bool:
        return _next(self._pairs, start, end) < end

    def _ahead(self, cue: re.Match[str]) -> int:
        """The end of what a cue denies behind itself."""
        if _DENIES_STATE.search(self._text, max(0, cue.start() - 6), cue.end()):
            # "The vasculature is not engorged, ...": neither the vasculature nor what comes next
            return self._part(cue.end(), _NEXT_PART)
        end = _next(self._stops, cue.end(), len(self._text))
        skip = _SKIPS_VERB.match(cue[0]) is not None
        for verb in self._verbs[bisect_left(self._verb_starts, cue.end()) :]:
            if verb.start() >= end:
                break
            if verb.start() <= cue.end() + 1 or self._goes_on(verb):
                continue
            if skip:
                skip = False
                continue
            return verb.start()
        return end

    def _goes_on(self, verb: re.Match[str]) -> bool:
        """Whether a denial reaches over a verb: "no effusion is seen or ...", "nothing that is suspicious for ..."."""
        before = self._text[max(0, verb.start() - 6) : verb.start()]
        if before.endswith(("to ", "that ", "which ")) and (
            before.endswith("to ")
            or _AS_ADJECTIVE.match(self._text, verb.start() - (5 if before.endswith("that ") else 6))
        ):
            return True
        return _GOES_ON.match(self._text, verb.end()) is not None

    def _first(self, cue: re.Match[str]) -> int:
        """The end of what an inverted denial, "none of the ... is" or "(-)" reaches."""
        if cue.re is cues.INVERTED:
            return _next(self._stops, cue.end(), len(self._text))
        return self._part(cue.end(), _NEXT_PART if cue.re is cues.NONE_OF else _NEXT_ANSWER)

    def _part(self, position: int, ends: re.Pattern[str]) -> int:
        reach = _next(self._stops, position, len(self._text))
        found = ends.search(self._text, position, reach)
        return found.start() if found else reach

    def _back(self, cue: int) -> int:
        """Where what a cue denies before itself begins: with its clause, or with a comma that begins another item."""
        index = bisect_left(self._behind_stops, cue)
        start = self._behind_stops[index - 1] if index else 0
        bracket = max(self._text.rfind("(", start, cue), self._text.rfind("[", start, cue))
        if bracket >= 0 and not _CLOSED.search(self._text, bracket, cue):
            start = bracket
        comma = self._text.rfind(",", start, cue)
        if comma >= 0 and not self._paired(comma, cue) and _next(self._mentions, comma, cue) < cue:
            return comma
        return start


class _Spans:
    """Whether a character is in one of many spans [start, end)."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = sorted(spans)
        self._starts = [start for start, _ in self._spans]
        self._furthest = list(accumulate((end for _, end in self._spans), max))

    def __contains__(self, position: int) -> bool:
        index = bisect_right(self._starts, position)
        return index > 0 and self._furthest[index - 1] > position


def _next(stops: Sequence[int], position: int, end: int) -> int:
    index = bisect_left(stops, position)
    return stops[index] if index < len(stops) else end


def _without(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """The spans less the holes that begin in them."""
    starts = [start for start, _ in holes]
    out: list[Span] = []
    for begin, end in spans:
        for hole in holes[bisect_left(starts, begin) : bisect_left(starts, end)]:
            out.append((begin, hole[0]))
            begin = hole[1]
        if begin < end:
            out.append((begin, end))
    return out
