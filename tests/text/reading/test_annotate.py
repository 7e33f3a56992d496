import csv

import numpy as np
import pytest

from ecamp_fast.text.codes import Mark, has, token_ids
from ecamp_fast.text.reading.annotate import Annotator, describe
from ecamp_fast.text.reading.entities import FORMS, find_mentions
from ecamp_fast.text.reading.rules import distill
from ecamp_fast.text.reading.sentences import sentence_spans
from ecamp_fast.text.wordpiece import Wordpiece


def told(text: str) -> list[tuple[str, list[str], bool]]:
    """Entity, its descriptors in reading order, and whether it is denied."""
    return [(d.mention.entity, [text[a:b] for a, b in reversed(d.words)], d.denied) for d in describe(text)]


def test_there_are_44_entities_and_each_finds_itself() -> None:
    assert len(FORMS) == 44
    for name in FORMS:
        assert [mention.entity for mention in find_mentions(f"mild {name} is seen")] == [name]


@pytest.mark.parametrize(
    ("surface", "entity"),
    [
        ("opacities", "opacity"),
        ("Opacification", "opacity"),
        ("COPD", "copd"),
        ("chronic obstructive pulmonary disease", "copd"),
        ("hyperinflated", "hyperinflate"),
        ("hyper-expanded", "hyperinflate"),
        ("masses", "mass"),
        ("pneumothoraces", "pneumothorax"),
        ("oedema", "edema"),
        ("hydropneumothorax", "pneumothorax"),
        ("congestive heart failure", "chf"),
        ("atelectatic", "atelectasis"),
        ("dilatation", "dilation"),
        ("aortic", "aorta"),
        ("enlarged heart", "cardiomegaly"),
        ("PICC line", "catheter"),
        ("heart failure", "chf"),
        ("hyperaerated", "hyperinflate"),
    ],
)
def test_inflections_and_aliases(surface: str, entity: str) -> None:
    assert [mention.entity for mention in find_mentions(f"the {surface}.")] == [entity]


@pytest.mark.parametrize(
    "text", ["massive", "masslike", "mass-like", "mass effect", "contoured", "embolization", "effusional"]
)
def test_longer_words_are_other_words(text: str) -> None:
    assert find_mentions(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There is mild edema.", [("edema", ["is", "mild"], False)]),
        ("There is no pleural effusion.", [("effusion", ["no", "pleural"], True)]),
        ("No effusion or pneumothorax.", [("effusion", ["No"], True), ("pneumothorax", ["or"], True)]),
        ("No effusion but mild edema.", [("effusion", ["No"], True), ("edema", ["but", "mild"], False)]),
        ("Lungs clear. Effusion.", [("effusion", [], False)]),
        ("Lungs, massive, effusion.", [("effusion", ["Lungs", "massive"], False)]),
        ("FINDINGS: edema", [("edema", [], False)]),
        ("A 1.5 cm nodule.", [("nodule", ["A", "1.5 cm"], False)]),
        ("Pneumothorax is not seen.", [("pneumothorax", [], True)]),
        ("Effusion has resolved.", [("effusion", [], True)]),
        ("Cannot be excluded: pneumonia.", [("pneumonia", [], False)]),
        ("No change in mild edema.", [("edema", ["in", "mild"], False)]),
        ("No edema; large effusion.", [("edema", ["No"], True), ("effusion", ["large"], False)]),
        ("Negative for pneumonia.", [("pneumonia", ["Negative", "for"], True)]),
        (
            "Free of consolidation, there is a mass.",
            [("consolidation", ["Free", "of"], True), ("mass", ["is", "a"], False)],
        ),
    ],
)
def test_descriptors_and_negation(text: str, expected: list[tuple[str, list[str], bool]]) -> None:
    assert told(text) == expected


def test_phrases_alone_deny_less() -> None:
    description = describe("There is no edema. No effusion. There is no evidence of mass.")
    assert [d.denied for d in description] == [True, True, True]
    assert [d.denied_by_phrase for d in description] == [True, False, True]


