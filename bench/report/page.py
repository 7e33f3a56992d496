"""One page of the results that are kept: tables in Markdown, each figure with its command and where it was measured.

What is measured and what is projected stand in tables and charts of their own, and look different.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ecamp_fast.bench.options import results_option
from ecamp_fast.bench.report.charts import MEASURED, PROJECTED, Chart, charts
from ecamp_fast.bench.report.result_files import RESULTS, bench_of, command_of, device_of, read_results
from ecamp_fast.errors import DataError
from ecamp_fast.usage.options import json_option, out_option

PAGE = "report.md"
Results = dict[str, dict[str, Any]]  # by file name


@click.command()
@results_option(RESULTS, "Measured results.")
@out_option("Gets report.md and its charts. Default: where the results are.")
@json_option()
def command(results: Path, out: Path | None, as_json: bool) -> None:
    """Write report.md of the results in a folder, and a chart for each question that they answer.

    \b
    Example:
      ecamp-fast bench report --results results
    """
    from ecamp_fast.bench.report.plot import svg
    from ecamp_fast.files import write_atomically

    found = read_results(results)
    if not found:
        raise DataError(f"{results}: no results", "run ecamp-fast bench all --out FOLDER")
    folder = out or results
    folder.mkdir(parents=True, exist_ok=True)
    rates, parts, memory = throughput(found), components(found), saved_memory(found)
    drawn = charts(found)
    for chart in drawn:
        write_atomically(folder / chart_file(chart), svg(chart).encode())
    write_atomically(folder / PAGE, page(found).encode())
    if as_json:
        told = [
            {"file": str(folder / chart_file(chart)), "question": chart.question, "kind": chart.kind} for chart in drawn
        ]
        rows = {"throughput": rates, "components": parts, "saved_memory": memory}
        click.echo(json.dumps({"schema": 2, "page": str(folder / PAGE), "charts": told, **rows}))
    else:
        click.echo(folder / PAGE)


def chart_file(chart: Chart) -> str:
    """The name of a chart's file."""
    return f"{chart.name}.svg"


def throughput(results: Results) -> list[dict[str, Any]]:
    """Images a second, first measured, then calculated: kind, what, device, images_per_second, mfu, tokens, file."""
    rows = []
    for file, result in results.items():
        head = {"file": file, "device": device_of(result), "tokens": result.get("tokens"), "mfu": None}
        bench, recipe = bench_of(file, result), result.get("recipe")
        if bench == "roofline":
            rows += [
                _row(
                    head | {"device": row["chip"], "mfu": row["mfu"]},
                    row,
                    "projection",
                    f"{recipe}, {row['assumption']}",
                )
                for row in result["projected"]
            ]
        elif bench in ("train", "model"):
            name = "feeds" if bench == "train" else "ours"
            word = "whole step, fed from" if bench == "train" else "model's step,"
            rows += [
                _row(
                    head | {k: found[k] for k in ("mfu", "tokens") if k in found},
                    found,
                    "measurement",
                    f"{recipe}, {word} {what}",
                )
                for what, found in result[name].items()
            ]
            peer = result.get("peer") or {}
            if "seconds" in peer:
                rate = {"images_per_second": result["batch"] / peer["seconds"]["together"]["median"]}
                rows.append(_row(head, rate, "measurement", f"{recipe}, the release's step, fp32"))
        elif bench == "loader":
            rows.append(_row(head, result, "measurement", f"loader alone, {result['size']} pixels"))
        elif bench == "build":
            rows.append(_row(head, result, "measurement", "shards from originals"))
    return sorted(rows, key=lambda row: str(row["kind"]))


def _row(head: dict[str, Any], found: dict[str, Any], kind: str, what: str) -> dict[str, Any]:
    return head | {"kind": kind, "what": what, "images_per_second": found["images_per_second"]}


def components(results: Results) -> list[dict[str, Any]]:
    """Forward and backward seconds of each component of the model, as measured."""
    return [
        {
            "file": file,
            "device": device_of(result),
            "recipe": result["recipe"],
            "precision": precision,
            "component": component,
            **times,
        }
        for file, result in results.items()
        if bench_of(file, result) == "model"
        for precision, found in result["ours"].items()
        for component, times in found["component_seconds"].items()
    ]


