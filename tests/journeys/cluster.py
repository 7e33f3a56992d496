"""Journey: the batch file for SLURM on two nodes: its time is up, the ranks save, the job is requeued and goes on.

SLURM is played by programs of a few lines (`standins/`), two nodes by two processes of this machine.
"""

import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from journeys.harness import ROOT, Typed, Walk, check, check_complete, program, tiny
from journeys.stop_resume import steps

STANDINS = Path(__file__).with_name("standins")
SBATCH = ROOT / "docs" / "clusters" / "ecamp-fast.sbatch"
NOTES, TASKS = "slurm-notes", "slurm-tasks"


def journey(walk: Walk) -> None:
    play_slurm(walk)
    walk.need("SHARDS")
    length = "schedule={epochs: 60, warmup_epochs: 1, horizon_epochs: 60}"
    words = "--ds_config --recipe paper --data SHARDS --out RUN --no-report " + tiny(
        length, "checkpoint.every_steps=1000"
    )
    if walk.short:  # ranks are played too: how the batch file, signals and the queue go together
        walk.tool("python", (STANDINS / "rank").read_text())
    command = f"sbatch --nodes=2 --ntasks-per-node=1 docs/clusters/ecamp-fast.sbatch {words}"
    first = walk.start(command)
    first.until(lambda: "rank 1" in notes(walk) if walk.short else steps(walk.here / "RUN") >= 2)
    first.until((walk.here / TASKS).exists)
    time_is_up(walk)
    ended = first.end()
    check_stopped(ended, notes(walk))
    if walk.short:
        return
    saved = walk.state("RUN")
    check(saved.get("status") == "stopped" and saved.get("step"), f"saved as stopped at step {saved.get('step')}")
    again = walk.start(command, {"SLURM_RESTART_COUNT": "1"})  # what the queue does then
    check(again.end(600).code == 0, "the job that was put back ends by itself, with 0")
    check_complete(walk.state("RUN"))
    check(walk.state("RUN")["step"] > saved["step"], "it went on, and did not begin anew")
    check(notes(walk).count("scontrol requeue") == 1, "a job that is complete is not put back")


def play_slurm(walk: Walk) -> None:
    """Stand-ins for sbatch, srun, scancel and scontrol, first on PATH; what they were asked is in ``slurm-notes``."""
    for name in ("sbatch", "srun", "scancel", "scontrol"):
        walk.tool(name, (STANDINS / name).read_text())
    walk.env |= {"SLURM_NOTES": str(walk.here / NOTES), "SLURM_TASKS": str(walk.here / TASKS)}


def notes(walk: Walk) -> str:
    file = walk.here / NOTES
    return file.read_text() if file.exists() else ""


def time_is_up(walk: Walk) -> None:
    """What the batch file asks SLURM for by ``--signal``; it reaches the batch shell and nothing else."""
    import os

    found = re.search(r"^#SBATCH --signal=B:(\w+)@\d+$", SBATCH.read_text(), re.MULTILINE)
    check(found, "the batch file asks for a signal before its end")
    name = f"SIG{found[1]}" if found else ""
    check(name == "SIGUSR1", "it is USR1, not what scancel sends")
    os.kill(int((walk.here / "slurm-batch").read_text()), signal.Signals[name])


def check_stopped(ended: Typed, noted: str, says: Sequence[str] = ("goes back to the queue",)) -> None:
    """Two ranks on two nodes were told to save, then the job was put back, once."""
    check(ended.code == 75, f"the batch file leaves with 75: {ended.code}")
    check(all(words in ended.out for words in says), "it says that the job goes back to the queue")
    lines = noted.splitlines()
    tasks = [line for line in lines if line.startswith("task ")]
    check(sorted(tasks) == ["task 0 on node 0 of 2", "task 1 on node 1 of 2"], f"a task on each node: {tasks}")
    told = [line for line in lines if line.startswith("sc")]
    check(len(told) == 2 and told[0].startswith("scancel --signal=TERM"), f"the ranks are told to save first: {told}")
    check(told[-1].startswith("scontrol requeue "), f"then the job is put back: {told[-1:]}")


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