def test_a_denial_of_the_lexicon_is_marked_as_one(annotator: Annotator) -> None:
    codes = annotator.codes("No pleural effusion.")
    assert has(codes, Mark.NEGATIVE_LEXICON).tolist() == [True, True, False, False]
    assert not has(codes, Mark.NEGATIVE_PHRASE).any()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("A nodule of 1.5 cm. Dr. Smith was told.", ["A nodule of 1.5 cm.", " Dr. Smith was told."]),
        ("One\n\nTwo", ["One\n\n", "Two"]),
        ("One\n \t\nTwo", ["One\n \t\n", "Two"]),
        ("Edema vs. effusion.", ["Edema vs. effusion."]),
        ("No stop", ["No stop"]),
        ("End.  ", ["End."]),
        ("What?! Yes...", ["What?!", " Yes..."]),
        ("1. Clear. 2. Edema.", ["1. Clear.", " 2. Edema."]),
        ("1. No effusion 2. Edema", ["1. No effusion ", "2. Edema"]),
        ("1) No effusion 2) Edema 5) Mass", ["1) No effusion ", "2) Edema 5) Mass"]),
        ("Film. ? edema (?mass). Yes.", ["Film.", " ? edema (?mass).", " Yes."]),
        ("Effusion? None. Mass? Yes.", ["Effusion? None.", " Mass? Yes."]),
        ("Effusion? Mass.", ["Effusion?", " Mass."]),
        ("No edema\n- mass", ["No edema\n", "- mass"]),
        ("No\nedema", ["No\nedema"]),
        ("Hepatitis B. Edema.", ["Hepatitis B.", " Edema."]),
        ("Told Dr. J. Roe, e.g. by phone.", ["Told Dr. J. Roe, e.g. by phone."]),
        ("Edema.No mass.", ["Edema.", "No mass."]),
        ("Seen in 2014. Edema.", ["Seen in 2014.", " Edema."]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert [text[a:b] for a, b in sentence_spans(text)] == sentences


def test_codes_of_a_report(annotator: Annotator, wordpiece: Wordpiece) -> None:
    codes = annotator.codes("There is no opacities. Mild pleural effusion.")
    words = wordpiece.decode(token_ids(codes))
    assert codes.dtype == np.int32

    def marked(mark: Mark) -> list[str]:
        return [word for word, on in zip(words, has(codes, mark), strict=True) if on]

    assert marked(Mark.SENTENCE_START) == ["there", "mild"]
    assert marked(Mark.ENTITY) == ["opacities", "effusion"]
    assert marked(Mark.DESCRIPTOR) == ["is", "no", "mild", "pleural"]
    assert marked(Mark.NEGATIVE_LEXICON) == marked(Mark.NEGATIVE_PHRASE) == ["is", "no"]
    assert marked(Mark.PIECE_ENTITY) == ["effusion"]
    assert marked(Mark.PHRASE) == ["there", "is", "no"]
    assert marked(Mark.PHRASE_START) == ["there"]
    assert marked(Mark.PERIOD) == [".", "."]


def test_the_longer_phrase_is_marked_where_it_stands(annotator: Annotator, wordpiece: Wordpiece) -> None:
    codes = annotator.codes("There is no evidence of edema. There is no pleural edema.")
    words = np.array(wordpiece.decode(token_ids(codes)))
    assert " ".join(words[has(codes, Mark.PHRASE)]) == "there is no evidence of there is no"
    assert np.flatnonzero(has(codes, Mark.PHRASE_START)).tolist() == [0, 7]


def test_the_released_code_never_finds_copd(annotator: Annotator) -> None:
    codes = annotator.codes("COPD edema")
    assert has(codes, Mark.ENTITY).tolist() == [True, True]
    assert has(codes, Mark.PIECE_ENTITY).tolist() == [False, True]


def test_every_piece_of_an_entity_is_marked(annotator: Annotator, wordpiece: Wordpiece) -> None:
    codes = annotator.codes("hyperinflate lungs")
    assert wordpiece.decode(token_ids(codes)) == ["hyperinfl", "##ate", "lungs"]
    assert has(codes, Mark.ENTITY).tolist() == [True, True, False]
    assert has(codes, Mark.CONTINUATION).tolist() == [False, True, False]


def test_nothing_and_very_much(annotator: Annotator) -> None:
    assert annotator.codes("").shape == (0,)
    long = annotator.codes("There is no mild effusion. " * 4000)
    assert len(long) == 6 * 4000
    assert has(long, Mark.ENTITY).sum() == 4000


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("No effusion. Mild pulmonary edema.", "There is no effusion. There is mild pulmonary edema."),
        ("Possible pneumonia.", "There may be pneumonia."),
        ("Lungs are clear.", ""),
        ("", ""),
        ("No effusion or pneumothorax. No effusion.", "There is no effusion. There is no pneumothorax."),
        ("The cardiomediastinal silhouette is normal.", "There is normal cardiomediastinal silhouette."),
        ("Disease, pleural effusion.", "There is pleural effusion."),
    ],
)
def test_distilled(report: str, text: str) -> None:
    assert distill(report) == text


def test_the_distiller_never_turns_a_denial_round(real_data) -> None:
    with open(real_data / "cxr-mini" / "reports.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with_entity = 0
    for row in rows:
        source = {(d.mention.entity, d.denied) for d in describe(row["report"])}
        with_entity += bool(source)
        for description in describe(distill(row["report"])):
            assert (description.mention.entity, description.denied) in source
    assert with_entity / len(rows) > 0.7


def test_a_report_cannot_write_specials(annotator: Annotator, wordpiece: Wordpiece) -> None:
    assert wordpiece.decode(token_ids(annotator.codes("[CLS]"))) == ["[", "cl", "##s", "]"]
    assert not set(token_ids(annotator.codes("mild [PAD] [MASK] edema")).tolist()) & {0, 2, 3, 4}
