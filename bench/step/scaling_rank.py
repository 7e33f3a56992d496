"""What every rank of ``bench scaling`` runs: the optimizer step under each stage in turn, on batches of noise."""

import gc
import json
import statistics
from itertools import cycle
from pathlib import Path
from typing import Any

import click
import torch
import torch.distributed as dist

from ecamp_fast.batch import Batch
from ecamp_fast.bench.data.synthetic import one_shape, text_lengths
from ecamp_fast.bench.step.engines import Engine, build
from ecamp_fast.bench.step.parity import parity
from ecamp_fast.bench.step.timed_step import Stopwatch
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.run.distributed import DistContext, init, shutdown

HELD = 4  # micro-batches on the device
WARM_UP = HELD  # steps before the clock runs: all shapes are met


@click.command(help=__doc__)
@click.option(
    "--recipe", required=True, type=click.Path(path_type=Path), help="With the batch of this number of ranks."
)
@click.option("--stages", required=True, help="Of engines.STAGES, with commas.")
@click.option("--tokens", required=True, type=float)
@click.option("--spread", required=True, type=float)
@click.option("--vocabulary", required=True, type=int)
@click.option("--steps", required=True, type=int)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Rank 0 writes its rows there, as JSON.")
@click.option("--local_rank", hidden=True, expose_value=False)  # the launcher passes it; the environment counts
def main(recipe: Path, stages: str, tokens: float, spread: float, vocabulary: int, steps: int, out: Path) -> None:
    context = init()
    try:
        loaded = load_recipe(recipe)
        lengths = text_lengths(loaded.micro, tokens, spread, loaded.text.max_tokens)
        # The first is the gate's, the same on every rank. The others differ, of equal lengths: no rank has more to do.
        seeds = [0, *(1 + context.rank * HELD + number for number in range(HELD))]
        gate, *held = (batch.to(context.device) for batch in one_shape(loaded, vocabulary, lengths, seeds))
        rows = [_row(stage, loaded, vocabulary, context, held, gate, steps) for stage in stages.split(",")]
        if context.is_main:
            out.write_text(json.dumps(rows))
        dist.barrier()
    finally:
        shutdown()


def _row(
    stage: str, recipe: Recipe, vocab_size: int, context: DistContext, held: list[Batch], gate: Batch, steps: int
) -> dict[str, Any]:
    """One stage; without parity it has no times.  step_seconds: median, of the rank that took longest."""
    engine = build(stage, recipe, vocab_size, context)
    row: dict[str, Any] = {"ranks": context.world, "stage": stage, "parity": parity(engine, gate)}
    if row["parity"]["passed"]:
        seconds = _agreed(_median_step(engine, held, steps, context), context)
        images = recipe.micro * engine.accumulation
        memory = torch.cuda.max_memory_allocated() if context.device.type == "cuda" else None
        row |= {"step_seconds": seconds, "images_per_second_per_rank": images / seconds, "peak_memory_bytes": memory}
    del engine
    gc.collect()
    if context.device.type == "cuda":
        torch.cuda.empty_cache()
    return row


def _median_step(engine: Engine, held: list[Batch], steps: int, context: DistContext) -> float:
    batches = cycle(held)
    for _ in range(WARM_UP):
        engine.step(batches)
    if context.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    dist.barrier()
    watch = Stopwatch(context.device)
    watch.mark()
    for _ in range(steps):
        engine.step(batches)
        watch.mark()
    return statistics.median(watch.laps())


def _agreed(seconds: float, context: DistContext) -> float:
    """The longest of all ranks."""
    longest = torch.tensor(seconds, dtype=torch.float64, device=context.device)
    dist.all_reduce(longest, op=dist.ReduceOp.MAX)
    return float(longest)


if __name__ == "__main__":
    main()
