"""The noun for an entity: what stands for its adjectives and verbs, and its number.

Every noun here mentions the same entity as the word that it stands for.
"""

import re

# Surface forms that are adjectives: they need a noun behind them, or the noun that says the same on its own.
_ADJECTIVE = re.compile(r"(?!(?:thicken|silhouett)ings?).*(?:ed|ing|ic|ous|ive|ar|inal)", re.IGNORECASE)
_VERB = re.compile(r"(?:aerate|dilate|hyperinflate|overinflate|herniate|obscure)s?|obscuring", re.IGNORECASE)
NOMINAL = {
    "atelectasis": "atelectasis",
    "bronchiectasis": "bronchiectasis",
    "calcification": "calcification",
    "collapse": "collapse",
    "congestion": "congestion",
    "consolidation": "consolidation",
    "dilation": "dilation",
    "distention": "distention",
    "edema": "edema",
    "emphysema": "emphysema",
    "engorgement": "engorgement",
    "fibrosis": "fibrosis",
    "fracture": "fracture",
    "granuloma": "granuloma",
    "hernia": "hernia",
    "hyperinflate": "hyperinflation",
    "infiltrate": "infiltrate",
    "nodule": "nodularity",
    "obscure": "obscuration",
    "opacity": "opacification",
    "silhouette": "silhouetting",
    "thickening": "thickening",
    "tuberculosis": "tuberculosis",
}
# Degrees that are said of an adjective, as they are said of its noun.
_OF_NOUNS = {"very": "", "somewhat": "", "well": "", "more": "", "less": "", "most": "", "quite": "", "fairly": ""}
_OF_NOUNS |= {"fully": "full", "partly": "partial", "minorly": "minor", "poorly": "poor", "relatively": ""}
_OF_NOUNS |= {"predominantly": "", "mostly": "", "mainly": "", "entirely": "entire", "subtly": "subtle"}

_SINGULAR = {
    "hila": "hilum",
    "hili": "hilum",
    "granulomata": "granuloma",
    "emboli": "embolus",
    "pneumothoraces": "pneumothorax",
    "hydropneumothoraces": "hydropneumothorax",
    "atelectases": "atelectasis",
    "bronchiectases": "bronchiectasis",
    "fibroses": "fibrosis",
    "metastases": "metastasis",
    "bronchi": "bronchus",
    "vertebrae": "vertebra",
    "bullae": "bulla",
    "foci": "focus",
    "apices": "apex",
    "scapulae": "scapula",
    "sequelae": "sequela",
}


def is_adjective(surface: str) -> bool:
    """Whether a mention says how something is ("calcified", "hilar") and is no noun."""
    return _ADJECTIVE.fullmatch(surface) is not None


def is_verb(surface: str) -> bool:
    """Whether a mention is what something does: "obscures the border"."""
    return _VERB.fullmatch(surface) is not None


def degree(adverb: str) -> str:
    """What an adverb becomes before a noun, '' if nothing: "mildly hyperinflated" is mild hyperinflation."""
    if adverb.endswith("ily"):
        return adverb[:-3] + "y"
    return _OF_NOUNS.get(adverb, adverb.removesuffix("ly"))


def is_plural(noun: str) -> bool:
    """Whether "are" goes with a lower-case noun."""
    return noun in _SINGULAR or (noun.endswith("s") and not noun.endswith(("ss", "us", "is")))


def singular(noun: str) -> str:
    """The singular of a lower-case noun."""
    if noun in _SINGULAR or not is_plural(noun):
        return _SINGULAR.get(noun, noun)
    if noun.endswith("ies"):
        return noun[:-3] + "y"
    return noun[:-2] if noun.endswith(("sses", "xes", "ches", "shes", "cesses")) else noun[:-1]
