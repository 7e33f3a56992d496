"""Raw reports cut into sections: what is taken, what is left out, what is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecamp_fast.text.reading.sections import Sections, Tally, cut

FINAL = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites  // eval for infection

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  None.

 FINDINGS:

 There is no focal consolidation, pleural
 effusion or pneumothorax.

 IMPRESSION:

 No acute cardiopulmonary process.
"""


def test_the_common_style() -> None:
    found = cut(FINAL)
    assert found.findings == "There is no focal consolidation, pleural effusion or pneumothorax."
    assert found.impression == "No acute cardiopulmonary process."
    assert found.text == f"{found.findings} {found.impression}"


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("FINDINGS: A. \n IMPRESSION: B.", "A. B."),
        ("Findings: A.\nImpression: B.", "A. B."),
        ("FINDINGS\nA.\nIMPRESSION\nB.", "A. B."),
        ("FINDINGS AND IMPRESSION:  A.", "A."),
        ("FINDINGS/IMPRESSION: A.", "A."),
        ("IMPRESSION: B.\nFINDINGS: A.", "A. B."),
        ("FINDINGS: A.\nIMPRESSION: A.", "A."),
        ("FINDNGS: A.\nIMPRESSON: B.", "A. B."),
        ("CONCLUSION: B.", "B."),
        ("IMPRESSION: AP chest compared to ___:\n Edema.\n 2. Tube.", "AP chest compared to ___: Edema. 2. Tube."),
        ("FINDINGS: LUNGS: A.\nHEART: B.\nBONES: C.\nIMPRESSION: D.", "LUNGS: A. HEART: B. BONES: C. D."),
        ("FINDINGS: A.\nLines and tubes: B.", "A. Lines and tubes: B."),
        ("IMPRESSION: A.\nNOTIFICATION: The findings were told to Dr. ___.", "A."),
        ("IMPRESSION: A.\nRECOMMENDATION(S): Another film.", "A."),
        ("FINDINGS: A.\nCOMPARISON: ___.\nIMPRESSION: B.", "A. B."),
        ("FRONTAL AND LATERAL CHEST RADIOGRAPHS: A.\nIMPRESSION: B.", "A. B."),
        ("HISTORY: Cough.\nPORTABLE AP CHEST: A.", "A."),
        ("FINDINGS: A.\nFINDINGS: B.", "A. B."),
        ("FINDINGS: A.\nFINDINGS: A.", "A."),
        ("Comparison: None.\nFindings: A.\nClinical history: Cough.\nImpression: B.", "A. B."),
        ("IMPRESSION:\nCHEST COMPARED TO ___:\nA.", "CHEST COMPARED TO ___: A."),
        ("IMPRESSION:\nCompared to prior: A.", "Compared to prior: A."),
        ("CHEST EXAMINATION: A.", "A."),
        ("REASON FOR CHEST FILM: Cough.", ""),
        ("FINAL REPORT FINDINGS: A.", "A."),
        ("HISTORY: Cough.\n\nFINAL REPORT FINDINGS: A.\nIMPRESSION: B.", "A. B."),
        ("FINDINGS: A.\n\nFINAL REPORT IMPRESSION: B.", "A. B."),
        ("FINAL REPORT: A.", "A."),
        ("WET READ: Early.\nFINAL REPORT: A.", "A."),
        ("FINAL REPORT ON EXAM\nFINDINGS: A.", "A."),
        ("HISTORY: Cough.\n\nADDENDUM IMPRESSION: B.", "B."),
        ("ADDENDUM TO FINDINGS: A.", "A."),
        ("WET READ IMPRESSION: B.\nFINAL REPORT\nFINDINGS: A.", "A."),
        ("WET READ: ___ 8 AM\n Edema.\n______________\n FINAL REPORT\n FINDINGS: A.", "A."),
        ("WET READ: ___ 8 AM\nFINDINGS: Edema.\n FINAL REPORT\n FINDINGS: A.", "A."),
        ("FINAL REPORT\nFINDINGS: A.\n FINAL ADDENDUM\nADDENDUM: FINDINGS were told.", "A."),
        ("FINAL ADDENDUM\n Told.\n______________\n FINAL REPORT\n IMPRESSION: B.", "B."),
        ("FINDINGS: ___\nIMPRESSION: B.", "B."),
        ("FINDINGS:\n\nIMPRESSION:\n", ""),
        ("INDICATION: Cough.\n\n Lungs are clear.", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_styles(report: str, text: str) -> None:
    assert cut(report).text == text


def test_the_last_paragraph_is_at_hand() -> None:
    found = cut("FINAL REPORT\n INDICATION: Cough.\n\n PORTABLE FILM\n\n The lungs\n are clear.\n\n___\n")
    assert (found.text, found.last) == ("", "The lungs are clear.")


@given(st.text(max_size=2000))
def test_any_text_is_cut(text: str) -> None:
    found = cut(text)
    assert "\n" not in found.text and all(word in text.split() or ":" in text for word in found.text.split())


def test_long_reports_are_cut_in_time() -> None:
    for hostile in ("A" * 100_000, "A " * 50_000, "A B:\n" * 20_000, "_" * 100_000, "\n \n" * 30_000, "X" * 100_000):
        cut(hostile + "\nFINDINGS: clear.")


def test_what_is_missing_is_counted() -> None:
    tally = Tally()
    both, none = Sections("A.", "B."), Sections(last="C.")
    chosen = [tally.choose(one) for one in (both, Sections("A."), Sections("", "B."), Sections(joint="A."), none)]
    chosen.append(tally.choose(Sections("___", " ", last="XXXX.")))
    assert chosen == ["A. B.", "A.", "B.", "A.", "", ""]
    assert tally.counts == {
        "reports": 6,
        "without_findings": 1,
        "without_impression": 1,
        "without_both": 1,
        "empty": 1,
    }
    assert "1 neither (dropped)" in str(tally)
    assert Tally(use_last=True).choose(none) == "C."


@pytest.mark.parametrize(
    ("report", "left_out"),
    [
        (FINAL, [("EXAMINATION", 4), ("INDICATION", 8), ("TECHNIQUE", 4), ("COMPARISON", 1)]),
        ("FINDINGS: A.\nIMPRESSION: B.", []),
        ("Two words.\nFINDINGS: A.", [("(no heading)", 2)]),
        ("WET READ: 8 AM\n No edema.\nFINAL REPORT\nFINDINGS: A.", [("WET READ", 4)]),
        (
            "Signed.\nFINAL REPORT\nFINDINGS: A.\nFINAL ADDENDUM\nTold him.",
            [("(no heading)", 1), ("FINAL ADDENDUM", 2)],
        ),
        ("Clear.\nADDENDUM: Told him.", [("ADDENDUM", 2), ("(no heading)", 1)]),
        ("WET READ\nOne two.\nADDENDUM\nIMPRESSION: B.", [("WET READ", 2)]),
        ("Clinical  history: Cough.\nFINDINGS: A.", [("CLINICAL HISTORY", 1)]),
        ("HISTORY: Cough.\nHISTORY: Fever, 3 days.\nFINDINGS: A.", [("HISTORY", 1), ("HISTORY", 3)]),
        ("HISTORY: ___\nCOMPARISON:\nFINDINGS: A.", []),
        ("FINDINGS: A.\nFINDINGS: A.", []),
        ("DR NOBODY: Two words.\nFINDINGS: A.", [("DR NOBODY", 2)]),
    ],
)
def test_what_is_left_out_is_counted(report: str, left_out: list[tuple[str, int]]) -> None:
    assert list(cut(report).left_out) == left_out


def test_headings_that_few_reports_use_are_counted_together() -> None:
    tally = Tally()
    for number in range(6):
        rare = "DR SMITH" if number < 4 else "DR JONES"
        reports = (f"HISTORY: Bad cough.\n{rare}: Hello.\nHISTORY: Fever.\nFINDINGS: A.", "Alone.\nIMPRESSION: B.")
        for report in reports[: 1 + (number < 2)]:
            tally.choose(cut(report))
    assert list(tally.left_out.items()) == [
        ("HISTORY", {"reports": 6, "words": 18}),
        ("(no heading)", {"reports": 2, "words": 2}),
        ("other headings", {"headings": 2, "reports": 6, "words": 6}),
    ]
    assert Tally().left_out == {}


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ("INDICATION: Cough.\n\nLungs are clear.\n\n___\n", 1),
        ("INDICATION: Cough.\n\nLungs are clear.\nNo effusion.", 1),
        ("INDICATION: Lungs are clear.", 0),
        ("INDICATION: Cough.\nORDER: Film.", 0),
    ],
)
def test_the_last_paragraph_is_not_left_out_where_it_is_used(report: str, words: int) -> None:
    for use_last in (True, False):
        tally = Tally(use_last=use_last)
        for _ in range(5):
            tally.choose(cut(report))
        counted = sum(row["words"] for row in tally.left_out.values())
        assert counted == 5 * (words if use_last else sum(words for _, words in cut(report).left_out))


