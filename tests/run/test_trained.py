"""The trained model of a run: exported weights when it is complete, else the newest checkpoint that verifies."""

from pathlib import Path

import pytest
import torch

from ecamp_fast.config import Recipe, dump_recipe, load_recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run.checkpoint.commit import save
from ecamp_fast.run.checkpoint.engine_state import BUFFER, WEIGHT
from ecamp_fast.run.checkpoint.manifest import Position
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.trained import load_trained
from ecamp_fast.weights.file import save_weights

SMALL = [
    *("model.vision.width=24", "model.vision.depth=1", "model.vision.heads=2", "model.decoder.width=24"),
    *("model.decoder.depth=1", "model.decoder.heads=2", "model.text.width=24", "model.text.ffn=24"),
]
WORDS = 40


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("demo", SMALL)


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe) -> Path:
    path = tmp_path / "run"
    RunDir(path).set_state(status="running")
    (path / "recipe.yaml").write_text(dump_recipe(recipe))
    return path


def write_checkpoint(run: Path, step: int, model: Ecamp) -> Path:
    """A checkpoint with the tensors of a model, as engines write them."""
    parameters = dict(model.named_parameters())  # one of tied ones
    tensors = {f"{WEIGHT}{name}": parameter.detach() for name, parameter in parameters.items()}
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    tensors |= {f"{BUFFER}{name}": value for name, value in model.state_dict().items() if name not in every}
    return save(run / "checkpoints", tensors, Position(step=step))


def weight(model: Ecamp) -> torch.Tensor:
    return model.encoder.blocks[0].fc1.weight


def test_a_running_job_shows_its_newest_whole_checkpoint(run: Path, recipe: Recipe) -> None:
    older, newer = Ecamp(recipe, WORDS), Ecamp(recipe, WORDS)
    write_checkpoint(run, 10, older)
    folder = write_checkpoint(run, 20, newer)
    found = load_trained(run)
    assert weight(found).dtype == torch.float32 and not found.training
    assert torch.equal(weight(found), weight(newer))
    next(folder.glob("rank-*")).write_bytes(b"damaged")
    assert torch.equal(weight(load_trained(run)), weight(older))


def test_a_complete_run_shows_its_exported_weights(run: Path, recipe: Recipe) -> None:
    write_checkpoint(run, 10, Ecamp(recipe, WORDS))
    exported = Ecamp(recipe, WORDS)
    save_weights(exported, run / "weights.safetensors")
    assert not torch.equal(weight(load_trained(run)), weight(exported))  # still running: an export would be a stale one
    RunDir(run).set_state(status="complete")
    assert torch.equal(weight(load_trained(run)), weight(exported))


@pytest.mark.parametrize("setting", ["model.tie_embeddings=true", "losses.mlm=false"])
def test_recipes_whose_vocabulary_lies_elsewhere(run: Path, setting: str) -> None:
    recipe = load_recipe("demo", [*SMALL, setting])
    (run / "recipe.yaml").write_text(dump_recipe(recipe))
    exported = Ecamp(recipe, WORDS)
    write_checkpoint(run, 10, exported)
    assert torch.equal(weight(load_trained(run)), weight(exported))
    save_weights(exported, run / "weights.safetensors")
    RunDir(run).set_state(status="complete")
    assert torch.equal(weight(load_trained(run)), weight(exported))


def test_nothing_to_load_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no checkpoint"):
        load_trained(run)
    with pytest.raises(ConfigError, match="not a run directory"):
        load_trained(tmp_path)


def test_weights_of_another_recipe_are_refused(run: Path, recipe: Recipe) -> None:
    write_checkpoint(run, 10, Ecamp(load_recipe("demo", [*SMALL, "model.vision.depth=2"]), WORDS))
    with pytest.raises(DataError, match="does not fit the recipe"):
        load_trained(run)
