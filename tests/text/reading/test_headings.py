"""What section a heading begins: a test of every row of the tables, and of what is no heading."""

import pytest

from ecamp_fast.text.reading import headings
from ecamp_fast.text.reading.headings import FINDINGS, IMPRESSION, JOINT, OTHER, section_kind
from ecamp_fast.text.reading.sections import cut

BODY = "New left basilar pneumonia."


def kinds(*names: str, within: str = OTHER, bare: bool = False) -> list[str | None]:
    return [section_kind(name, bare=bare, within=within) for name in names]


@pytest.mark.parametrize(("word", "kind"), [*headings.NOUNS.items(), *headings.SYNONYMS.items()])
def test_every_name_of_findings_and_impression(word: str, kind: str) -> None:
    for heading in (word.upper(), word.capitalize()):
        found = cut(f"HISTORY: Cough.\n\n{heading}: {BODY}\n")
        assert getattr(found, kind) == found.text == BODY
    assert cut(f"HISTORY: Cough.\n\n{word.upper()}\n{BODY}\n").text == BODY


@pytest.mark.parametrize("word", sorted(headings.QUALIFIERS))
def test_every_qualifier(word: str) -> None:
    assert kinds(f"{word} FINDINGS".upper(), f"{word} impression".capitalize()) == [FINDINGS, IMPRESSION]
    assert kinds(f"{word} summary".capitalize(), f"{word} summary") == [IMPRESSION, None]
    assert section_kind(word, bare=False, within=FINDINGS) in (None, OTHER)


@pytest.mark.parametrize("word", sorted(headings.CONNECTORS))
def test_every_connector(word: str) -> None:
    assert kinds(f"FINDINGS {word.upper()} IMPRESSION", f"Findings {word} impression") == [JOINT, JOINT]


@pytest.mark.parametrize("word", headings.NOT_OF_THIS_PICTURE)
def test_every_word_of_another_picture(word: str) -> None:
    for heading in (f"{word} FINDINGS", f"IMPRESSION {word}"):
        assert cut(f"FINDINGS: Clear.\n{heading.upper()}: {BODY}").text == "Clear."


@pytest.mark.parametrize("word", headings.ELSEWHERE)
def test_every_section_on_another_matter(word: str) -> None:
    for heading in (word.upper(), word.capitalize(), f"DATED {word}".upper()):
        assert cut(f"FINDINGS: Clear.\n{heading}: {BODY}").text == "Clear."
    assert kinds(f"BY{word}".upper(), within=FINDINGS) == [None]


@pytest.mark.parametrize("word", sorted(headings.VIEWS))
def test_every_word_of_a_view(word: str) -> None:
    assert kinds(word.upper(), f"STUDY OF {word}".upper(), word.capitalize()) == [FINDINGS, OTHER, None]


@pytest.mark.parametrize("word", sorted(headings.ANATOMY))
def test_every_thing_that_is_looked_at(word: str) -> None:
    for heading in (word.upper(), word.capitalize()):
        found = cut(f"INDICATION: Cough.\n\n{heading}: {BODY}\n\nIMPRESSION: Pneumonia.")
        assert found.findings == f"{heading}: {BODY}" and found.impression == "Pneumonia."
        assert kinds(heading, within=FINDINGS) == kinds(heading, within=IMPRESSION) == [None]


@pytest.mark.parametrize("word", sorted(headings.BESIDE_ANATOMY))
def test_every_word_beside_it(word: str) -> None:
    assert kinds(f"LUNG {word}".upper(), f"{word} bones".capitalize()) == [FINDINGS, FINDINGS]
    assert kinds(word.capitalize()) == [None]


def slips(word: str) -> set[str]:
    """The word with a letter missing, doubled, replaced or exchanged with the next, but for its first two."""
    cuts = [(word[:place], word[place:]) for place in range(2, len(word))]
    found = {before + after[1:] for before, after in cuts} | {before + after[0] + after for before, after in cuts}
    found |= {before + "q" + after[1:] for before, after in cuts}
    return found | {before + after[1::-1] + after[2:] for before, after in cuts}


