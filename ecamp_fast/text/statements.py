"""What a distilled text states, sentence by sentence, and what its sentences say of findings.

A text states its sentences. "There is large apical pneumothorax." states "There is pneumothorax." as well, since
adjectives and place only narrow it; "There is no focal consolidation." is taken to deny consolidation, as radiologists
mean it. Such bare sentences, "There is X." and "There is no X.", are each other's negation: who states one denies the
other. Organs, which are never denied, and what may be have no bare sentence.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from ecamp_fast.text.reading.entities import DEFAULT, EntityList, find_mentions
from ecamp_fast.text.reading.sentences import sentence_spans

KNOWN = 1 << 16  # sentences and texts that are kept as they were read

_OPENING = re.compile(r"there (?:is|are) (?P<no>no )?", re.IGNORECASE)


class Claim(NamedTuple):
    """What a sentence says of a finding.  finding: None where it neither says nor denies that one is there"""

    finding: str | None
    denied: bool


class Statements(NamedTuple):
    """What a text states.

    sentences  its own, each once, in order
    poles      of each finding, the bare sentence that holds and its negation
    """

    sentences: tuple[str, ...]
    poles: tuple[tuple[str, str], ...]


def prompt(finding: str, denied: bool) -> str:
    """The bare sentence.  finding: as ``finding_of`` names it"""
    return f"There is {'no ' * denied}{finding}."


def finding_of(phrase: str, entities: EntityList = DEFAULT) -> str | None:
    """The noun of the last finding that a phrase mentions, by the list of entities; None: it mentions none."""
    found = [one.entity for one in find_mentions(phrase, entities) if one.entity not in entities.organs]
    return (entities.noun(found[-1]) if entities.is_verb(found[-1]) else found[-1]) if found else None


@lru_cache(KNOWN)
def read_claim(sentence: str, entities: EntityList = DEFAULT) -> Claim:
    """By the opening of a sentence and the last finding that it names."""
    opening = _OPENING.match(sentence)
    finding = finding_of(sentence[opening.end() :], entities) if opening else None
    return Claim(finding, finding is not None and bool(opening and opening["no"]))


@lru_cache(KNOWN)
def read_statements(text: str, limit: int, entities: EntityList = DEFAULT) -> Statements:
    """What a distilled text states. A finding that it both states and denies, on either side say, is there.

    limit: sentences at most, the first
    """
    spans = (" ".join(text[start:end].split()) for start, end in sentence_spans(text, entities))
    sentences = tuple(dict.fromkeys(filter(None, spans)))[:limit]
    denied: dict[str, bool] = {}
    for claim in (read_claim(sentence, entities) for sentence in sentences):
        if claim.finding is not None:
            denied[claim.finding] = denied.get(claim.finding, True) and claim.denied
    return Statements(sentences, tuple((prompt(name, no), prompt(name, not no)) for name, no in denied.items()))
