"""``ecamp-fast stop``: right in a first start, a resumed one, during a run, after it, and on a dead one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.cli import main
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety import lock

ROOT = Path(__file__).absolute().parents[3]
RUN = """
import sys, time
from pathlib import Path
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.guard import Guard
run = RunDir(Path(sys.argv[1]))
with Guard(leaves=True) as guard:
    guard.claim(run, run.stop_asked())
    print("up", flush=True)
    if sys.argv[2] == "set-up":
        time.sleep(60)
    guard.take(run, lambda flag: flag, lambda numbers: [numbers])
    step = run.state().get("step", 0)
    guard.begin(step)
    run.set_state(status="running", step=step, **guard.leg)
    while not (guard.requested and sys.argv[2] == "saves"):
        time.sleep(0.02)
        step += 1
        guard.done(step)
        print("step", flush=True)
    guard.note_saved(guard.step)
    run.set_state(status="stopped", step=step)
"""


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """begin(how, until): a run in ``tmp_path / run`` that has said ``until``."""
    running = []

    def start(how: str, until: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", RUN, str(tmp_path / "run"), how]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        running.append(process)
        assert process.stdout and any(line == f"{until}\n" for line in process.stdout)
        return process

    yield start
    for one in running:
        one.kill()
        one.communicate()


@pytest.fixture
def stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """stop(): exit code, and all that was said."""

    def run(*options: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(["stop", str(tmp_path / "run"), *options])
        told = capsys.readouterr()
        return int(left.value.code or 0), told.out + told.err

    return run


Begin = Callable[..., "subprocess.Popen[str]"]
Stop = Callable[..., tuple[int, str]]


def state(tmp_path: Path) -> dict[str, Any]:
    return RunDir(tmp_path / "run", writes=False).state()


def test_before_there_is_a_run(stop: Stop, tmp_path: Path) -> None:
    assert stop()[0] == 2
    (tmp_path / "run").mkdir()
    assert stop()[0] == 2 and not (tmp_path / "run" / "STOP").exists()


@pytest.mark.fault("C4.stop-in-set-up")
@pytest.mark.parametrize("former", [None, {"status": "stopped", "step": 7}, {"status": "running", "step": 7}])
def test_while_it_is_set_up(begin: Begin, stop: Stop, tmp_path: Path, former: dict[str, Any] | None) -> None:
    if former:
        RunDir(tmp_path / "run").set_state(**former)
        (tmp_path / "run" / "STOP").touch()  # of the earlier run
    process = begin("set-up", "up")
    code, said = stop()
    step = former["step"] if former else 0
    assert code == 0 and f"stopped at step {step}" in said
    assert process.wait(10) == 75
    assert state(tmp_path)["status"] == "stopped" and state(tmp_path)["step"] == step
    assert not (tmp_path / "run" / "STOP").exists() and not (tmp_path / "run" / lock.LOCK).exists()


def test_during_a_run_and_after_it(begin: Begin, stop: Stop, tmp_path: Path) -> None:
    process = begin("saves", "step")
    code, said = stop("--json")
    assert code == 0 and json.loads(said)["status"] == "stopped" and json.loads(said)["step"] > 0
    assert process.wait(10) == 0
    assert stop()[1] == f"{tmp_path / 'run'}: stopped at step {state(tmp_path)['step']}\n"
    RunDir(tmp_path / "run").set_state(status="complete", step=9)
    assert stop() == (0, f"{tmp_path / 'run'}: complete at step 9\n")


def test_a_run_that_does_not_stop_in_time_is_named(begin: Begin, stop: Stop) -> None:
    process = begin("never", "step")
    code, said = stop("--timeout", "0.5")
    assert code == 4 and f"process {process.pid}" in said and "did not stop within" in said


@pytest.mark.fault("C5b.stop-on-dead")
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_on_a_dead_run(begin: Begin, stop: Stop, tmp_path: Path, when: str) -> None:
    process = begin("never", "step")
    RunDir(tmp_path / "run").set_state(step=4)
    if when == "before":
        process.kill()
    else:
        subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(1); os.kill({process.pid}, 9)"])
    began = time.monotonic()
    code, said = stop()
    assert code == 4 and time.monotonic() - began < 10
    assert (
        f"is dead: process {process.pid} on" in said and "saved at step 4" in said and "sign of life was at 20" in said
    )
    assert state(tmp_path)["status"] == "failed" and state(tmp_path)["step"] == 4
    assert not (tmp_path / "run" / "STOP").exists() and not (tmp_path / "run" / lock.LOCK).exists()
    assert stop()[1] == f"{tmp_path / 'run'}: failed at step 4\n"


@pytest.mark.fault("C5b.stop-on-dead")
def test_on_a_run_that_left_no_lock(stop: Stop, tmp_path: Path) -> None:
    RunDir(tmp_path / "run").set_state(status="running", step=4)
    code, said = stop()
    assert code == 4 and "is dead" in said and state(tmp_path)["status"] == "failed"
