"""What a reader calls a word, and that it is one wherever words are counted."""

import numpy as np
import pytest
import torch

from ecamp_fast.config import load_recipe
from ecamp_fast.text.codes import INSIDE, Mark, has, token_ids
from ecamp_fast.text.packing.assemble import assemble
from ecamp_fast.text.packing.masking import mask_text
from ecamp_fast.text.reading.annotate import Annotator, describe
from ecamp_fast.text.reading.words import word_spans

ONE_WORD = (
    *("1.5 cm", "1.5cm", "5mm", "5 mm", "12-15 mm", "3 x 4 cm", "1,500 mL", "50%", "50 %", "1.5", "T12", "10:30"),
    *("12/5/2014", "non-calcified", "non\u2011displaced", "ill-defined", "mild-to-moderate", "5-mm", "3.5cm-sized"),
    *("patient's", "PATIENT\u2019S", "w/o", "s/p", "e.g", "x-ray", "caf\u00e9", "cafe\u0301s"),
)


@pytest.mark.parametrize("word", ONE_WORD)
def test_one_word(word: str) -> None:
    text = f"no {word}, effusion"
    assert [text[a:b] for a, b in word_spans(text)] == ["no", word, "effusion"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("right- and left-sided", ["right", "and", "left-sided"]),
        ("edema -- none - ever", ["edema", "none", "ever"]),
        ("and/or a_b", ["and", "or", "a", "b"]),
        ("5 months, 2 nodules", ["5", "months", "2", "nodules"]),
        ("Seen.No 1. Clear", ["Seen", "No", "1", "Clear"]),
        ("heart: 'normal'", ["heart", "normal"]),
        ("", []),
        ("., ; -", []),
    ],
)
def test_several_words(text: str, words: list[str]) -> None:
    assert [text[a:b] for a, b in word_spans(text)] == words


def test_a_part_of_a_text_has_the_places_of_the_whole() -> None:
    text = "A 1.5 cm nodule. No 5mm mass."
    assert word_spans(text, 16) == [span for span in word_spans(text) if span[0] >= 16]


@pytest.mark.parametrize(
    ("text", "words", "denied"),
    [
        ("A 1.5 cm nodule.", ["A", "1.5 cm"], False),
        ("New 5mm nodule.", ["New", "5mm"], False),
        ("No non-calcified nodules.", ["No", "non-calcified"], True),
        ("No non calcified nodules.", ["non", "calcified"], True),
        ("The patient's stable mass.", ["patient's", "stable"], False),
        ("Seen at 10:30: mild nodule.", ["mild"], False),
        ("At 10:30 edema.", ["At", "10:30"], False),
        ("Edema;5mm nodule.", ["5mm"], False),
    ],
)
def test_two_words_describe(text: str, words: list[str], denied: bool) -> None:
    *_, last = describe(text)
    assert ([text[a:b] for a, b in reversed(last.words)], last.denied) == (words, denied)


def test_a_word_with_an_entity_in_it_describes_nothing() -> None:
    found = [(d.mention.entity, d.words) for d in describe("Opacity-related edema. Para-hilar opacity.")]
    assert found == [("opacity", ()), ("edema", ()), ("hilar", ()), ("opacity", ())]


def test_what_is_not_calcified_says_nothing_of_calcifications() -> None:
    assert [d.mention.entity for d in describe("Non-calcified granuloma, calcified nodule.")] == [
        "granuloma",
        "calcification",
        "nodule",
    ]


def test_a_mention_marks_the_whole_word_it_stands_in(tokenizer_for) -> None:
    codes = Annotator(tokenizer_for("large para-hilar mass-related")).codes("large para-hilar mass-related")
    assert has(codes, Mark.ENTITY).tolist() == [False] + [True] * 6


TEXT = "no 1.5 cm nodule. the patient's picc-line. right 5cm non-displaced mass"
# As the tokenizer splits it, a word a row
SPLIT = (
    *(["no"], ["1", ".", "5", "cm"], ["nodule"], ["."], ["the"], ["patient", "'", "s"], ["picc", "-", "line"], ["."]),
    *(["right"], ["5", "cm"], ["non", "-", "displaced"], ["mass"]),
)


@pytest.fixture
def reader(tokenizer_for) -> Annotator:
    return Annotator(tokenizer_for(TEXT))


def test_pieces_behind_the_first_of_a_word_are_marked(reader: Annotator) -> None:
    codes = reader.codes(TEXT)
    inside = [place > 0 for word in SPLIT for place in range(len(word))]
    assert has(codes, INSIDE).tolist() == has(codes, Mark.JOINED).tolist() == inside


def test_a_word_within_a_mention_is_an_entity_whole(reader: Annotator) -> None:
    codes = reader.codes(TEXT)
    entity = [word in (["nodule"], ["picc", "-", "line"], ["mass"]) for word in SPLIT for _ in word]
    assert has(codes, Mark.ENTITY).tolist() == entity


def test_pieces_that_the_tokenizer_joins_are_not_joined_twice(annotator: Annotator) -> None:
    codes = annotator.codes("hyperinflate 1.5")
    assert has(codes, Mark.CONTINUATION).tolist() == [False, True, False, False, False]
    assert has(codes, Mark.JOINED).tolist() == [False, False, False, True, True]


def row(codes: np.ndarray, seed: int, *changes: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens are masked, and their weights."""
    recipe = load_recipe("paper", changes)
    keys = np.array([seed], np.int64)
    parts = assemble([codes], [np.zeros(0, np.int32)], keys, recipe.text, padded=False)
    masked = mask_text(*(torch.from_numpy(part) for part in (*parts, keys)), recipe)
    return masked.predicted[1:], masked.weights[1:]


def test_all_pieces_of_a_word_are_masked_or_none(reader: Annotator) -> None:
    codes, fates = reader.codes(TEXT), set()
    for seed in range(64):
        masked, at = row(codes, seed, "masking.descriptors=random", "masking.word_ratio=0.5")[0].tolist(), 0
        for word in SPLIT:
            fate = set(masked[at : at + len(word)])
            assert len(fate) == 1, (word, masked)
            fates |= {(tuple(word), *fate)}
            at += len(word)
    assert len(fates) == 2 * len({tuple(word) for word in SPLIT})  # each was masked, and each was seen


def test_eq3_counts_a_measure_as_one_word(reader: Annotator) -> None:
    # Descriptors: "no", "1.5 cm" of the nodule, denied; "the", "patient's" of the line; "5cm", "non-displaced".
    _, weights = row(reader.codes(TEXT), 0)
    raised = (6 - 0.05 * 2) / 4
    worth = {"no": 0.05, "1": 0.05, "the": raised, "patient": raised, "5": raised, "non": raised}
    expected = [worth.get(word[0], 1.0) for word in SPLIT for _ in word]
    assert weights.tolist() == pytest.approx(expected)


def test_the_released_rules_count_wordpieces_as_before(reader: Annotator) -> None:
    codes = reader.codes(TEXT)
    plain = codes & ~np.int32(int(Mark.JOINED) << 20)
    assert token_ids(codes).tolist() == token_ids(plain).tolist()
    changes = ("masking.unit=wordpiece", "rebalance=official")
    for seed in range(8):
        for ours, before in zip(row(codes, seed, *changes), row(plain, seed, *changes), strict=True):
            assert ours.equal(before)
