"""``ecamp-fast stop``: ask a run to save and end at its next step."""

import json
import time
from pathlib import Path

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError, EnvironmentFault
from ecamp_fast.run.rundir import RunDir, require_run
from ecamp_fast.run.safety import lock
from ecamp_fast.usage import options


@click.command()
@options.run_argument()
@click.option(
    "--timeout",
    default=120.0,
    show_default=True,
    type=options.FiniteRange(0),
    help="Seconds to wait for the run to end.",
)
@options.json_option()
def command(run: Path, timeout: float, as_json: bool) -> None:
    """Save RUN and end it at the next step, or at once while it is set up; its launcher leaves with 75.

    A run whose processes are gone is noted as failed: exit code 4.

    \b
    Example:
      ecamp-fast stop runs/mine
    """
    require_run(run)
    directory = RunDir(run, writes=False)
    writer = lock.holder(run)
    if writer is None and not directory.state():
        raise ConfigError(f"{run} is not a run directory", "name the folder given as --out")
    if writer is not None:
        _stop(directory, writer, timeout)
    state = directory.state()
    if state.get("status") == "running":  # and nobody writes it
        _note_death(directory, "nobody writes it any more")
    if as_json:
        click.echo(json.dumps({"schema": 1, "status": "stopped", "step": 0, **state}))
    else:
        tell(f"{run}: {state.get('status', 'stopped')} at step {state.get('step', 0)}")


def _stop(directory: RunDir, writer: lock.Writer, timeout: float) -> None:
    """Wait until ``writer`` has given its lock back.  Raises EnvironmentFault where it dies, or does not in time."""
    directory.stop_file.touch()
    deadline = time.monotonic() + timeout
    while (now := lock.holder(directory.path)) is not None and now.token == writer.token:
        if not lock.is_alive(directory.path, now):
            beat = lock.last_beat(directory.path)
            directory.stop_file.unlink(missing_ok=True)
            lock.remove_dead(directory.path, now)
            _note_death(directory, f"{now} is gone; its last sign of life was at {beat.get('time', 'no time known')}")
        if time.monotonic() > deadline:
            raise EnvironmentFault(
                f"{directory.path} did not stop within {timeout:.0f} s: {now}", "wait longer, or see its events.jsonl"
            )
        time.sleep(0.2)


def _note_death(directory: RunDir, how: str) -> None:
    """Raises EnvironmentFault, after run_state.json has been told the truth."""
    state = directory.state()
    if state.get("status") not in ("complete", "stopped"):
        RunDir(directory.path).set_state(status="failed", fault="ended without a word")
    step = state.get("step", 0)
    saved = f"saved at step {step}" if step else "nothing was saved"
    raise EnvironmentFault(
        f"{directory.path} is dead: {how}", f"{saved}; the command that started it goes on from there"
    )