def test_what_is_looked_at_stays_beside_what_is_said_of_it() -> None:
    found = cut("HISTORY: Cough.\n\nLUNGS: Clear.\nHeart: Enlarged.\nIMPRESSION: B.")
    assert found.text == "LUNGS: Clear. Heart: Enlarged. B."


@pytest.mark.parametrize("first", ["PRELIMINARY REPORT", "INTERIM REPORT", "PRELIMINARY REPORT BY DR ___"])
def test_a_final_report_replaces_what_was_preliminary(first: str) -> None:
    parts = (f"{first}\nFINDINGS: Edema.\nIMPRESSION: Edema.\n", "FINAL REPORT\nFINDINGS: Clear.\n")
    for report in ("".join(parts), "".join(reversed(parts))):
        found = cut(report)
        assert found.text == "Clear." and [heading for heading, _ in found.left_out] == [" ".join(first.split()[:2])]
    assert cut(parts[0]).text == "Edema."


@pytest.mark.parametrize(("count", "said"), [(0, "0 reports:"), (1, "1 report:"), (2, "2 reports:")])
def test_the_count_of_reports_is_in_words(count: int, said: str) -> None:
    tally = Tally()
    for _ in range(count):
        tally.choose(Sections("A."))
    assert str(tally).startswith(said)
