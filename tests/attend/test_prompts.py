"""What is asked of a GLoRIA, and that its answers are read as they were given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecamp_fast.attend.model import Gloria, Likeness
from ecamp_fast.attend.prompts import ask, score_prompts
from ecamp_fast.config import Recipe
from ecamp_fast.downstream.data.labels import read_labels
from ecamp_fast.errors import DataError
from ecamp_fast.shards.load.captions import caption_encoder
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.packing.captions import CaptionEncoder, pack_captions
from ecamp_fast.text.statements import prompt


def test_an_oracle_is_perfect_and_a_liar_is_not(
    tiny: Callable[..., Recipe], phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that knows the truth: who calls a sentence by its ids."""
    shards, recipe = ShardSet(phantoms), tiny()
    encode = caption_encoder(recipe, shards.wordpiece_path)
    model = Gloria(recipe, encode.vocabulary.size).eval()
    labels = read_labels(shards, "val")
    truth = torch.from_numpy(labels.values)
    place, sign = 0, 1

    def compare(images: torch.Tensor, sentences: Any) -> Likeness:
        nonlocal place
        rows = truth[place % len(truth) : place % len(truth) + len(images)]
        denies = sentences.ids.tolist().count(encode("no").ids[1]) > 1
        if denies:
            place += len(images)
        count = int(sentences.real.sum())
        assert count == truth.shape[1]
        said = sign * (1 - rows if denies else rows)
        padded = torch.nn.functional.pad(said, (0, len(sentences.real) - count))
        return Likeness(padded, 0.5 * padded)

    monkeypatch.setattr(model, "compare", compare)
    for wanted in (1.0, 0.0):
        found = score_prompts(model, shards, "val", encode)
        assert found.mean.auroc and found.mean.auroc.value == wanted
        assert found.mean.negation and found.mean.negation.value == wanted
        sign = -1
    assert found.samples == len(truth)


def test_the_map_of_a_finding_is_that_of_its_words(tiny: Callable[..., Recipe], phantoms: Path) -> None:
    shards, recipe = ShardSet(phantoms), tiny()
    encode = caption_encoder(recipe, shards.wordpiece_path)
    torch.manual_seed(0)
    model = Gloria(recipe, encode.vocabulary.size).eval()
    nouns = {"effusion": "pleural effusion", "pleural effusion": "pleural effusion"}
    found = ask(model, shards, "val", encode, count=3, nouns=nouns)
    number = next(place for place, name in enumerate(found.findings) if "effusion" in name)
    from ecamp_fast.downstream.data.samples import TaskData

    labels = read_labels(shards, "val")
    images = next(TaskData(shards, "val", labels, np.arange(3), size=64).ordered(3)).images
    maps = model.attention(images, pack_captions([prompt("pleural effusion", False)], encode))
    # [CLS] there is pleural effusion .
    torch.testing.assert_close(torch.from_numpy(found.maps[:, number]), maps[:, 0, 3:5].mean(1))
    assert found.maps.shape[2:] == found.boxes.shape[2:] == (8, 8)


def test_another_vocabulary_is_refused(tiny: Callable[..., Recipe], phantoms: Path, encode: CaptionEncoder) -> None:
    shards = ShardSet(phantoms)
    model = Gloria(tiny(), shards.manifest.vocab_size).eval()
    with pytest.raises(DataError, match="vocabulary"):
        ask(model, shards, "val", encode)