def saved_memory(results: Results) -> list[dict[str, Any]]:
    """Bytes a sample that the forward pass keeps for the backward pass; of the release where it was beside ours."""
    rows = []
    for file, result in results.items():
        if bench_of(file, result) == "model":
            head = {"file": file, "device": device_of(result), "recipe": result["recipe"]}
            sizes = {f"ours {name}": found["saved_bytes_per_sample"] for name, found in result["ours"].items()}
            peer = result.get("peer") or {}
            if "saved_bytes_per_sample" in peer:
                sizes["release"] = peer["saved_bytes_per_sample"]
            rows += [head | {"what": what, "saved_bytes_per_sample": size} for what, size in sizes.items()]
    return rows


def page(results: Results) -> str:
    """The page in Markdown; the files of the charts lie beside it."""
    rates = throughput(results)
    projected = [row for row in rates if row["kind"] == "projection"]
    parts = ["# Benchmark results", "Written by `ecamp-fast bench report`. A projection is no measurement."]
    drawn = charts(results)
    parts += ["## Charts, measured", *(_picture(chart) for chart in drawn if chart.kind == MEASURED)]
    if any(chart.kind == PROJECTED for chart in drawn):
        parts += ["## Charts, projected (calculated, not measured)"]
        parts += [_picture(chart) for chart in drawn if chart.kind == PROJECTED]
    parts += ["## Measured images a second", _rates([row for row in rates if row["kind"] == "measurement"])]
    if projected:
        parts += ["## Projected images a second (from counted work, not measured)", _rates(projected)]
    scaling = [(file, row) for file, result in results.items() for row in result.get("rows", []) if "stage" in row]
    if scaling:
        parts += ["## Scaling, measured", _scaling(scaling)]
    if saved_memory(results):
        parts += ["## Memory kept for the backward pass, measured", _memory(saved_memory(results))]
    if components(results):
        parts += ["## Time by component, measured", _components(components(results))]
    return "\n\n".join([*parts, "## Where the figures come from", _origins(results)]) + "\n"


def _picture(chart: Chart) -> str:
    return f"![{chart.question} ({chart.axis})]({chart_file(chart)})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _rates(rows: list[dict[str, Any]]) -> str:
    cells = [
        (
            row["what"],
            row["device"],
            f"{row['images_per_second']:,.1f}",
            "" if row["mfu"] is None else f"{row['mfu']:.1%}",
            "" if row["tokens"] is None else f"{row['tokens']:.1f}",
            f"`{row['file']}`",
        )
        for row in rows
    ]
    return _table(("what", "device", "images/s", "MFU", "tokens a text", "result"), cells)


def _scaling(rows: list[tuple[str, dict[str, Any]]]) -> str:
    cells = [
        (
            row["ranks"],
            row["stage"],
            f"{row['images_per_second_per_rank']:,.1f}",
            "" if row["efficiency"] is None else f"{row['efficiency']:.1%}",
            f"`{file}`",
        )
        for file, row in rows
        if "images_per_second_per_rank" in row
    ]
    return _table(("ranks", "ZeRO stage", "images/s per rank", "efficiency", "result"), cells)


def _memory(rows: list[dict[str, Any]]) -> str:
    cells = [
        (f"{row['recipe']}, {row['what']}", f"{row['saved_bytes_per_sample'] / 1e6:.1f}", f"`{row['file']}`")
        for row in rows
    ]
    return _table(("what", "MB a sample", "result"), cells)


def _components(rows: list[dict[str, Any]]) -> str:
    cells = [
        (
            row["component"],
            f"{row['recipe']} {row['precision']}",
            f"{row['forward'] * 1e3:.1f}",
            f"{row['backward'] * 1e3:.1f}",
            f"`{row['file']}`",
        )
        for row in rows
    ]
    return _table(("component", "recipe", "forward ms", "backward ms", "result"), cells)


def _origins(results: Results) -> str:
    cells = []
    for file, result in results.items():
        where = result.get("environment", result)
        cells.append(
            (f"`{file}`", f"`{command_of(file, result)}`", device_of(result), where.get("commit"), where.get("torch"))
        )
    return _table(("result", "command", "device", "commit", "torch"), cells)


if __name__ == "__main__":
    command()
