"""``ecamp-fast stop``: ask a run to save and end at its next step."""

import json
import time
from pathlib import Path

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError, EnvironmentFault
from ecamp_fast.run.rundir import RunDir


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for the run to say it stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print the run's state as JSON.")
def command(run: Path, timeout: float, as_json: bool) -> None:
    """Save RUN and end it at the next step; its launcher leaves with 75."""
    if not (run / "run_state.json").exists():
        raise ConfigError(f"{run} is not a run directory", "name the folder given as --out")
    directory = RunDir(run, writes=False)
    if directory.state().get("status") == "running":
        directory.stop_file.touch()
        deadline = time.monotonic() + timeout
        while directory.state().get("status") == "running":
            if time.monotonic() > deadline:
                raise EnvironmentFault(
                    f"{run} did not stop within {timeout:.0f} s", "it may be dead: see events.jsonl and its processes"
                )
            time.sleep(0.2)
    state = directory.state()
    tell(json.dumps({"schema": 1, **state}) if as_json else f"{run}: {state['status']} at step {state['step']}")
