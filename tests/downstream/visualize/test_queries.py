"""Words and entities in a text: all their pieces, and every place that names them."""

import pytest

from ecamp_fast.downstream.visualize.queries import ReadText, entities_of, entity_query, read_text, word_query
from ecamp_fast.errors import ConfigError
from ecamp_fast.text.codes import CLS_ID
from ecamp_fast.text.wordpiece import Wordpiece, build_tokenizer

TEXT = "No effusion on the left. Pleural effusions on the right: small. Cardiomegaly, not pneumothorax."
PIECES = ["no", "effusion", "eff", "##usion", "##s", "on", "the", "left", "right", "small", ".", ",", ":", "not"]
PIECES += ["pleural", "cardio", "##megaly", "pneumo", "##thorax"]


@pytest.fixture(scope="module")
def wordpiece() -> Wordpiece:
    words = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]", *PIECES]
    return Wordpiece(build_tokenizer({word: number for number, word in enumerate(words)}), b"")


@pytest.fixture
def read(wordpiece: Wordpiece) -> ReadText:
    return read_text(TEXT, wordpiece, 64)


def told(read: ReadText, rows: tuple[int, ...]) -> list[str]:
    return [read.text[slice(*read.spans[row])].lower() for row in rows]


def test_the_class_token_comes_first_and_long_texts_are_cut_as_in_training(wordpiece: Wordpiece) -> None:
    read = read_text(TEXT, wordpiece, 5)
    assert read.ids.tolist()[0] == CLS_ID and len(read.ids) == len(read.spans) == 5
    assert told(read, (1, 2, 3, 4)) == ["no", "effusion", "on", "the"]
    assert read_text("[MASK]", wordpiece, 9).ids.tolist().count(3) == 0  # nobody writes a special into a report


def test_a_word_is_all_its_pieces_wherever_it_stands(read: ReadText) -> None:
    word = word_query(read, "CARDIOMEGALY")
    assert word and told(read, word.rows) == ["cardio", "megaly"]
    assert told(read, word_query(read, "the").rows) == ["the", "the"]
    assert told(read, word_query(read, "effusion").rows) == ["effusion"]  # "effusions" is another word
    assert told(read, word_query(read, "pleural effusions").rows) == ["pleural", "effusion", "s"]
    assert word_query(read, "effusions pleural") is None and word_query(read, "edema") is None
    with pytest.raises(ConfigError, match="no word"):
        word_query(read, " . ")


def test_an_entity_is_where_it_is_stated_and_only_else_where_it_is_denied(read: ReadText) -> None:
    effusion = entity_query(read, "effusion")
    assert effusion and not effusion.denied and told(read, effusion.rows) == ["effusion", "s"]
    lung = entity_query(read, "pneumothorax")
    assert lung and lung.denied and told(read, lung.rows) == ["pneumo", "thorax"]
    assert entity_query(read, "edema") is None
    with pytest.raises(ConfigError, match="no entity"):
        entity_query(read, "pleural effusion")


def test_entities_that_are_stated_come_first() -> None:
    assert entities_of(TEXT) == ["effusion", "cardiomegaly", "pneumothorax"]
    assert entities_of("Normal.") == []
