"""A GLoRIA that trains in milliseconds, sentences of three patients, and phantoms in shards."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecamp_fast.batch import Sentences
from ecamp_fast.commands.knowledge.attend_train import find_recipe
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.shards.builder.build import build_phantoms
from ecamp_fast.text.packing.captions import CaptionChoice, CaptionEncoder, lay_out_captions, vocabulary_of
from ecamp_fast.text.statements import read_statements
from ecamp_fast.text.wordpiece import Wordpiece, train_wordpiece

TINY = [
    "image.high_size=64",
    "image.low_size=32",
    "gloria.image_size=64",
    "model.text={width: 16, depth: 2, heads: 2, ffn: 24, dropout: 0.1}",
    "model.vision={width: 16, depth: 1, heads: 2, patch: 8}",
    "batch.total=8",
    "batch.micro=4",
    "log_every=1",
    "checkpoint.every_steps=2",
    "evaluation.samples=8",
]
TEXTS = (
    "There is large left pneumothorax. There is no pleural effusion. There is no hernia.",
    "There are small pleural effusions. There is no pneumothorax. There is tortuous aorta. There is no hernia.",
    "There is no pneumothorax. There may be nodule. There is no left mass. There is right mass. "
    "There is tortuous aorta. There is no hernia.",
)


@pytest.fixture
def tiny() -> Callable[..., Recipe]:
    """The recipe, with changes."""
    return lambda *changes: load_recipe(find_recipe("phantom"), [*TINY, *changes])


@pytest.fixture(scope="session")
def changes() -> list[str]:
    """What makes the recipe ``phantom`` of it."""
    return TINY


@pytest.fixture(scope="session")
def wordpiece() -> Wordpiece:
    return train_wordpiece(TEXTS, 80)


@pytest.fixture
def encode(wordpiece: Wordpiece) -> CaptionEncoder:
    return CaptionEncoder(vocabulary_of(wordpiece), 40)


@pytest.fixture
def lay_out(encode: CaptionEncoder) -> Callable[..., Sentences]:
    """The sentences of the three patients, with the keys of an epoch."""

    def lay(each: int = 0, diagonal: bool = False, poles: bool = False, epoch: int = 0) -> Sentences:
        stated = [read_statements(text, 64) for text in TEXTS]
        return lay_out_captions(stated, np.arange(3) + 10 * epoch, encode, CaptionChoice(each, diagonal, poles))

    return lay


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "phantoms"
    build_phantoms(40, out, size=72)
    return out
