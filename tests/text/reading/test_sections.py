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
