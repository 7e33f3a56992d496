"""The sentences that GLoRIA compares images with, by recipe and shard set (``text.packing.captions``)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecamp_fast.batch import Sentences
from ecamp_fast.config import Recipe
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.packing.bert_vocabulary import read_vocabulary
from ecamp_fast.text.packing.captions import CaptionChoice, CaptionEncoder, lay_out_captions, vocabulary_of
from ecamp_fast.text.statements import read_statements
from ecamp_fast.text.wordpiece import load_wordpiece

SENTENCES = 64  # sentences of a text that are read


class Captions:
    """From the texts of a micro-batch to its sentences."""

    def __init__(self, shard_set: ShardSet, recipe: Recipe) -> None:
        self._encode = caption_encoder(recipe, shard_set.wordpiece_path)
        self._entities = shard_set.manifest.entities
        gloria = recipe.gloria
        self._choice = CaptionChoice(gloria.sentences, gloria.positives == "diagonal", gloria.poles)

    def __call__(self, texts: Sequence[str], keys: np.ndarray) -> Sentences:
        """texts: of B samples   keys: (B,) int64 of the samples in this epoch"""
        stated = [read_statements(text, SENTENCES, self._entities) for text in texts]
        return lay_out_captions(stated, keys, self._encode, self._choice)


def caption_encoder(recipe: Recipe, wordpiece: Path) -> CaptionEncoder:
    """With the vocabulary of ``gloria.bert``, or that of a shard set.  wordpiece: its file"""
    bert = recipe.gloria.bert
    vocabulary = read_vocabulary(Path(bert)) if bert else vocabulary_of(load_wordpiece(wordpiece))
    return CaptionEncoder(vocabulary, recipe.gloria.max_tokens)
