"""Which entities a sentence only supposes: the cues of doubt and how far they reach."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from ecamp_fast.text.reading import cues
from ecamp_fast.text.reading.clauses import clause_starts
from ecamp_fast.text.reading.cues import one_of
from ecamp_fast.text.reading.entities import Mention, find_mentions
from ecamp_fast.text.reading.negation import lowered
from ecamp_fast.text.reading.words import Span

_AHEAD = one_of(f"(?:{row})" for row in cues.DOUBTS_AHEAD)
_BEHIND = one_of(f"(?:{row})" for row in cues.DOUBTS_BEHIND)
_NOT = one_of(f"(?:{row})" for row in cues.DOUBTS_NOT)
_STOPS = one_of(f"(?:{row})" for row in cues.DOUBT_STOPS)
_PART = re.compile(r"\b(?:versus|vs)\b|\bwith\b|\band\b(?!/or)|[,;:]")
# "atelectasis or early pneumonia": the noun right before, and after adjectives the one behind
_OR = re.compile(r"(?:,? and/or|,? or(?: else)?)(?: an?| the| some)?(?: (?!(?:of|in|to|with|from)\b)[a-z-]+){0,3} ?\Z")
_OR_NEXT = re.compile(r",? (?:and/)?or\b")
_SAID_TO_BE = re.compile(
    r"(?: (?!(?:in|on|at|and|or|with|within|near|of|by|as|given|based|but|due|since|when|over|than)\b)[a-z-]+){0,5} ?"
)
_BUT = re.compile(r"(?:but|although|though|yet)(?: is| are| was| were)? \Z")


class Doubts:
    """The cues of one sentence.

    text: in its normal form (``plain``)   sentence: the characters [start, end) in it
    """

    def __init__(self, text: str, sentence: Span) -> None:
        self._start = sentence[0]
        self._text = lower = lowered(text[sentence[0] : sentence[1]])
        decoys = {at for match in _NOT.finditer(lower) for at in range(*match.span())}
        ahead = [*_AHEAD.finditer(lower), *cues.QUESTION_AHEAD.finditer(lower)]
        behind = [*_BEHIND.finditer(lower), *cues.QUESTION_BEHIND.finditer(lower)]
        mentions = find_mentions(lower)
        self._before = sorted(match.end() for match in ahead if match.start() not in decoys)
        self._behind = sorted(
            match.start() for match in behind if match.start() not in decoys and not self._leads_on(match, mentions)
        )
        stops = {match.start() for match in (*_STOPS.finditer(lower), *re.finditer(";", lower))}
        self._stops = sorted({*stops, *clause_starts(lower)})
        # "edema with opacity versus atelectasis": the doubt is about the alternatives alone
        parts = list(_PART.finditer(lower))
        self._parts = [match.start() for match in parts]
        self._versus = [match[0][0] == "v" for match in parts]
        self._alternatives = self._or(mentions)

    def cover(self, mention: Mention) -> bool:
        """Whether a cue before the mention, or one behind it, reaches it, or it is one of two alternatives."""
        start, end = mention.start - self._start, mention.end - self._start
        cue, stop = bisect_right(self._before, start) - 1, bisect_right(self._stops, start) - 1
        if cue >= 0 and (stop < 0 or self._stops[stop] < self._before[cue]):
            return True
        part = bisect_left(self._parts, end)
        if part < len(self._parts) and self._versus[part]:
            return True
        if start in self._alternatives:
            return True
        cue, stop = bisect_left(self._behind, end), bisect_left(self._stops, end)
        if cue == len(self._behind):
            return False
        # "is less likely but not excluded": the same subject
        while stop < len(self._stops) and _BUT.match(self._text, self._stops[stop], self._behind[cue]):
            stop += 1
        return stop == len(self._stops) or self._behind[cue] < self._stops[stop]

    def _leads_on(self, cue: re.Match[str], mentions: Sequence[Mention]) -> bool:
        """Whether a cue is about the noun behind it: "the opacity is likely mild atelectasis"."""
        index = bisect_left(mentions, cue.end(), key=lambda mention: mention.start)
        return index < len(mentions) and _SAID_TO_BE.fullmatch(self._text, cue.end(), mentions[index].start) is not None

    def _or(self, mentions: Sequence[Mention]) -> set[int]:
        """Where the mentions begin that an "or" joins."""
        found: set[int] = set()
        for index, mention in enumerate(mentions):
            following = mentions[index + 1].start if index + 1 < len(mentions) else len(self._text)
            if not _OR_NEXT.match(self._text, mention.end):
                continue
            found.add(mention.start)
            if _OR.match(self._text, mention.end, following):
                found.add(following)
        return found
