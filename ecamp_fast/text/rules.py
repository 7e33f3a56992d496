"""A distiller without a language model: one short sentence per finding, in the paper's template (Appendix C)."""

import re
from itertools import zip_longest

from ecamp_fast.text.annotate import Description, describe
from ecamp_fast.text.sentences import sentence_spans

_HEDGE = re.compile(
    r"\b(?:may|might|could|can ?not|possibl[ey]|probabl[ey]|likely|suspicious|suspected|suspicion|suggest\w*|concern\w*"
    r"|question\w*|presum\w*|versus|vs|differential|consider|worrisome|equivocal|not (?:excluded|ruled out)|if)\b|\?",
    re.IGNORECASE,
)
# Words before an entity that describe neither how it is nor where.
_NOT_ADJECTIVES = frozenset(
    """
    a an the this that these those there here is are was were be been being has have had do does no not nor or and of in
    on at to for from by with without as it its any other such than then also only both either neither may might could
    can would should shows show showing shown seen noted demonstrates reveals represent represents evidence sign signs
    unchanged stable again remains remain persistent findings finding which who free negative clear absence absent
    denies denied suggest suggests suggesting suggestive consistent compatible concerning possible possibly probable
    probably likely suspicious suspected versus vs due but however resolved resolution xxxx disease
    """.split()  # noqa: SIM905, a table of words
)
# Entities that everybody has: a report says how they are, often behind them ("the aorta is normal").
_ANATOMY = frozenset(
    ("aorta", "cardiomediastinal", "contour", "hemidiaphragm", "hilar", "perihilar", "silhouette", "vasculature")
)
_NORMAL = re.compile(r"\b(?:normal|unremarkable|within (?:normal )?limits)\b", re.IGNORECASE)
_ADJACENT = re.compile(r"[ -]?")


def distill(text: str) -> str:
    """ "There is [adjectives] X.", "There may be ..." for hedged, "There is no X." for denied entities; '' for none.

    Each entity is stated once per way it is said to be; the words are the report's own.
    """
    sentences = sentence_spans(text)
    hedged = [span for span in sentences if _HEDGE.search(text, *span)]
    normal = [span for span in sentences if _NORMAL.search(text, *span)]
    stated: dict[tuple[str, str], str] = {}
    compound = None  # the start of a mention that the next one continues: "cardiomediastinal silhouette"
    mentions = describe(text)
    for said, following in zip_longest(mentions, mentions[1:]):
        first = said.mention if compound is None else compound
        compound = None
        if following and _ADJACENT.fullmatch(text, said.mention.end, following.mention.start):
            compound = first
            continue
        opening = _opening(said, hedged)
        what = _phrase(text, said, first.start)
        usual = opening == "There is" and said.mention.entity in _ANATOMY and _within(said, normal)
        prefix = "normal " if usual and "normal" not in what and "unremarkable" not in what else ""
        stated.setdefault((said.mention.entity, opening), f"{opening} {prefix}{what}.")
    return " ".join(stated.values())


def _opening(said: Description, hedged: list[tuple[int, int]]) -> str:
    if said.denied:
        return "There is no"
    return "There may be" if _within(said, hedged) else "There is"


def _within(said: Description, sentences: list[tuple[int, int]]) -> bool:
    return any(start <= said.mention.start < end for start, end in sentences)


def _phrase(text: str, said: Description, start: int) -> str:
    """The words from the mention's start, with up to two adjectives that stand right before it."""
    for first, last in said.words:  # nearest first
        word = text[first:last].lower()
        if last > start:
            continue
        if word in _NOT_ADJECTIVES or word.isdigit() or not _ADJACENT.fullmatch(text, last, start):
            break
        start = first
    return " ".join(text[start : said.mention.end].lower().split())
