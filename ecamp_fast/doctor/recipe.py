"""The recipe: whether it can be read, what it names, and how large its model is."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.machine import available_cores

if TYPE_CHECKING:
    from torch import nn

    from ecamp_fast.config import Recipe

VOCABULARY = 30000  # entries of the paper's tokenizer: assumed where there is no shard set


def recipe(setup: RunSetup) -> Iterator[Finding]:
    """Read and validate it, as a run would: by default ``paper``, without data ``demo``."""
    from ecamp_fast.config import load_recipe

    setup.recipe = load_recipe(setup.recipe_name or ("paper" if setup.data else "demo"), setup.overrides)
    found = f"{setup.recipe.name}, digest {setup.recipe.digest[:12]}"
    changes = f", changed: {', '.join(setup.overrides)}" if setup.overrides else ""
    yield ok("recipe", found + changes)


def initial_weights(setup: RunSetup) -> Iterator[Finding]:
    """The file of ``init_from``."""
    if setup.recipe is None or not setup.recipe.init_from:
        return
    path = Path(setup.recipe.init_from)
    hint = "`ecamp-fast import` makes one; correct init_from or set it to null"
    if not path.is_file():
        yield fail("init_from", f"{path} is not a file", hint)
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as weights:
            count = len(list(weights.keys()))
    except (SafetensorError, OSError) as error:
        yield fail("init_from", f"{path} cannot be read as safetensors ({type(error).__name__})", hint)
        return
    yield ok("init_from", f"{path}, {count} tensors")


def loader_threads(setup: RunSetup) -> Iterator[Finding]:
    """Decoding threads of all ranks on this machine against its cores."""
    if setup.recipe is None:
        return
    ranks = min(setup.ranks, setup.gpus) or setup.ranks
    threads = ranks * setup.recipe.loader.threads
    found = f"{ranks} rank(s) x {setup.recipe.loader.threads} decoding threads on {available_cores()} cores"
    if threads > available_cores():
        yield warn("threads", found, f"--set loader.threads={max(1, available_cores() // ranks)}")
    else:
        yield ok("threads", found)


def model(setup: RunSetup) -> Iterator[Finding]:
    """Build the model without memory for its weights, and count them."""
    if setup.recipe is None:
        return
    vocabulary = (setup.shards.manifest.vocab_size if setup.shards else 0) or VOCABULARY
    built = meta_model(setup.recipe, vocabulary)
    setup.parameters = sum(weight.numel() for weight in built.parameters())
    assumed = "" if setup.shards else " assumed"
    kind = "GLoRIA, " if setup.recipe.losses.gloria else ""
    yield ok("model", f"{kind}{setup.parameters / 1e6:.1f} M parameters, vocabulary of {vocabulary:,}{assumed}")


def meta_model(recipe: "Recipe", vocabulary: int) -> "nn.Module":
    """The model that a run of the recipe trains, without memory for its weights, on the meta device."""
    import torch

    with torch.device("meta"):
        if recipe.losses.gloria:
            from ecamp_fast.attend.model import Gloria

            return Gloria(recipe, vocabulary, fresh=True)
        from ecamp_fast.model.ecamp import Ecamp

        return Ecamp(recipe, vocabulary)
