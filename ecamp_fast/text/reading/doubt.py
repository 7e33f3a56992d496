"""Which entities a sentence only supposes: the cues of doubt and how far they reach."""

import re
from bisect import bisect_left, bisect_right

from ecamp_fast.text.reading import cues
from ecamp_fast.text.reading.clauses import clause_starts
from ecamp_fast.text.reading.cues import one_of
from ecamp_fast.text.reading.entities import Mention
from ecamp_fast.text.reading.negation import lowered
from ecamp_fast.text.reading.words import Span

_AHEAD = one_of(f"(?:{row})" for row in cues.DOUBTS_AHEAD)
_BEHIND = one_of(f"(?:{row})" for row in cues.DOUBTS_BEHIND)
_NOT = one_of(f"(?:{row})" for row in cues.DOUBTS_NOT)
_STOPS = one_of(f"(?:{row})" for row in cues.DOUBT_STOPS)
_ALTERNATIVE = re.compile(r"\b(?:versus|vs|and/or|or)\b|\bwith\b|\band\b|[,;:]")
_OR = ("versus", "vs", "or", "and/or")


class Doubts:
    """The cues of one sentence.  sentence: the characters [start, end) in ``text``."""

    def __init__(self, text: str, sentence: Span) -> None:
        self._start = sentence[0]
        lower = lowered(text[sentence[0] : sentence[1]])
        decoys = {at for match in _NOT.finditer(lower) for at in range(*match.span())}
        ahead = [match for match in _AHEAD.finditer(lower) if match.start() not in decoys]
        behind = [match for match in _BEHIND.finditer(lower) if match.start() not in decoys]
        self._before = [match.end() for match in ahead]
        self._behind = [match.start() for match in behind]
        self._stops = sorted({m.start() for m in _STOPS.finditer(lower)} | {m.start() for m in re.finditer(";", lower)})
        self._clauses = sorted({*self._stops, *clause_starts(lower)})
        # "edema with opacity versus atelectasis": the doubt is about the alternatives alone
        parts = list(_ALTERNATIVE.finditer(lower))
        self._parts = [match.start() for match in parts]
        self._either = [match[0] in _OR for match in parts]

    def cover(self, mention: Mention) -> bool:
        """Whether a cue before the mention, or one behind it, reaches it, or it is one of two alternatives."""
        start, end = mention.start - self._start, mention.end - self._start
        cue = bisect_right(self._before, start) - 1
        stop = bisect_right(self._clauses, start) - 1
        if cue >= 0 and (stop < 0 or self._clauses[stop] < self._before[cue]):
            return True
        part = bisect_left(self._parts, end)
        if part < len(self._parts) and self._either[part]:
            return True
        if part > 0 and self._either[part - 1]:
            return True
        cue, stop = bisect_left(self._behind, end), bisect_left(self._clauses, end)
        return cue < len(self._behind) and (stop == len(self._clauses) or self._behind[cue] < self._clauses[stop])
