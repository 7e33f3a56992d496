"""Where one clause of a sentence ends and the next begins."""

import re
from itertools import pairwise

from ecamp_fast.text.reading.cues import VERBS, one_of

_JOINT = re.compile(r",|\band\b|\bwhile\b|\bwhereas\b|\bas\b|\bso\b|:")
VERB = one_of(f"(?:{row})" for row in VERBS)


def clause_starts(sentence: str) -> list[int]:
    """The joints that part two clauses which have a verb each.  sentence: in lower case"""
    joints = [match.start() for match in _JOINT.finditer(sentence)]
    found: list[int] = []
    verb_before = False
    for start, end in pairwise([0, *joints, len(sentence)]):
        has_verb = VERB.search(sentence, start, end) is not None
        if has_verb and verb_before:
            found.append(start)
        verb_before = verb_before or has_verb
    return found
