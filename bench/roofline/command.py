"""What A100, H100 and H200 could do with the counted work of a training step, beside what was measured there; clusters.

Nothing here runs the model: everything but the rows named as measured is a projection.
"""

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import click

from ecamp_fast.bench.options import SPREAD, TOKENS, VOCABULARY, json_option, recipe_options, text_options
from ecamp_fast.bench.report.result_files import RESULTS, bench_of, device_of, origin, read_results, versions
from ecamp_fast.bench.roofline import cluster as clusters
from ecamp_fast.bench.roofline.bytes import KernelGroup
from ecamp_fast.bench.roofline.counted_step import CountedStep, count_step
from ecamp_fast.bench.roofline.page import describe
from ecamp_fast.bench.roofline.step import GPUS, SAMPLES, TABLE, chip_of, step_roofline
from ecamp_fast.bench.roofline.zero import Zero
from ecamp_fast.chips import CALCULATED
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError

LENGTHS = (64, 90, 110, 128, 160, 200, 256)  # mean tokens of a text, for the sensitivity
MICRO = (64, 128, 256, 512, 1024)  # micro-batches, likewise


@click.command()
@recipe_options()
@text_options()
@click.option("--rate", "rates", multiple=True, metavar="CHIP=TFLOPS", help="bf16 rate measured there: H200=790.")
@click.option("--cluster", default="H100", show_default=True, metavar="CHIP", help="The GPUs of the clusters.")
@click.option("--sample-bytes", type=click.IntRange(1), help="Mean bytes of a sample in your shards. [355000]")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, metavar="DIR")
@json_option()
def command(
    name: str,
    overrides: tuple[str, ...],
    tokens: float,
    spread: float,
    vocabulary: int,
    rates: tuple[str, ...],
    cluster: str,
    sample_bytes: int | None,
    results: Path,
    as_json: bool,
) -> None:
    """Calculate images a second, MFU and hours of the paper's run for A100, H100 and H200; measured results beside.

    Then clusters of 1 to 512 GPUs: what travels, what must be delivered, where each link and disk ends.
    """
    if cluster not in CALCULATED:
        raise ConfigError(f"--cluster {cluster}: not a chip that is calculated", f"name one of {', '.join(CALCULATED)}")
    recipe = load_recipe(name, overrides)
    result = measure(recipe, tokens, spread, vocabulary, parse_rates(rates), results, cluster, sample_bytes)
    click.echo(json.dumps(result) if as_json else describe(result))


def parse_rates(given: tuple[str, ...]) -> dict[str, float]:
    """``H200=790`` as {chip: operations a second}.  Raises ConfigError where it says something else."""
    rates = {}
    for item in given:
        chip, _, value = item.partition("=")
        try:
            rate = float(value) * 1e12
        except ValueError:
            rate = 0.0
        if chip not in CALCULATED or not rate > 0:
            raise ConfigError(f"--rate {item}: not a chip and its rate", f"write {'|'.join(CALCULATED)}=TFLOPS")
        rates[chip] = rate
    return rates


