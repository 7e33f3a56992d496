"""The headings of a report, as tables, and what kind of section a heading begins.

A heading is a sequence of words in front of a colon, or in capitals alone on its line. It has no digit
("T12: fracture", "10:30"), but for a number of views ("CHEST, 2 VIEWS"), the number of an impression ("IMPRESSION #1")
and the time of a view ("AP CHEST 10:30 AM").
"""

import re
from collections.abc import Sequence
from functools import lru_cache

FINDINGS, IMPRESSION, JOINT, OTHER = "findings", "impression", "joint", "other"

# In capitals these make a heading one of findings or impression, whatever stands beside them.
NOUNS = {"finding": FINDINGS, "findings": FINDINGS, "impression": IMPRESSION, "impressions": IMPRESSION}
# These say the same, alone or with QUALIFIERS.
SYNONYMS = {
    **dict.fromkeys("report narrative observation observations description result results".split(), FINDINGS),  # noqa: SIM905
    **dict.fromkeys("conclusion conclusions opinion summary interpretation assessment".split(), IMPRESSION),  # noqa: SIM905
    **dict.fromkeys(("imp", "impr", "concl"), IMPRESSION),
}
# Words that may stand beside them and change nothing.
QUALIFIERS = frozenset(
    """
    additional amended bone bones bony brief cardiac chest comment comments corrected cxr diagnostic final general
    imaging important incidental key lung lungs main major new other overall pertinent positive preliminary radiograph
    radiographic radiologic radiological radiologist radiologists radiology ray recommendation recommendations recs
    reference relevant revised significant specific suggestion suggestions technique text updated x xr xray
    """.split()  # noqa: SIM905, a table of words
)
CONNECTORS = frozenset(("a", "an", "and", "for", "in", "of", "on", "or", "the", "with"))
# Beginnings of words that make it no reading of this picture: who was told, what others found, what came before.
NOT_OF_THIS_PICTURE = (
    *("admitting", "called", "clinical", "communicat", "conveyed", "dictat", "discussed", "end of", "informed"),
    *("notif", "outside", "prior", "previous", "referring", "relayed", "reported by", "told"),
)
# Beginnings of words in the names of sections on other matters.
ELSEWHERE = (
    *("accession", "addend", "attending", "attestation", "author", "called", "clinical", "comment", "communicat"),
    *("comparison", "complication", "contrast", "correlat", "critical result", "date", "diagnosis", "dictat"),
    *("discussed", "dose", "electronic", "exam", "histor", "indication", "information", "interpreted by", "notif"),
    *("order", "patient", "pfi", "physician", "preamble", "priority", "procedure", "protocol", "provider", "read by"),
    *("reason", "recommend", "reference", "request", "sedation", "signature", "signed", "study", "technique"),
    *("transcri", "wet"),
)
# Beginnings of words in the names of sections on the patient: asthma under "Pulmonary:" there is no finding.
HISTORY = ("clinical", "complaint", "diagnosis", "histor", "hx", "indication", "patient", "pmh", "reason", "symptom")
# A section may bear the name of the views; older reports have their findings there.
VIEWS = frozenset(
    "chest view views radiograph radiographs film frontal lateral portable upright supine ap pa cxr".split()  # noqa: SIM905
)
# Headings of what is looked at: they structure the findings, and are the findings where no such heading stands above.
ANATOMY = frozenset(
    """
    abdomen abdominal airspace airspaces airway airways aorta apices arteries bone bones bony bowel breast breasts
    bronchi bronchus cardiac cardiomediastinal cardiomediastinum cardiovascular catheter catheters clavicle clavicles
    consolidation costophrenic device devices diaphragm diaphragms drains edema effusion effusions esophagus hardware
    heart hemidiaphragm hemidiaphragms hemithorax hila hilar hilum line lines lung lungs mediastinal mediastinum
    musculoskeletal nodes osseous pacemaker parenchyma parenchymal pericardium pleura pleural pneumothorax pulmonary rib
    ribs shoulder shoulders skeletal skeleton skin spinal spine sternal sternum stomach thorax thyroid tissue tissues
    trachea tube tubes vascular vascularity vasculature vertebrae vessel vessels wall
    """.split()  # noqa: SIM905
)
BESIDE_ANATOMY = frozenset(
    """
    angle angles apparatus bases bilateral border borders chest contour contours field fields great imaged left lower
    lymph markings medical other position remaining right silhouette size soft space spaces structure structures support
    surface surfaces thoracic upper visualised visualized volume volumes window windows zone zones
    """.split()  # noqa: SIM905
)
# Words that are often miswritten, and the letters that may be wrong at most: missing, too many, others, two exchanged.
SLIPS = {
    **dict.fromkeys(("finding", "findings"), 1),
    **dict.fromkeys(("impression", "impressions", "conclusion", "conclusions"), 2),
    **dict.fromkeys(("addendum", "comparison", "examination", "history", "indication"), 1),
    **dict.fromkeys(("notification", "recommendation", "recommendations", "technique"), 1),
}
# What is as near to one of them and means itself.
NO_SLIPS = frozenset(
    """
    collusion concession conclusive concussion confusion contusion contusions convulsion convulsions fending funding
    fundings imprecision impressive
    """.split()  # noqa: SIM905
)

