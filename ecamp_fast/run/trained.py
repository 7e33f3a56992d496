"""The trained model of a run directory: its exported weights once it is complete, its newest checkpoint before."""

import logging
from pathlib import Path

import safetensors
import torch

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run.checkpoint.engine_state import model_state
from ecamp_fast.run.checkpoint.find import find
from ecamp_fast.run.checkpoint.read import Checkpoint
from ecamp_fast.run.export import WEIGHTS
from ecamp_fast.run.rundir import RunDir, require_run
from ecamp_fast.weights.file import VOCABULARY, WORD, load_weights

log = logging.getLogger(__name__)


def load_trained(run: Path, device: torch.device | str = "cpu") -> Ecamp:
    """The model of a run, complete or not, or of the folder ``ours`` of an export; in evaluation mode and float32.

    Raises ConfigError where ``run`` is neither, DataError where it has no weights that verify and fit.
    """
    recipe, weights = read_recipe(run), run / WEIGHTS
    if recipe.losses.gloria:
        raise ConfigError(f"{run} holds a GLoRIA, no ECAMP", "name a run of `ecamp-fast train` on another recipe")
    complete = RunDir(run, writes=False).state().get("status", "complete") == "complete"  # an export has no state
    model = _exported(recipe, weights) if complete and weights.exists() else _newest(recipe, run)
    return model.float().eval().to(device)


def read_recipe(run: Path) -> Recipe:
    """The resolved recipe that a run was started with.  Raises ConfigError where there is none."""
    require_run(run)
    file = run / "recipe.yaml"
    if not file.exists():
        raise ConfigError(f"{run} is not a run directory: it has no recipe.yaml", "name the folder given as --out")
    return load_recipe(file)


def tokenizer_fault(run: Path, model: Ecamp, digest: str, vocab_size: int) -> str:
    """Why a model cannot read words of a tokenizer: it was trained with another; '' if it can, or has no text side.

    digest, vocab_size: of the tokenizer, as a manifest has them. An export does not say which it was: its size tells.
    """
    if model.text is None:
        return ""
    known = RunDir(run, writes=False).state().get("tokenizer")
    if known and digest and known != digest:
        return f"its words are of tokenizer {digest[:12]}, the model's of {str(known)[:12]}"
    if model.vocab_size != vocab_size:
        return f"its vocabulary has {vocab_size:,} words, the model's {model.vocab_size:,}"
    return ""


def _exported(recipe: Recipe, path: Path) -> Ecamp:
    with safetensors.safe_open(path, framework="pt") as file:
        known = WORD in file.keys()  # noqa: SIM118, not a mapping
        vocab_size = file.get_slice(WORD).get_shape()[0] if known else 1
    model = Ecamp(recipe, vocab_size)
    load_weights(model, path)
    return model


def _newest(recipe: Recipe, run: Path) -> Ecamp:
    path = find(run / "checkpoints", "must", lambda name, reason: log.warning("%s: %s", name, reason))
    assert path is not None  # "must"
    state = model_state(Checkpoint(path))
    model = Ecamp(recipe, len(state[WORD]) if WORD in state else 1)
    if model.text and recipe.model.tie_embeddings:
        state[VOCABULARY] = state[WORD]  # one parameter under two names
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"{path} does not fit the recipe of {run}: {error}", "restore recipe.yaml") from None
    return model
