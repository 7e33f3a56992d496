"""From a job to what its loop needs: shard set, recipe with a micro-batch, model, engine. Nothing is written here."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.config.changes import judge_changes, settings_of
from ecamp_fast.config.deepspeed_json import read_json
from ecamp_fast.model.compile import recompute_blocks
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.ready import make_ready
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.auto_batch import Memory, choose_micro, earlier_micro, measure
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.engine import build_engine
from ecamp_fast.shards.load.loader import Loader, require_text
from ecamp_fast.shards.load.mix import Data, open_data
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.weights.file import load_weights

# A model by recipe and vocabulary, with its first weights. Its ``forward`` takes a ``Batch`` and gives ``Losses``, its
# ``losses_and_words`` what ``run.evaluate`` asks for, its ``recipe`` is the one it was made by.
MakeModel = Callable[[Recipe, int], nn.Module]


@dataclass(frozen=True)
class Job:
    """What to train on what, and where it goes.

    model  None: ECAMP itself
    track  where the numbers of metrics.jsonl go too (``tracking.choice``)
    """

    recipe: Recipe
    data: Data  # a folder, or what ``--data`` says
    out: Path
    ds_config: Path | None = None
    resume: str = "auto"
    allow: tuple[str, ...] = ()  # keys that may differ from what the run was trained with so far
    model: MakeModel | None = None
    track: str | None = None


def open_shards(job: Job) -> ShardSet:
    """The data of the job.  Raises DataError where it is at fault, or lacks the text that the recipe reads."""
    loader = job.recipe.loader
    shards = open_data(job.data, spare=loader.quarantine, cache_gb=loader.cache_gb)
    require_text(shards, job.recipe, ("train", "val"))
    return shards


def settle_recipe(job: Job, shards: ShardSet, context: DistContext) -> tuple[Recipe, Memory | None]:
    """The recipe with a number for ``batch.micro``, and what that was chosen from, if it was chosen now.

    ``auto`` becomes the number of the run to go on with, where these ranks can share it, or what the memory allows.
    Every rank calls it.
    """
    recipe, memory = job.recipe, None
    if recipe.batch.micro == "auto":
        micro = None if job.resume == "never" else earlier_micro(job.out)
        if micro is None or recipe.batch.total % (micro * context.world):
            micro, memory = choose_micro(recipe, context, lambda: _measure(job, shards, context))
        recipe = recipe.with_micro(micro)
    return recipe, memory


def judge_run(out: Path, recipe: Recipe, ds_config: dict[str, Any], allow: Collection[str]) -> list[str]:
    """What differs from the run in ``out`` as it was trained so far, in words; ``allow`` names all of it.

    Raises ConfigError where it does not, or it would be another run.
    """
    recipe_file, json_file = out / "recipe.yaml", out / "ds_config.json"
    if not recipe_file.exists():
        return []
    before = settings_of(load_recipe(recipe_file), read_json(json_file) if json_file.exists() else ds_config)
    return judge_changes(before, settings_of(recipe, ds_config), allow, str(out))


def build(
    recipe: Recipe,
    vocab_size: int,
    context: DistContext,
    ds_config: dict[str, Any],
    make: MakeModel | None = None,
) -> Any:
    """The engine around a model with its first weights: drawn from the recipe's seed, or read from ``init_from``.

    make: ``Job.model``
    """
    torch.manual_seed(recipe.seed)
    if make:
        return build_engine(make(recipe, vocab_size).to(context.device), recipe, ds_config)
    model = Ecamp(recipe, vocab_size)
    if recipe.init_from:
        load_weights(model, Path(recipe.init_from), recipe.init_parts)
    return build_engine(make_ready(model, recipe, context.device), recipe, ds_config)


def _measure(job: Job, shards: ShardSet, context: DistContext) -> Memory:
    """On samples of this run, with a model that is dropped again."""
    recipe = job.recipe

    def batch(samples: int) -> Batch:
        loader = Loader(shards, "train", recipe.with_micro(samples), world=context.world, device=context.device)
        return next(loader.batches(0, 1))

    model: nn.Module
    if job.model:
        model = job.model(recipe, shards.manifest.vocab_size)
    else:
        model = Ecamp(recipe, shards.manifest.vocab_size)
        if recipe.activations == "recompute":
            recompute_blocks(model)
    return measure(model, batch, recipe, context, deepspeed_config.zero_stage(job.ds_config))
