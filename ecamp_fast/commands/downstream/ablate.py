"""``ecamp-fast ablate``: the rows of Tables 4 and 5, pre-trained and scored."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError
from ecamp_fast.usage import options

if TYPE_CHECKING:
    from ecamp_fast.downstream.tables.ablations import Ablation
    from ecamp_fast.downstream.tables.grid import GridPlan
    from ecamp_fast.downstream.tables.rows import ScoreRow

# Percentages and kinds of tasks of each table; a grid that names `fractions` has its own
FRACTIONS = {"4": (1.0,), "5": (1.0, 10.0)}
KINDS = {"4": ("classify", "probe", "segment", "detect"), "5": ("classify", "probe")}


@dataclass(frozen=True)
class _Order:
    """What the command was asked for.  raw_data: the set whose maps come from raw reports"""

    recipe: str
    overrides: tuple[str, ...]
    data: str | None
    raw_data: str | None
    gloria: str | None
    rows: tuple["Ablation", ...]

    def data_of(self, row: "Ablation") -> str | None:
        return self.raw_data if row.reads_raw_maps(self.recipe, self.overrides) else self.data

    def missing(self, row: "Ablation") -> str:
        """What keeps a row from being computed; '' where nothing does."""
        if not row.trained:
            return "" if self.gloria else "its encoder comes with attention maps: --gloria ENCODER"
        if self.data_of(row):
            return ""
        if row.reads_raw_maps(self.recipe, self.overrides):
            return "without distillation its attention maps come from raw reports: --raw-data SHARDS"
        return "--data SHARDS"


@click.command()
@click.argument("grid", required=False, type=click.Path(path_type=Path))
@options.data_option("Shard set that the rows are pre-trained on.")
@options.data_option("The same with attention maps made from raw reports.", "--raw-data")
@click.option("--gloria", metavar="ENCODER", help="A GLoRIA ViT, scored beside the rows.")
@options.out_option("Runs, cells and tables.")
@options.recipe_option("paper", "What the rows change.", "recipe")
@options.set_option()
@click.option("--row", "names", multiple=True, metavar="NAME", help="Only this; may be repeated. Default: all.")
@click.option("--dry-run", is_flag=True, help="Print the recipe of each row, and train none.")
@options.json_option()
def command(
    grid: Path | None,
    data: str | None,
    raw_data: str | None,
    gloria: str | None,
    out: Path | None,
    recipe: str,
    overrides: tuple[str, ...],
    names: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Pre-train each row of Tables 4 and 5 and score it on the tasks of GRID.yaml, beside the paper's numbers.

    GRID is one of `ecamp-fast evaluate` without encoders. Table 4 is scored at 1 %, Table 5 at 1 % and 10 % on the
    tasks of class labels, unless GRID names other fractions. On GPUs one run is trained at a time, on a CPU one a core.
    The same command goes on where it was cut off.

    \b
    Example:
      ecamp-fast ablate grid.yaml --data SHARDS --out ablations
    """
    from ecamp_fast.files import require_folder

    if out is not None and not dry_run:
        require_folder(out)  # before anything heavy is loaded
    order = _Order(recipe, overrides, data, raw_data, gloria, _chosen(names))
    if any(item.partition("=")[0] == "lambda_neg" for item in overrides):
        raise ConfigError("--set lambda_neg: it is what Table 5 varies", "choose rows by --row lambda-0.1")
    for row in order.rows:
        row.recipe(recipe, overrides)  # a fault shows before anything is trained
    if dry_run:
        _tell_recipes(order, as_json)
        return
    if grid is None or out is None:
        raise click.UsageError("Give GRID and --out FOLDER, or --dry-run.")
    if faults := [f"{row.name}: {fault}" for row in order.rows if (fault := order.missing(row)) and row.trained]:
        raise ConfigError("; ".join(faults), "or name rows by --row")
    plans = _plans(grid, order.rows)
    runs = {row.name: out / "runs" / row.name for row in order.rows if row.trained}
    _train(order, runs)
    sources = {name: str(run) for name, run in runs.items()} | ({"gloria-vit": gloria} if gloria else {})
    _score(out, plans, sources, runs, as_json)


def _chosen(names: tuple[str, ...]) -> tuple["Ablation", ...]:
    from ecamp_fast.config.nearest import did_you_mean
    from ecamp_fast.downstream.tables.ablations import ablations

    known = {one.name: one for one in ablations()}
    if unknown := [name for name in names if name not in known]:
        hint = f"name one of {', '.join(known)}"
        raise ConfigError(f"no row '{unknown[0]}'{did_you_mean(unknown[0], known)}", hint)
    return tuple(one for name, one in known.items() if not names or name in names)