@pytest.mark.parametrize("word", headings.SLIPS)
def test_every_word_that_is_miswritten(word: str) -> None:
    wanted = section_kind(word.upper(), bare=False, within=FINDINGS)
    wrong = slips(word) - headings.NO_SLIPS
    assert wanted and {section_kind(one.upper(), bare=False, within=FINDINGS) for one in wrong} == {wanted}


@pytest.mark.parametrize("word", sorted(headings.NO_SLIPS))
def test_every_word_that_is_no_slip(word: str) -> None:
    assert kinds(word.upper(), within=FINDINGS) == [None]


@pytest.mark.parametrize(
    "heading",
    """INPRESSION IMRESSION IMPRSSION IMPRESSOIN MPRESSION IMPERSSION IMPRESSSION IMPESSIOM CONLCUSION CONCLUSOIN
    CONCLSION FINDIGNS FIDNINGS FINDINS FINDINDGS FINDNIGS""".split(),  # noqa: SIM905
)
def test_common_slips(heading: str) -> None:
    assert cut(f"HISTORY: Cough.\n\n{heading}: {BODY}").text == BODY
    assert cut(f"HISTORY: Cough.\n\nFINDINGS AND {heading}: {BODY}").text == BODY


@pytest.mark.parametrize(
    "word",
    """COMPRESSION DEPRESSION EXPRESSION SUPPRESSION PROGRESSION REGRESSION FILINGS FILLINGS FEEDINGS BINDINGS WINDINGS
    OCCLUSION INCLUSION EXCLUSION CONFUSION CONTUSION CONCUSSION CONGESTION IMPACTION IMMERSION""".split(),  # noqa: SIM905
)
def test_words_that_only_look_alike(word: str) -> None:
    found = cut(f"FINDINGS: Effusion.\n{word}: Old rib fracture.\nIMPRESSION: Stable.")
    assert found.findings == f"Effusion. {word}: Old rib fracture." and found.impression == "Stable."


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("IMPRESSION AND RECOMMENDATION(S)", IMPRESSION),
        ("IMPRESSION/RECOMMENDATIONS", IMPRESSION),
        ("Impression / Recommendation", IMPRESSION),
        ("CONCLUSION & RECOMMENDATIONS", IMPRESSION),
        ("IMPRESSION (CORRECTED)", IMPRESSION),
        ("REVISED IMPRESSION", IMPRESSION),
        ("Radiologist's impression", IMPRESSION),
        ("IMPRESSION AND PLAN", IMPRESSION),
        ("FINAL INTERPRETATION", IMPRESSION),
        ("REPORT SUMMARY", IMPRESSION),
        ("FINDINGS/IMPRESSION", JOINT),
        ("FINDINGS  /  IMPRESSION", JOINT),
        ("FINDING/IMPRESSIONS", JOINT),
        ("FINDINGS - IMPRESSION", JOINT),
        ("FINDINGS + IMPRESSION", JOINT),
        ("IMPRESSION & FINDINGS", JOINT),
        ("Findings and impression", JOINT),
        ("FINDINGS (IMPRESSION)", JOINT),
        ("SUMMARY OF FINDINGS", JOINT),
        ("FINDINGS AND OPINION", JOINT),
        ("PROCEDURE AND FINDINGS", FINDINGS),
        ("EXAM FINDINGS", FINDINGS),
        ("STUDY RESULTS AND FINDINGS", FINDINGS),
        ("CXR FINDINGS", FINDINGS),
        ("Lung findings", FINDINGS),
        ("MAIN REPORT", FINDINGS),
        ("RADIOLOGY REPORT", FINDINGS),
        ("CHEST, 2 VIEWS", FINDINGS),
        ("HEART AND MEDIASTINUM", FINDINGS),
        ("Lines/tubes", FINDINGS),
        ("BONE WINDOWS", FINDINGS),
        ("SOFT TISSUES AND BONES", FINDINGS),
        ("REPORT DATE", OTHER),
        ("CLINICAL IMPRESSION", OTHER),
        ("NOTIFICATION OF FINDINGS", OTHER),
        ("FINDINGS DISCUSSED WITH", OTHER),
        ("Exam", OTHER),
        ("Recommendations for follow-up", OTHER),
        ("Comparison with the earlier film", None),
        ("Findings are as follows", None),
        ("Impression of a mass", None),
        ("In summary", IMPRESSION),
        ("Discussed findings", OTHER),
        ("Lungs of a smoker", None),
    ],
)
def test_compound_headings(heading: str, kind: str | None) -> None:
    assert kinds(heading) == [kind]


