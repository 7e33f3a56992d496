"""The training step as a run takes it, DeepSpeed included: fed from memory, then by the loader, in turns.

Both feeds give batches of the same shards; what the loader's takes longer is the time that the step waits for data.
With ``--synthetic`` there are batches of noise from memory only, and neither shards nor DALI are needed.
"""

import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.bench.options import SPREAD, TOKENS, VOCABULARY, recipe_options
from ecamp_fast.errors import ConfigError
from ecamp_fast.usage.options import FiniteRange, data_option, ds_config_option, json_option

if TYPE_CHECKING:
    from ecamp_fast.bench.step.feeds import Feeds
    from ecamp_fast.config import Recipe

PHANTOMS = 64


@click.command()
@recipe_options()
@data_option("Shard set: folder, s3://, gs:// or https://. Default: phantoms.")
@click.option("--synthetic", is_flag=True, help="Batches of noise from memory; no shards, no decoding.")
@click.option("--tokens", type=FiniteRange(2), help="Mean length of a synthetic text. Default: 110.")
@click.option("--steps", default=10, show_default=True, type=click.IntRange(1), help="Optimizer steps of a block.")
@click.option("--blocks", default=3, show_default=True, type=click.IntRange(1), help="Blocks of each feed.")
@ds_config_option()
@click.option("--profile", is_flag=True, help="On a GPU: list the kernels of a step, its launches and its gaps.")
@click.option("--vocabulary", type=click.IntRange(8), help="Words, at least. Default: the set's; 30,000 on phantoms.")
@json_option()
def command(
    name: str,
    overrides: tuple[str, ...],
    data: str | None,
    synthetic: bool,
    tokens: float | None,
    steps: int,
    blocks: int,
    ds_config: str,
    profile: bool,
    vocabulary: int | None,
    as_json: bool,
) -> None:
    """Images a second of the whole training step on one rank, and the share of it that waits for data.

    Exit code 1: the engine computes something else than the plain model, so no times are given.

    \b
    Example:
      ecamp-fast bench train --data SHARDS --ds_config zero1
    """
    from ecamp_fast.config import load_recipe
    from ecamp_fast.run.deepspeed_config import find
    from ecamp_fast.shards.builder.build import build_phantoms

    if (synthetic and data is not None) or (tokens is not None and not synthetic):
        raise ConfigError("--synthetic without --data, --tokens with --synthetic", "leave one of them out")
    recipe = load_recipe(name, overrides)

    def before(result: dict[str, Any]) -> None:
        if as_json:
            click.echo(json.dumps(result))  # should the profiler take this process down

    with tempfile.TemporaryDirectory(prefix="ecamp-fast-") as folder:
        if data is None and not synthetic:
            # a phantom set's own vocabulary is smaller, which would flatter the head
            data, vocabulary = str(Path(folder) / "phantoms"), vocabulary or VOCABULARY
            size = math.ceil(recipe.image.high_size / math.sqrt(recipe.image.crop_area[0]))
            click.echo(f"no --data: drawing {PHANTOMS} phantoms of {size} pixels", err=True)
            build_phantoms(PHANTOMS, Path(data), size=size)
        result = measure(
            recipe, data, steps, blocks, find(ds_config), vocabulary or 0, tokens or TOKENS, before if profile else None
        )
    click.echo(json.dumps(result) if as_json else describe(result))
    if not result["parity"]["passed"]:
        click.get_current_context().exit(1)


