"""A tokenizer with the words of the golden values: every word whole, but those that the released one splits."""

import os
import re

import pytest

from ecamp_fast.text.codes import SPECIALS
from ecamp_fast.text.reading.annotate import Annotator
from ecamp_fast.text.wordpiece import Wordpiece, build_tokenizer, load_wordpiece

WORDS = """
there is no evidence of pneumothorax . 1 5 cm copd , lungs ; picc - line dr x 2 ( a / b ) res ##e ##a ##u hyperinflated
opacities hyperinfl ##ate aer massive cl ##s [ ] consolidation mild edema show bibasilar effusion pleural left small
are may be without any or and acute mass nodule right but normal heart the with ##s large however denies fever not seen
"""


def make(words: str) -> Wordpiece:
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*SPECIALS, *words.split()]))}
    tokenizer = build_tokenizer(vocabulary)
    return Wordpiece(tokenizer, tokenizer.to_str().encode())


@pytest.fixture(scope="session")
def wordpiece() -> Wordpiece:
    return make(WORDS)


@pytest.fixture(scope="session")
def annotator(wordpiece: Wordpiece) -> Annotator:
    return Annotator(wordpiece)


@pytest.fixture(scope="session", params=["words of the golden values", "released tokenizer"])
def golden_annotator(request: pytest.FixtureRequest, annotator: Annotator) -> Annotator:
    """For golden values 6 to 8; the released tokenizer is no part of the repository."""
    if request.param != "released tokenizer":
        return annotator
    if "ECAMP_OFFICIAL_TOKENIZER" not in os.environ:
        pytest.skip("ECAMP_OFFICIAL_TOKENIZER is not set")
    return Annotator(load_wordpiece(os.environ["ECAMP_OFFICIAL_TOKENIZER"]))


@pytest.fixture(scope="session")
def tokenizer_for():
    """A tokenizer that has every word of some texts whole."""
    return lambda *texts: make(" ".join(re.findall(r"\w+|[^\w\s]+", " ".join(texts).lower())))
