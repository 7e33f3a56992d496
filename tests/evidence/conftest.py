"""Held-out phantoms, a small recipe, and an untrained model of it."""

from collections.abc import Iterator

import pytest
import torch

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.downstream import probe
from ecamp_fast.evidence.samples import Samples, held_out
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet

SMALL = [
    "model.vision.width=24",
    "model.vision.depth=1",
    "model.decoder.width=24",
    "model.decoder.depth=1",
    "model.text.width=32",
    "model.text.depth=1",
    "batch.micro=8",
]


@pytest.fixture(scope="module", autouse=True)
def _folds_are_dealt_out_once() -> Iterator[None]:
    """Of so few samples it would be twenty times, which finds another ridge and takes a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "REPEATED", 1)
        yield


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out = tmp_path_factory.mktemp("evidence") / "phantoms"
    build_phantoms(100, out, size=146, options=Options(holdout=0.3, workers=1))
    return ShardSet(out)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return load_recipe("worth", SMALL)


@pytest.fixture(scope="session")
def val(phantoms: ShardSet, recipe: Recipe) -> Samples:
    return held_out(phantoms, "val", recipe)


@pytest.fixture(scope="session")
def train(phantoms: ShardSet, recipe: Recipe) -> Samples:
    return held_out(phantoms, "train", recipe)


@pytest.fixture
def model(phantoms: ShardSet, recipe: Recipe) -> Ecamp:
    torch.manual_seed(0)
    return Ecamp(recipe, phantoms.manifest.vocab_size).eval()
