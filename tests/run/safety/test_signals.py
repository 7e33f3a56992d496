"""Every signal to every process of a run, wherever the run is: it saves what it can, ends, says so, and leaves nobody.

The launcher, guard and lock are the product's; the ranks only pretend to train: ``light_run.py``.
"""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ecamp_fast.errors import STOPPED

LIGHT = Path(__file__).with_name("light_run.py")
ROOT = Path(__file__).absolute().parents[3]
PHASES = ("start", "setup", "step", "evaluation", "save", "data")
TOPS = ("train", "runner")
TARGETS = ("top", "launch", "rank0", "rank1", "group")
BEFORE_A_STEP = ("start", "setup")
FIRST_DONE = {"step": 5, "data": 5, "save": 4, "evaluation": 10}


class Signal(NamedTuple):
    """A case of ``light_run.py``."""

    top: str
    target: str
    signal: str
    phase: str
    again: bool = False
    wait: float | None = None

    def __str__(self) -> str:
        return f"{self.top}-{self.target}-{self.signal}-{self.phase}" + "-twice" * self.again


def some(cases: list[Signal], every: int) -> list[Any]:
    """All of them with --complete; else one of so many, in steps that meet all tops, targets and phases."""
    return [
        pytest.param(case, id=str(case), marks=() if number % every == 0 else pytest.mark.complete)
        for number, case in enumerate(cases)
    ]


def kills_ranks(case: Signal) -> bool:
    return case.signal == "KILL" and case.target in ("rank0", "rank1", "group")


EVERY_ONE = [Signal(*case) for case in product(TOPS, TARGETS, ("TERM", "INT", "HUP", "KILL"), PHASES)]
HEARD = [case for case in EVERY_ONE if not kills_ranks(case)]
KILLED = [case for case in EVERY_ONE if kills_ranks(case)]
TWICE = [
    Signal(top, target, number, phase, again=True, wait=30.0)
    for top, target, number, phase in product(TOPS, ("top", "group"), ("TERM", "INT", "HUP"), ("save", "data"))
    if (top, target) != ("runner", "top")  # that one is gone with the first
]


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[Signal, dict[str, Any]]:
    """What became of every case that this session asks for: they run side by side."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    cases = [found.params["case"] for found in params if found and isinstance(found.params.get("case"), Signal)]
    folder = tmp_path_factory.mktemp("signals")
    command = [sys.executable, str(LIGHT), str(folder), json.dumps([case._asdict() for case in cases])]
    path = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=os.environ | path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return dict(zip(cases, json.loads(done.stdout), strict=True))


@pytest.mark.fault("C4.init", "C4.compilation", "C4.step", "C4.evaluation", "C4.save", "C4.data", "C4.int", "C4.hup")
@pytest.mark.fault("C4.no-orphans", "C5b.command", "C5b.runner", "C5b.launcher", "C5b.one-rank", "C5b.group")
@pytest.mark.parametrize("case", some(HEARD, 7))
def test_a_signal_saves_ends_and_leaves_nobody(case: Signal, played: dict[Signal, dict[str, Any]]) -> None:
    found = played[case]
    assert "error" not in found, found
    assert found["left"] == [] and found["seconds"] < 10, found
    assert not found["locked"], found
    state = found["state"]
    if case.phase in BEFORE_A_STEP:
        assert state.get("status", "stopped") == "stopped" and state.get("step", 0) == found["saved"] == 0, found
        assert case.phase == "start" or state, found
    else:
        assert state["status"] == "stopped" and not state["steps_lost"], found
        assert state["step"] == found["saved"] == found["done"] >= FIRST_DONE[case.phase], found
    survives = (case.target, case.signal) != ("top", "KILL")
    if case.top == "train" and survives:
        told = state or case.target not in ("launch", "group")  # its launcher was ended before there was a RUN
        assert found["code"] == (STOPPED if told else 1), found
    if state and (survives or case.top == "runner"):
        line = f"saved at step {state['step']}" if state["step"] else "stopped before anything was saved"
        assert f"{line}; the same command goes on" in (found["log"] if case.top == "runner" else found["said"]), found


@pytest.mark.fault("C4.twice")
@pytest.mark.parametrize("case", some(TWICE, 4))
def test_a_second_signal_ends_it_at_once_without_a_save(case: Signal, played: dict[Signal, dict[str, Any]]) -> None:
    """It hangs in a save or waits for data that never comes, so that the first cannot be followed."""
    found = played[case]
    assert "error" not in found and found["left"] == [] and found["seconds"] < 5, found
    assert found["state"]["status"] == "stopped" and found["state"]["step"] == found["saved"] < found["done"], found
    assert not found["locked"], found
    if case.top == "train" and case.target == "top":
        assert found["code"] in (130, 143, 129), found


@pytest.mark.fault("C4.data")
@pytest.mark.parametrize("case", some([Signal("train", "top", "TERM", "data", wait=30.0)], 1))
def test_data_that_never_comes_is_not_waited_for(case: Signal, played: dict[Signal, dict[str, Any]]) -> None:
    found = played[case]
    assert "error" not in found and found["left"] == [] and 1.5 < found["seconds"] < 8, found
    assert found["code"] == STOPPED and found["state"]["status"] == "stopped", found
    assert found["said"] == "saved at step 4, and left 1 step(s) later without a save; the same command goes on", found


@pytest.mark.fault("C5b.killed-rank", "C5b.never-success")
@pytest.mark.parametrize("case", some(KILLED, 5))
def test_a_killed_rank_is_a_failure_that_goes_on_from_its_checkpoint(
    case: Signal, played: dict[Signal, dict[str, Any]]
) -> None:
    found = played[case]
    assert "error" not in found and found["left"] == [] and found["seconds"] < 10, found
    state = found["state"]
    assert state.get("step", 0) == found["saved"], found
    assert (found["code"] not in (0, STOPPED)) or (case.top, case.target) == ("runner", "group"), found
    if case.phase in BEFORE_A_STEP:
        return  # nothing was begun
    alone = (case.top, case.target) == ("runner", "group")  # nobody was left to say it: `stop` and the next start do
    assert state["status"] == ("running" if alone else "failed"), found
    if case.top == "train":
        assert found["said"].startswith("failed (") and found["said"].endswith("the same command goes on"), found
