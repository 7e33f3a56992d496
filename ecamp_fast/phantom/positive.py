"""Saying that a finding is there: how large, on which side, where, since when, and how surely."""

import numpy as np

from ecamp_fast.phantom.course import Lesion
from ecamp_fast.phantom.phrases import pick

SIZES = (
    ("small", "small", "trace", "tiny"),
    ("moderate", "moderate", "moderate-sized"),
    ("large", "large", "sizeable"),
)
SEVERITIES = (("mild", "mild", "slight"), ("moderate",), ("severe", "marked"))
NODULE_MM, MASS_CM = (13, 16, 20), (3, 4, 6)  # diameters as drawn, on a chest of common size

UNSURE = 0.17  # share of positive findings that are said with a doubt
THERE_MAY_BE = 0.44  # share of those that are said with these words

_CHANGES = {
    "unchanged": ("{} is unchanged", "{} is stable", "{} is again seen, unchanged", "{} persists"),
    "increased": ("{} has increased", "{} is more pronounced than on the prior study", "{} has worsened"),
    "decreased": ("{} has decreased", "{} has improved", "{} is less pronounced than on the prior study"),
    "new": ("{} is new", "{} is new since the prior study", "{} has developed in the interval"),
}
_FORMS = ("There is {}", "There is {}", "{} is present", "{} is seen", "{} is noted", "{} is identified", "")
_PLURAL_FORMS = ("There are {}", "{} are present", "{} are seen", "{}", "{} are noted")
_DOUBTS = ("Possible {}", "Probable {}", "Findings are suspicious for {}", "Suspected {}")
# What may follow the sentence on a finding; true wherever it is drawn.
_REMARKS = {
    "atelectasis": ("There is associated volume loss.", "Mild elevation of the hemidiaphragm reflects volume loss."),
    "cardiomegaly": ("The cardiothoracic ratio is increased.", "The cardiac silhouette is enlarged."),
    "consolidation": (
        "This is concerning for pneumonia.",
        "Findings are compatible with pneumonia in the appropriate clinical setting.",
        "This may represent infection or aspiration.",
        "Recommend follow-up radiographs after treatment.",
    ),
    "edema": ("The pulmonary vasculature is engorged.", "There is pulmonary vascular congestion."),
    "effusion": ("There is blunting of the costophrenic angle.", "The hemidiaphragm is obscured laterally."),
    "mass": (
        "This is suspicious for malignancy.",
        "Chest CT is recommended.",
        "Further evaluation with CT is advised.",
    ),
    "nodule": ("CT is recommended for further evaluation.", "Correlation with prior imaging is recommended."),
    "pneumothorax": ("A thin pleural line is visible.", "There is no mediastinal shift."),
}
REMARKED = 0.22  # share of findings with a remark


def say_finding(rng: np.random.Generator, group: list[Lesion]) -> str:
    """A sentence about all places of one finding, which names the finding; now and then a remark on it."""
    sentence = _say(rng, group)
    return f"{sentence} {pick(rng, _REMARKS[group[0].finding])}" if rng.random() < REMARKED else sentence


def in_short(rng: np.random.Generator, group: list[Lesion]) -> str:
    """The finding as a line of an impression."""
    return _sentence(_name(rng, group)[0])


def _say(rng: np.random.Generator, group: list[Lesion]) -> str:
    name, plural = _name(rng, group)
    change = group[0].change
    if rng.random() < UNSURE:
        return _doubtful(rng, group, name, plural)
    if change and rng.random() < 0.75:
        text = pick(rng, _CHANGES[change])
        if plural:
            text = text.replace(" is ", " are ").replace(" has ", " have ").replace("persists", "persist")
        return _sentence(text.format(name if plural else _with_article(name, definite=change != "new")))
    form = pick(rng, _PLURAL_FORMS if plural else _FORMS)
    return _sentence(form.format(name if plural else _with_article(name)) if form else name)


def _doubtful(rng: np.random.Generator, group: list[Lesion], name: str, plural: bool) -> str:
    named = name if plural else _with_article(name)
    if rng.random() < THERE_MAY_BE:
        return _sentence(f"There may be {named}")
    finding = group[0].finding
    if finding in ("atelectasis", "consolidation") and rng.random() < 0.5:
        verb = pick(rng, ("may represent", "likely represents", "is suggestive of", "could represent"))
        return _sentence(f"{_where(rng, group).capitalize()} opacity {verb} {finding}")
    return _sentence(pick(rng, _DOUBTS).format(name))


