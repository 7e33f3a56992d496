"""Several pre-trainings with one command: as many at once as asked for, their cost noted, an interrupt for all."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecamp_fast.commands.verdict import failed, say
from ecamp_fast.errors import STOPPED
from ecamp_fast.files import open_private
from ecamp_fast.run.rundir import RunDir

if TYPE_CHECKING:
    import subprocess


@dataclass(frozen=True)
class Training:
    """What ``train`` is told beside the folder.  data: the shard set"""

    recipe: str
    overrides: tuple[str, ...]
    data: Path | str
    ds_config: str = "zero0"


@dataclass
class _Process:
    """One that trains.  new: whether the run was not complete when it was started"""

    process: "subprocess.Popen[bytes]"
    new: bool


def train_all(runs: Mapping[Path, Training], at_once: int, ranks: int = 1, threads: int | None = 1) -> None:
    """Train all runs and note the core-minutes that each took; a run goes on where it was cut off.

    at_once: runs   ranks: of each   threads: of a rank; None: its share of the cores

    An interrupt asks them to stop; then this process leaves with ``STOPPED``, and a second one kills them. The failure
    of one ends the others. Raises EcampError with its exit code.
    """
    from ecamp_fast.run import launch

    waiting, running = list(runs), dict[Path, _Process]()
    with launch.asked_to_stop() as asked:
        try:
            while running or (waiting and not asked()):
                while waiting and len(running) < at_once and not asked():
                    run = waiting.pop(0)
                    running[run] = _start(run, runs[run], ranks, threads)
                for run, training in list(running.items()):
                    if _ended(run, training):
                        del running[run]
                if asked():  # again and again: a run that is just starting forgets what was asked for before
                    for run in running:
                        RunDir(run, writes=False).stop_file.touch()
                time.sleep(0.2)
        finally:  # a failure of one ends the other too
            for training in running.values():
                launch.kill(training.process)
        if asked() or any(status(run) == "stopped" for run in runs):
            say("stopped; the same command goes on")
            sys.exit(STOPPED)


def status(run: Path) -> str | None:
    """As run_state.json has it; None where the run has not begun."""
    return RunDir(run, writes=False).state().get("status")


def core_minutes(run: Path) -> float:
    """That were noted of its trainings."""
    from ecamp_fast.report.facts import read_results

    return float(read_results(run).get("core_minutes", 0.0))


def _start(run: Path, training: Training, ranks: int, threads: int | None) -> _Process:
    from ecamp_fast.run import launch

    RunDir(run).create()
    new = status(run) != "complete"
    arguments = [f"--data={training.data}", f"--out={run}", f"--recipe={training.recipe}"]
    arguments += [f"--ds_config={training.ds_config}", "--no-report"]
    arguments += [f"--set={item}" for item in training.overrides]
    with open_private(run / "train.log", "ab") as log:
        return _Process(launch.start(arguments, ranks, log, threads=threads), new)


def _ended(run: Path, training: _Process) -> bool:
    """Whether the run is over; its cost is then noted.  Raises EcampError with its exit code where it failed."""
    from ecamp_fast.report.facts import save_results

    pid, ended, usage = os.wait4(training.process.pid, os.WNOHANG)
    if not pid:
        return False
    training.process.returncode = code = os.waitstatus_to_exitcode(ended)
    if training.new:
        save_results(run, core_minutes=core_minutes(run) + (usage.ru_utime + usage.ru_stime) / 60)
    if code not in (0, STOPPED):
        raise failed(run, "failed", code)
    return True