@pytest.mark.parametrize(
    "line",
    [
        "T12: fracture.",
        "10:30 film: edema.",
        "AT 9:15 the tube is high.",
        "Exam at 9:15 shows edema.",
        "CHEST AT 7:05 is clear.",
        "IMPRESSION AT 10:30 was edema.",
        "FINDINGS OF 2012: nodule.",
        "COMPARISON 2/3/2011: none.",
        "L1 COMPRESSION: mild.",
        "PORTABLE AP 12:40: edema.",
        "HISTORY AT 9: none.",
    ],
)
def test_a_heading_has_no_digit(line: str) -> None:
    assert cut(f"FINDINGS: Effusion.\n{line}\nIMPRESSION: Stable.").findings == f"Effusion. {line}"


@pytest.mark.parametrize("heading", ["FINDINGS", "Findings", "IMPRESSION", "Impression", "FINDINGS AND IMPRESSION"])
def test_a_heading_alone_on_its_line(heading: str) -> None:
    assert cut(f"HISTORY: Cough.\n\n{heading}\n{BODY}").text == BODY


@pytest.mark.parametrize("line", ["findings", "Lungs", "Summary", "CHEST", "Other findings", "LUNGS AND PLEURA"])
def test_a_line_of_a_sentence_is_no_heading(line: str) -> None:
    assert kinds(line, bare=True) == [None]


@pytest.mark.parametrize(
    ("heading", "within", "kind"),
    [
        ("LUNG FINDINGS", FINDINGS, None),
        ("Other findings", FINDINGS, None),
        ("Other findings", JOINT, None),
        ("Incidental findings", IMPRESSION, None),
        ("LUNG FINDINGS", IMPRESSION, FINDINGS),
        ("FINDINGS", IMPRESSION, FINDINGS),
        ("Findings", FINDINGS, FINDINGS),
        ("FINAL IMPRESSION", FINDINGS, IMPRESSION),
        ("CARDIAC BORDERS", FINDINGS, None),
        ("POSTPROCEDURE CHANGES", FINDINGS, None),
    ],
)
def test_headings_inside_a_section(heading: str, within: str, kind: str | None) -> None:
    assert kinds(heading, within=within) == [kind]


