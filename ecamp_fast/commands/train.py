"""``ecamp-fast train``: the ranks of a run, launched and watched."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.train import main as program
from ecamp_fast.train import require_profile, settle
from ecamp_fast.usage.options import json_option, ranks_option

if TYPE_CHECKING:
    from ecamp_fast.config import Recipe

LAUNCHED = [option for option in program.params if option.name != "local_rank"]


@click.command(params=list(LAUNCHED))
@ranks_option()
@click.option("--dry-run", is_flag=True, help="Say what it would do and take, and do nothing.")
@json_option()
def command(ranks: int | None, dry_run: bool, as_json: bool, **options: object) -> None:
    """Pre-train ECAMP; an interrupt saves and stops, a second one stops at once; the same command goes on.

    \b
    Example:
      ecamp-fast train --data SHARDS --recipe paper --dry-run
    """
    sys.exit(plan(ranks, as_json, **options) if dry_run else train(ranks, as_json, **options))


def train(ranks: int | None, as_json: bool, **options: Any) -> int:
    """Launch the ranks of a run and watch them.  options: of ``train.py``, by name   returns the exit code"""
    from ecamp_fast.run import launch
    from ecamp_fast.run.rundir import RunDir

    _, out, ranks = _settled(ranks, options)
    code = launch.run_ranks(lambda: launch.start(_arguments(options), ranks), out)
    launch.say_last_line(out, code)
    if as_json:
        state = RunDir(out, writes=False).state() if out.is_dir() else {}
        click.echo(json.dumps({"schema": 1, "exit_code": code, "run": str(out), "state": state}))
    return code


def plan(ranks: int | None, as_json: bool, **options: Any) -> int:
    """Say what ``train`` would do; its faults are the same.  options: of ``train.py``   returns the exit code"""
    from ecamp_fast.config.load import key_origins

    recipe, out, ranks = _settled(ranks, options)
    from ecamp_fast.forecast.page import describe
    from ecamp_fast.forecast.plan import PlannedRun, make_plan
    from ecamp_fast.run.deepspeed_config import find

    origins = key_origins(options["recipe_name"] or ("paper" if options["data"] else "demo"), options["overrides"])
    settled = options["data"], out, find(options["ds_config"]), ranks, options["resume"], options["allow"]
    found = make_plan(PlannedRun(recipe, origins, *settled))
    if as_json:
        click.echo(json.dumps(found))
    else:
        tell(*describe(found))
    return int(found["exit_code"])


def _settled(ranks: int | None, options: dict[str, Any]) -> "tuple[Recipe, Path, int]":
    """Recipe, run directory and ranks that the options mean.  Raises before anything is launched."""
    from ecamp_fast.config.overrides import require_distinct
    from ecamp_fast.machine import cuda_devices
    from ecamp_fast.run.deepspeed_config import check, find
    from ecamp_fast.run.safety import lock
    from ecamp_fast.run.tracking.choice import require_tracker

    require_tracker(options.get("track"))
    require_distinct(options["overrides"])
    recipe, out = settle(*(options[name] for name in ("recipe_name", "data", "out", "overrides", "resume")))
    require_profile(options.get("profile", ""), recipe, options["data"], out)
    ranks = ranks or cuda_devices() or 1
    check(find(str(options["ds_config"])), recipe, ranks)
    lock.refuse_second(out)
    return recipe, out, ranks


def _arguments(options: dict[str, object]) -> list[str]:
    """The command line of train.py that says the same."""
    arguments: list[str] = []
    for option in LAUNCHED:
        value = options.get(str(option.name))
        name = option.opts[0]
        if isinstance(value, tuple):
            arguments += [f"{name}={item}" for item in value]
        elif isinstance(value, bool):
            arguments += [] if value else [option.secondary_opts[0]]
        elif value:
            arguments += [f"{name}={value}"]
    return arguments
