"""Real runs under DeepSpeed that are signalled: saved, ended, nobody left, nothing in /dev/shm, and they go on.

All signals, targets and phases, on ranks that pretend to train: ``tests/run/safety/test_signals.py``.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecamp_fast.errors import STOPPED
from ecamp_fast.run import launch
from ecamp_fast.run.rundir import RunDir, read_metrics
from ecamp_fast.run.safety.compare import compare, compare_redone
from ecamp_fast.run.safety.flight import FILE, SIZE, read_flight
from ecamp_fast.run.safety.lock import LOCK
from ecamp_fast.run.safety.processes import ProcessId, descendants

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
TOPS = {"train": [BIN / "ecamp-fast", "train", "--ranks=2"], "deepspeed": [BIN / "deepspeed", "--num_gpus=2"]}
CASES = {
    "the deepspeed command, in a step": ("deepspeed", "top", signal.SIGTERM, "step"),
    "its launcher is killed, in a step": ("deepspeed", "launcher", signal.SIGKILL, "step"),
    "one rank, while it is set up": ("deepspeed", "rank", signal.SIGTERM, "set-up"),
    "the terminal is closed, in an evaluation": ("deepspeed", "group", signal.SIGHUP, "evaluation"),
    "ecamp-fast train is interrupted, in a step": ("train", "top", signal.SIGINT, "step"),
}
REQUESTS = ("top", "rank", "launcher", "group", "rank")  # who gets SIGTERM, one after the other
KILLS = ("group", "rank", "launcher", "top", "group")  # who gets SIGKILL, in turn with those
Begin = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def begin(arguments: Callable[..., list[str]], tmp_path: Path) -> Iterator[Begin]:
    """begin(top, out, ...): the run under one of ``TOPS``; its output goes to ``tmp_path / log``."""
    running = []

    def start(top: str, out: Path, *extra: str) -> "subprocess.Popen[bytes]":
        script = [] if top == "train" else [launch.SCRIPT]
        command = [*TOPS[top], *script, *arguments(out, *extra)]
        with open(tmp_path / "log", "ab") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        return running[-1]

    yield start
    for one in running:
        for child in [*descendants(one.pid), ProcessId.of(one.pid)]:
            if child:
                os.kill(child.pid, signal.SIGKILL)
        one.wait()


def of_run(out: Path) -> list[int]:
    """Processes whose command line names the run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [int(path.parent.name)] if str(out).encode() in path.read_bytes() else []
        except OSError:
            continue
    return found


def unused(names: set[str]) -> set[str]:
    """Of files in /dev/shm those that no process has: other tests may run beside these."""
    maps = ""
    for path in Path("/proc").glob("[0-9]*/maps"):
        try:
            maps += path.read_text()
        except OSError:
            continue
    return {name for name in names if f"/dev/shm/{name}" not in maps and (Path("/dev/shm") / name).exists()}


