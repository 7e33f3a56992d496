"""Which entities a sentence only supposes: the cues of doubt and how far they reach."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from ecamp_fast.text.reading import cues
from ecamp_fast.text.reading.clauses import VERB, clause_starts
from ecamp_fast.text.reading.cues import one_of
from ecamp_fast.text.reading.entities import DEFAULT, EntityList, Mention, find_mentions
from ecamp_fast.text.reading.plain import lowered
from ecamp_fast.text.reading.words import Span

_AHEAD = one_of(cues.DOUBTS_AHEAD)
_BEHIND = one_of(cues.DOUBTS_BEHIND)
_NOT = one_of(cues.DOUBTS_NOT)
_STOPS = one_of(cues.DOUBT_STOPS)
_ASIDES = one_of(cues.DOUBT_ASIDES)
_MARKS = re.compile(r";|, (?:healed|old|known|stable|unchanged)\b")
# "Atelectasis or early pneumonia", "edema versus atelectasis": both are doubted, what stands further off is not.
_EITHER = re.compile(r",? (?:and/)?or\b|,? (?:versus|vs)\b")
_APART = re.compile(
    r"\b(?:with|and|which|that|due|from|(?:represent|reflect|suggest|favor)[a-z]*)\b|[,;:]|" + VERB.pattern
)
_ADJECTIVES = re.compile(r"(?: else)?(?: an?| the| some)?(?: (?!(?:of|in|to|with|from)\b)[a-z-]+){0,3} ?")
# Findings that are no entities: "scarring or atelectasis"
_FINDING = re.compile(
    r"\b(?:scar(?:s|ring)?|disease|process|reaction|fluid|infection|inflammation|aspiration|malignancy|neoplasm|tumor"
    r"|lesions?|hemorrhage|blood|contusion|crowding|artifact|dens(?:ity|ities)|nodes?|adenopathy|lymphadenopathy)\Z"
)
_NO = re.compile(r"\b(?:no|not|nor|neither|without|free|clear|negative|deny|denies|absence|lack)\b")
# "Possible left base [and] right base pneumonia", "possible mediastinal [and] hilar mass": one finding at two places
_PLACE = re.compile(
    r"\b(?:left|right|upper|lower|middle|mid|lobes?|bases?|lungs?|apex|apices|zones?|lingula|r[uml]l|l[ul]l"
    r"|mediastinal|(?:peri)?hilar|paratracheal|retrocardiac|infrahilar|suprahilar|lingular|apical|basilar|basal) \Z"
)
_LONGEST_PLACE = 13  # letters of its longest word, and the blank behind it
_SAID_TO_BE = re.compile(
    r"(?: (?!(?:in|on|at|and|or|with|within|near|of|by|as|given|based|but|due|since|when|over|than)\b)[a-z-]+){0,5} ?"
)
_BUT = re.compile(r"(?:but|although|though|yet)(?: is| are| was| were)? \Z")


class Doubts:
    """The cues of one sentence.

    text: in its normal form (``plain``)   sentence: the characters [start, end) in it
    """

    def __init__(self, text: str, sentence: Span, entities: EntityList = DEFAULT) -> None:
        self._start, self._organs = sentence[0], entities.organs
        self._text = lower = lowered(text[sentence[0] : sentence[1]])
        decoys = {at for match in _NOT.finditer(lower) for at in range(*match.span())}
        ahead = [*_AHEAD.finditer(lower), *cues.QUESTION_AHEAD.finditer(lower)]
        behind = [*_BEHIND.finditer(lower), *cues.QUESTION_BEHIND.finditer(lower)]
        mentions = find_mentions(lower, entities)
        self._before = sorted(match.end() for match in ahead if match.start() not in decoys)
        self._behind = sorted(
            match.start() for match in behind if match.start() not in decoys and not self._leads_on(match, mentions)
        )
        self._asides = [match.start() for match in _ASIDES.finditer(lower)]
        stops = {match.start() for match in (*_STOPS.finditer(lower), *_MARKS.finditer(lower))}
        stops = {stop for stop in stops if not self._joins_places(stop, mentions)}
        clauses = clause_starts(lower)
        self._stops = sorted({*stops, *self._asides, *clauses})
        self._alternatives = self._either(mentions, clauses)

    def cover(self, mention: Mention) -> bool:
        """Whether a cue before the mention, or one behind it, reaches it, or it is one of two alternatives."""
        start, end = mention.start - self._start, mention.end - self._start
        if start in self._alternatives:
            return True
        cue, stop = bisect_right(self._before, start) - 1, bisect_right(self._stops, start) - 1
        if cue >= 0 and (stop < 0 or self._stops[stop] < self._before[cue]):
            return True
        return not self._is_aside(start) and self._doubted_behind(end)

    def _doubted_behind(self, end: int) -> bool:
        cue, stop = bisect_left(self._behind, end), bisect_left(self._stops, end)
        if cue == len(self._behind):
            return False
        while stop < len(self._stops) and (
            # "is less likely but not excluded": the same subject
            _BUT.match(self._text, self._stops[stop], self._behind[cue]) or self._stops[stop] in self._asides
        ):
            stop += 1
        return stop == len(self._stops) or self._behind[cue] < self._stops[stop]

    def _is_aside(self, start: int) -> bool:
        aside = bisect_right(self._asides, start) - 1
        return aside >= 0 and self._text.find(",", self._asides[aside], start) < 0

    def _joins_places(self, stop: int, mentions: Sequence[Mention]) -> bool:
        """Whether an "and" stands between two places of the finding that a cue is about, which is still to come."""
        cue = bisect_right(self._before, stop) - 1
        if (
            cue < 0
            or not self._text.startswith("and ", stop)
            or not _PLACE.search(self._text, max(0, stop - _LONGEST_PLACE), stop)
        ):
            return False
        between = (mention for mention in mentions if self._before[cue] <= mention.start < stop)
        return all(self._is_place(mention) for mention in between)

    def _is_place(self, mention: Mention) -> bool:
        """Whether a mention is a word of a place: "hilar" is, the aorta "at the left apex" is what is seen there."""
        return mention.entity in self._organs and bool(_PLACE.match(self._text, mention.start, mention.end + 1))

    def _leads_on(self, cue: re.Match[str], mentions: Sequence[Mention]) -> bool:
        """Whether a cue is about the noun behind it: "the opacity is likely mild atelectasis"."""
        index = bisect_left(mentions, cue.end(), key=lambda mention: mention.start)
        return index < len(mentions) and _SAID_TO_BE.fullmatch(self._text, cue.end(), mentions[index].start) is not None

    def _either(self, mentions: Sequence[Mention], clauses: Sequence[int]) -> set[int]:
        """Where the mentions begin that an "or" or a "versus" joins."""
        found: set[int] = set()
        ends = [mention.end for mention in mentions]
        denials = [match.start() for match in _NO.finditer(self._text)]
        for match in _EITHER.finditer(self._text):
            position = match.start()
            last = bisect_right(ends, position) - 1
            if match[0].endswith(("versus", "vs")):
                if last >= 0 and not _APART.search(self._text, ends[last], position):
                    found.update(self._compound(mentions, last))
                continue
            if _last(denials, position) > _last(clauses, position):
                continue  # a list of what is not there
            if last >= 0 and ends[last] == position:
                found.update(self._compound(mentions, last))
            elif not _FINDING.search(self._text, max(0, position - 20), position):
                continue
            if last + 1 < len(mentions) and _ADJECTIVES.fullmatch(self._text, match.end(), mentions[last + 1].start):
                found.add(mentions[last + 1].start)
        return found

    def _compound(self, mentions: Sequence[Mention], last: int) -> Iterator[int]:
        """The beginnings of a mention and of those that stand right before it: "nodular opacity"."""
        yield mentions[last].start
        while last and mentions[last].start - mentions[last - 1].end <= 1:
            last -= 1
            yield mentions[last].start


def _last(positions: Sequence[int], position: int) -> int:
    index = bisect_left(positions, position)
    return positions[index - 1] if index else -1
