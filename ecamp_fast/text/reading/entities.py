"""The 44 entities of ECAMP (paper Table S1) and the surface forms by which a report mentions them."""

import re
from functools import lru_cache
from typing import NamedTuple

# Entity -> regular expression of its mentions: plurals, inflections, aliases, British spelling. Order does not matter:
# where two match at one place, the longer mention wins.
FORMS = {
    "abnormality": r"abnormalit(?:y|ies)",
    "abscess": r"abscess(?:es)?",
    "aerate": r"(?:(?:under|well)[- ]?)?aerat(?:es?|ed|ing|ion)",
    "aorta": r"aort(?:as?|ic)",
    "atelectasis": r"atelecta(?:sis|ses|tic)",
    "bronchiectasis": r"bronchiecta(?:sis|ses|tic)",
    "calcification": r"calcif(?:ications?|ied)",
    "cardiomediastinal": r"cardio-?mediastinal",
    "cardiomegaly": r"cardiomegaly|(?:cardiac|heart) enlargement|enlarged heart|enlargement of the heart",
    "catheter": r"catheters?|picc(?: lines?)?|central (?:venous )?lines?|port-?a-?caths?",
    "chf": r"chf|(?:congestive )?(?:heart|cardiac) failure",
    "collapse": r"collaps(?:es?|ed|ing)",
    "congestion": r"congest(?:ion|ed)",
    "consolidation": r"consolidat(?:ions?|ive|ed|ing)",
    "contour": r"contours?",
    "copd": r"copd|chronic obstructive (?:pulmonary|airways?|lung) disease",
    "deformity": r"deformit(?:y|ies)",
    "dilation": r"dilat(?:at)?(?:es?|ions?|ed)",
    "distention": r"disten(?:tion|sion|ded)",
    "edema": r"o?edema(?:tous)?",
    "effusion": r"effusions?",
    "embolism": r"embol(?:isms?|us|i)",
    "emphysema": r"emphysema(?:tous)?",
    "engorgement": r"engorge(?:ment|d)",
    "fibrosis": r"fibros[ie]s|fibrotic",
    "fracture": r"fractur(?:es?|ed)",
    "granuloma": r"granulom(?:as?|ata|atous)",
    "hernia": r"hernia(?:s|e|tions?|ted)?",
    "hilar": r"hil(?:ar|um|a|i)",
    "hyperinflate": r"(?:hyper|over)[- ]?(?:inflat(?:es?|ed|ing|ion)|expan(?:ded|sion)|aerat(?:ed|ion))",
    "hemidiaphragm": r"hemi-?diaphragms?",
    "infiltrate": r"infiltrat(?:es?|ed|ing|ions?|ive)",
    "mass": r"mass(?:es)?(?![- ](?:effect|like)\b)",
    "nodule": r"nodul(?:es?|ar|arity)",
    "obscure": r"obscur(?:es?|ed|ing|ation)",
    "opacity": r"opacit(?:y|ies)|opacif(?:ications?|ied)",
    "perihilar": r"peri-?hilar",
    "pneumonia": r"(?:broncho)?pneumonias?",
    "pneumothorax": r"(?:hydro)?pneumothora(?:x|ces|xes)",
    "sarcoidosis": r"sarcoid(?:osis)?",
    "silhouette": r"silhouett(?:es?|ed|ing)",
    "thickening": r"thicken(?:ings?|ed)",
    "tuberculosis": r"tubercul(?:osis|ous)|tb",
    "vasculature": r"vasculatures?|vascularity",
}

# Organs, their outlines and their air, which everybody has: a report says how they are, and to deny them means
# something else.
ANATOMY = frozenset(
    (
        "aorta",
        "aerate",
        "cardiomediastinal",
        "contour",
        "hemidiaphragm",
        "hilar",
        "perihilar",
        "silhouette",
        "vasculature",
    )
)

# The strings by which the released code matches single wordpieces; "COPD" is upper case there and never matches.
PIECES = frozenset(FORMS) - {"copd"} | {"COPD"}

# Named groups would be slower: the alternatives are told apart afterwards, by the first form that matches whole.
# "non-calcified" says nothing of calcifications.
_NOT_NON = r"(?<!\w)(?<!\bnon[-\s\u2010\u2011])"
_ANY = re.compile(rf"{_NOT_NON}(?:{'|'.join(sorted(FORMS.values(), key=len, reverse=True))})(?!\w)", re.IGNORECASE)
_EACH = {name: re.compile(form, re.IGNORECASE) for name, form in FORMS.items()}


class Mention(NamedTuple):
    """An entity in a text: its name in the list (``entity``), and the characters [start, end) that mention it."""

    entity: str
    start: int
    end: int


def find_mentions(text: str) -> list[Mention]:
    """Every mention, in order, none overlapping another."""
    return [Mention(_name(match[0]), match.start(), match.end()) for match in _ANY.finditer(text)]


@lru_cache(maxsize=4096)
def _name(surface: str) -> str:
    return next(name for name, form in _EACH.items() if form.fullmatch(surface))


def starts_with_mention(text: str) -> bool:
    """Whether the first word of a text is an entity."""
    return _ANY.match(text) is not None
