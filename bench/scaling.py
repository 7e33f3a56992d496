"""Weak scaling on this machine: the same micro-batch on every rank, for ZeRO stages 0, 1, 2 and plain DDP.

The ranks are started as ``ecamp-fast train`` starts them. Efficiency is images a second and rank over that of the
fewest ranks under the same stage.
"""

import json
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.bench.options import recipe_options, text_options
from ecamp_fast.errors import ConfigError, EnvironmentFault
from ecamp_fast.usage.options import json_option

if TYPE_CHECKING:
    from ecamp_fast.config import Recipe


PROGRAM = "ecamp_fast.bench.step.scaling_rank"
LOG_LINES = 15  # of ranks that failed


@click.command()
@recipe_options()
@click.option(
    "--stages",
    default="0,1,2,ddp",
    show_default=True,
    metavar="0,1,...",
    help="ZeRO stages and plain DDP, with commas.",
)
@click.option(
    "--ranks", metavar="1,2,...", help="Ranks, with commas. Default: 1, 2, 4 ... as many as GPUs; without one 1,2."
)
@click.option("--accumulation", default=1, show_default=True, type=click.IntRange(1), help="Micro-batches of a step.")
@text_options()
@click.option("--steps", default=20, show_default=True, type=click.IntRange(1), help="Optimizer steps to time.")
@json_option()
def command(
    name: str,
    overrides: tuple[str, ...],
    stages: str,
    ranks: str | None,
    accumulation: int,
    tokens: float,
    spread: float,
    vocabulary: int,
    steps: int,
    as_json: bool,
) -> None:
    """Images a second per rank for 1, 2, 4 ... ranks, under each ZeRO stage and plain DDP.

    Exit code 1: an engine computes something else than the plain model, so it has no times.

    \b
    Example:
      ecamp-fast bench scaling --ranks 1,2 --stages 0,ddp
    """
    from ecamp_fast.config import load_recipe

    result = measure(
        load_recipe(name, overrides),
        parse_stages(stages),
        parse_ranks(ranks) if ranks else default_ranks(),
        accumulation,
        {"tokens": tokens, "spread": spread, "vocabulary": vocabulary, "steps": steps},
    )
    click.echo(json.dumps(result) if as_json else describe(result))
    if not all(row["parity"]["passed"] for row in result["rows"]):
        click.get_current_context().exit(1)


def parse_stages(text: str) -> list[str]:
    """Each once.  Raises ConfigError where one is unknown."""
    from ecamp_fast.bench.step.engines import STAGES

    given = list(dict.fromkeys(part.strip() for part in text.split(",")))
    wrong = [stage for stage in given if stage not in STAGES]
    if wrong:
        raise ConfigError(f"--stages {text}: no stage {wrong[0]!r}", f"name some of {', '.join(STAGES)}")
    return given


def parse_ranks(text: str) -> list[int]:
    """Ascending. Raises ConfigError where one is no positive number."""
    try:
        given = sorted({int(part) for part in text.split(",")})
    except ValueError:
        given = [0]
    if given[0] < 1:
        raise ConfigError(f"--ranks {text}: not a list of positive numbers", "write --ranks 1,2")
    return given


def default_ranks() -> list[int]:
    """Powers of two up to the number of GPUs, and that number; 1 and 2 without a GPU."""
    import torch

    gpus = torch.cuda.device_count()
    if not gpus:
        return [1, 2]
    return sorted({2**power for power in range(gpus.bit_length()) if 2**power <= gpus} | {gpus})


