"""``ecamp-fast track``: send what a tracker was not told yet of a run."""

import json
from pathlib import Path

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError
from ecamp_fast.run.rundir import require_run
from ecamp_fast.run.tracking.choice import parse_choice, require_tracker
from ecamp_fast.usage.options import FiniteRange, json_option, run_argument


@click.command()
@run_argument()
@click.option("--to", "track", required=True, metavar="trackio|wandb[:PROJECT]", help="The tracker, and its project.")
@click.option("--timeout", default=120.0, show_default=True, type=FiniteRange(1.0), help="Seconds that it may take.")
@json_option()
def command(run: Path, track: str, timeout: float, as_json: bool) -> None:
    """Send the numbers of RUN/metrics.jsonl that a tracker was not told yet: after an outage, or without `--track`.

    It is the same run there as with `train --track`, and no step is sent twice. Exit code 7 where the tracker fails.

    \b
    Example:
      ecamp-fast track runs/demo --to wandb:radiographs
    """
    require_run(run)
    require_tracker(track)
    if not (run / "metrics.jsonl").exists():
        raise ConfigError(f"{run} has no metrics.jsonl", "name the folder given as --out")
    from ecamp_fast.run.metrics import SCALARS
    from ecamp_fast.run.tracking.follower import catch_up

    choice = parse_choice(track)
    before, now = catch_up(run, choice, SCALARS, timeout)
    if as_json:
        click.echo(json.dumps({"schema": 1, "run": str(run), "tracker": str(choice), "id": now.id, "steps": now.steps}))
    elif before.steps == now.steps:
        tell(f"{run}: {choice} knew it all")
    else:
        told = ", ".join(f"{split} to step {step}" for split, step in now.steps.items())
        tell(f"{run}: sent to {choice} as {now.id}: {told}")
