"""Runs with a tracker: what it is told, and that whatever becomes of it the run is the same to the bit."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.config import Recipe
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.export import WEIGHTS
from ecamp_fast.run.metrics import SCALARS
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.safety.processes import ProcessId, descendants
from ecamp_fast.run.setup import Job
from ecamp_fast.run.tracking import follower as module
from ecamp_fast.run.tracking.follower import Follower
from ecamp_fast.run.trainer import Trainer

SHORT = ("schedule.epochs=0.3", "log_every=1", "evaluation.every_steps=1")
ENDS = 60.0  # seconds, for a process on a busy machine
TIMES = ("time", "images_per_second", "tokens_per_second", "data_wait", "memory_bytes")
WORDS = ("WANDB_NOTES", "WANDB_TAGS", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_NAME", "WANDB_CONFIG")
WORDS += ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SERVICE", "WANDB_X_ANYTHING", "WANDB_DIR")
HEEDED = {"WANDB_MODE": "offline", "WANDB_API_KEY": "k", "WANDB_ENTITY": "team", "WANDB_BASE_URL": "https://wandb.here"}
Told = Callable[..., list[dict[str, Any]]]
Train = Callable[..., Trainer]
reference: dict[str, Any] = {}


@pytest.fixture
def train(
    tiny: Callable[..., Recipe],
    phantoms: Path,
    context: DistContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Train:
    """Two steps, or more, into ``tmp_path / name``, tracked or not; waits for the follower's end."""
    monkeypatch.setattr(module, "GRACE", ENDS)

    def run(name: str, track: str | None, *changes: str, wait: float = ENDS) -> Trainer:
        trainer = Trainer(Job(tiny(*SHORT, *changes), phantoms, tmp_path / name, track=track), context)
        assert trainer.train() == "complete" and trainer.follower
        trainer.follower.finish(wait)
        return trainer

    return run


def result(run: Path) -> tuple[list[dict[str, Any]], bytes, dict[str, Any]]:
    """All that a run computed: its lines without the time they took, its weights, its state without names of legs."""
    lines = [line for split in ("train", "val") for line in read_metrics(run, split)]
    lines = [{name: value for name, value in line.items() if name not in TIMES} for line in lines]
    state = RunDir(run, writes=False).state()
    return lines, (run / WEIGHTS).read_bytes(), {name: state[name] for name in ("status", "step", "total_steps")}