_ELSEWHERE = re.compile(rf"\b(?:{'|'.join(ELSEWHERE)})")
_NOT_THIS = re.compile(rf"\b(?:{'|'.join(NOT_OF_THIS_PICTURE)})")
_HISTORY = re.compile(rf"\b(?:{'|'.join(HISTORY)})")
_NUMBER = re.compile(rf"\A({'|'.join((*NOUNS, *SYNONYMS))}) *\(?(?:#|no\b\.?)? ?\d\d?\)?\Z", re.IGNORECASE)
_TIME = re.compile(r"\b(?:at )?(?:\d\d?:\d\d|\d{4}(?= h))(?: ?[ap]\.?m\b\.?| ?h(?:ou)?rs?\b\.?)?", re.IGNORECASE)
_VIEW_COUNT = re.compile(r"\b[1-9][ -]?views?\b", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_LETTERS = re.compile(r"[^\W\d_]+")
_SHORT = 3  # words, at most, of a heading on other matters that is not in capitals


def section_kind(name: str, *, bare: bool, within: str) -> str | None:
    """What section a heading begins; None: it is no heading, or one inside the section ``within``.

    bare: the name stands alone on its line, without a colon
    """
    name = _NUMBER.sub(r"\1", name)
    timeless = _TIME.sub("", name)
    if timeless != name:
        kind = section_kind(timeless, bare=False, within=within) if name.isupper() and not bare else None
        return kind if within == OTHER and kind == FINDINGS else None
    if _DIGIT.search(_VIEW_COUNT.sub("views", name)):
        return None
    words = _words(name)
    if _is_reading(words) and (not bare or name.isupper() or _is_plain_title(name, words)):
        return _reading(name, words, within)
    if bare or not name.isupper():
        return None if bare or not name[0].isupper() else _kind_in_small_letters(name, words, within)
    plain = " ".join(words)
    if _nouns(words):
        return OTHER if _NOT_THIS.search(plain) else _subheading(_combined(_nouns(words)), name, within)
    elsewhere, views = _ELSEWHERE.search(plain), not VIEWS.isdisjoint(words)
    if elsewhere and (not views or elsewhere.start() == 0):  # not CHEST EXAMINATION, but REASON FOR CHEST FILM
        return OTHER
    if within != OTHER:
        return None  # LUNGS:, HEART: and the like structure the findings
    return FINDINGS if views or _is_anatomy(words) else OTHER


def names_anatomy(name: str) -> bool:
    """Whether a heading says what is looked at, so that the text behind it needs it: "HEART: enlarged."."""
    return _is_anatomy(_words(name))


def tells_history(name: str) -> bool:
    """Whether a section is about the patient, what organs have and had."""
    return _HISTORY.search(" ".join(_words(name))) is not None


def label(name: str) -> str:
    """A heading as it is counted: capitals, single blanks."""
    return " ".join(name.upper().split())


def _kind_in_small_letters(name: str, words: Sequence[str], within: str) -> str | None:
    if len(name.split()) <= _SHORT and _ELSEWHERE.match(" ".join(words)):
        return OTHER
    return FINDINGS if within == OTHER and _is_anatomy(words) else None


def _is_reading(words: Sequence[str]) -> bool:
    """Whether a heading says findings, impression, or both, in words that all are known."""
    named = [word for word in words if word in NOUNS or word in SYNONYMS]
    return bool(named) and all(word in named or word in QUALIFIERS or word in CONNECTORS for word in words)


def _is_plain_title(name: str, words: Sequence[str]) -> bool:
    """ "Findings and impression" alone on a line; no line of a sentence is like this."""
    return name[0].isupper() and all(word in NOUNS or word in CONNECTORS for word in words)


def _reading(name: str, words: Sequence[str], within: str) -> str | None:
    kinds = _nouns(words) + [SYNONYMS[word] for word in words if word in SYNONYMS and word != "report"]
    kind = _combined(kinds or [FINDINGS])
    if QUALIFIERS.isdisjoint(words):
        return kind
    return _subheading(kind, name, within) if name[0].isupper() else None


def _subheading(kind: str, name: str, within: str) -> str | None:
    """LUNG FINDINGS stand inside the findings, "Other findings" inside the impression too."""
    inside = within in (FINDINGS, JOINT) or (within == IMPRESSION and not name.isupper())
    return None if kind == FINDINGS and inside else kind


def _nouns(words: Sequence[str]) -> list[str]:
    return [NOUNS[word] for word in words if word in NOUNS]


def _combined(kinds: Sequence[str]) -> str:
    return kinds[0] if len(set(kinds)) == 1 else JOINT


def _is_anatomy(words: Sequence[str]) -> bool:
    known = ANATOMY | BESIDE_ANATOMY | CONNECTORS
    return not ANATOMY.isdisjoint(words) and known.issuperset(words)


def _words(name: str) -> list[str]:
    """The words of a heading in small letters, slips of the pen mended: RECOMMENDATION(S), radiologist's."""
    low = name.lower().replace("(s)", "s").replace("'s", "")
    return [_mended(word) for word in _LETTERS.findall(low)]


@lru_cache(4096)
def _mended(word: str) -> str:
    if word in SLIPS or word in NO_SLIPS or len(word) < len("finding") - 1:
        return word
    for right, allowed in SLIPS.items():
        wrong = _distance(word, right) if abs(len(word) - len(right)) <= allowed else allowed + 1
        if wrong <= allowed and word[0] in (right[:2] if wrong == 1 else right[0]):  # BINDINGS is a word of its own
            return right
    return word


def _distance(one: str, other: str) -> int:
    """Letters to insert, leave out, replace or exchange with their neighbour until ``one`` is ``other``."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            least = min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                least = min(least, earlier[j - 2] + 1)
            row.append(least)
    return row[-1]