def measure(
    recipe: "Recipe",
    data: Path | str | None,
    steps: int,
    blocks: int,
    ds_config: Path | None = None,
    vocabulary: int = 0,
    tokens: float = TOKENS,
    profile: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """All that the command prints.  data: None for noise, with texts of ``tokens`` on average   steps: of a block

    vocabulary: words of the model, at least   profile: watch one more step on a GPU; it is given the result before
    returns feeds (``memory`` and, of data, ``shards``: images_per_second, step_seconds, tokens, predicted,
    flops_per_sample, flops_per_second, mfu), stall_share, parity, launches (see ``launches.launches``, or None),
    peak_memory_bytes and _kind, and what it was measured on. Without parity there are no feeds.
    Raises ConfigError on several ranks.
    """
    from ecamp_fast.run.distributed import init, shutdown

    context = init()
    try:
        if context.world > 1:
            raise ConfigError(f"bench train runs on one rank, not {context.world}", "use ecamp-fast bench scaling")
        vocab_size, feeds = _source(recipe, data, vocabulary, tokens, context.device)
        return _measure(recipe, vocab_size, feeds, (steps, blocks), ds_config, context, profile)
    finally:
        shutdown()


def _source(
    recipe: "Recipe", data: Path | str | None, vocabulary: int, tokens: float, device: Any
) -> tuple[int, "Feeds"]:
    """Words of the model, and what gives the batches."""
    from ecamp_fast.bench.step.feeds import Noise, Shards
    from ecamp_fast.shards.load.read import ShardSet

    if data is None:
        words = vocabulary or VOCABULARY
        return words, Noise(recipe, words, tokens, SPREAD, device)
    shards = ShardSet(data, cache_gb=recipe.loader.cache_gb)
    return max(vocabulary, shards.manifest.vocab_size), Shards(shards, recipe, device)


def _measure(
    recipe: "Recipe",
    vocab_size: int,
    feeds: "Feeds",
    times: tuple[int, int],
    ds_config: Path | None,
    context: Any,
    profile: Callable[[dict[str, Any]], None] | None,
) -> dict[str, Any]:
    """times: steps of a block, blocks"""
    import torch

    from ecamp_fast.bench.report.result_files import origin, peak_memory, versions
    from ecamp_fast.bench.step.engines import DeepSpeed
    from ecamp_fast.bench.step.launches import launches
    from ecamp_fast.bench.step.parity import parity
    from ecamp_fast.run.deepspeed_config import aligned, resolve

    resolved = resolve(ds_config, recipe, context.world)
    engine = DeepSpeed(recipe, vocab_size, context, resolved)
    result = origin("train") | {
        "recipe": recipe.name,
        "on": context.device.type,
        "precision": recipe.precision,
        "zero_stage": resolved.get("zero_optimization", {}).get("stage", 0),
        "aligned": aligned(resolved),
        "batch": recipe.micro,
        "accumulation": engine.accumulation,
        "steps": times[0],
        "blocks": times[1],
        "vocabulary": vocab_size,
        "threads": torch.get_num_threads(),
        "loader_threads": recipe.loader.threads,
        "parity": parity(engine, feeds.gate),
        "feeds": {},
        "stall_share": None,
        "launches": None,
    }
    if result["parity"]["passed"]:
        result |= _timed(engine, feeds, recipe, context.device, *times)
        if profile:
            profile(result | peak_memory() | {"environment": versions()})
            with feeds.open("memory", 2) as batches:
                result["launches"] = launches(lambda: engine.step(batches), context.device)
    return result | peak_memory() | {"environment": versions()}


def _timed(engine: Any, feeds: "Feeds", recipe: "Recipe", device: Any, steps: int, blocks: int) -> dict[str, Any]:
    """``feeds`` and ``stall_share``: a turn of each feed that does not count, then ``blocks`` of each."""
    import torch

    settle = feeds.settle(engine.accumulation)
    work = feeds.count_work(engine.model, engine.accumulation, steps)
    seconds: dict[str, list[list[float]]] = {name: [] for name in feeds.names}
    for turn in range(blocks + 1):
        if turn == 1 and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for name, found in seconds.items():
            with feeds.open(name, settle + steps) as batches:
                block = _block(engine, batches, settle, steps, device)
            if turn:
                found.append(block)
    images = recipe.micro * engine.accumulation
    rates = {name: _rates(found, work[name], images, device) for name, found in seconds.items()}
    stall = None
    if "shards" in rates:
        stall = 1 - rates["shards"]["images_per_second"] / rates["memory"]["images_per_second"]
    return {"feeds": rates, "stall_share": stall}


def _block(engine: Any, batches: Iterator[Any], settle: int, steps: int, device: Any) -> list[float]:
    """Seconds of each of ``steps`` optimizer steps, after ``settle`` that do not count."""
    from ecamp_fast.bench.step.timed_step import Stopwatch

    for _ in range(settle):
        engine.step(batches)
    watch = Stopwatch(device)
    watch.mark()
    for _ in range(steps):
        engine.step(batches)
        watch.mark()
    return watch.laps()


def _rates(blocks: list[list[float]], work: dict[str, float], images: int, device: Any) -> dict[str, Any]:
    """Seconds as rates.  blocks: seconds of every step, by block   images: of a step."""
    import statistics

    import torch

    from ecamp_fast.chips import find_chip

    steps = sorted(second for block in blocks for second in block)
    rate = images / statistics.median(sum(block) / len(block) for block in blocks)  # a mean: rare waits count
    chip = find_chip(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    flops = rate * work["flops_per_sample"]
    p99 = steps[min(len(steps) - 1, math.ceil(0.99 * len(steps)) - 1)]
    return {
        "images_per_second": rate,
        "step_seconds": {"median": statistics.median(steps), "p99": p99},
        **work,
        "flops_per_second": flops,
        "mfu": flops / chip.bf16 if chip else None,
    }


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    from ecamp_fast.bench.step.parity import describe_parity

    where = result["environment"]
    device = where["device"] if result["on"] == "cuda" else f"{result['threads']} threads of {where['device']}"
    lines = [
        f"{device}, torch {where['torch']}, DeepSpeed {where['deepspeed']}, commit {where['commit']}",
        f"recipe {result['recipe']} in {result['precision']}, ZeRO-{result['zero_stage']}, weights"
        f" {'aligned' if result['aligned'] else 'as DeepSpeed lays them'}, one rank,"
        f" micro-batch {result['batch']} x {result['accumulation']}, vocabulary {result['vocabulary']}",
        describe_parity(result["parity"]),
    ]
    for feed, found in result["feeds"].items():
        mfu = "" if found["mfu"] is None else f", {found['mfu']:.1%} of the chip's peak"
        seconds = found["step_seconds"]
        lines.append(
            f"from {feed:6}: {found['images_per_second']:,.1f} images/s, {found['flops_per_second'] / 1e9:,.0f} GFLOP/s"
            f"{mfu}; step {seconds['median'] * 1e3:.1f} ms, p99 {seconds['p99'] * 1e3:.1f};"
            f" {found['tokens']:.1f} tokens a text, {found['predicted']:.1f} predicted"
        )
    if result["launches"]:
        lines += _launch_lines(result["launches"])
    if result["stall_share"] is not None:
        lines.append(f"waits for data: {result['stall_share']:.1%} of the step")
    lines.append(f"at the peak {result['peak_memory_bytes'] / 2**30:.2f} GiB ({result['peak_memory_kind']})")
    return "\n".join(lines)


def _launch_lines(found: dict[str, Any]) -> list[str]:
    if "fault" in found:
        return [f"kernels of a step: {found['fault']}"]
    seconds = f"{found['seconds'] * 1e3:.1f} ms, in {found['busy_share']:.1%} of which a kernel runs"
    head = f"a step: {found['launches']} launches in {seconds}"
    rows = [f"{row['seconds'] * 1e3:9.2f} ms {row['calls']:6} x {row['name'][:90]}" for row in found["kernels"][:15]]
    return [head, *rows]


if __name__ == "__main__":
    command()
