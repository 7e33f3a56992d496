"""What every rank of ``bench scaling`` runs: the optimizer step under each stage in turn, on batches of noise."""

import gc
import json
import statistics
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import click
import torch
import torch.distributed as dist

from ecamp_fast.batch import Batch
from ecamp_fast.bench.engines import Engine, build
from ecamp_fast.bench.parity import parity
from ecamp_fast.bench.step import Stopwatch
from ecamp_fast.bench.synthetic import synthetic_batch, text_lengths
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.run.process import Place, join, leave
from ecamp_fast.text.layout import Capacity

HELD, CHECKED = 4, 4  # micro-batches on the device; samples of the parity batch
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
    place = join()
    try:
        loaded = load_recipe(recipe)
        held = _one_shape(partial(_noise, loaded, vocabulary, tokens, spread, loaded.batch.micro, place))
        gate = _noise(
            loaded, vocabulary, tokens, spread, min(CHECKED, loaded.batch.micro), Place(0, 1, place.device), 0
        )
        rows = [_row(stage, loaded, vocabulary, place, held, gate, steps) for stage in stages.split(",")]
        if place.leads:
            out.write_text(json.dumps(rows))
        dist.barrier()
    finally:
        leave()


def _one_shape(noise: Callable[..., Batch]) -> list[Batch]:
    """Batches with room for the most words that one of them predicts, as the loader's have one shape on a GPU."""
    texts = [noise(number).text for number in range(HELD)]
    room = max((Capacity(len(t.ids), len(t.rows)) for t in texts if t), key=lambda c: c.predicted, default=None)
    return [noise(number, room) for number in range(HELD)]


def _noise(
    recipe: Recipe,
    words: int,
    tokens: float,
    spread: float,
    count: int,
    place: Place,
    number: int,
    capacity: Capacity | None = None,
) -> Batch:
    """Another batch for every rank, of the same lengths: no rank has more to do."""
    lengths = text_lengths(count, tokens, spread, recipe.text.max_tokens)
    return synthetic_batch(recipe, words, lengths, place.rank * HELD + number, capacity).to(place.device)


def _row(
    stage: str, recipe: Recipe, vocab_size: int, place: Place, held: list[Batch], gate: Batch, steps: int
) -> dict[str, Any]:
    """One stage; without parity it has no times.  step_seconds: median, of the rank that took longest."""
    engine = build(stage, recipe, vocab_size, place)
    row: dict[str, Any] = {"ranks": place.world, "stage": stage, "parity": parity(engine, gate)}
    if row["parity"]["passed"]:
        seconds = _agreed(_median_step(engine, held, steps, place), place)
        images = recipe.batch.micro * engine.accumulation
        memory = torch.cuda.max_memory_allocated() if place.device.type == "cuda" else None
        row |= {"step_seconds": seconds, "images_per_second_per_rank": images / seconds, "peak_memory_bytes": memory}
    del engine
    gc.collect()
    if place.device.type == "cuda":
        torch.cuda.empty_cache()
    return row


def _median_step(engine: Engine, held: list[Batch], steps: int, place: Place) -> float:
    batches = cycle(held)
    for _ in range(WARM_UP):
        engine.step(batches)
    if place.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    dist.barrier()
    watch = Stopwatch(place.device)
    watch.mark()
    for _ in range(steps):
        engine.step(batches)
        watch.mark()
    return statistics.median(watch.laps())


def _agreed(seconds: float, place: Place) -> float:
    """The longest of all ranks."""
    longest = torch.tensor(seconds, dtype=torch.float64, device=place.device)
    dist.all_reduce(longest, op=dist.ReduceOp.MAX)
    return float(longest)


if __name__ == "__main__":
    main()
