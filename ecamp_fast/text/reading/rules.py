"""A distiller without a language model: one short sentence per finding, in the paper's template (Appendix C)."""

import re
from bisect import bisect_right
from itertools import zip_longest

from ecamp_fast.text.reading.annotate import Description, describe_plain
from ecamp_fast.text.reading.doubt import Doubts
from ecamp_fast.text.reading.plain import plain
from ecamp_fast.text.reading.sentences import plain_sentences

# Words before an entity that describe neither how it is nor where.
_NOT_ADJECTIVES = frozenset(
    """
    a an the this that these those there here is are was were be been being has have had do does no not nor or and of in
    on at to for from by with without as it its any other some such than then also only both either neither may might
    could can would should shows show showing shown seen noted demonstrates demonstrate demonstrating reveals represent
    represents representing evidence sign signs unchanged stable again remains remain persistent findings finding which
    who free negative clear absence absent denies denied suggest suggests suggesting suggestive consistent compatible
    concerning possible possibly probable probably likely suspicious suspected questionable versus vs due but however
    resolved resolving resolution xxxx disease mm cm appreciated identified visualized present appears appear beneath
    under above below over within along near behind through between into redemonstrated sided if most
    reflect reflecting presumably presumed
    """.split()  # noqa: SIM905, a table of words
)
_PLACES = frozenset("right left upper lower middle mid bilateral both lateral medial xxxx".split())  # noqa: SIM905
# Entities that everybody has: a report says how they are, and to deny them means something else.
_ANATOMY = frozenset(
    ("aorta", "cardiomediastinal", "contour", "hemidiaphragm", "hilar", "perihilar", "silhouette", "vasculature")
)
_STATE = re.compile(
    r"(?:(?!\b(?:is|are|was|were|appears?|remains?|the|with|which)\b)[^.;:]){0,60}"
    r"\b(?:is|are|was|were|appears?|remains?)\s+(?:(?:again|also|otherwise|grossly|stable and) )?(?P<no>not )?"
    r"(?:(?P<normal>normal|unremarkable|within (?:normal )?limits)|(?P<state>(?:(?:mildly|moderately|markedly|slightly|"
    r"somewhat|severely) )?(?:enlarged|tortuous|prominent|widened|ectatic|elevated|flattened|indistinct|uncoiled|"
    r"unfolded|increased|decreased|blunted|distorted|full|clear|sharp)))\b",
    re.IGNORECASE,
)
_ADJACENT = re.compile(r"[ -]?")
_NEXT_WORD = re.compile(r" ([a-z]+)(?![\w'])", re.IGNORECASE)
# Surface forms that are adjectives or verbs, and the noun that says the same on its own.
_NO_NOUN = re.compile(
    r"(?!thickening).*(?:ed|ing|ic|ous|ive|ar|inal)|(?:aerate|dilate|inflate|obscure)s?", re.IGNORECASE
)
_NOUNS = {"aerate": "aeration", "copd": "COPD", "hilar": "hilum", "hyperinflate": "hyperinflation"}
_NOUNS |= {"obscure": "obscuration", "perihilar": "perihilar region", "cardiomediastinal": "cardiomediastinum"}


def distill(text: str) -> str:
    """ "There is [adjectives] X.", "There may be ..." for doubted, "There is no X." for denied entities; '' for none.

    Each entity is stated once per way it is said to be; the words are the report's own.
    """
    text = plain(text).text
    sentences = plain_sentences(text)
    starts = [start for start, _ in sentences]
    doubts = [Doubts(text, sentence) for sentence in sentences]
    stated: dict[tuple[str, str], str] = {}
    compound = None  # the mention that the next one continues: "cardiomediastinal silhouette"
    mentions = describe_plain(text)
    for description, following in zip_longest(mentions, mentions[1:]):
        first = compound or description
        compound = None
        if following and _ADJACENT.fullmatch(text, description.mention.end, following.mention.start):
            compound = first
            continue
        index = bisect_right(starts, description.mention.start) - 1
        opening, state = _standing(text, description, doubts[index], sentences[index][1])
        if opening:
            what = _phrase(text, first, description, state)
            stated.setdefault((description.mention.entity, opening), f"{opening} {what}.")
    return " ".join(stated.values())


def _standing(text: str, description: Description, doubts: Doubts, end: int) -> tuple[str, str]:
    """How the sentence begins, '' for none, and the state that the report gives behind the entity ("is enlarged")."""
    anatomy = description.mention.entity in _ANATOMY
    if description.denied:
        return ("", "") if anatomy else ("There is no", "")
    if anatomy and (found := _STATE.match(text, description.mention.end, end)):
        state = "" if found["no"] else "normal" if found["normal"] else found["state"].lower()
        return "There is", state
    return ("There may be" if doubts.cover(description.mention) else "There is"), ""


def _phrase(text: str, first: Description, description: Description, state: str) -> str:
    """The entity, from the first mention of a compound to the last, with the adjectives that stand right before it."""
    start, end = first.mention.start, description.mention.end
    for first_letter, last in first.words:  # nearest first
        word = text[first_letter:last].lower()
        if word in _NOT_ADJECTIVES or word[0].isdigit() or not _ADJACENT.fullmatch(text, last, start):
            break
        start = first_letter
    before = text[start : description.mention.start].lower().split()
    head = text[description.mention.start : end]
    if _NO_NOUN.fullmatch(head):
        following = _NEXT_WORD.match(text, end)
        if following and following[1].lower() not in _NOT_ADJECTIVES | _PLACES:
            head += following[0]
        else:
            head = _NOUNS.get(description.mention.entity, description.mention.entity)
            before = [word.removesuffix("ly") for word in before]  # mildly hyperinflated: mild hyperinflation
    adjectives = [state] if state and state not in before else []
    return " ".join([*adjectives, *before, *head.lower().split()])