def _name(rng: np.random.Generator, group: list[Lesion]) -> tuple[str, bool]:
    """The finding with its size and place, and whether it is a plural."""
    return _NAMES[group[0].finding](rng, group)


def _effusion(rng: np.random.Generator, group: list[Lesion]) -> tuple[str, bool]:
    size = pick(rng, SIZES[group[0].grade])
    if len(group) > 1:
        return f"{size} bilateral pleural effusions", True
    side = _side(group[0])
    return pick(rng, (f"{size} {side} pleural effusion", f"{size} {side}-sided pleural effusion")), False


def _pneumothorax(rng: np.random.Generator, group: list[Lesion]) -> tuple[str, bool]:
    size, side = pick(rng, SIZES[group[0].grade]), _side(group[0])
    return pick(rng, (f"{size} {side} pneumothorax", f"{size} {side} apical pneumothorax")), False


def _cardiomegaly(rng: np.random.Generator, group: list[Lesion]) -> tuple[str, bool]:
    return f"{pick(rng, SEVERITIES[group[0].grade])} cardiomegaly", False


def _edema(rng: np.random.Generator, group: list[Lesion]) -> tuple[str, bool]:
    how = pick(rng, SEVERITIES[group[0].grade])
    kind = pick(rng, ("pulmonary edema", "interstitial edema", "perihilar edema", "bilateral pulmonary edema"))
    return f"{how} {kind}", False


def _atelectasis(rng: np.random.Generator, group: list[Lesion]) -> tuple[str, bool]:
    how = ("minimal", "mild", "moderate")[group[0].grade]
    kind = pick(rng, ("atelectasis", "subsegmental atelectasis", "linear atelectasis", "plate-like atelectasis"))
    return f"{how} {_where(rng, group)} {kind}", False


def _consolidation(rng: np.random.Generator, group: list[Lesion]) -> tuple[str, bool]:
    kind = pick(rng, (("patchy", "focal"), ("confluent", "focal"), ("dense", "extensive"))[group[0].grade])
    if len(group) > 1:
        kind = ("patchy", "confluent", "dense")[group[0].grade]
        return f"{kind} {pick(rng, ('bilateral', 'multifocal bilateral'))} consolidation", False
    place = _where(rng, group)
    return pick(rng, (f"{kind} {place} consolidation", f"{kind} consolidation in the {place}")), False


def _nodule(rng: np.random.Generator, group: list[Lesion]) -> tuple[str, bool]:
    if len(group) > 1:
        count = pick(rng, ("two",) if len(group) == 2 else ("three", "multiple", "several"))
        return f"{count} nodules in the {_side(group[0])} lung", True
    place, size = _where(rng, group), NODULE_MM[group[0].grade]
    return pick(
        rng, (f"{size} mm nodule in the {place}", f"rounded {place} nodule", f"{place} nodule measuring {size} mm")
    ), False


def _mass(rng: np.random.Generator, group: list[Lesion]) -> tuple[str, bool]:
    place, size = _where(rng, group), MASS_CM[group[0].grade]
    return pick(
        rng, (f"{size} cm mass in the {place}", f"lobulated {place} mass", f"{place} mass measuring about {size} cm")
    ), False


def _where(rng: np.random.Generator, group: list[Lesion]) -> str:
    """Side and zone of focal lesions."""
    low = group[0].finding == "atelectasis"
    if len(group) > 1:
        return pick(rng, ("bibasilar", "bilateral lower lobe")) if low else "bilateral"
    side, s = _side(group[0]), group[0].s
    if low:
        return pick(rng, (f"{side} basilar", f"{side} lower lobe"))
    if s < 0.38:
        return pick(rng, (f"{side} upper lobe", f"{side} upper lung"))
    if s < 0.64:
        return "right middle lobe" if side == "right" and rng.random() < 0.3 else f"{side} mid lung"
    return pick(rng, (f"{side} lower lobe", f"{side} lower lung"))


def _side(lesion: Lesion) -> str:
    return "right" if lesion.side < 0 else "left"


def _with_article(name: str, definite: bool = False) -> str:
    if definite:
        return f"the {name}"
    uncountable = ("cardiomegaly", "edema", "atelectasis", "consolidation")
    return name if any(word in name for word in uncountable) else f"a {name}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


_NAMES = {
    "atelectasis": _atelectasis,
    "cardiomegaly": _cardiomegaly,
    "consolidation": _consolidation,
    "edema": _edema,
    "effusion": _effusion,
    "mass": _mass,
    "nodule": _nodule,
    "pneumothorax": _pneumothorax,
}
