"""Files from before a parameter was renamed: state dicts, weights files and checkpoints are read to the bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import Recipe, dump_recipe
from ecamp_fast.model.ecamp import FORMER_NAMES, Ecamp
from ecamp_fast.run import checkpoint
from ecamp_fast.run.checkpoint import Position
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.step import OptimizerStep
from ecamp_fast.run.trained import ENGINE_WEIGHTS, load_trained
from ecamp_fast.weights.file import load_weights, save_weights

VOCABULARY = 100
RENAMED = {"text.fusion.globe.weight", "text.fusion.globe.bias"}
Make = Callable[..., Any]


def as_before(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names that files had."""
    found = {}
    for name, tensor in state.items():
        for former, current in FORMER_NAMES.items():
            name = name.replace(current, former)
        found[name] = tensor
    assert found.keys() >= RENAMED
    return found


def equal(ones: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return ones.keys() == others.keys() and all(torch.equal(ones[name], others[name]) for name in ones)


def test_a_state_dict(tiny: Callable[..., Recipe]) -> None:
    old, new = Ecamp(tiny(), VOCABULARY), Ecamp(tiny(), VOCABULARY)
    assert not equal(old.state_dict(), new.state_dict())
    new.load_state_dict(as_before(old.state_dict()))
    assert equal(old.state_dict(), new.state_dict())
    with pytest.raises(RuntimeError, match=r"text\.fusion\.unknown"):
        new.load_state_dict(old.state_dict() | {"text.fusion.unknown": torch.ones(1)})


def test_a_weights_file(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    old, new, file = Ecamp(tiny(), VOCABULARY), Ecamp(tiny(), VOCABULARY), tmp_path / "weights.safetensors"
    save_weights(old, file)
    with safetensors.safe_open(file, framework="pt") as saved:
        about = saved.metadata()
    safetensors.torch.save_file(as_before(old.state_dict()), file, about)
    report = load_weights(new, file)
    assert equal(old.state_dict(), new.state_dict())
    assert report.missing == report.ignored == []


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


def saved_as_before(engine: Any, folder: Path) -> Path:
    """A checkpoint of step 1 with the former names."""

    def rename(module: Any, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
        renamed = as_before(state)
        state.clear()
        state.update(renamed)

    hook = engine.module.register_state_dict_post_hook(rename)
    path = checkpoint.save(engine, folder, Position(1, 1, "d", "r"), keep=2)
    hook.remove()
    stored = torch.load(path / ENGINE_WEIGHTS, weights_only=True)["module"]
    assert stored.keys() >= RENAMED and not any("global_proj" in name for name in stored)
    return path


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_checkpoint_goes_on_to_the_bit(
    make_engine: Make, step: Callable[[Any, int], None], tmp_path: Path, stage: int
) -> None:
    old, new = make_engine(stage, "bf16"), make_engine(stage, "bf16")
    step(old, 0)
    path = saved_as_before(old, tmp_path / "checkpoints")
    assert checkpoint.restore(new, path, Position(0, 1, "d", "r")) == 1
    assert equal(old.module.state_dict(), new.module.state_dict())
    before = {name: tensor.clone() for name, tensor in new.module.state_dict().items()}
    for engine in (old, new):
        step(engine, 1)
    assert equal(old.module.state_dict(), new.module.state_dict())
    assert not equal(before, new.module.state_dict())


def test_the_model_of_a_running_job(make_engine: Make, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    run, engine = tmp_path / "run", make_engine(2, "bf16")
    saved_as_before(engine, run / "checkpoints")
    (run / "recipe.yaml").write_text(dump_recipe(tiny("precision=bf16")), encoding="utf-8")
    (run / "run_state.json").write_text(json.dumps({"status": "running"}), encoding="utf-8")
    expected = {name: tensor.float() for name, tensor in engine.module.state_dict().items()}
    assert equal(load_trained(run).state_dict(), expected)
