"""A tiny recipe, noise to train on, and phantoms in shards."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.engine import build_engine
from ecamp_fast.shards.builder.build import build_phantoms

TINY = [
    "image.high_size=64",
    "image.low_size=32",
    "model.vision.width=48",
    "model.vision.depth=1",
    "model.decoder.width=48",
    "model.decoder.depth=1",
    "model.text.width=48",
    "model.text.ffn=64",
    "model.text.dropout=0.1",
    "text.max_tokens=64",
    "batch.total=8",
    "batch.micro=4",
]
VOCABULARY = 100


@pytest.fixture
def tiny() -> Callable[..., Recipe]:
    """A recipe that trains in milliseconds, with changes."""
    return lambda *changes: load_recipe("demo", [*TINY, *changes])


@pytest.fixture
def make_engine(tiny: Callable[..., Recipe], context: DistContext, tmp_path: Path) -> Callable[..., Any]:
    """The engine of the tiny recipe: stage, precision, further keys of DeepSpeed's JSON."""

    def make(stage: int, precision: str, **keys: Any) -> Any:
        recipe = tiny(f"precision={precision}")
        file = tmp_path / "ds.json"
        zero = {"stage": stage}
        file.write_text(json.dumps({"zero_optimization": zero, "zero_allow_untested_optimizer": True} | keys))
        torch.manual_seed(1)
        model = Ecamp(recipe, VOCABULARY).to(context.device)
        return build_engine(model, recipe, deepspeed_config.resolve(file, recipe, context.world))

    return make


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "phantoms"
    build_phantoms(48, out, size=96)
    return out
