"""The recipe: whether it can be read, what it names, and how large its model is."""

from collections.abc import Iterator
from pathlib import Path

from ecamp_fast.doctor.check import Case
from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.machine import available_cores

VOCABULARY = 30000  # entries of the paper's tokenizer: assumed where there is no shard set


def recipe(case: Case) -> Iterator[Finding]:
    """Read and validate it, as a run would: by default ``paper``, without data ``demo``."""
    from ecamp_fast.config import load_recipe

    case.recipe = load_recipe(case.recipe_name or ("paper" if case.data else "demo"), case.overrides)
    found = f"{case.recipe.name}, digest {case.recipe.digest[:12]}"
    changes = f", changed: {', '.join(case.overrides)}" if case.overrides else ""
    yield ok("recipe", found + changes)


def initial_weights(case: Case) -> Iterator[Finding]:
    """The file of ``init_from``."""
    if case.recipe is None or not case.recipe.init_from:
        return
    path = Path(case.recipe.init_from)
    mend = "`ecamp-fast import` makes one; correct init_from or set it to null"
    if not path.is_file():
        yield fail("init_from", f"{path} is not a file", mend)
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as weights:
            count = len(list(weights.keys()))
    except (SafetensorError, OSError) as error:
        yield fail("init_from", f"{path} cannot be read as safetensors ({type(error).__name__})", mend)
        return
    yield ok("init_from", f"{path}, {count} tensors")


def loader_threads(case: Case) -> Iterator[Finding]:
    """Decoding threads of all ranks on this machine against its cores."""
    if case.recipe is None:
        return
    ranks = min(case.ranks, case.gpus) or case.ranks
    threads = ranks * case.recipe.loader.threads
    found = f"{ranks} rank(s) x {case.recipe.loader.threads} decoding threads on {available_cores()} cores"
    if threads > available_cores():
        yield warn("threads", found, f"--set loader.threads={max(1, available_cores() // ranks)}")
    else:
        yield ok("threads", found)


def model(case: Case) -> Iterator[Finding]:
    """Build the model without memory for its weights, and count them."""
    if case.recipe is None:
        return
    import torch

    from ecamp_fast.model.ecamp import Ecamp

    vocabulary = (case.shards.manifest.vocab_size if case.shards else 0) or VOCABULARY
    with torch.device("meta"):
        built = Ecamp(case.recipe, vocabulary)
    case.parameters = sum(weight.numel() for weight in built.parameters())
    assumed = "" if case.shards else " assumed"
    yield ok("model", f"{case.parameters / 1e6:.1f} M parameters, vocabulary of {vocabulary:,}{assumed}")
