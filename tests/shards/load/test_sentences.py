"""Sentences of a micro-batch, from the distilled texts of its samples; nothing of them where they are not asked for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.format.manifest import DISTILLED
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.packing.single_sentences import SentenceEncoder, lay_out_sentences
from ecamp_fast.text.statements import read_statements
from ecamp_fast.text.wordpiece import load_wordpiece

ON = ("losses.align=true", "align.sentences=5")
SIZES = ("image.high_size=64", "image.low_size=32", "batch={total: 8, micro: 4}", "loader.threads=2")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out: Path = tmp_path_factory.mktemp("sentences") / "phantoms"
    build_phantoms(40, out, size=74, options=Options(workers=1, seed=42, vocab_size=400))
    return ShardSet(out)


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    return lambda *more: load_recipe("demo", [*SIZES, *more])


def test_a_batch_has_what_its_samples_state(shards: ShardSet, recipe: Callable[..., Recipe]) -> None:
    encode = SentenceEncoder(load_wordpiece(shards.wordpiece_path), 128)
    loaders = Loader(shards, "train", recipe(*ON)), Loader(shards, "val", recipe(*ON), train=False)
    for loader, split in zip(loaders, ("train", "val"), strict=True):
        batches = loader.batches(0, 1) if split == "train" else loader.evaluation(4)
        for batch in batches:
            texts = [shards.read(split, row, (DISTILLED,))[DISTILLED].decode() for row in batch.samples.tolist()]
            expected = lay_out_sentences([read_statements(text, 5) for text in texts], encode)
            assert batch.sentences is not None and batch.sentences.stated.any(1).all()
            for name, tensor in expected.tensors().items():
                assert batch.sentences.tensors()[name].equal(tensor), name


def test_texts_of_one_shape_have_sentences_of_one_shape(shards: ShardSet, recipe: Callable[..., Recipe]) -> None:
    loader = Loader(shards, "train", recipe(*ON, "text.capacity=fixed"))
    assert loader.sentence_capacity is not None
    assert (
        loader.sentence_capacity
        == Loader(shards, "train", recipe(*ON, "text.capacity=fixed"), rank=1, world=2).sentence_capacity
    )
    batches: list[Batch] = list(loader.batches(0, 12))
    parts = [batch.sentences for batch in batches if batch.sentences]
    assert len(parts) == 24 and sum(part.overflow for part in parts) <= 1
    shapes = {tuple(t.shape for t in part.tensors().values()) for part in parts if not part.overflow}
    assert len(shapes) == 1 and {part.max_seqlen for part in parts} == {64}
    counts = [int(part.real.sum()) for part in parts]
    assert max(counts) > 0.5 * loader.sentence_capacity.sentences  # room, not waste
    exact = list(Loader(shards, "train", recipe(*ON)).batches(0, 12))
    assert [int(batch.sentences.real.sum()) for batch in exact if batch.sentences] == counts


def test_off_reads_and_hands_out_nothing(
    shards: ShardSet, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    read = ShardSet.read
    monkeypatch.setattr(
        ShardSet, "read", lambda self, split, row, members: asked.append(members) or read(self, split, row, members)
    )
    (batch, *_) = Loader(shards, "train", recipe()).batches(0, 1)
    assert batch.sentences is None and asked and not any(DISTILLED in members for members in asked)
