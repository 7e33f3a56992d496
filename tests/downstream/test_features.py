"""Labels and features of a shard set: in its order, and untrained encoders that a seed names."""

from pathlib import Path

import pytest
import torch

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.downstream.features import encode, labelled, untrained
from ecamp_fast.phantom import phantom
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out: Path = tmp_path_factory.mktemp("features") / "phantoms"
    build_phantoms(16, out, size=64, options=Options(workers=1, seed=42, vocab_size=300))
    return ShardSet(out)


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("demo")


def test_labels_are_those_of_each_phantom(shards: ShardSet) -> None:
    known = labelled(shards, "train")
    assert (
        known.labels.shape == (shards.count("train"), len(known.findings)) == (len(known.patients), len(known.findings))
    )
    for row in range(3):
        drawn = phantom(42, int(shards.key("train", row).removeprefix("phantom").split("_")[0]), 64)
        assert {f for f, there in zip(known.findings, known.labels[row], strict=True) if there} == set(drawn.labels)
        assert known.patients[row] == drawn.patient_id
    assert len(labelled(shards, "train", 5).patients) == 5


def test_features_do_not_depend_on_the_batch(recipe: Recipe) -> None:
    images = torch.randint(256, (70, 1, recipe.image.high_size, recipe.image.high_size), dtype=torch.uint8)
    model = untrained(recipe, seed=0)
    found = encode(model, images)
    assert found.shape == (70, recipe.model.vision.width) and found.dtype == torch.float32
    assert torch.allclose(found[64:], model.features(images[64:]), atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-4


def test_untrained_encoders_differ_by_seed_alone_and_leave_the_random_state(recipe: Recipe) -> None:
    before = torch.get_rng_state()
    first, again, other = (untrained(recipe, seed).encoder.patch.weight for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
