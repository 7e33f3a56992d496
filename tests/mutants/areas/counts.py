"""What headings begin, what is left out, and what counts of reports say."""

from typing import Any

from mutant import mutants


def begun() -> Any:
    from ecamp_fast.text.reading.headings import section_kind

    names = (
        *[
            "FINDNGS",
            "FIDNINGS",
            "BINDINGS",
            "IMPESSIOM",
            "COMPRESSION",
            "IMPRECISION",
            "IMRPESSION",
            "CONLCUSION",
            "CONTUSION",
            "HITORY",
        ],
        *("REASON FOR CHEST FILM", "CHEST EXAMINATION", "T12", "CHEST, 2 VIEWS", "IMPRESSION AND PLAN", "Lungs"),
        *(
            "CLINICAL IMPRESSION",
            "Other findings",
            "LUNG FINDINGS",
            "REPORT SUMMARY",
            "Impression of a mass",
            "BORDERS",
            "IMPRESSION #1",
            "AP CHEST 10:30 AM",
            "EXAM AT 9:15",
        ),
        *("CARDIAC BORDERS", "MAIN REPORT", "UPPER", "Summary", "FINDINGS / IMPRESSION", "Technique", "The result"),
    )
    sections = ("findings", "impression", "joint", "other")
    return [[section_kind(name, bare=bare, within=one) for one in sections for bare in (0, 1)] for name in names]


def left() -> Any:
    from ecamp_fast.text.reading.sections import Tally, cut

    tally = Tally(use_last=True)
    reports = (
        "Early.\nWET READ: Night.\nFINAL REPORT\nHISTORY: A cough.\nDR NOBODY: Told.\nLUNGS: Clear.",
        "HISTORY: A cough.\n\nThe last one.",
    )
    for number in range(8):
        tally.choose(cut(reports[number % 2]))
    return tally.left_out, [cut(report) for report in reports]


def marked() -> Any:
    from ecamp_fast.text.reading.sections import cut

    reports = (
        "[FINDINGS]: A.\n(Comparison: none.)\n2. Comparison: none.\nIMPRESSION: B.",
        "CLINICAL HISTORY:\nPulmonary: asthma.\n\nLungs: A.",
        "HISTORY: Cough.\nBONES: Old.\nFINDINGS: A.",
        "AP CHEST 10:30 AM: A.",
    )
    return [cut(report) for report in reports]


def told() -> Any:
    from ecamp_fast.shards.describe.annotate import annotate
    from ecamp_fast.shards.describe.difference import differences
    from ecamp_fast.shards.describe.imbalance import Imbalance
    from ecamp_fast.shards.describe.terms import Terms
    from ecamp_fast.shards.sources.base import Listing, Record
    from ecamp_fast.text.reading.annotate import Description
    from ecamp_fast.text.reading.entities import Mention

    texts = (
        "Negative for possible effusion. No large effusion edema. Possible left pneumonia, no mass; the aorta is fine.",
        "Effusion may be present. A 5 mm nodule. Heart size and contour. XXXX mass, 3 masses.",
    )
    terms = Terms()

    class Source:
        kind, description = "test", {"kind": "test"}

        def texts(self) -> Listing:
            return Listing([Record("row", n, f"s{n}", "", "", text) for n, text in enumerate(texts)])

        def list_records(self) -> Listing:
            return self.texts()

    for number, text in enumerate(texts):
        terms.add(str(number), text)
    counts = annotate(Source())  # type: ignore[arg-type]
    del counts["rules_digest"]
    other = counts | {"reports": True, "mentions": 1, "entities": {"edema": {"mentions": 7}}, "schema": 1}
    shared = Imbalance()
    shared.add(Description(Mention("edema", 9, 14), ((0, 5),), denied, False) for denied in (True, False))
    return counts, terms.table(0), differences(counts, other), shared.table()


HEADINGS = "tests/text/reading/test_headings.py"
DESCRIBE = "shards/describe"

