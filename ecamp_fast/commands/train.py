"""``ecamp-fast train``: the ranks of a run, launched and watched."""

import json
import sys

import click

from ecamp_fast.train import main as program
from ecamp_fast.train import require_profile, settle

LAUNCHED = [option for option in program.params if option.name != "local_rank"]


@click.command(
    params=[
        *LAUNCHED,
        click.Option(["--ranks"], type=int, help="Ranks on this machine. Default: the GPUs, or one."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the outcome as JSON."),
    ]
)
def command(ranks: int | None, as_json: bool, **options: object) -> None:
    """Pre-train ECAMP; an interrupt saves and stops, a second one stops at once; the same command goes on."""
    sys.exit(train(ranks, as_json, **options))


def train(ranks: int | None, as_json: bool, **options: object) -> int:
    """Launch the ranks of a run and watch them.  options: of ``train.py``, by name   returns the exit code"""
    from ecamp_fast.run import launch
    from ecamp_fast.run.deepspeed_config import check, find
    from ecamp_fast.run.rundir import RunDir
    from ecamp_fast.run.safety import lock

    named = (options[name] for name in ("recipe_name", "data", "out", "overrides", "resume"))
    recipe, out = settle(*named)  # type: ignore[arg-type]  # a fault shows before launch
    require_profile(str(options["profile"]), recipe, options["data"], out, str(options["resume"]))  # type: ignore[arg-type]
    ranks = ranks or _devices()
    check(find(str(options["ds_config"])), recipe, ranks)
    lock.refuse_second(out)
    code = launch.run_ranks(lambda: launch.start(_arguments(options), ranks), out)
    launch.say_last_line(out, code)
    if as_json:
        state = RunDir(out, writes=False).state() if out.is_dir() else {}
        click.echo(json.dumps({"schema": 1, "exit_code": code, "run": str(out), "state": state}))
    return code


def _arguments(options: dict[str, object]) -> list[str]:
    """The command line of train.py that says the same."""
    arguments: list[str] = []
    for option in LAUNCHED:
        value = options[str(option.name)]
        name = option.opts[0]
        if isinstance(value, tuple):
            arguments += [f"{name}={item}" for item in value]
        elif isinstance(value, bool):
            arguments += [] if value else [option.secondary_opts[0]]
        elif value:
            arguments += [f"{name}={value}"]
    return arguments


def _devices() -> int:
    import torch

    return torch.cuda.device_count() or 1
