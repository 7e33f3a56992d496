"""Which entities a sentence only supposes: the cues of doubt and how far they reach."""

import re
from bisect import bisect_left, bisect_right

from ecamp_fast.text.reading.entities import Mention

_BEFORE = re.compile(
    r"\b(?:may|might|could|possibl[ey]|probabl[ey]|likely|suspected|suspect|suspicion of|(?:suspicious|concerning"
    r"|worrisome|concern|evaluate|question) (?:for|of)|suggest\w*|questionable|presum\w*|consider|equivocal|perhaps"
    r"|differential|considerations?|can ?not exclude|(?:to )?exclude|rule out|r/o|if|versus|vs)\b",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    r"\b(?:is|are|was|were|be) (?:possible|likely|suspected|questioned|considered|questionable|a possibility)\b"
    r"|\b(?:can ?not|could not|not) (?:be )?(?:\w+ )?(?:excluded|ruled out)\b"
    r"|\b(?:may|might|could) (?:also )?be (?:present|seen)\b|\?",
    re.IGNORECASE,
)
_ALTERNATIVE = re.compile(r"\b(?:versus|vs)\b|\bwith\b|[,;:]", re.IGNORECASE)
_STOPS = re.compile(r";|\bbut\b|\bhowever\b|\balthough\b|, with\b|\bthere (?:is|are)\b|\bwithout\b", re.IGNORECASE)


class Doubts:
    """The cues of one sentence.  sentence: the characters [start, end) in ``text``."""

    def __init__(self, text: str, sentence: tuple[int, int]) -> None:
        self._before = [match.end() for match in _BEFORE.finditer(text, *sentence)]
        self._behind = [match.start() for match in _BEHIND.finditer(text, *sentence)]
        self._stops = [match.start() for match in _STOPS.finditer(text, *sentence)]
        # "edema with opacity versus atelectasis": the doubt is about the alternatives alone
        parts = list(_ALTERNATIVE.finditer(text, *sentence))
        self._parts = [match.start() for match in parts]
        self._versus = [match[0][0] in "vV" for match in parts]

    def cover(self, mention: Mention) -> bool:
        """Whether a cue before the mention, or one behind it, reaches it."""
        cue = bisect_right(self._before, mention.start) - 1
        stop = bisect_right(self._stops, mention.start) - 1
        if cue >= 0 and (stop < 0 or self._stops[stop] < self._before[cue]):
            return True
        part = bisect_left(self._parts, mention.end)
        if part < len(self._parts) and self._versus[part]:
            return True
        cue, stop = bisect_left(self._behind, mention.end), bisect_left(self._stops, mention.end)
        return cue < len(self._behind) and (stop == len(self._stops) or self._behind[cue] < self._stops[stop])