MUTANTS = (
    mutants(
        "ecamp_fast/text/reading/headings.py",
        HEADINGS,
        begun,
        {
            "a slip of the pen begins no section": ("wrong <= allowed and", "False and"),
            "a compression is an impression": ("right[:2] if wrong == 1 else right[0]", "word"),
            "two letters that changed places are two slips": ("earlier[j - 2] + 1", "earlier[j - 2] + 2"),
            "a contusion is a conclusion": ("word in SLIPS or word in NO_SLIPS", "word in SLIPS"),
            "any view makes a section one of findings": (" or elsewhere.start() == 0", ""),
            "a capital name inside the findings ends them": ("if within != OTHER:", "if within == IMPRESSION:"),
            "a heading has digits": ("if _DIGIT.search(", "if False and _DIGIT.search("),
            "two views are no heading": ('_VIEW_COUNT.sub("views", name)', "name"),
            "borders are orders": (r"""_ELSEWHERE = re.compile(rf"\b(?:""", '_ELSEWHERE = re.compile(rf"(?:'),
            "what the clinic thought is an impression": ("OTHER if _NOT_THIS.search(plain) else", ""),
            "lungs without findings above are another matter": ("if views or _is_anatomy(words)", "if views"),
            "other findings end the impression": (" or (within == IMPRESSION and not name.isupper())", ""),
            "findings and impression are findings": ("if len(set(kinds)) == 1 else JOINT", ""),
            "the summary of a report is both": (' and word != "report"', ""),
            "a second impression is none": ('_NUMBER.sub(r"\\1", name)', "name"),
            "the time of a view ends a section": ("if within == OTHER and kind == FINDINGS", "if True"),
        },
    )
    + mutants(
        "ecamp_fast/text/reading/sections.py",
        "tests/text/reading/test_sections.py",
        left,
        {
            "a heading of one report is printed": ("reports < FEWEST", "reports < 1"),
            "the last paragraph is left out though it is used": ("max(0, words - taken)", "words"),
            "what precedes the title is not counted": ("[(NO_HEADING, before), *others]", "others"),
        },
    )
    + mutants(
        "ecamp_fast/text/reading/sections.py",
        HEADINGS,
        marked,
        {
            "the name of what is looked at is lost": ('f"{heading}: " if is_organ else ""', '""'),
            "a bracket begins a heading": ("(close or match", "(True or match"),
            "an item ends the section it stands in": ("not is_item and follows == OTHER", "is_item and not follows"),
            "asthma in the history is a finding": (" and tells_history(heading)", " and not heading"),
            "organs above the findings are findings": ("number < first and", "number < 0 and"),
            "a time ends a heading": (r"\d\d?:\d\d(?!\d)|", ""),
        },
    )
    + mutants(
        f"{DESCRIBE}/annotate.py",
        "tests/shards/describe/test_difference.py",
        told,
        {"what is denied is doubted": ("        if one.denied:\n            continue\n", "")},
    )
    + mutants(
        f"{DESCRIBE}/difference.py",
        "tests/shards/describe/test_difference.py",
        told,
        {
            "the difference has the wrong sign": ("other - one}", "one - other}"),
            "a count that is gone is not shown": ("for name in {**after, **before}:", "for name in after:"),
            "what does not differ is shown": ("if one != other:", "if True:"),
        },
    )
    + mutants(
        f"{DESCRIBE}/imbalance.py",
        "tests/shards/describe/test_imbalance.py",
        told,
        {
            "an aorta is a finding": ("if one.mention.entity not in self._organs:", "if True:"),
            "lambda_neg is the ratio": ("other / max(negative, 1)", "negative / other"),
            "the last entity decides": ("one.denied or words.get(span, False)", "one.denied"),
        },
    )
    + mutants(
        f"{DESCRIBE}/terms.py",
        "tests/shards/describe/test_stats.py",
        told,
        {
            "cues describe": (" or word in CUES", ""),
            "the article describes": ("word in FUNCTION_WORDS or ", ""),
            "the number of an item describes": (" or word.isdecimal()", ""),
            "words that were taken out describe": (" or is_empty(report[start:end])", ""),
        },
    )
)
