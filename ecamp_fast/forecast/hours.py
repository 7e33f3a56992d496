"""How long a run takes: by a step of this machine that was measured, else by the roofline, and then PROJECTED."""

import shlex
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ecamp_fast.bench.report import result_files
from ecamp_fast.bench.report.result_files import bench_of, device_of, read_results
from ecamp_fast.bench.roofline.counted_step import count_step
from ecamp_fast.bench.roofline.step import chip_of, step_roofline
from ecamp_fast.bench.roofline.zero import Zero
from ecamp_fast.bench.timing import environment
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.config.load import recipe_names
from ecamp_fast.errors import EcampError
from ecamp_fast.forecast.memory import SPREAD
from ecamp_fast.run.rundir import RunDir, read_metrics

MEASURED, PROJECTED, UNKNOWN = "measured", "PROJECTED", "unknown"
_OF_A_STEP = (  # what decides how long one takes, beside the micro-batch
    *("model", "image", "text", "masking", "fusion", "losses", "align", "gloria"),
    *("precision", "activations", "float8", "compile", "share_projections"),
)
RESULTS = Path(result_files.__file__).resolve().parents[1] / "results"  # beside the package, wherever it is called from
PAPERS = "A100", "H100"  # chips that hours are projected for where this machine has none of the calculated ones


def hours_of(recipe: Recipe, run: Path, ranks: int, steps: int, facts: tuple[int, float], stage: int) -> dict[str, Any]:
    """kind, source, images_per_second and hours (each least and most of all ranks; None where not known), elsewhere
    (chip -> hours of as many of them, PROJECTED; where this machine is none of the calculated ones).

    run    its directory: an earlier leg may have told
    steps  that are left
    facts  vocabulary, tokens of a text
    """
    images = steps * recipe.batch.total
    cuda = torch.cuda.is_available()
    found = _of_run(recipe, run, ranks) or _of_bench(recipe, ranks, cuda)
    if found is None and cuda and (chip := chip_of(torch.cuda.get_device_name())):
        found = PROJECTED, f"the roofline of {chip}", _projected(recipe, ranks, facts, stage, (chip,))[chip]
    elsewhere = {}
    if found is None:
        found = UNKNOWN, "no measured step on this machine", None
        elsewhere = _projected(recipe, ranks, facts, stage, PAPERS)
    kind, source, rates = found
    return {
        "kind": kind,
        "source": source,
        "images_per_second": rates,
        "hours": _hours(images, rates),
        "elsewhere": {chip: _hours(images, rate) for chip, rate in elsewhere.items()},
    }


def _hours(images: int, rates: list[float] | None) -> list[float] | None:
    return [images / rate / 3600 for rate in reversed(rates)] if rates else None


Found = tuple[str, str, list[float] | None]


def _of_run(recipe: Recipe, run: Path, ranks: int) -> Found | None:
    """By metrics.jsonl of an earlier leg that computed the same, on as many ranks of the same device."""
    try:
        state = RunDir(run, writes=False).state()
        before = load_recipe(run / "recipe.yaml") if (run / "recipe.yaml").is_file() else None
    except EcampError:
        return None
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    if before is None or (state.get("ranks"), state.get("device")) != (ranks, device):
        return None
    if not _alike(before, recipe):
        return None
    lines = [line["images_per_second"] for line in read_metrics(run) if line.get("images_per_second")]
    warm = lines[1:] or lines  # the first holds what is compiled and tuned
    if not warm:
        return None
    rate = float(median(warm))
    return MEASURED, f"{len(warm)} line(s) of {run / 'metrics.jsonl'}", [rate, rate]


def _of_bench(recipe: Recipe, ranks: int, cuda: bool) -> Found | None:
    """By `bench train` of the recipe on this device and as many cores; one rank's rate, times the ranks on GPUs."""
    if not RESULTS.is_dir():
        return None
    machine = environment()
    try:
        results = read_results(RESULTS)
    except EcampError:
        return None
    for name, result in results.items():
        ours = device_of(result) == machine["device"] and result.get("environment", {}).get("cores") == machine["cores"]
        if bench_of(name, result) != "train" or not ours:
            continue
        measured = _benched(result)
        if measured is None or not _alike(measured, recipe):
            continue
        feeds = result.get("feeds", {})
        rate = feeds.get("shards", feeds.get("memory", {})).get("images_per_second")
        if rate and (cuda or ranks == 1):
            words = f", {result['vocabulary']:,} words" if "vocabulary" in result else ""
            source = f"{RESULTS / name}, one rank{f' times {ranks}' if ranks > 1 else ''}{words}"
            return MEASURED, source, [rate * ranks] * 2
    return None


def _benched(result: dict[str, Any]) -> Recipe | None:
    """The recipe that ``bench train`` measured, by its command line; None where that does not tell, or names a file."""
    try:
        words = shlex.split(str(result.get("command", "")))
    except ValueError:
        return None
    given: dict[str, list[str]] = {"--recipe": ["paper"], "--set": []}
    for word, behind in zip(words, [*words[1:], ""], strict=False):
        option, equals, value = word.partition("=")
        if option in given:
            given[option].append(value if equals else behind)
    name = given["--recipe"][-1]
    if words[1:3] != ["bench", "train"] or name not in recipe_names():
        return None
    try:
        return load_recipe(name, given["--set"])
    except EcampError:  # of another version
        return None


def _alike(one: Recipe, other: Recipe) -> bool:
    """Whether a micro-step of one is that of the other."""
    return one.batch.micro == other.batch.micro and all(getattr(one, n) == getattr(other, n) for n in _OF_A_STEP)


def _projected(
    recipe: Recipe, ranks: int, facts: tuple[int, float], stage: int, chips: tuple[str, ...]
) -> dict[str, list[float]]:
    """chip -> images a second of as many GPUs, from the doubter's end to the optimistic one.

    Nothing for a recipe whose step no roofline counts: of another model, or in float32.
    """
    if recipe.losses.gloria or recipe.precision != "bf16":
        return {}
    vocabulary, tokens = facts
    step = count_step(recipe, max(vocabulary, 8), min(tokens or 2.0, recipe.text.max_tokens), SPREAD)
    zero = Zero(stage=stage, ranks=ranks, micro_steps=recipe.accumulation(ranks))
    groups = step.groups(min(tokens or 2.0, recipe.text.max_tokens), recipe.micro, zero)
    found = {}
    for chip in chips:
        rows = {row["assumption"]: row["images_per_second"] for row in step_roofline(groups, recipe.micro, chip)}
        found[chip] = [rows["doubter"] * ranks, rows["optimistic"] * ranks]
    return found
