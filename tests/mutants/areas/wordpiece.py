"""The WordPiece tokenizer: what it normalises, where it parts words, what it does not know."""

from typing import Any

from mutant import mutants


def tokens() -> Any:
    import json
    import tempfile
    from pathlib import Path

    from ecamp_fast.text.codes import SPECIALS
    from ecamp_fast.text.wordpiece import Wordpiece, build_tokenizer, load_wordpiece, train_wordpiece

    words = f"mild res ##e ##a ##u 1 2 12 5 cm . , [ cls ] cl ##s {'x' * 50} ##{'x' * 50}"
    tokenizer = build_tokenizer({token: number for number, token in enumerate([*SPECIALS, *words.split()])})
    text = f"[CLS] Mild MILD réseau 12.5cm, {'x' * 100} {'x' * 150}."
    plain = Wordpiece(tokenizer, b"")
    file = json.loads(tokenizer.to_str())
    file["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    file["padding"] = {
        "strategy": {"Fixed": 80},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(json.dumps(file))
        loaded = load_wordpiece(path)
    trained = train_wordpiece(["mild edema", "no edema at all"], 40)
    return [
        plain.encode(text),
        plain.encode(text, specials=False),
        loaded.encode(text),
        plain.decode([3, 5, 99]),
        [plain.id("mild"), plain.id("nowhere"), plain.id("[PAD]")],
        trained.decode([token.id for token in trained.encode("##e mild")]),
    ]


MUTANTS = mutants(
    "ecamp_fast/text/wordpiece.py",
    " ".join(
        f"tests/text/test_wordpiece.py::{test}"
        for test in (
            "test_golden_tokens",
            "test_runs_stay_together_and_digits_apart",
            "test_offsets_point_into_the_text",
            "test_a_word_of_more_than_100_letters_is_unknown",
            "test_what_the_vocabulary_lacks_is_unknown",
            "test_a_file_that_cuts_or_pads_does_neither_here",
            "test_trained_vocabulary_keeps_its_promises",
            "test_a_saved_file_is_the_same_tokenizer",
        )
    )
    + " tests/text/reading/test_annotate.py::test_a_report_cannot_write_specials",
    tokens,
    {
        "accents stay": (", normalizers.StripAccents()", ""),
        "capitals stay": ("normalizers.Lowercase(), ", ""),
        "every digit is a word": ("individual_digits=False", "individual_digits=True"),
        "words of any length are known": ("MAX_WORD = 100", "MAX_WORD = 1000"),
        "specials in a text are read the other way round": (
            "encode_special_tokens = not specials",
            "encode_special_tokens = specials",
        ),
        "an id beyond the vocabulary is padding": ("or SPECIALS[UNK_ID]", "or SPECIALS[0]"),
        "the first special is unknown": ("UNK_ID if number is None else number", "number or UNK_ID"),
        "a file's own truncation stays": ("    tokenizer.no_truncation()\n", ""),
        "a file's own padding stays": ("    tokenizer.no_padding()\n", ""),
        "inner letters are matched as specials": (
            "trained = build_tokenizer(tokenizer.get_vocab(with_added_tokens=True))",
            "trained = tokenizer",
        ),
        "a word's end is one letter late": ("Token(number, *span)", "Token(number, span[0], span[1] + 1)"),
    },
)
