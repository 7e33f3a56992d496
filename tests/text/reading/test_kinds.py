"""Sentences by kind, each with how its entities must be read; every row of the tables of cues decides one of them."""

import re
from pathlib import Path

import pytest

from ecamp_fast.text.reading import clauses, cues, doubt, negation
from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.cues import expand, one_of
from ecamp_fast.text.reading.rules import distill

FILE = Path(__file__).with_name("sentences.tsv")


def cases() -> list[tuple[str, str, dict[str, str]]]:
    rows = [line.split("\t") for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [(kind, unescaped(text), dict(word.split("=") for word in words)) for kind, text, *words in rows]


def unescaped(text: str) -> str:
    for code in ("\\n", "\\r", "\\t"):
        text = text.replace(code, code.encode().decode("unicode_escape"))
    while "\\u" in text:
        at = text.index("\\u")
        text = text[:at] + chr(int(text[at + 2 : at + 6], 16)) + text[at + 6 :]
    return text


def readings(text: str) -> dict[str, set[str]]:
    """Every entity with all that is said of it: denied, stated, doubted."""
    told: dict[str, set[str]] = {}
    for sentence in distill(text).split(". "):
        for one in describe(sentence):
            how = "denied" if one.denied else "doubted" if sentence.startswith("There may be") else "stated"
            told.setdefault(one.mention.entity, set()).add(how)
    for one in describe(text):
        told.setdefault(one.mention.entity, set()).add("denied" if one.denied else "not told")
    return told


@pytest.mark.parametrize(("kind", "text", "expected"), cases())
def test_how_a_sentence_is_read(kind: str, text: str, expected: dict[str, str]) -> None:
    told = readings(text)
    for entity, how in expected.items():
        if entity == "never":
            assert how not in distill(text)
            continue
        assert entity in told or how == "absent", f"{entity} is not found"
        said = told.get(entity, set()) - {"not told"}
        if how == "absent":
            assert "stated" not in said
        elif how == "stated" and not said:
            continue  # anatomy that is merely named is not written
        else:
            assert said == {how}, f"{entity}: {said}"


def test_every_kind_has_ten_sentences() -> None:
    kinds = [kind for kind, _, _ in cases()]
    assert min(kinds.count(kind) for kind in set(kinds)) >= 10


# Table, and where its pattern is: module, name, and how rows are joined.
_STOPS = (*cues.STOPS, *cues.CIRCUMSTANCES)
TABLES = {
    "DENIES_AHEAD": [(negation, "_AHEAD", cues.DENIES_AHEAD)],
    "TURNS": [(negation, "_TURNS", cues.TURNS)],
    "DENIES_BEHIND": [(negation, "_BEHIND", cues.DENIES_BEHIND)],
    "NO_CHANGE": [(negation, "_NO_CHANGE", cues.NO_CHANGE)],
    "DENIES_NOT": [(negation, "_DECOYS", cues.DENIES_NOT)],
    "STOPS": [(negation, "_STOPS", _STOPS), (negation, "_STOPS_BEHIND", cues.STOPS)],
    "CIRCUMSTANCES": [(negation, "_STOPS", _STOPS)],
    "VERBS": [(clauses, "VERB", cues.VERBS), (negation, "VERB", cues.VERBS)],
    "DOUBTS_AHEAD": [(doubt, "_AHEAD", cues.DOUBTS_AHEAD)],
    "DOUBTS_BEHIND": [(doubt, "_BEHIND", cues.DOUBTS_BEHIND)],
    "DOUBTS_NOT": [(doubt, "_NOT", cues.DOUBTS_NOT)],
    "DOUBT_STOPS": [(doubt, "_STOPS", cues.DOUBT_STOPS)],
    "DOUBT_ASIDES": [(doubt, "_ASIDES", cues.DOUBT_ASIDES)],
}
TEXTS = [text for _, text, _ in cases()]


@pytest.mark.parametrize(("table", "row"), [(table, row) for table in TABLES for row in getattr(cues, table)])
def test_every_row_decides_a_sentence(table: str, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    matches = re.compile(expand(row), re.IGNORECASE)
    texts = [text for text in TEXTS if matches.search(" ".join(text.split()).replace("\u2019", "'"))]
    before = [readings(text) for text in texts]
    for module, name, rows in TABLES[table]:
        monkeypatch.setattr(module, name, one_of(other for other in rows if other != row))
    assert [readings(text) for text in texts] != before, "no sentence needs this row"


STATES = """
    changed unchanged stable chronic persistent persisting continued continuing ongoing known old residual remaining
    recurrent prior previous previously existing preexisting pre-existing redemonstrated again healed remote
    postoperative post-surgical mild mildly moderate moderately severe severely marked markedly slight slightly small
    large tiny trace minimal minimally massive extensive prominent borderline worsening worsened improved improving
    increased increasing decreased decreasing enlarged calcified bibasilar bibasal left right bilateral
"""


@pytest.mark.parametrize("word", STATES.split())
def test_every_state_begins_something_new_behind_a_comma(word: str) -> None:
    assert readings(f"No mass, {word} opacity.")["opacity"] == {"stated", "not told"}
    assert readings(f"No mass, {word} opacity, or edema.")["opacity"] == {"denied"}


def test_every_row_of_states_is_tried() -> None:
    for row in cues.STATES:
        assert any(re.fullmatch(row, word) for word in STATES.split())
