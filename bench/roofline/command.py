"""What A100, H100 and H200 could do with the counted work of a training step, beside what was measured there; clusters.

Nothing here runs the model: everything but the rows named as measured is a projection.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import click

from ecamp_fast.bench.report.result_files import RESULTS
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError

VOCABULARY = 30_000  # of the released tokenizer
TOKENS = (64, 90, 110, 128, 160, 200, 256)  # for the sensitivity
MICRO = (64, 128, 256, 512, 1024)  # micro-batches, likewise
SHARED = 64  # samples that tell the share of predicted words


@click.command()
@click.option("--recipe", "name", default="paper", show_default=True, metavar="NAME|FILE")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe.")
@click.option("--tokens", default=110.0, show_default=True, type=click.FloatRange(2), help="Mean length of a text.")
@click.option("--spread", default=0.4, show_default=True, type=click.FloatRange(0), help="Its deviation over its mean.")
@click.option("--vocabulary", default=VOCABULARY, show_default=True, type=click.IntRange(8), help="Words of it.")
@click.option("--rate", "rates", multiple=True, metavar="CHIP=TFLOPS", help="bf16 rate measured there: H200=790.")
@click.option("--cluster", default="H100", show_default=True, metavar="CHIP", help="The GPUs of the clusters.")
@click.option("--sample-bytes", type=click.IntRange(1), help="Mean bytes of a sample in your shards. [355000]")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
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
    """Project images a second, MFU and hours of the paper's run for A100, H100 and H200; measured results beside.

    Then clusters of 1 to 512 GPUs: what travels, what must be delivered, where each link and disk ends.
    """
    from ecamp_fast.bench.roofline.page import describe
    from ecamp_fast.bench.roofline.step import CHIPS

    if cluster not in CHIPS:
        raise ConfigError(f"--cluster {cluster}: not a chip that is projected", f"name one of {', '.join(CHIPS)}")
    recipe = load_recipe(name, overrides)
    result = measure(recipe, tokens, spread, vocabulary, parse_rates(rates), results, cluster, sample_bytes)
    click.echo(json.dumps(result) if as_json else describe(result))


def parse_rates(given: tuple[str, ...]) -> dict[str, float]:
    """``H200=790`` as {chip: operations a second}.  Raises ConfigError where it says something else."""
    from ecamp_fast.bench.roofline.step import CHIPS

    rates = {}
    for item in given:
        chip, _, value = item.partition("=")
        try:
            rate = float(value) * 1e12
        except ValueError:
            rate = 0.0
        if chip not in CHIPS or not rate > 0:
            raise ConfigError(f"--rate {item}: not a chip and its rate", f"write {'|'.join(CHIPS)}=TFLOPS")
        rates[chip] = rate
    return rates


def measure(
    recipe: Recipe,
    tokens: float = 110,
    spread: float = 0.4,
    vocab_size: int = VOCABULARY,
    rates: dict[str, float] | None = None,
    results: Path = RESULTS,
    cluster: str = "H100",
    sample_bytes: int | None = None,
) -> dict[str, Any]:
    """All that the command prints.  rates: chip -> operations a second   results: folder of measured ones

    cluster: chip of the clusters   sample_bytes: of a sample in its shard; None: ``cluster.SAMPLE_BYTES``
    returns projected (rows of ``projection.project``), unaligned (the same without ZeRO's padding), sensitivity and
    micro_batches (the same for other mean lengths and micro-batches), assumptions, cluster (see ``_cluster``), measured
    (rows of ``measured``), flops_per_sample, bytes_per_sample, and what they were counted for.
    """
    import torch

    from ecamp_fast.bench.data.synthetic import text_lengths
    from ecamp_fast.bench.report.result_files import origin, versions
    from ecamp_fast.bench.roofline.bytes import KernelGroup, step_bytes
    from ecamp_fast.bench.roofline.overheads import step_overheads
    from ecamp_fast.bench.roofline.step import CHIPS, GPUS, TABLE, step_roofline
    from ecamp_fast.bench.roofline.zero import Zero, weights_of
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.run.deepspeed_config import accumulation_steps

    with torch.device("meta"):
        weights = weights_of(Ecamp(recipe, vocab_size), recipe.optim.weight_decay)
    micro, share = recipe.batch.micro, _predicted_share(recipe, vocab_size, tokens, spread)
    paper = Zero(micro_steps=max(1, accumulation_steps(recipe, 1) // GPUS))

    def count(mean: float, micro: int, zero: Zero) -> list[KernelGroup]:
        lengths = text_lengths(micro, mean, spread, recipe.text.max_tokens)
        counted = recipe, vocab_size, lengths, round(share * sum(lengths))
        updated = weights.numbers // (zero.ranks if zero.stage else 1)
        return step_bytes(*counted, updated, zero.micro_steps) + step_overheads(*counted, weights, zero)

    @cache
    def computing(micro: int, zero: Zero) -> dict[str, float]:
        rows = step_roofline(count(tokens, micro, zero), micro, cluster, rates)
        return {row["assumption"]: micro / row["images_per_second"] for row in rows if row["assumption"] != "ceiling"}

    def rows(mean: float = tokens, micro: int = micro, aligned: bool = True) -> list[dict[str, Any]]:
        groups = count(mean, micro, paper)
        return [row for chip in CHIPS for row in step_roofline(groups, micro, chip, rates, weights, aligned)]

    groups = count(tokens, micro, paper)
    needed = [group for group in groups if not group.extra]
    others = [mean for mean in TOKENS if mean <= recipe.text.max_tokens]
    return origin("step_roofline") | {
        "kind": "projection",
        "recipe": recipe.name,
        "batch": micro,
        "tokens": tokens,
        "predicted": share * tokens,
        "vocabulary": vocab_size,
        "parameters": weights.numbers,
        "tensors": weights.tensors,
        "launches": sum(group.launches for group in groups),
        "flops_per_sample": sum(group.operations for group in needed) / micro,
        "bytes_per_sample": sum(group.bytes for group in needed) / micro,
        "extra_bytes_per_sample": sum(group.bytes for group in groups if group.extra) / micro,
        "assumptions": [asdict(row) for row in TABLE],
        "projected": rows(),
        "unaligned": rows(aligned=False),
        "sensitivity": [{"tokens": mean} | _short(row) for mean in others for row in rows(mean=mean)],
        "micro_batches": [{"micro": size} | _short(row) for size in MICRO for row in rows(micro=size)],
        "cluster": _cluster(recipe, weights.numbers, cluster, computing, results, sample_bytes),
        "measured": measured(results, recipe.name),
        "environment": versions(),
    }


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "component_microseconds"}


def _cluster(
    recipe: Recipe,
    parameters: int,
    chip: str,
    computing: Callable[..., dict[str, float]],
    results: Path,
    sample_bytes: int | None,
) -> dict[str, Any]:
    """rows (``cluster.plan``), links (``cluster.link_ends``), feeds, data_ends, and what they were reckoned with."""
    from ecamp_fast.bench.report.result_files import read_results
    from ecamp_fast.bench.roofline import cluster
    from ecamp_fast.bench.roofline.step import SAMPLES

    total, size = recipe.batch.total, sample_bytes or cluster.SAMPLE_BYTES
    found = read_results(results).get("loader-cpu.json", {})
    loader = dict(cluster.LOADER)
    if "core_milliseconds" in found:
        loader["core_milliseconds"] = found["core_milliseconds"]["ours"]["median"]
        loader["host_core_milliseconds"] = found["host_core_milliseconds"]
    rows = cluster.plan(total, parameters, chip, computing)
    per_gpu = max((row["images_per_second"]["optimistic"] for row in rows if row["ranks"] == 1), default=1.0)
    return {
        "kind": "projection",
        "chip": chip,
        "parameters": parameters,
        "batch": total,
        "loader": loader,
        "sample_bytes": size,
        "rows": rows,
        "links": cluster.link_ends(total, parameters, chip, computing, "optimistic"),
        "feeds": cluster.feeds(rows, loader, size),
        "data_ends": cluster.data_ends(per_gpu, loader, size, SAMPLES),
    }


def _predicted_share(recipe: Recipe, vocab_size: int, tokens: float, spread: float) -> float:
    """Predicted rows over tokens, of a batch of noise."""
    from ecamp_fast.bench.data.synthetic import synthetic_batch, text_lengths
    from ecamp_fast.bench.step.counting import predicted_rows

    lengths = text_lengths(SHARED, tokens, spread, recipe.text.max_tokens)
    return predicted_rows(synthetic_batch(recipe, vocab_size, lengths, recipe.seed)) / sum(lengths)


def measured(folder: Path, recipe: str) -> list[dict[str, Any]]:
    """Images a second that benches of this recipe measured on one of the projected chips, a row per figure."""
    from ecamp_fast.bench.report.result_files import bench_of, device_of, read_results
    from ecamp_fast.bench.roofline.step import chip_of

    rows = []
    for file, result in read_results(folder).items():
        chip = chip_of(device_of(result))
        found = {"train": result.get("feeds"), "model": result.get("ours")}.get(bench_of(file, result))
        if not chip or not found or result.get("recipe") != recipe:
            continue
        for what, figures in found.items():
            tokens = figures.get("tokens", result.get("tokens"))
            head = {"kind": "measurement", "chip": chip, "file": file, "what": what, "tokens": tokens}
            rows.append(head | {name: figures[name] for name in ("images_per_second", "mfu")})
    return rows


if __name__ == "__main__":
    command()
