"""Where one clause of a sentence ends and the next begins."""

import re
from itertools import pairwise

from ecamp_fast.text.reading.cues import VERBS, one_of

_JOINT = re.compile(r",(?! n?or\b)|\band\b|\bwhile\b|\bwhereas\b|\bas\b|\bso\b|:")
_DENYING = re.compile(r"\b(?:no|without)\b")
_NO_SUBJECT = re.compile(r"[ ,:]*(?:and|while|whereas|as|so|but|which|that)?[ ,]*(?:[a-z]+ly |also |now |then )*")
# "No effusion seen, and the aorta is ..."
_PARTICIPLE = re.compile(
    r"\b(?:seen|identified|noted|found|detected|demonstrated|appreciated|visuali[sz]ed|observed)\b"
)
VERB = one_of(VERBS)


def clause_starts(sentence: str) -> list[int]:
    """The joints that part two clauses which have each a verb, and a subject before it.  sentence: in lower case"""
    joints = [match.start() for match in _JOINT.finditer(sentence)]
    found: list[int] = []
    verb_before = denying = False
    for start, end in pairwise([0, *joints, len(sentence)]):
        verb = VERB.search(sentence, start, end)
        # "..., and no consolidation, effusion or pneumothorax is seen": the comma is one of the list
        in_list = denying and sentence[start] == ","
        if verb and verb_before and not in_list and not _NO_SUBJECT.fullmatch(sentence, start, verb.start()):
            found.append(start)
        denying = verb is None and (denying or _DENYING.search(sentence, start, end) is not None)
        verb_before = verb_before or verb is not None or _PARTICIPLE.search(sentence, start, end) is not None
    return found
