"""Ranks under DeepSpeed's launcher, one of which is stopped or cannot read its data."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ecamp_fast.run.rundir import RunDir, read_metrics, read_records

pytestmark = [pytest.mark.slow, pytest.mark.complete]


@pytest.mark.fault("C5.stop", "C5.named", "C5.resumes")
@pytest.mark.parametrize("culprit", [0, 1])
def test_a_stopped_rank_is_named_and_the_same_command_goes_on(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, culprit: int
) -> None:
    out = tmp_path / "run"
    monkeypatch.setenv("ECAMP_FAULT", f"phase:name=step:rank={culprit}:step=3:stop")
    assert train(out, "--set=safety.watchdog.stopped=2") == 4
    (event,) = [event for event in read_records(out / "events.jsonl") if event["event"] == "ended"]
    assert (event["fault"], event["rank"], event["step"], event["exit_code"]) == ("stopped", culprit, 3, 4)
    assert len(event["samples"]) == 4 and event["told_by"] == 1 - culprit
    stopped_at = read_metrics(out)[-1]["time"]
    assert event["time"] - stopped_at < 12
    assert RunDir(out).state()["status"] == "failed" and RunDir(out).state()["ended"]["rank"] == culprit
    said = (tmp_path / "log").read_text()
    assert f"rank {culprit} (host " in said and event["samples"][0] in said
    assert "trainer.py" in (out / f"stacks-rank{1 - culprit}.txt").read_text()
    monkeypatch.delenv("ECAMP_FAULT")
    assert train(out) == 0
    assert RunDir(out).state()["status"] == "complete" and RunDir(out).state()["ended"] is None


@pytest.mark.fault("C5.sigkill", "C5.resumes")
def test_a_killed_rank_is_named(train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, began = tmp_path / "run", time.monotonic()
    monkeypatch.setenv("ECAMP_FAULT", "phase:name=step:rank=1:step=3:kill")
    assert train(out) != 0
    (event,) = [event for event in read_records(out / "events.jsonl") if event["event"] == "ended"]
    assert (event["fault"], event["rank"], event["step"]) == ("died", 1, 3)
    assert event["time"] - read_metrics(out)[-1]["time"] < 10 and time.monotonic() - began < 60
    monkeypatch.delenv("ECAMP_FAULT")
    assert train(out, "--resume=must") == 0


@pytest.mark.fault("C6.saves-first", "C6.failed", "C6.named", "C6.all-leave")
@pytest.mark.parametrize(
    "fault, code", [("loader.read:rank=1:split=train:nth=9:EIO", 1), ("shard.read:rank=1:from=60:EIO", 3)]
)
def test_a_loader_that_fails_on_one_rank_is_saved_for(
    train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, code: int
) -> None:
    out = tmp_path / "run"
    monkeypatch.setenv("ECAMP_FAULT", fault)
    assert train(out, "--set=checkpoint.every_steps=100") == code
    (saved,) = (out / "checkpoints").glob("step-*")
    assert int(saved.name[5:]) == RunDir(out).state()["step"] > 0
    monkeypatch.delenv("ECAMP_FAULT")
    assert train(out, "--resume=must") == 0
