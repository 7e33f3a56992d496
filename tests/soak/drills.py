"""Asks a training of two ranks to stop, again and again, each time at a random moment, and lets it go on.

python drills.py FOLDER DRILLS SEED    Prints what was measured, as JSON; an AssertionError says what did not hold.

The ranks are ``ecamp_fast/train.py`` as the launcher starts it, DeepSpeed and all, forked from this process, which has
imported everything once and computed nothing: a start takes a second instead of eight. It may have one thread only, so
it wants OPENBLAS_NUM_THREADS=1. A request is a SIGTERM to one rank or to both. At the end the run is compared, by its
flight recorder, with one that nobody stopped.
"""

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ecamp_fast.errors import STOPPED
from ecamp_fast.machine import free_port
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.flight import FILE, SIZE, read_flight
from ecamp_fast.run.safety.lock import LOCK
from ecamp_fast.run.safety.processes import members

RANKS = 2
STEPS_AN_EPOCH = 2.5  # of 48 phantoms, some of which are held out
LEG = 4  # steps of a leg at most before it is asked, and the one under way
MOMENT = 0.3  # seconds: a step and a half
GONE = 20.0  # seconds until nobody may be left
PATIENCE = 120.0  # seconds until a leg has begun, or trained to its end
TINY = [
    *("precision=bf16", "log_every=1", "masking.image_ratio=0.75", "image={high_size: 64, low_size: 32, flip: 0.5}"),
    "model.vision={width: 48, depth: 2, heads: 3, patch: 8}",
    "model.decoder={width: 48, depth: 1, heads: 2}",
    "model.text={width: 48, depth: 1, heads: 2, ffn: 64, dropout: 0.1}",
    *("text.max_tokens=64", "batch={total: 16, micro: 4}", "evaluation.every_steps=5"),
    "checkpoint.every_steps=100000",  # what is saved was saved because of a request
]


class Leg:
    """One start of a run: its ranks, forked, in a process group of their own."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        world = {"WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS)}
        world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        self.codes: dict[int, int] = {}
        self.pids: list[int] = []
        for rank in range(RANKS):
            pid = os.fork()
            if pid == 0:
                _be(arguments, world | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, log, self.pids)
            self.pids.append(pid)
            with contextlib.suppress(PermissionError, ProcessLookupError):  # the rank itself was first
                os.setpgid(pid, self.pids[0])

    def over(self) -> bool:
        """Whether all ranks have left."""
        for pid in set(self.pids) - self.codes.keys():
            left, status = os.waitpid(pid, os.WNOHANG)
            if left:
                self.codes[pid] = os.waitstatus_to_exitcode(status)
        return len(self.codes) == RANKS

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Until something is so, or all ranks have left; returns whether it is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until() and not self.over():
            time.sleep(0.005)
        return until()

    def orphans(self) -> int:
        """How many processes are left of it, those that a rank has started with them."""
        return len(members(self.pids[0]))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pids[0], signal.SIGKILL)
        while not self.over():
            time.sleep(0.005)


def _be(arguments: list[str], world: dict[str, str], log: Path, before: list[int]) -> None:
    """A rank, for the rest of this process, which ends as Python ends."""
    os.setpgid(0, before[0] if before else 0)
    os.environ |= world
    out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    from ecamp_fast import train

    train.be_a_rank(arguments)


def warm_up() -> None:
    """Import what a rank imports. Nothing may be computed here, nor a thread be started: forks would lack it."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    import deepspeed
    import nvidia.dali.fn
    import torch._inductor.compile_fx

    import ecamp_fast.run.safety.watchdog
    import ecamp_fast.run.trainer
    import ecamp_fast.shards.load.decode
    import ecamp_fast.train  # noqa: F401

    assert deepspeed and nvidia.dali and torch._inductor
    assert len(os.listdir("/proc/self/task")) == 1, "imports have started threads, which forks lack"


def command_line(shards: Path, out: Path, drills: int) -> list[str]:
    epochs = ((LEG + 1) * drills + 6) / STEPS_AN_EPOCH  # it is not to end before its last drill
    settings = [
        f"--set={item}" for item in [*TINY, f"schedule.epochs={epochs:g}", f"schedule.horizon_epochs={epochs:g}"]
    ]
    return [f"--data={shards}", f"--out={out}", "--recipe=demo", "--no-report", *settings]


