"""Wordpieces back to words, and which of them the model got right."""

from ecamp_fast.report.words import Word, join_words

TRUE = ["[CLS]", "no", "pneu", "##mothorax", "(", "seen", ")", ".", "[PAD]"]


def joined(shown: dict[int, str], entity: tuple[int, ...] = ()) -> list[Word]:
    """The words of TRUE with the rows of ``shown`` masked and answered so."""
    answers = [shown.get(row, "wrong") for row in range(len(TRUE))]
    return join_words(TRUE, answers, [row in shown for row in range(len(TRUE))], [row in entity for row in range(9)])


def test_pieces_are_joined_and_specials_left_out() -> None:
    words = joined({})
    assert [word.true for word in words] == ["no", "pneumothorax", "(", "seen", ")", "."]
    assert [word.shown for word in words] == [word.true for word in words]  # a visible word is shown as it is
    assert not any(word.masked for word in words)
    assert [word.glued for word in words] == [False, False, False, True, True, True]


def test_a_masked_word_shows_the_answer() -> None:
    words = joined({2: "pneu", 3: "##mothorax", 5: "found"}, entity=(2, 3))
    assert [(word.shown, word.right) for word in words if word.masked] == [("pneumothorax", True), ("found", False)]
    assert [word.true for word in words if word.entity] == ["pneumothorax"]


def test_one_wrong_piece_makes_the_word_wrong() -> None:
    assert [w.shown for w in joined({3: "##monia"}) if w.masked] == ["pneumonia"]
    (word,) = [w for w in joined({2: "pneu", 3: "the"}) if w.masked]
    assert word.shown == "pneu·the" and not word.right


def test_a_text_that_begins_inside_a_word() -> None:
    assert [word.true for word in join_words(["##ax", "."], ["", ""], [False, False], [False, False])] == ["##ax", "."]
