"""Reports of phantoms: true of the picture, varied, and as lopsided towards negatives as real ones."""

import re
from collections import Counter

import pytest

from ecamp_fast.phantom import FINDINGS, describe, phantom
from ecamp_fast.phantom.course import draw_lesions

STUDIES = 1000
WORDS = {finding: re.compile(rf"\b{finding}(s|es)?\b") for finding in FINDINGS}
CUES = re.compile(r"\b(no|without|negative for|free of)\b")


@pytest.fixture(scope="module")
def described():
    return [describe(11, index) for index in range(STUDIES)]


def mentions(report: str):
    """(finding, negated, sentence) of every mention; a cue negates to the end of its sentence."""
    for sentence in re.split(r"(?<=\.)\s+", report.lower()):
        cue = CUES.search(sentence)
        for finding, word in WORDS.items():
            for match in word.finditer(sentence):
                yield finding, cue is not None and cue.start() < match.start(), sentence


def test_positives_are_mentioned_and_only_absent_findings_denied(described):
    for d in described:
        told = {finding for finding, negated, _ in mentions(d.report) if not negated}
        denied = {finding for finding, negated, _ in mentions(d.report) if negated}
        assert told == set(d.labels), d.report
        assert not denied & set(d.labels), d.report


def test_every_finding_is_both_told_and_denied_in_the_corpus(described):
    told = Counter(f for d in described for f, negated, _ in mentions(d.report) if not negated)
    denied = Counter(f for d in described for f, negated, _ in mentions(d.report) if negated)
    assert set(told) == set(FINDINGS)
    assert set(denied) == set(FINDINGS)
    assert sum(denied.values()) > 2 * sum(told.values())


def test_sides_are_those_of_the_lesions(described):
    checked = 0
    for index, d in enumerate(described):
        sides: dict[str, set[int]] = {}
        for lesion in draw_lesions(11, index):
            sides.setdefault(lesion.finding, set()).add(lesion.side)
        for finding, negated, sentence in mentions(d.report):
            if negated:
                continue
            named = {side for side, word in ((-1, "right"), (1, "left")) if re.search(rf"\b{word}\b", sentence)}
            if named:
                assert named == sides[finding], sentence
                checked += 1
            if re.search(r"\b(bilateral|bibasilar)\b", sentence):
                assert sides[finding] in ({-1, 1}, {0}), sentence
    assert checked > 300


def test_clear_lungs_are_clear(described):
    for index, d in enumerate(described):
        sides = {lesion.side for lesion in draw_lesions(11, index) if lesion.finding != "cardiomegaly"}
        for sentence in d.report.lower().split(". "):
            if re.search(r"\bclear\b", sentence):
                hidden = {"right": -1, "left": 1}
                clear = {side for word, side in hidden.items() if word in sentence} or {-1, 1}
                assert not sides & (clear | {0}), d.report


def test_denials_outnumber_doubts_twenty_to_one(described):
    text = " ".join(d.report.lower() for d in described)
    ratio = text.count("there is no") / text.count("there may be")
    assert 13 < ratio < 30


def test_phrases_of_every_kind_occur(described):
    text = " ".join(d.report for d in described)
    for phrase in (
        "There is no ",
        "There is no evidence of",
        "There may be",
        "may represent",
        "Possible ",
        "without evidence of",
        "negative for",
        "is unchanged",
        "The cardiomediastinal silhouette is normal.",
        "bibasilar",
        "mild ",
        "small right",
        "bilateral pleural effusions",
    ):
        assert phrase in text, phrase
    assert len({d.report for d in described}) > 0.98 * STUDIES
    assert 0.3 < sum(not d.labels for d in described) / STUDIES < 0.5
    assert min(Counter(f for d in described for f in d.labels).values()) > 0.08 * STUDIES


def test_changes_are_told_only_where_an_earlier_study_exists(described):
    for i, d in enumerate(described):
        earlier = i > 0 and described[i - 1].patient_id == d.patient_id
        if not earlier:
            assert not re.search(
                r"unchanged|stable|increased\.|decreased\.|new |persist", d.report.replace("ratio is increased.", "")
            ), d.report


def test_form_of_a_report(described):
    for d in described:
        assert d.report.endswith(".") and "  " not in d.report and ".." not in d.report and "{" not in d.report
        assert all(s[0].isupper() or s[0].isdigit() for s in re.split(r"(?<=\.)\s+", d.report))
        assert d.report.isascii()
        assert len(d.report.split()) < 150


def test_describing_tells_what_drawing_does():
    for index in range(12):
        d, p = describe(11, index), phantom(11, index, 32)
        assert (d.report, d.labels, d.patient_id, d.view) == (p.report, p.labels, p.patient_id, p.view)