def steps_done(out: Path) -> int:
    """By the file of the flight recorder, that every step is written to."""
    flight = out / FILE
    return max(flight.stat().st_size // SIZE - 1, 0) if flight.exists() else 0


def drill(arguments: list[str], out: Path, log: Path, chance: random.Random) -> dict[str, Any]:
    """One leg that is asked to stop.

    Returns ``seconds`` from the request to the end of all ranks, ``lost`` steps, ``orphans``, ``exit_codes``, the
    ``status`` that run_state.json has, ``locked``, and whom was ``asked``.
    """
    leg, before = Leg(arguments, log), steps_done(out)
    try:
        wanted, asked = before + chance.randint(1, LEG), chance.choice([(0,), (1,), (0, 1)])
        assert leg.wait(lambda: steps_done(out) >= wanted, PATIENCE), f"a leg never came to its step: {log}"
        time.sleep(chance.uniform(0, MOMENT))
        began = time.monotonic()
        for rank in asked:
            os.kill(leg.pids[rank], signal.SIGTERM)
        leg.wait(leg.over, GONE)
        seconds, orphans = time.monotonic() - began, leg.orphans()
    finally:
        leg.kill()
    state = RunDir(out, writes=False).state()
    trained = int(read_flight(out).steps["step"].max())
    found = {"seconds": round(seconds, 3), "lost": trained - state["step"], "orphans": orphans, "asked": list(asked)}
    found |= {"exit_codes": [leg.codes[pid] for pid in leg.pids], "status": state["status"]}
    return found | {"locked": (out / LOCK).exists()}


def faults(found: dict[str, Any]) -> list[str]:
    """What of a drill is not as it must be."""
    wrong = [] if found["lost"] <= 1 else [f"{found['lost']} steps are lost"]
    wrong += [f"{found['orphans']} processes are left"] if found["orphans"] else []
    wrong += [f"exit codes {found['exit_codes']}"] if found["exit_codes"] != [STOPPED] * RANKS else []
    wrong += [f"the state is {found['status']}"] if found["status"] != "stopped" else []
    return wrong + (["the lock is left"] if found["locked"] else [])


def train(arguments: list[str], log: Path) -> None:
    leg = Leg(arguments, log)
    try:
        leg.wait(leg.over, 10 * PATIENCE)
        assert list(leg.codes.values()) == [0] * RANKS, f"a run that nobody stopped left with {leg.codes}: {log}"
    finally:
        leg.kill()


def same(one: Path, other: Path) -> dict[str, Any]:
    """What ``ecamp-fast compare-runs`` says of two runs.  Raises AssertionError where they differ."""
    command = [sys.executable, "-m", "ecamp_fast.cli", "compare-runs", str(one), str(other), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"the runs differ: {done.stdout} {done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def soak(folder: Path, drills: int, seed: int) -> dict[str, Any]:
    """So many drills in one run.  Raises AssertionError at the first fault."""
    warm_up()
    from ecamp_fast.shards.builder.build import build_phantoms

    chance, began = random.Random(seed), time.monotonic()
    whole, stopped, log = folder / "whole", folder / "stopped", folder / "log"
    folder.mkdir(parents=True, exist_ok=True)
    if os.fork() == 0:  # it computes
        build_phantoms(48, folder / "shards", size=96)
        os._exit(0)
    assert os.wait()[1] == 0
    found = []
    for number in range(drills):
        found.append(drill(command_line(folder / "shards", stopped, drills), stopped, log, chance))
        assert not faults(found[-1]), f"drill {number}: {faults(found[-1])}: {log}"
        print(f"drill {number}: {found[-1]}", file=sys.stderr)
    train(command_line(folder / "shards", stopped, drills), log)
    train(command_line(folder / "shards", whole, drills), log)
    compared = same(whole, stopped)
    seconds = [one["seconds"] for one in found]
    return {
        "drills": drills,
        "seconds_median": round(statistics.median(seconds), 2),
        "seconds_worst": round(max(seconds), 2),
        "steps_lost_worst": max(one["lost"] for one in found),
        "steps_done_again": compared["runs"][1]["redone"]["steps"],
        "orphans": sum(one["orphans"] for one in found),
        "steps_compared": compared["compared"]["steps"],
        "same_as_uninterrupted": compared["equal"],
        "seconds": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    print(json.dumps(soak(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