def _tell_recipes(order: _Order, as_json: bool) -> None:
    from ecamp_fast.config import load_recipe

    base = load_recipe(order.recipe, order.overrides)
    rows: list[dict[str, Any]] = [
        {
            "name": row.name,
            "tables": list(row.tables),
            "overrides": list(row.overrides(base)) if row.trained else [],
            "changes": row.differs(order.recipe, order.overrides) if row.trained else {},
            "data": order.data_of(row) if row.trained else order.gloria,
            "missing": order.missing(row),
        }
        for row in order.rows
    ]
    if as_json:
        click.echo(json.dumps({"schema": 1, "recipe": order.recipe, "rows": rows}))
        return
    for row in rows:
        tell(f"{row['name']} (Table {' and '.join(row['tables'])})")
        tell(*(f"  --set {override}" for override in row["overrides"]))
        changes = ", ".join(f"{key} is {value}" for key, value in row["changes"].items())
        tell(f"  differs from {order.recipe}: {changes or 'in nothing'}")
        tell(*([f"  still needs: {row['missing']}"] if row["missing"] else []))


def _plans(file: Path, rows: tuple["Ablation", ...]) -> dict[str, "GridPlan"]:
    """By table, the grid's tasks that it has, at its percentages.  Raises ConfigError."""
    from dataclasses import replace

    from ecamp_fast.downstream.tables.cells import check_plan
    from ecamp_fast.downstream.tables.grid import read_plan
    from ecamp_fast.downstream.tables.registry import TASKS, named

    plan = read_plan(file, named(TASKS))
    if plan.encoders:
        raise ConfigError(f"{file}: encoders: these are the rows", "leave `encoders` out")
    own = "fractions" in plan.grid.model_fields_set
    found = {}
    for table, kinds in KINDS.items():
        tasks = {
            name: task if own else task.model_copy(update={"fractions": FRACTIONS[table]})
            for name, task in plan.tasks.items()
            if TASKS[task.task].published in kinds
        }
        if tasks and any(table in row.tables or not row.tables.keys() & set(KINDS) for row in rows):
            found[table] = replace(plan, tasks=tasks)
            check_plan(found[table], TASKS)
    if not found:
        raise ConfigError(f"{file}: no task that Tables 4 and 5 have", "add one of classify, probe, segment, detect")
    return found


def _train(order: _Order, runs: dict[str, Path]) -> None:
    """Those that are not complete."""
    from ecamp_fast.commands.trainings import Training, status, train_all
    from ecamp_fast.commands.verdict import say
    from ecamp_fast.config import load_recipe
    from ecamp_fast.config.changes import differing
    from ecamp_fast.machine import available_cores, cuda_devices
    from ecamp_fast.run.trained import read_recipe

    base = load_recipe(order.recipe, order.overrides)
    devices = cuda_devices()
    trainings: dict[Path, Training] = {}
    for row in order.rows:
        if not row.trained:
            continue
        if status(run := runs[row.name]) == "complete":
            former, now = read_recipe(run), row.recipe(order.recipe, order.overrides)
            if former.digest != now.digest:
                told = "; ".join(differing(former.identity(), now.identity()).values())
                raise ConfigError(f"{run} was trained by another recipe: {told}", "set it as it was, or another --out")
        else:
            overrides = (*order.overrides, *row.overrides(base))
            data = order.data_of(row)
            assert data  # ``missing``
            trainings[run] = Training(order.recipe, overrides, data, "zero2" if devices else "zero0")
    if not trainings:
        return
    say(f"pre-training {len(trainings)} of {len(runs)} rows")
    if devices:
        train_all(trainings, at_once=1, ranks=devices, threads=None)
    else:
        train_all(trainings, at_once=available_cores())


def _score(
    out: Path, plans: dict[str, "GridPlan"], sources: dict[str, str], runs: dict[str, Path], as_json: bool
) -> None:
    from functools import partial

    from ecamp_fast.commands.verdict import say
    from ecamp_fast.downstream.tables.ablations import ablations, beside_row
    from ecamp_fast.downstream.tables.evaluate import evaluate
    from ecamp_fast.downstream.tables.registry import TASKS
    from ecamp_fast.downstream.tables.rows import compare
    from ecamp_fast.report.comparison import write_comparison

    rows: list[ScoreRow] = []
    files: list[Path] = []
    tables = {one.name: one.tables for one in ablations()}
    for table, plan in plans.items():
        others = {"4": "5", "5": "4"}[table]
        own = {name: [path] for name, path in sources.items() if table in tables[name] or others not in tables[name]}
        results = evaluate(plan.with_encoders(own), out, TASKS, say)
        found = compare(plan, TASKS, results, partial(beside_row, table))
        folder = out / f"table-{table}"
        folder.mkdir(exist_ok=True)
        files += write_comparison(folder, f"Table {table}, pre-trained here", found, [])
        rows += found
    if as_json:
        told = {"out": str(out), "files": [str(file) for file in files], "rows": [asdict(row) for row in rows]}
        click.echo(json.dumps({"schema": 1, **told, "runs": {name: str(run) for name, run in runs.items()}}))
    else:
        tell(*files)
