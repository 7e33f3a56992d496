"""From a job to what its loop needs: shard set, recipe with a micro-batch, model, engine. Nothing is written here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError
from ecamp_fast.model.compile import recompute_blocks
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.ready import make_ready
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.auto_batch import Memory, choose_micro, earlier_micro, measure
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.engine import build_engine
from ecamp_fast.shards.load.loader import Loader, require_text
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.weights.file import load_weights


@dataclass(frozen=True)
class Job:
    """What to train on what, and where it goes."""

    recipe: Recipe
    data: Path | str  # a folder, or an address of an object store
    out: Path
    ds_config: Path | None = None
    resume: str = "auto"


def open_shards(job: Job) -> ShardSet:
    """The shard set of the job.  Raises DataError where it is at fault, or lacks the text that the recipe reads."""
    loader = job.recipe.loader
    shards = ShardSet(job.data, spare=loader.quarantine, cache_gb=loader.cache_gb)
    require_text(shards, job.recipe, ("train", "val"))
    return shards


def settle_recipe(job: Job, shards: ShardSet, context: DistContext) -> tuple[Recipe, Memory | None]:
    """The recipe with a number for ``batch.micro``, and what that was chosen from, if it was chosen now.

    ``auto`` becomes the number of the run to go on with, or what the memory allows. Every rank calls it.
    Raises ConfigError where RUN was made with a recipe that trains something else.
    """
    recipe, memory = job.recipe, None
    if recipe.batch.micro == "auto":
        micro = None if job.resume == "never" else earlier_micro(job.out)
        if micro is None:
            micro, memory = choose_micro(recipe, context, lambda: _measure(job, shards, context))
        elif recipe.batch.total % (micro * context.world):
            found = f"{job.out} was started with a batch.micro of {micro}, which {context.world} ranks cannot share"
            raise ConfigError(found, "go on with the number of ranks it was started with, or choose another --out")
        recipe = recipe.with_micro(micro)
    if job.resume != "never":
        refuse_other_recipe(job.out, recipe)
    return recipe, memory


def refuse_other_recipe(out: Path, recipe: Recipe) -> None:
    """Raises ConfigError that names the keys where the run in ``out`` was made with a recipe that trains otherwise."""
    file = out / "recipe.yaml"
    if not file.exists():
        return
    before = load_recipe(file).identity()
    now = recipe.identity()
    differing = [f"{key} was {before[key]}, is {now[key]}" for key in now if now[key] != before.get(key)]
    if differing:
        raise ConfigError(f"{out} was started with another recipe: {'; '.join(differing)}", "choose another --out")


def build(recipe: Recipe, vocab_size: int, context: DistContext, ds_config: dict[str, Any]) -> Any:
    """The engine around a model with its first weights: drawn from the recipe's seed, or read from ``init_from``."""
    torch.manual_seed(recipe.seed)
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

    model = Ecamp(recipe, shards.manifest.vocab_size)
    if recipe.activations == "recompute":
        recompute_blocks(model)
    return measure(model, batch, recipe, context, deepspeed_config.zero_stage(job.ds_config))
