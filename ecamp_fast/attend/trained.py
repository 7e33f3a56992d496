"""The trained GLoRIA of a run directory: its best checkpoint, else its exported weights, else its newest checkpoint.

And what reads sentences for it.
"""

import logging
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from ecamp_fast.attend.model import Gloria
from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.files import sha256_of
from ecamp_fast.run.checkpoint.engine_state import model_state
from ecamp_fast.run.checkpoint.find import find
from ecamp_fast.run.checkpoint.read import Checkpoint
from ecamp_fast.run.checkpoint.retention import best_of
from ecamp_fast.run.export import WEIGHTS
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.trained import read_recipe
from ecamp_fast.shards.load.captions import caption_encoder
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.packing.captions import CaptionEncoder

log = logging.getLogger(__name__)

_WORDS = "text.bert.embeddings.word_embeddings.weight"


def load_gloria(run: Path, device: torch.device | str = "cpu", *, best: bool = True) -> Gloria:
    """In evaluation mode and float32.

    best: the checkpoint with the lowest held-out loss, where the run kept one; False: how the run ended
    Raises ConfigError where ``run`` trained something else, DataError where it has no weights that verify and fit.
    """
    recipe = read_recipe(run)
    if not recipe.losses.gloria:
        raise ConfigError(f"{run} trained no GLoRIA", "name the OUT of `ecamp-fast attend train`")
    state = _state(run, best)
    if _WORDS not in state:
        raise DataError(f"{run} has no word embeddings among its weights", "train it anew")
    model = Gloria(recipe, len(state[_WORDS]), fresh=True)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"the weights of {run} do not fit its recipe: {error}", "restore recipe.yaml") from None
    return model.float().eval().to(device)


def reader_of(run: Path, recipe: Recipe, shards: ShardSet, tokenizer: Path | None = None) -> CaptionEncoder:
    """What brings sentences of a set to a run's words.

    tokenizer: file of the set that the run was trained on; None: that of ``shards``
    Raises DataError where there is none, and where the run was trained with another.
    """
    if recipe.gloria.bert:
        return caption_encoder(recipe, shards.wordpiece_path)
    hint = "name the tokenizer.json of the set that it was trained on: --tokenizer FILE"
    if tokenizer is None and not shards.manifest.tokenizer_digest:
        raise DataError(f"{shards.path} has no reports, and so no tokenizer", hint)
    file = tokenizer or shards.wordpiece_path
    encode = caption_encoder(recipe, file)
    trained = RunDir(run, writes=False).state().get("tokenizer")
    if trained and trained != (found := sha256_of(file)):
        raise DataError(f"{file} is tokenizer {found[:12]}, {run} was trained with {str(trained)[:12]}", hint)
    return encode


def _state(run: Path, best: bool) -> dict[str, Tensor]:
    folder, weights = run / "checkpoints", run / WEIGHTS
    name = best_of(folder)[0] if best and folder.is_dir() else None
    if name:
        return model_state(Checkpoint(folder / name))
    if weights.exists() and RunDir(run, writes=False).state().get("status", "complete") == "complete":
        return safetensors.torch.load_file(weights)
    path = find(folder, "must", lambda name, reason: log.warning("%s: %s", name, reason))
    assert path is not None  # "must"
    return model_state(Checkpoint(path))