def measure(
    recipe: "Recipe", stages: list[str], ranks: list[int], accumulation: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """All that the command prints.  settings: ``tokens``, ``spread``, ``vocabulary``, ``steps``.

    returns rows (ranks, stage, parity; with parity also images_per_second_per_rank, step_seconds, efficiency,
    peak_memory_bytes of rank 0 on a GPU), and what they were measured on. Raises EnvironmentFault where ranks fail.
    """
    import torch

    from ecamp_fast.bench.report.result_files import origin, versions

    recipe.accumulation(1)  # a micro-batch that is still to be chosen is refused here
    rows = [row for count in ranks for row in _launch(recipe, stages, count, accumulation, settings)]
    return origin("scaling") | {
        "recipe": recipe.name,
        "on": "cuda" if torch.cuda.is_available() else "cpu",
        "precision": recipe.precision,
        "batch": recipe.micro,
        "accumulation": accumulation,
        **settings,
        "rows": with_efficiency(rows),
        "environment": versions(),
    }


def with_efficiency(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with its rate over that of the first row of its stage; None where there is no rate."""
    first: dict[str, float] = {}
    out = []
    for row in rows:
        rate = row.get("images_per_second_per_rank")
        base = first.setdefault(row["stage"], rate) if rate else None
        out.append(row | {"efficiency": rate / base if rate and base else None})
    return out


def _launch(
    recipe: "Recipe", stages: list[str], ranks: int, accumulation: int, settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """The rows of one number of ranks, from processes that are gone afterwards."""
    from ecamp_fast.config import dump_recipe
    from ecamp_fast.run import launch

    total = recipe.micro * ranks * accumulation
    recipe = recipe.model_copy(update={"batch": recipe.batch.model_copy(update={"total": total})})
    with tempfile.TemporaryDirectory(prefix="ecamp-fast-") as folder:
        file, out, log = (Path(folder) / name for name in ("recipe.yaml", "rows.json", "log"))
        file.write_text(dump_recipe(recipe), encoding="utf-8")
        given = {"recipe": file, "stages": ",".join(stages), "out": out, **settings}
        arguments = [f"--{name}={value}" for name, value in given.items()]
        with log.open("wb") as stream, _terminable():
            process = launch.start(arguments, ranks, stream, module=PROGRAM)
            try:
                code = process.wait()
            except BaseException:  # neither reaches the ranks: they are in a session of their own
                launch.kill(process)
                raise
        if code or not out.exists():
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
            raise EnvironmentFault(f"{ranks} rank(s) failed with {code}:\n{tail}", "try --ranks 1, or fewer --stages")
        rows: list[dict[str, Any]] = json.loads(out.read_text())
        return rows


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, a request to terminate, as ``timeout`` sends it, raises as an interrupt does."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say what a signal does
        yield
        return

    def end(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    from ecamp_fast.bench.step.parity import describe_parity

    where = result["environment"]
    lines = [
        f"{where['device']}, {where['cores']} cores, torch {where['torch']}, DeepSpeed {where['deepspeed']},"
        f" commit {where['commit']}",
        f"recipe {result['recipe']} in {result['precision']}, micro-batch {result['batch']} x {result['accumulation']}"
        f" a rank, {result['tokens']:g} tokens a text on average",
        f"{'ranks':>5} {'stage':>16} {'images/s/rank':>14} {'step ms':>9} {'efficiency':>11} {'peak GiB':>9}",
    ]
    for row in result["rows"]:
        head = f"{row['ranks']:5} {_stage(row['stage']):>16}"
        if not row["parity"]["passed"]:
            lines.append(f"{head} {describe_parity(row['parity'])}")
            continue
        memory = "" if row["peak_memory_bytes"] is None else f" {row['peak_memory_bytes'] / 2**30:9.2f}"
        lines.append(
            f"{head} {row['images_per_second_per_rank']:14,.1f} {row['step_seconds'] * 1e3:9.1f}"
            f" {row['efficiency']:11.1%}{memory}"
        )
    if result["on"] == "cpu":
        lines.append("on a CPU the ranks share its cores, so the efficiency says little")
    return "\n".join(lines)


def _stage(stage: str) -> str:
    return "DDP" if stage == "ddp" else f"ZeRO-{stage}"


if __name__ == "__main__":
    command()
