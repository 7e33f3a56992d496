import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecamp_fast.errors import ConfigError
from ecamp_fast.text.codes import SPECIALS, UNK_ID
from ecamp_fast.text.wordpiece import Wordpiece, build_tokenizer, load_wordpiece, train_wordpiece

GOLDEN = [
    (
        "[CLS] There is no evidence of pneumothorax. 1.5cm COPD, hyperinflated lungs; PICC-line dr. x2 (a/b) réseau",
        "[CLS] there is no evidence of pneumothorax . 1 . 5 cm copd , hyperinflated lungs ; picc - line dr . x 2 "
        "( a / b ) res ##e ##a ##u",
    ),
    ("opacities hyperinflate aerate massive", "opacities hyperinfl ##ate aer ##ate massive"),
    ("[cls]", "[ cl ##s ]"),
]
CORPUS = ["There is no effusion.", "Mild cardiomegaly, no effusion or pneumothorax.", "No acute disease."] * 20


def pieces(wordpiece: Wordpiece, text: str) -> str:
    return " ".join(wordpiece.decode([token.id for token in wordpiece.encode(text)]))


@pytest.mark.parametrize(("text", "expected"), GOLDEN)
def test_golden_tokens(wordpiece: Wordpiece, text: str, expected: str) -> None:
    assert pieces(wordpiece, text) == expected


@pytest.mark.skipif("ECAMP_OFFICIAL_TOKENIZER" not in os.environ, reason="ECAMP_OFFICIAL_TOKENIZER is not set")
@pytest.mark.parametrize(("text", "expected"), GOLDEN)
def test_golden_tokens_of_the_released_file(text: str, expected: str) -> None:
    assert pieces(load_wordpiece(os.environ["ECAMP_OFFICIAL_TOKENIZER"]), text) == expected


def test_runs_stay_together_and_digits_apart(tokenizer_for) -> None:
    wordpiece = tokenizer_for("t 12 2 . 5 cm ... .) ___")
    assert pieces(wordpiece, "t12 2.5cm ... .) ___") == "t 12 2 . 5 cm ... .) ___"


def test_offsets_point_into_the_text(wordpiece: Wordpiece) -> None:
    text = "Mild  EDEMA, no opacities"
    assert [text[t.start : t.end].lower() for t in wordpiece.encode(text)] == ["mild", "edema", ",", "no", "opacities"]


def test_a_word_of_more_than_100_letters_is_unknown(tokenizer_for) -> None:
    longest = "x" * 100
    assert pieces(tokenizer_for(longest, f"{longest}x"), f"{longest} {longest}x") == f"{longest} [UNK]"


def test_what_the_vocabulary_lacks_is_unknown(wordpiece: Wordpiece) -> None:
    assert (wordpiece.id("[PAD]"), wordpiece.id("zebra")) == (0, UNK_ID)
    assert wordpiece.decode([wordpiece.vocab_size]) == ["[UNK]"]


def test_a_file_that_cuts_or_pads_does_neither_here(tmp_path: Path) -> None:
    tokenizer = build_tokenizer({token: number for number, token in enumerate([*SPECIALS, "mild", "left", "edema"])})
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert pieces(load_wordpiece(tmp_path / "tokenizer.json"), "mild left edema") == "mild left edema"


def test_training_is_repeatable_across_processes(tmp_path: Path) -> None:
    code = (
        "import sys; from ecamp_fast.text.wordpiece import train_wordpiece;"
        f"print(train_wordpiece({CORPUS!r}, 60).digest)"
    )
    digests = {subprocess.check_output([sys.executable, "-c", code], text=True).strip() for _ in range(3)}
    assert digests == {train_wordpiece(CORPUS, 60).digest}


def test_trained_vocabulary_keeps_its_promises() -> None:
    wordpiece = train_wordpiece(CORPUS, 60)
    assert wordpiece.vocab_size <= 60
    assert tuple(wordpiece.decode(range(5))) == SPECIALS
    assert all(token.id != UNK_ID for text in CORPUS for token in wordpiece.encode(text))
    assert pieces(wordpiece, "##e") != "##e"  # no piece is matched as a special


def test_a_saved_file_is_the_same_tokenizer(tmp_path: Path) -> None:
    wordpiece = train_wordpiece(CORPUS, 100)
    wordpiece.save(tmp_path / "tokenizer.json")
    again = load_wordpiece(tmp_path / "tokenizer.json")
    assert again.digest == wordpiece.digest
    assert again.encode(CORPUS[1]) == wordpiece.encode(CORPUS[1])


def test_the_smallest_corpora_train() -> None:
    assert train_wordpiece(["x"], 30000).vocab_size >= len(SPECIALS) + 1
    assert train_wordpiece([], 30000).vocab_size == len(SPECIALS)


@pytest.mark.parametrize("content", ["", "{}", "not json"])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="not a tokenizer"):
        load_wordpiece(path)


def test_a_vocabulary_without_the_specials_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    build_tokenizer({"a": 0, "[PAD]": 1, "[UNK]": 2, "[CLS]": 3, "[MASK]": 4, "[SEP]": 5}).save(str(path))
    with pytest.raises(ConfigError, match="ids 0 to 4"):
        load_wordpiece(path)
