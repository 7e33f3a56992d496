"""The normal form of texts: what is written as what, where characters came from, which lines are items."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.plain import plain
from ecamp_fast.text.reading.sentences import sentence_spans

REPORTS = (
    "The lungs are well expanded and there is no evidence at this time of congestive heart failure. The aorta is wide.",
    "There is no evidence of enlargement of the heart or pleural effusion. No consolidation or pneumothorax is seen.",
    "Compared to the prior study the patient has a stable enlarged heart and no effusion; a right central venous line "
    "ends in the superior vena cava without pneumothorax.",
    "Absence of consolidation. A small left effusion has not resolved, and pneumonia cannot entirely be excluded.",
    "NO RELEVANT CHANGE IN THE MODERATE RIGHT EFFUSION. THE LUNGS ARE FREE OF CONSOLIDATION AND NO LONGER EDEMATOUS.",
    "no pneumothorax following placement of a right picc line. chronic obstructive pulmonary disease is again seen.",
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("No edema.", "No edema."),
        ("No  edema.", "No edema."),
        ("No\tedema.", "No edema."),
        ("No\u00a0\u2009edema.", "No edema."),
        ("e\ufb00usion in\ufb01ltrate", "effusion infiltrate"),
        ("\u0153dema and h\u00e6morrhage", "oedema and haemorrhage"),
        ("\uff2eo mass", "No mass"),
        ("cardio\u2011mediastinal", "cardio-mediastinal"),
        ("can\u2019t", "can't"),
        ("pneumo\u00adthorax", "pneumothorax"),
        ("effusion \u2013 none", "effusion - none"),
        ("effusion\u2014none", "effusion - none"),
        ("3\u20134 cm", "3-4 cm"),
        ("port-a-\ncath", "port-a-cath"),
        ("No\nedema", "No edema"),
        ("No\r\nedema", "No edema"),
        ("No\redema", "No edema"),
        ("No edema\n\nmass", "No edema\n\nmass"),
        ("No edema\n \n\t\nmass", "No edema\n\nmass"),
        ("No edema\n- mass", "No edema\n\n- mass"),
        ("No edema\n2) mass", "No edema\n\n2) mass"),
        ("No edema\n\u2022 mass", "No edema\n\n\u2022 mass"),
        ("No edema\nMild congestion", "No edema\n\nMild congestion"),
        ("No edema\nmild congestion", "No edema\n\nmild congestion"),
        ("No edema\nHEART: large", "No edema\n\nHEART: large"),
        ("no edema\nno mass", "no edema\n\nno mass"),
        ("NO EDEMA\nCARDIOMEGALY", "NO EDEMA\n\nCARDIOMEGALY"),
        ("signs of congestive\nheart failure", "signs of congestive heart failure"),
        ("a line by\nSwan and\nGanz", "a line by Swan and Ganz"),
        ("an enlarged\nheart", "an enlarged heart"),
        ("old rib\nfractures", "old rib fractures"),
        ("the tip of the\nHickman catheter", "the tip of the Hickman catheter"),
        ("a catheter\nHickman by name", "a catheter Hickman by name"),
        ("NO EFFUSION OR FOCAL\nCONSOLIDATION", "NO EFFUSION OR FOCAL CONSOLIDATION"),
        (
            "There is a large pleural effusion in the left hemithorax\nopacity",
            "There is a large pleural effusion in the left hemithorax opacity",
        ),
    ],
)
def test_what_is_written_as_what(text: str, normal: str) -> None:
    assert plain(text).text == normal


@given(st.text(alphabet="aZ.,?:;-() \n\t\r\u00a0\ufb01\u00ad\u2014\u2013\u2019\u0153\u00bd12", max_size=40))
def test_a_normal_form_is_its_own_and_knows_where_it_came_from(text: str) -> None:
    form = plain(text)
    again = plain(form.text).text
    assert again == plain(again).text
    if form.origins is None:
        assert form.text == text
        return
    assert len(form.origins) == len(form.text) + 1
    assert list(form.origins) == sorted(form.origins)
    for at, letter in enumerate(form.text):
        if letter.isalnum() and letter.isascii() and text[form.origins[at]].isascii():
            assert text[form.origins[at]] == letter
    spans = sentence_spans(text)
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]


def test_mentions_keep_the_place_where_they_stand() -> None:
    text = "Heart:\tlarge.\nNo  e\ufb00usion,\u00a0small\r\nin\ufb01ltrate."
    found = [(one.mention.entity, text[one.mention.start : one.mention.end]) for one in describe(text)]
    assert found == [("effusion", "e\ufb00usion"), ("infiltrate", "in\ufb01ltrate")]
    assert [[text[a:b] for a, b in one.words] for one in describe(text)] == [["No"], ["small"]]


@pytest.mark.parametrize("width", range(24, 100, 3))
@pytest.mark.parametrize("report", REPORTS)
def test_a_wrapped_report_reads_as_it_did(report: str, width: int) -> None:
    def readings(text: str) -> list[tuple[str, bool]]:
        return [(one.mention.entity, one.denied) for one in describe(text)]

    wrapped = "\n".join(textwrap.wrap(report, width, break_long_words=False, break_on_hyphens=False))
    assert readings(wrapped) == readings(report)
