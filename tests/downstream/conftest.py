"""A small trained encoder and a small phantom set, for all tests of tasks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.weights.export import to_ours


@pytest.fixture(scope="session")
def tiny(small: Callable[..., Recipe]) -> Ecamp:
    torch.manual_seed(3)
    model = Ecamp(small("official"), 30).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="session")
def tiny_run(tiny: Ecamp, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("tiny") / "run"
    run.mkdir()
    to_ours.write(tiny, run)
    return run


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out = tmp_path_factory.mktemp("shards") / "phantoms"
    build_phantoms(160, out, size=72, options=Options(holdout=0.5))
    return ShardSet(out)
