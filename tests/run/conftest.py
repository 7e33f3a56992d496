"""A tiny recipe, noise to train on, and phantoms in shards."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import Recipe, dump_recipe, load_recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.engine import build_engine
from ecamp_fast.run.step import OptimizerStep
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


@pytest.fixture(autouse=True)
def no_loader_goes_on() -> Iterator[None]:
    """However a run ended, with the error in somebody's hands, none of its loaders' threads is left."""
    yield
    until = time.monotonic() + 10
    while left := [thread for thread in threading.enumerate() if thread.name == "ecamp-fast-loader"]:
        assert time.monotonic() < until, left
        time.sleep(0.02)


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


@pytest.fixture
def step(tiny: Callable[..., Recipe], context: DistContext) -> Callable[[Any, int], None]:
    """Optimizer step number ``n`` of an engine, always on the same batches."""
    recipe = tiny()
    batch = synthetic_batch(recipe, VOCABULARY, [20, 30, 40, 64]).to(context.device)

    def take(engine: Any, number: int) -> None:
        optimizer_step = OptimizerStep(engine, recipe, context, clipping=0.0)
        optimizer_step.backward(number, 1e-3, iter([batch] * 2))
        assert optimizer_step.update().applied

    return take


@pytest.fixture
def seal_former() -> Callable[..., Path]:
    """Give DeepSpeed's files of a step the manifest of versions up to 0.1, which makes them a checkpoint of these."""

    def seal(folder: Path, world: int = 1) -> Path:
        files = []
        for file in sorted(path for path in folder.iterdir() if path.name != "MANIFEST.json"):
            data = file.read_bytes()
            files.append({"name": file.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        position = {"step": int(folder.name[5:]), "world": world, "data": "d", "recipe": "r", "aligned": True}
        body = {"format": 1, "position": position, "versions": {"torch": torch.__version__}, "files": files}
        (folder / "MANIFEST.json").write_text(json.dumps(body, indent=1) + "\n")
        return folder

    return seal


@pytest.fixture
def former_run(
    tiny: Callable[..., Recipe], seal_former: Callable[..., Path], tmp_path: Path
) -> Callable[[Any, str, int], Path]:
    """A run directory as versions up to 0.1 left it, with a checkpoint of an engine by ``make_engine``."""

    def leave(engine: Any, precision: str, number: int) -> Path:
        run, recipe = tmp_path / "run", tiny(f"precision={precision}")
        folder = run / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"step-{number:08d}").mkdir(mode=0o700)
        engine.save_checkpoint(str(folder), tag=f"step-{number:08d}", save_latest=False)
        seal_former(folder / f"step-{number:08d}")
        (run / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
        resolved = deepspeed_config.resolve(tmp_path / "ds.json", recipe, 1)
        (run / "ds_config.json").write_text(json.dumps(resolved))
        return run

    return leave


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "phantoms"
    build_phantoms(48, out, size=96)
    return out
