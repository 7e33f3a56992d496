"""A tokenizer with the words of the golden values: every word whole, but those that the released one splits."""

import re

import pytest

from ecamp_fast.text.codes import SPECIALS
from ecamp_fast.text.reading.annotate import Annotator
from ecamp_fast.text.wordpiece import Wordpiece, build_tokenizer

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


@pytest.fixture(scope="session")
def tokenizer_for():
    """A tokenizer that has every word of some texts whole."""
    return lambda *texts: make(" ".join(re.findall(r"\w+|[^\w\s]+", " ".join(texts).lower())))