def measure(
    recipe: Recipe,
    tokens: float = TOKENS,
    spread: float = SPREAD,
    vocab_size: int = VOCABULARY,
    rates: dict[str, float] | None = None,
    results: Path = RESULTS,
    cluster: str = "H100",
    sample_bytes: int | None = None,
) -> dict[str, Any]:
    """All that the command prints.

    rates         chip -> operations a second that were measured there
    results       folder of measured results
    cluster       chip of the clusters
    sample_bytes  of a sample in its shard; None: ``cluster.SAMPLE_BYTES``
    returns projected (rows of ``step_roofline``), unaligned (the same without ZeRO's padding), sensitivity and
    micro_batches (the same for other mean lengths and micro-batches), assumptions, cluster (see ``_cluster``), measured
    (rows of ``measured``), flops_per_sample, bytes_per_sample, and what they were counted for.
    """
    step = count_step(recipe, vocab_size, tokens, spread)
    micro, paper = recipe.micro, Zero(micro_steps=max(1, recipe.accumulation(1) // GPUS))
    groups = step.groups(tokens, micro, paper)

    def rows(tokens: float = tokens, micro: int = micro, aligned: bool = True) -> list[dict[str, Any]]:
        groups = step.groups(tokens, micro, paper)
        return [row for chip in CALCULATED for row in step_roofline(groups, micro, chip, rates, step.weights, aligned)]

    lengths = [length for length in LENGTHS if length <= recipe.text.max_tokens]
    return origin("roofline") | {
        "kind": "projection",
        "recipe": recipe.name,
        "batch": micro,
        "tokens": tokens,
        "predicted": step.predicted * tokens,
        "vocabulary": vocab_size,
        "parameters": step.weights.numbers,
        "tensors": step.weights.tensors,
        **_sums(groups, micro),
        "assumptions": [asdict(row) for row in TABLE],
        "projected": rows(),
        "unaligned": rows(aligned=False),
        "sensitivity": [{"tokens": length} | _short(row) for length in lengths for row in rows(tokens=length)],
        "micro_batches": [{"micro": size} | _short(row) for size in MICRO for row in rows(micro=size)],
        "cluster": _cluster(step, tokens, cluster, rates, results, sample_bytes),
        "measured": measured(results, recipe.name),
        "environment": versions(),
    }


def _sums(groups: list[KernelGroup], micro: int) -> dict[str, float]:
    """Launches of a micro-batch; operations and bytes of a sample, what goes beyond the ceiling apart."""
    needed, extra = ([group for group in groups if group.extra is beyond] for beyond in (False, True))
    return {
        "launches": sum(group.launches for group in groups),
        "flops_per_sample": sum(group.operations for group in needed) / micro,
        "bytes_per_sample": sum(group.bytes for group in needed) / micro,
        "extra_bytes_per_sample": sum(group.bytes for group in extra) / micro,
    }


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "component_microseconds"}


def _cluster(
    step: CountedStep,
    tokens: float,
    chip: str,
    rates: dict[str, float] | None,
    results: Path,
    sample_bytes: int | None,
) -> dict[str, Any]:
    """rows (``cluster.plan``), links (``cluster.link_ends``), feeds, data_ends, and what they were reckoned with."""

    @cache
    def computing(micro: int, zero: Zero) -> dict[str, float]:
        rows = step_roofline(step.groups(tokens, micro, zero), micro, chip, rates)
        return {row["assumption"]: micro / row["images_per_second"] for row in rows if row["assumption"] != "ceiling"}

    parameters = step.weights.numbers
    total, size = step.recipe.batch.total, sample_bytes or clusters.SAMPLE_BYTES
    found = read_results(results).get("loader-cpu.json", {})
    loader = dict(clusters.LOADER)
    if "core_milliseconds" in found:
        loader["core_milliseconds"] = found["core_milliseconds"]["ours"]["median"]
        loader["host_core_milliseconds"] = found["host_core_milliseconds"]
    rows = clusters.plan(total, parameters, chip, computing)
    per_gpu = max((row["images_per_second"]["optimistic"] for row in rows if row["ranks"] == 1), default=1.0)
    return {
        "kind": "projection",
        "chip": chip,
        "parameters": parameters,
        "batch": total,
        "loader": loader,
        "sample_bytes": size,
        "rows": rows,
        "links": clusters.link_ends(total, parameters, chip, computing, "optimistic"),
        "feeds": clusters.feeds(rows, loader, size),
        "data_ends": clusters.data_ends(per_gpu, loader, size, SAMPLES),
    }


def measured(folder: Path, recipe: str) -> list[dict[str, Any]]:
    """Images a second that benches of this recipe measured on one of the calculated chips, a row each."""
    rows = []
    for file, result in read_results(folder).items():
        chip = chip_of(device_of(result))
        found = {"train": result.get("feeds"), "model": result.get("ours")}.get(bench_of(file, result))
        if not chip or not found or result.get("recipe") != recipe:
            continue
        for what, metrics in found.items():
            tokens = metrics.get("tokens", result.get("tokens"))
            head = {"kind": "measurement", "chip": chip, "file": file, "what": what, "tokens": tokens}
            rows.append(head | {name: metrics[name] for name in ("images_per_second", "mfu")})
    return rows


if __name__ == "__main__":
    command()
