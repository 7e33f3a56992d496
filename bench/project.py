"""What A100, H100 and H200 could do with the counted work of a training step, beside what was measured there.

Nothing here runs the model: everything but the rows named as measured is a projection.
"""

import json
from pathlib import Path
from typing import Any

import click

from ecamp_fast.bench.records import RESULTS
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError

VOCABULARY = 30_000  # of the released tokenizer
TOKENS = (64, 90, 110, 128, 160, 200, 256)  # for the sensitivity
SHARED = 64  # samples that tell the share of predicted words


@click.command()
@click.option("--recipe", "name", default="paper", show_default=True, metavar="NAME|FILE")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe.")
@click.option("--tokens", default=110.0, show_default=True, type=click.FloatRange(2), help="Mean length of a text.")
@click.option("--spread", default=0.4, show_default=True, type=click.FloatRange(0), help="Its deviation over its mean.")
@click.option("--vocabulary", default=VOCABULARY, show_default=True, type=click.IntRange(8), help="Words of it.")
@click.option("--rate", "rates", multiple=True, metavar="CHIP=TFLOPS", help="bf16 rate measured there: H200=790.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    name: str,
    overrides: tuple[str, ...],
    tokens: float,
    spread: float,
    vocabulary: int,
    rates: tuple[str, ...],
    results: Path,
    as_json: bool,
) -> None:
    """Project images a second, MFU and hours of the paper's run for A100, H100 and H200; measured results beside."""
    result = measure(load_recipe(name, overrides), tokens, spread, vocabulary, parse_rates(rates), results)
    click.echo(json.dumps(result) if as_json else describe(result))


def parse_rates(given: tuple[str, ...]) -> dict[str, float]:
    """``H200=790`` as {chip: operations a second}.  Raises ConfigError where it says something else."""
    from ecamp_fast.bench.projection import CHIPS

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
) -> dict[str, Any]:
    """All that the command prints.  rates: chip -> operations a second   results: folder of measured ones

    returns projected (rows of ``projection.project``), sensitivity (the same for other mean lengths), measured (rows
    of ``measured``), flops_per_sample, bytes_per_sample, and what they were counted for.
    """
    import torch

    from ecamp_fast.bench.projection import CHIPS, GPUS, project
    from ecamp_fast.bench.records import origin, versions
    from ecamp_fast.bench.synthetic import text_lengths
    from ecamp_fast.bench.traffic import Group, step_traffic
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.run.deepspeed_config import accumulation_steps

    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in Ecamp(recipe, vocab_size).parameters())
    micro, share = recipe.batch.micro, _predicted_share(recipe, vocab_size, tokens, spread)
    micro_steps = max(1, accumulation_steps(recipe, 1) // GPUS)

    def count(mean: float) -> list[Group]:
        lengths = text_lengths(micro, mean, spread, recipe.text.max_tokens)
        return step_traffic(recipe, vocab_size, lengths, round(share * sum(lengths)), parameters, micro_steps)

    groups = count(tokens)
    others = [mean for mean in TOKENS if mean <= recipe.text.max_tokens]
    return origin("project") | {
        "kind": "projection",
        "recipe": recipe.name,
        "batch": micro,
        "tokens": tokens,
        "predicted": share * tokens,
        "vocabulary": vocab_size,
        "parameters": parameters,
        "flops_per_sample": sum(group.operations for group in groups) / micro,
        "bytes_per_sample": sum(group.bytes for group in groups) / micro,
        "projected": [row for chip in CHIPS for row in project(groups, micro, chip, rates)],
        "sensitivity": [
            {"tokens": mean} | row
            for mean in others
            for chip in CHIPS
            for row in project(count(mean), micro, chip, rates)
        ],
        "measured": measured(results, recipe.name),
        "environment": versions(),
    }


def _predicted_share(recipe: Recipe, vocab_size: int, tokens: float, spread: float) -> float:
    """Predicted rows over tokens, of a batch of noise."""
    from ecamp_fast.bench.counting import predicted_rows
    from ecamp_fast.bench.synthetic import synthetic_batch, text_lengths

    lengths = text_lengths(SHARED, tokens, spread, recipe.text.max_tokens)
    return predicted_rows(synthetic_batch(recipe, vocab_size, lengths, recipe.seed)) / sum(lengths)


def measured(folder: Path, recipe: str) -> list[dict[str, Any]]:
    """Images a second that benches of this recipe measured on one of the projected chips, a row per figure."""
    from ecamp_fast.bench.projection import chip_of
    from ecamp_fast.bench.records import bench_of, device_of, read_results

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


def describe(result: dict[str, Any]) -> str:
    """The result as text; the first word of every line says which kind it is."""
    head = "projection"
    lines = [
        f"{head}: recipe {result['recipe']}, micro-batch {result['batch']}, {result['tokens']:g} tokens a text,"
        f" {result['flops_per_sample'] / 1e9:.1f} GFLOP and {result['bytes_per_sample'] / 1e6:.0f} MB a sample",
        f"{head}: {'chip':5} {'assumption':13} {'TFLOP/s':>8} {'images/s':>9} {'MFU':>6} {'hours on 4':>11}",
    ]
    for row in result["projected"]:
        rate = f"{row['operations_per_second'] / 1e12:8.0f}"
        lines.append(
            f"{head}: {row['chip']:5} {row['assumption']:13} {rate} {row['images_per_second']:9,.0f}"
            f" {row['mfu']:6.1%} {row['hours']:11.2f}"
        )
    lines += [f"{head}: images/s by tokens of a text, stretch and conservative", *_sensitivity_lines(result, head)]
    return "\n".join([*lines, *_measured_lines(result)])


def _sensitivity_lines(result: dict[str, Any], head: str) -> list[str]:
    rates = {(r["tokens"], r["chip"], r["assumption"]): r["images_per_second"] for r in result["sensitivity"]}
    chips = list(dict.fromkeys(row["chip"] for row in result["projected"]))
    lines = []
    for mean in dict.fromkeys(row["tokens"] for row in result["sensitivity"]):
        cells = [f"{c} {rates[mean, c, 'stretch']:,.0f} | {rates[mean, c, 'conservative']:,.0f}" for c in chips]
        lines.append(f"{head}: {mean:4} tokens: {'   '.join(cells)}")
    return lines


def _measured_lines(result: dict[str, Any]) -> list[str]:
    """Measured and projected images a second, each in a column of its own."""
    rates = {(row["chip"], row["assumption"]): row["images_per_second"] for row in result["projected"]}
    lines = []
    for row in result["measured"]:
        projected = " to ".join(f"{rates[row['chip'], name]:,.0f}" for name in ("conservative", "stretch"))
        lines.append(
            f"{row['chip']} {row['file']} {row['what']}, {row['tokens']:.0f} tokens: measured"
            f" {row['images_per_second']:,.0f} images/s | projection at {result['tokens']:g} tokens: {projected}"
        )
    return lines


if __name__ == "__main__":
    command()
