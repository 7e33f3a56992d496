"""``ecamp-fast evaluate``: encoders on tasks, ours beside the paper's tables."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.usage import options

if TYPE_CHECKING:
    from ecamp_fast.downstream.tables.grid import GridPlan


@click.command()
@click.argument("grid", required=False, type=click.Path(path_type=Path))
@options.out_option("Cells, tables and the page.")
@click.option("--dry-run", is_flag=True, help="Say which fits there are, and compute none.")
@click.option(
    "--label-free",
    "runs",
    multiple=True,
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="A run's report card on --data, without labels; twice: one against the other.",
)
@options.data_option("Shard set of --label-free.")
@options.split_option("Of --data. Default: val, else test, else train.")
@options.device_option("--label-free")
@options.json_option()
def command(
    grid: Path | None,
    out: Path | None,
    dry_run: bool,
    runs: tuple[Path, ...],
    data: str | None,
    split: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Score the encoders of GRID.yaml on its tasks, into FOLDER/table.csv, .md, .tex and report.html.

    Each fit is computed once: the same command goes on where it was cut off, and a fit that was cut off goes on from
    its last save. Every encoder gets the same few learning rates, and the one that is best on validation data. Random
    initialisation and plain pixels stand beside the encoders, and so do the paper's rows, where a task names them.

    \b
    Example:
      ecamp-fast evaluate grid.yaml --out evaluated
    """
    from ecamp_fast.files import require_folder

    if (grid is None) == (not runs):
        raise click.UsageError("Give GRID, or --label-free RUN --data SHARDS.")
    if grid is None:
        if data is None or dry_run:
            raise click.UsageError("--label-free needs --data SHARDS, and takes no --dry-run.")
        _label_free(runs, data, split, out, device, as_json)  # which judges --out
    elif data or split or device:
        raise click.UsageError("GRID names data, split and device itself.")
    elif out is None and not dry_run:
        raise click.UsageError("Missing option '--out'.")
    else:
        if out is not None and not dry_run:
            require_folder(out)  # before anything heavy is loaded
        _grid(grid, out, dry_run, as_json)


def _label_free(
    runs: tuple[Path, ...], data: str, split: str | None, out: Path | None, device: str | None, as_json: bool
) -> None:
    from ecamp_fast.commands.downstream.label_free import report_card
    from ecamp_fast.commands.verdict import say

    found = report_card(runs, data, split=split, out=out, device=device, say=say)
    if as_json:
        click.echo(json.dumps({"schema": 1, **found}))
    else:
        _tell_cards(found)


def _tell_cards(found: dict[str, Any]) -> None:
    for run, card in found["cards"].items():
        tell(f"{run}: {card['samples']} samples of {card['patients']} patients, split {card['split']}")
        for name, one in card["measures"].items():
            opponents = "".join(f"; {who} {other['value']:.3f}" for who, other in one["opponents"].items())
            tell(f"  {name}: {one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f}){opponents}")
        tell(*(f"  {name}: not measured: {why}" for name, why in card["absent"].items()))
    for name, one in (found["better"] or {}).items():
        tell(f"first better by, {name}: {one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})")
    tell(*found["files"])


def _grid(file: Path, out: Path | None, dry_run: bool, as_json: bool) -> None:
    from ecamp_fast.downstream.tables.cells import check_plan
    from ecamp_fast.downstream.tables.grid import read_plan
    from ecamp_fast.downstream.tables.registry import TASKS, named
    from ecamp_fast.errors import ConfigError

    plan = read_plan(file, named(TASKS))
    if not plan.encoders:
        raise ConfigError(f"{file}: encoders: there are none", "name at least one: `encoders: {ours: runs/a}`")
    check_plan(plan, TASKS)
    if dry_run or out is None:
        forecast(plan, as_json)
    else:
        conclude(out, f"{file.stem}: encoders on tasks", plan, as_json)


def forecast(plan: "GridPlan", as_json: bool) -> None:
    """Print the numbers of a table and how many fits each takes."""
    from ecamp_fast.downstream.tables.cells import fits, groups
    from ecamp_fast.downstream.tables.registry import TASKS

    known = [(group, fits(group, plan, TASKS)) for group in groups(plan, TASKS)]
    total = sum(count for _, count in known)
    if as_json:
        rows = [{"task": g.task, "method": g.encoder, "fraction": g.fraction, "fits": count} for g, count in known]
        click.echo(json.dumps({"schema": 1, "fits": total, "rows": rows}))
        return
    for group, count in known:
        tell(f"{group.task}, {group.encoder}, {group.fraction:g} %: {count} fit{'s' * (count > 1)}")
    tell(f"{total} fits")


def conclude(out: Path, title: str, plan: "GridPlan", as_json: bool) -> None:
    """Compute what is missing of a plan, write the tables, and print where they are."""
    from ecamp_fast.commands.verdict import say
    from ecamp_fast.downstream.tables.differences import differences
    from ecamp_fast.downstream.tables.diseases import by_disease
    from ecamp_fast.downstream.tables.evaluate import evaluate
    from ecamp_fast.downstream.tables.registry import TASKS
    from ecamp_fast.downstream.tables.rows import compare
    from ecamp_fast.report.comparison import write_comparison

    results = evaluate(plan, out, TASKS, say)
    rows = compare(plan, TASKS, results)
    gaps = differences(results, TASKS)
    files = write_comparison(out, title, rows, by_disease(plan, TASKS, results), gaps)
    if as_json:
        found = {"rows": [asdict(row) for row in rows], "differences": [asdict(gap) for gap in gaps]}
        click.echo(json.dumps({"schema": 1, "out": str(out), "files": [str(file) for file in files], **found}))
    else:
        tell(*files)