def until(condition: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    while not condition():
        assert process.poll() is None
        time.sleep(0.02)


def ranks(process: "subprocess.Popen[bytes]") -> list[int]:
    """The leaves of the tree of processes, without what a rank has started itself."""
    every = [one.pid for one in descendants(process.pid)]
    return [pid for pid in every if b"--local_rank" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def gone(process: "subprocess.Popen[bytes]", out: Path, since: float) -> int:
    """Wait for the command and for all its ranks; its exit code."""
    code = process.wait(60)
    while of_run(out) and time.monotonic() - since < 20:
        time.sleep(0.05)
    assert of_run(out) == []
    return code


def send(process: "subprocess.Popen[bytes]", target: str, number: int) -> None:
    if target == "group":
        os.killpg(process.pid, number)
    else:
        below = descendants(process.pid)
        os.kill({"top": process.pid, "launcher": below[0].pid, "rank": ranks(process)[-1]}[target], number)


def leg(process: "subprocess.Popen[bytes]", out: Path, target: str, number: int) -> None:
    """Let it train two steps more, signal it, and wait until nobody is left."""
    flight = out / FILE
    before = flight.stat().st_size if flight.exists() else SIZE
    until(lambda: flight.exists() and flight.stat().st_size >= before + 2 * SIZE, process)
    began = time.monotonic()
    send(process, target, number)
    gone(process, out, began)


def assert_saved(out: Path) -> None:
    state = RunDir(out, writes=False).state()
    assert state["status"] == "stopped" and not (out / LOCK).exists()
    assert state["step"] == read_flight(out).steps["step"].max() >= 2
    assert (out / "checkpoints" / f"step-{state['step']:08d}").is_dir()


@pytest.mark.fault("C4.deepspeed", "C5b.deepspeed")
def test_a_request_to_the_deepspeed_command_saves(begin: Begin, tmp_path: Path) -> None:
    out = tmp_path / "run"
    leg(begin("deepspeed", out, "--set=checkpoint.every_steps=1000"), out, "top", signal.SIGTERM)
    assert_saved(out)


@pytest.mark.complete
@pytest.mark.fault("C4.deepspeed", "C5b.deepspeed", "C8.ten-kills")
def test_five_requests_and_five_kills_leave_no_trace(begin: Begin, train: Callable[..., int], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    long = ("--set=schedule.epochs=20", "--set=schedule.horizon_epochs=20")
    for asked, killed in zip(REQUESTS, KILLS, strict=True):
        leg(begin("deepspeed", out, *long), out, asked, signal.SIGTERM)
        assert_saved(out)
        leg(begin("deepspeed", out, *long), out, killed, signal.SIGKILL)
    assert begin("deepspeed", out, *long).wait(300) == 0
    assert train(whole, *long) == 0
    flight, same = read_flight(out), read_flight(whole)
    found = compare(same.steps, flight.steps)
    assert (found.first, found.compared) == (None, len(same.steps)) and len(same.steps) == len(flight.steps) > 40
    assert compare_redone(flight).first is None


@pytest.mark.complete
@pytest.mark.fault("C4.deepspeed", "C4.no-shared-memory", "C5b.deepspeed")
@pytest.mark.parametrize("name", CASES)
def test_it_saves_ends_and_goes_on(begin: Begin, tmp_path: Path, name: str) -> None:
    top, target, number, phase = CASES[name]
    out, shared = tmp_path / "run", set(os.listdir("/dev/shm"))
    settings = ["--set=checkpoint.every_steps=1000"] + ["--set=evaluation.every_steps=1"] * (phase == "evaluation")
    process = begin(top, out, *settings)
    if phase == "set-up":
        until(lambda: (out / LOCK).exists(), process)
    else:
        until(lambda: len(read_metrics(out)) >= 2, process)
    began = time.monotonic()
    send(process, target, number)
    code = gone(process, out, began)
    print((tmp_path / "log").read_text()[-4000:])
    state, log = RunDir(out, writes=False).state(), (tmp_path / "log").read_text()
    assert state["status"] == "stopped" and not (out / LOCK).exists() and not (out / "STOP").exists()
    assert unused(set(os.listdir("/dev/shm")) - shared) == set()
    if phase == "set-up":
        assert state["step"] == 0 and "stopped before anything was saved; the same command goes on" in log
    else:
        assert state["step"] == max(line["step"] for line in read_metrics(out)) >= 2
        assert [path.name for path in (out / "checkpoints").glob("step-*")] == [f"step-{state['step']:08d}"]
        assert f"saved at step {state['step']}; the same command goes on" in log
    if top == "train":
        assert code == STOPPED and log.endswith("the same command goes on\n")
        assert "Traceback" not in log and "ERROR" not in log and "exits with return code" not in log
        assert begin(top, out, *settings).wait(300) == 0
        assert RunDir(out, writes=False).state()["status"] == "complete"


@pytest.mark.complete
@pytest.mark.fault("C5b.second-start")
def test_a_second_start_is_refused_and_the_first_goes_on(begin: Begin, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = begin("deepspeed", out)
    until(lambda: (out / LOCK).exists(), first)
    before = os.listdir(out)
    assert begin("train", out).wait(60) == 5
    assert begin("deepspeed", out).wait(120) == 5
    log = (tmp_path / "log").read_text()
    assert log.count(f"{out} is being written by process") == 2 and set(before) <= set(os.listdir(out))
    assert first.wait(300) == 0
    assert RunDir(out, writes=False).state()["status"] == "complete"