@pytest.mark.parametrize(
    "report",
    [
        "[FINDINGS]: {}\n[IMPRESSION]: Stable.",
        "[Findings]: {}\n[Impression]: Stable.",
        "(FINDINGS): {}\n(IMPRESSION): Stable.",
        "<FINDINGS>\n{}\n<IMPRESSION>\nStable.",
        "**FINDINGS**: {}\n**IMPRESSION**: Stable.",
        "**FINDINGS:** {}\n**IMPRESSION:** Stable.",
        "***Findings***\n{}\n***Impression***\nStable.",
        "=== FINDINGS ===\n{}\n=== IMPRESSION ===\nStable.",
        "# FINDINGS\n{}\n## IMPRESSION\nStable.",
        "- FINDINGS: {}\n- IMPRESSION: Stable.",
        "1. FINDINGS: {}\n2. IMPRESSION: Stable.",
        "1) Findings: {}\n2) Impression: Stable.",
        "FINDINGS [CHEST]: {}\nIMPRESSION [FINAL]: Stable.",
        "FINDINGS*: {}\nIMPRESSION*: Stable.",
        "FINDINGS #1: {}\nIMPRESSION #1: Stable.",
        "FINDINGS 1: {}\nIMPRESSION 1: Stable.",
        "Findings (1): {}\nImpression (1): Stable.",
        "AP CHEST 10:30 AM: {}\nIMPRESSION NO. 1: Stable.",
        "PORTABLE CHEST AT 7:05: {}\nIMPRESSION: Stable.",
        "CHEST, AP VIEW, 5:40 P.M.: {}\nIMPRESSION: Stable.",
        "CHEST RADIOGRAPH AT 1430 HOURS: {}\nIMPRESSION: Stable.",
    ],
)
def test_headings_that_are_marked_or_numbered(report: str) -> None:
    found = cut("HISTORY: Cough.\n" + report.format(BODY))
    assert (found.findings, found.impression) == (BODY, "Stable.") and found.left_out == (("HISTORY", 1),)


@pytest.mark.parametrize(
    "line",
    [
        "(Comparison: none.)",
        "[Indication: cough.",
        "1. Comparison: none.",
        "- History: known nodule.",
        "2. Recommendation: another film.",
        "* Technique: rotated.",
        "AP CHEST 10:30 AM: edema.",
        "Impression at 10:30: edema.",
        "EXAM AT 9:15: edema.",
        "FINDINGS OF 2012: nodule.",
        "IMPRESSION 123: nodule.",
    ],
)
def test_items_and_times_inside_a_section_are_no_headings(line: str) -> None:
    assert cut(f"FINDINGS: Effusion.\n{line}\nIMPRESSION: Stable.").findings == f"Effusion. {line}"


def test_a_numbered_section_ends_at_the_next_number() -> None:
    found = cut("1. HISTORY: Cough.\n2. FINDINGS: Effusion.\n3. COMPARISON: None.\n4. IMPRESSION: Stable.")
    assert found.text == "Effusion. Stable."


@pytest.mark.parametrize("word", headings.HISTORY)
@pytest.mark.parametrize("gap", ["", "\n"])
def test_organs_in_small_letters_are_of_the_history_they_stand_in(word: str, gap: str) -> None:
    heading = f"CLINICAL {word}".upper() if word != "clinical" else "CLINICAL DATA"
    told = f"{heading}:{gap}\nChest: pain.\nPulmonary: asthma.\n1. Heart: failure.\n"
    assert cut(f"{told}IMPRESSION: Stable.").text == "Stable."
    assert cut(f"{told}\nLungs: {BODY}\nIMPRESSION: Stable.").text == f"Lungs: {BODY} Stable."
    assert cut(f"{told}LUNGS: {BODY}\nHEART: Large.").text == f"LUNGS: {BODY} HEART: Large."


@pytest.mark.parametrize("heading", ["EXAM", "TECHNIQUE", "COMPARISON", "CONTRAST"])
def test_organs_below_other_matters_are_findings(heading: str) -> None:
    assert cut(f"{heading}: None.\nLungs: Clear.\nHeart: Large.").text == "Lungs: Clear. Heart: Large."


@pytest.mark.parametrize("name", ["FINDINGS", "FINDINGS AND IMPRESSION", "**Findings**"])
@pytest.mark.parametrize("organ", ["CHEST", "PULMONARY", "HEART AND LUNGS", "BONES"])
def test_organs_above_the_findings_are_of_the_history(organ: str, name: str) -> None:
    found = cut(f"CLINICAL HISTORY:\n{organ}: old asthma.\n{name}: {BODY}")
    assert found.text == BODY and organ in dict(found.left_out)
