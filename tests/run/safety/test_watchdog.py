"""Ranks without a model, one of which dies, stops or hangs: all others leave, and say which one it was."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.run.rundir import RunDir, read_records
from ecamp_fast.run.safety.heartbeat import Heartbeat

RANKS = Path(__file__).with_name("watched_ranks.py")
WITHIN = 8.0  # seconds from the fault, or the end of its limit: three are by design, the machine may be busy
LIMITS = {"start": 30.0, "step": 1.0, "data": 1.0, "evaluation": 1.0, "save": 1.0, "stopped": 1.0, "silent": 1.0}
Left = dict[str, list[Any]]


def lost(out: Path, fault: str, ranks: int = 3, **more: Any) -> tuple[Left, str]:
    """What became of each rank, and what they wrote to standard error."""
    out.mkdir()
    case = {"ranks": ranks, "steps": 30, "limits": LIMITS, "fault": fault} | more
    command = [sys.executable, str(RANKS), str(out), json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    print(done.stderr[-6000:])
    return json.loads(done.stdout), done.stderr


def check(out: Path, left: Left, said: str, culprit: int, code: int, its_code: int, what: str) -> None:
    """All left in time with ``code``, the culprit with its own; messages, event, state and stacks name it."""
    assert left.pop(str(culprit))[0] == its_code
    assert {found for found, _ in left.values()} == {code}
    assert all(seconds < LIMITS["step"] + WITHIN for _, seconds in left.values()), left
    pattern = rf"error: rank {culprit} \(host \S+, pid \d+\) {what}"
    assert len(re.findall(pattern, said)) >= len(left), said[-3000:]
    (event,) = [event for event in read_records(out / "events.jsonl") if event["event"] == "ended"]
    assert (event["rank"], event["step"], event["exit_code"]) == (culprit, 3, code)
    assert event["samples"] == [f"s3-m{event['part']}-r{culprit}"]
    state = RunDir(out).state()
    assert (state["status"], state["ended"]["rank"], state["ended"]["step"]) == ("failed", culprit, 3)
    for rank in left:
        stacks = (out / f"stacks-rank{rank}.txt").read_text()
        assert "in train" in stacks and "Current thread" in stacks and "in _watch" in stacks


CASES = {
    "stopped": ("phase:name=step:rank=1:step=3:stop", 1, 4, 4, r"was stopped .* step 3, micro-batch \d, samples s3-"),
    "rank 0 gone": ("phase:name=step:rank=0:step=3:exit", 0, 4, 1, r"died; .* step 3, micro-batch \d, samples s3-"),
    "killed": ("phase:name=data:rank=2:step=3:kill", 2, 4, -9, r"died; .* step 3, micro-batch \d, samples s3-"),
    "rank 0 stopped": ("phase:name=step:rank=0:step=3:stop", 0, 4, 4, r"was stopped .* step 3, micro-batch"),
    "rank 0 killed": ("phase:name=step:rank=0:step=3:kill", 0, 4, -9, r"died; .* step 3, micro-batch"),
    "rank 1 gone": ("phase:name=data:rank=1:step=3:exit", 1, 4, 1, r"died; .* step 3, micro-batch"),
    "stuck": ("phase:name=step:rank=1:step=3:hang", 1, 4, 4, r"has made no progress .* last seen in phase step after"),
    "no data": ("phase:name=data:rank=1:step=3:hang", 1, 5, 5, r"has made no progress .* phase data after step 3"),
    "save": ("phase:name=save:rank=1:step=3:hang", 1, 5, 5, r"has made no progress .* phase save after step 3"),
    "failed": ("data:rank=2:step=3:bad", 2, 3, 3, r"failed: train-000001.tar: sample p7 is damaged"),
}
IN_THE_SUITE = ("stopped", "rank 0 gone")


@pytest.mark.slow
@pytest.mark.fault("C5.exit", "C5.stop", "C5.rank-0", "C5.named", "C5.stacks", "C5.all-leave", "C5.state", "C5.woken")
@pytest.mark.parametrize("name", IN_THE_SUITE)
def test_all_others_leave_and_name_the_rank_that_is_lost(tmp_path: Path, name: str) -> None:
    fault, culprit, code, its_code, what = CASES[name]
    left, said = lost(tmp_path / "run", fault)
    check(tmp_path / "run", left, said, culprit, code, its_code, what)


@pytest.mark.complete
@pytest.mark.fault("C5.sigkill", "C5.hang", "C5.failed", "C6.stalled", "C6.named", "C6.all-leave")
@pytest.mark.parametrize("name", [name for name in CASES if name not in IN_THE_SUITE])
def test_all_others_leave_in_every_case(tmp_path: Path, name: str) -> None:
    fault, culprit, code, its_code, what = CASES[name]
    left, said = lost(tmp_path / "run", fault)
    if name == "save":
        culprit_code, seconds = left[str(culprit)]
        assert (culprit_code, seconds < LIMITS["save"] + WITHIN) == (its_code, True)
        assert {code for code, _ in left.values()} == {code} and re.search(f"rank {culprit} .*{what}", said)
        return
    check(tmp_path / "run", left, said, culprit, code, its_code, what)


@pytest.mark.slow
@pytest.mark.fault("C5.other-node")
def test_a_rank_that_dies_on_another_machine_is_named_by_its_silence(tmp_path: Path) -> None:
    """Its connections break at once, which is no reason to blame those that notice."""
    limits = LIMITS | {"step": 30.0, "silent": 2.0}
    left, said = lost(tmp_path / "run", "phase:name=step:rank=2:step=3:kill", limits=limits, apart=True)
    what = r"has given no sign for \d s; .* samples s3-"
    check(tmp_path / "run", left, said, 2, 4, -9, what)


@pytest.mark.complete
@pytest.mark.fault("C5.other-node")
def test_the_host_of_a_store_that_is_gone_is_named(tmp_path: Path) -> None:
    limits = LIMITS | {"step": 30.0, "silent": 2.0}
    left, said = lost(tmp_path / "run", "phase:name=step:rank=0:step=3:kill", limits=limits, apart=True)
    assert left.pop("0")[0] == -9 and {code for code, _ in left.values()} == {4}
    named = r"error: the store at \S+, of rank 0 \(host \S+, pid \d+\) or its launcher, has given"
    assert len(re.findall(named, said)) == 2


@pytest.mark.complete
@pytest.mark.parametrize("number", range(20))
def test_twenty_of_twenty(tmp_path: Path, number: int) -> None:
    """Kinds of loss in turn, of each of four ranks."""
    culprit, kinds = number % 4, (("stop", 4, "was stopped"), ("exit", 1, "died"), ("kill", -9, "died"))
    action, its_code, what = kinds[number % 3]
    left, said = lost(tmp_path / "run", f"phase:name=step:rank={culprit}:step=3:{action}", ranks=4)
    check(tmp_path / "run", left, said, culprit, 4, its_code, what)


@pytest.mark.complete
@pytest.mark.fault("C5.store")
def test_a_store_that_hangs_ends_a_run_that_stands_still_and_no_other(tmp_path: Path) -> None:
    # a rank that is slow on a busy machine is not to be blamed
    patient = LIMITS | {"step": 60.0, "data": 60.0, "save": 60.0, "silent": 4.0}
    left, said = lost(tmp_path / "still", "phase:name=step:step=3:hang", limits=patient, store=1.5)
    assert {code for code, _ in left.values()} == {4} and len(left) == 3
    assert "the store at 127.0.0.1:" in said and "has given no sign" in said
    left, _ = lost(tmp_path / "moves", "", limits=patient, store=1.5, steps=300)
    assert left == {str(rank): [0, left[str(rank)][1]] for rank in range(3)}
    assert not (tmp_path / "moves" / "endings").exists()


@pytest.mark.complete
@pytest.mark.fault("C5.slow-disk")
def test_a_disk_that_is_slow_but_moves_is_waited_for(tmp_path: Path) -> None:
    left, said = lost(tmp_path / "run", "saving:rank=0:step=3:slow", steps=6)
    assert {code for code, _ in left.values()} == {0}, said[-2000:]


def test_a_mark_costs_next_to_nothing(least_seconds: Callable[..., float]) -> None:
    """A step has two a micro-batch, and takes a tenth of a second at the least."""
    heartbeat, count = Heartbeat(), 1000

    def mark() -> None:
        for step in range(count):
            heartbeat.mark("step", step, 1)

    assert least_seconds(mark, times=20) / count < 20e-6  # some 2 us where nothing else runs
    assert heartbeat.at == (count - 1, 1, "step")


def test_a_mark_after_a_gap_asks_whether_this_rank_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat, asked = Heartbeat(), []
    heartbeat.after_gap = lambda: asked.append(heartbeat.at)
    heartbeat.mark("data", 1)
    heartbeat.ask()
    assert asked == []
    monkeypatch.setattr("ecamp_fast.run.safety.heartbeat.GAP", 0.0)
    heartbeat.mark("save", 2)
    assert asked == [(1, 0, "data")] and heartbeat.at == (2, 0, "save")