def left(run: Path) -> list[str]:
    """Command lines of processes that name the run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [text] if str(run).encode() in (text := path.read_bytes()) else []  # type: ignore[list-item]
        except OSError:
            continue
    return found


def ended(run: Path) -> bool:
    until = time.monotonic() + ENDS
    while left(run) and time.monotonic() < until:
        time.sleep(0.05)
    return not left(run)


@pytest.mark.parametrize("library", ["trackio", "wandb"])
def test_a_tracker_is_told_numbers_and_nothing_else(
    library: str, train: Train, tracker: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in WORDS:
        monkeypatch.setenv(name, "Mr Zqtext")
    for name, value in HEEDED.items():
        monkeypatch.setenv(name, value)
    train("zqrun", f"{library}:some", "init_from=null")
    (begun,), logged = tracker("init"), tracker("log")
    assert begun["project"] == "some" and tracker("finish")
    lines = {split: read_metrics(tmp_path / "zqrun", split) for split in ("train", "val")}
    assert [one["step"] for one in logged] == [0, 1, 1, 2, 2] and len(lines["train"]) == 2
    for one in logged:
        (split,) = {name.partition("/")[0] for name in one["values"]}
        (line,) = [line for line in lines[split] if line["step"] == one["step"]]
        assert one["values"] == {f"{split}/{name}": line[name] for name in SCALARS if name in line}
    assert any("train/loss" in one["values"] for one in logged) and any("val/mlm" in one["values"] for one in logged)
    assert begun.pop("heard") == HEEDED | ({"WANDB_ERROR_REPORTING": "false"} if library == "wandb" else {})
    config = begun["given"].pop("config")
    assert config["optim.lr"] > 0 and config["precision"] in ("fp32", "bf16") and config["losses.mlm"] is True
    assert "name" not in config and not [value for value in config.values() if "/" in str(value)]
    name = begun["given"]["name"]
    assert re.fullmatch("[0-9a-f]{16}", name)
    kept = {"dir": str(tmp_path / "zqrun" / "tracker")} if library == "wandb" else {}
    assert str(tmp_path) not in json.dumps(tracker()).replace(json.dumps(kept.get("dir", "-")), "")
    assert "Zqtext" not in json.dumps(tracker()) and ended(tmp_path / "zqrun")


@pytest.mark.parametrize(
    "does",
    ["", "init:raise", "log:hang", "log:kill"],
    ids=lambda does: does or "nothing",
)
def test_a_run_is_the_same_whatever_becomes_of_its_tracker(
    does: str, train: Train, tracker: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    if not reference:
        train("plain", None)
        reference["result"] = result(tmp_path / "plain")
    monkeypatch.setenv("STAND_IN_DOES", does)
    if does:
        monkeypatch.setattr(module, "GRACE", 1.0)
    trainer = train("run", "wandb", wait=2.0 if does else ENDS)
    assert result(tmp_path / "run") == reference["result"]
    told = [line for line in read_records(tmp_path / "run" / "events.jsonl") if line["event"] == "tracker lost"]
    said = [line for line in capfd.readouterr().err.splitlines() if "wandb" in line]
    assert len(told) == len(said) == bool(does)
    assert "Zqtext" not in json.dumps(told) + "".join(said)
    if does:
        assert "ecamp-fast track RUN --to wandb:ecamp-fast" in said[0]
    assert ended(tmp_path / "run"), "it goes on for ever"
    assert trainer.step == 2


@pytest.mark.parametrize("does", ["init:hang", "log:full", "finish:hang"])
def test_a_loss_is_told_once_and_nobody_is_left(
    does: str, tracker: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(module, "GRACE", 1.0)
    monkeypatch.setenv("STAND_IN_DOES", does)
    run = RunDir(tmp_path / "run")
    follower = Follower(run, "wandb", SCALARS)
    for step in (1, 2):
        run.metric({"step": step, "loss": 1.0})
        follower.look()
    follower.close()
    follower.finish(2.0)
    told = [line for line in read_records(run.path / "events.jsonl") if line["event"] == "tracker lost"]
    assert len(told) == 1 and capfd.readouterr().err.count("wandb is lost") == 1 and ended(run.path)


def test_a_resumed_run_goes_on_where_it_was_told_of(train: Train, tracker: Told, tmp_path: Path) -> None:
    """Also where its first leg was told to nobody."""
    train("run", None)
    assert tracker() == [] and not (tmp_path / "run" / "tracker").exists()
    train("run", "trackio", "schedule.epochs=0.5")
    run = RunDir(tmp_path / "run")
    run.metric({"step": 1, "loss": 9.0})  # done again, after a roll back
    train("run", "trackio", "schedule.epochs=0.65")
    assert [one["step"] for one in tracker("log") if "train/loss" in one["values"]] == [1, 2, 3, 4]
    steps = [(name.partition("/")[0], one["step"]) for one in tracker("log") for name in list(one["values"])[:1]]
    assert len(steps) == len(set(steps)) and ("train", 4) in steps and ("val", 4) in steps
    first, second = tracker("init")
    assert first["given"]["name"] == second["given"]["name"] and second["given"]["resume"] == "allow"


@pytest.mark.parametrize("fault", ["a file in its place", "write:file=state.json:ENOSPC"])
def test_a_disk_that_refuses_changes_nothing(
    fault: str, train: Train, tracker: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    if ":" in fault:
        monkeypatch.setenv("ECAMP_FAULT", fault)
    else:
        (tmp_path / "run" / "tracker").touch()
    train("run", "trackio")
    assert len(read_metrics(tmp_path / "run")) == 2
    assert len(tracker("log")) == (5 if ":" in fault else 0)


def test_no_step_waits_for_it_and_it_hears_no_signal_of_the_run(
    tracker: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("STAND_IN_DOES", "init:hang")
    run = RunDir(tmp_path)
    follower = Follower(run, "wandb", SCALARS)
    (process,) = [child for child in descendants(os.getpid()) if child.pid == follower._child.pid]  # type: ignore[union-attr]
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    began, looks = time.process_time(), []
    for _ in range(2000):
        looked = time.perf_counter()
        follower.look()
        looks.append(time.perf_counter() - looked)
    assert time.process_time() - began < 0.2 and sorted(looks)[1000] < 1e-4
    while not (below := descendants(process.pid)):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)  # and what it started goes with it
    until = time.monotonic() + ENDS
    while any(ProcessId.of(one.pid) == one for one in below) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(one.alive for one in below)
    while follower._child:
        follower.look()
    follower.look()
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "is lost" in line]
    assert "left with -9" in line
    follower.close()
    follower.finish()


def test_other_ranks_and_runs_without_it_start_nothing(tracker: Told, tmp_path: Path) -> None:
    for run, track in ((RunDir(tmp_path, writes=False), "wandb"), (RunDir(tmp_path), None)):
        follower = Follower(run, track, SCALARS)
        follower.look()
        follower.close()
        follower.finish()
    assert list(tmp_path.iterdir()) == [tmp_path / "modules"]
