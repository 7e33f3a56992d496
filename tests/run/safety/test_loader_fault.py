"""A loader that fails or stalls on one rank: what was trained is saved, then all leave with its exit code."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ecamp_fast.config import Recipe
from ecamp_fast.errors import DataError, EcampError, StorageError
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.safety import loader_fault
from ecamp_fast.run.safety.heartbeat import AFTER_ALL, Heartbeat
from ecamp_fast.run.safety.loader_fault import GuardedBatches, GuardedEvaluation, gather_fault
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trainer import Trainer

SETTINGS = ("schedule.epochs=2", "checkpoint.every_steps=100", "log_every=1", "evaluation.every_steps=4")
Make = Callable[..., Trainer]
WHOLE: list[tuple[float, ...]] = []


@pytest.fixture
def make(tiny: Callable[..., Recipe], phantoms: Path, context: DistContext, tmp_path: Path) -> Make:
    """A Trainer of the run ``tmp_path / name``; two micro-batches of 4 a step."""

    def build(name: str, *changes: str) -> Trainer:
        return Trainer(Job(tiny(*SETTINGS, *changes), phantoms, tmp_path / name), context)

    return build


def losses(run: Path) -> list[tuple[float, ...]]:
    return [(line["step"], line["loss"], line["grad_norm"]) for line in read_metrics(run)]


@pytest.fixture
def whole(make: Make, tmp_path: Path) -> list[tuple[float, ...]]:
    """The losses of a run without a fault, trained once."""
    if not WHOLE:
        assert make("whole").train() == "complete"
        WHOLE.extend(losses(tmp_path / "whole"))
    return WHOLE


@pytest.mark.fault("C6.saves-first", "C6.failed")
@pytest.mark.parametrize(
    "fault, step",
    [
        pytest.param("shard.read:file=train-*:from=41:EIO", None, marks=pytest.mark.complete),
        pytest.param("loader.read:split=train:nth=12:EIO", 5, marks=pytest.mark.complete),  # one is lost in decoding
        ("loader.read:split=train:nth=11:EIO", 4),  # between the two micro-batches of a step
        ("loader.read:split=val:nth=2:EIO", 4),  # in the second evaluation
    ],
)
def test_what_was_trained_is_saved_and_the_run_goes_on_as_if_nothing_had_been(
    make: Make,
    tmp_path: Path,
    whole: list[tuple[float, ...]],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    step: int | None,
) -> None:
    run = tmp_path / "run"
    monkeypatch.setenv("ECAMP_FAULT", fault)
    with pytest.raises((DataError, OSError), match=r"samples are damaged|Input/output error"):
        make("run", "evaluation.samples=4").train()
    (saved,) = (run / "checkpoints").glob("step-*")
    found = int(saved.name[5:])
    assert found == step or (step is None and 0 < found <= 5)  # what is read is ahead of what is trained on
    assert RunDir(run).state()["status"] == "failed" and RunDir(run).state()["step"] == found
    monkeypatch.delenv("ECAMP_FAULT")
    assert make("run", "evaluation.samples=4").train() == "complete"
    assert [event["event"] for event in read_records(run / "events.jsonl")].count("skipped") == 0
    assert losses(run) == whole


@pytest.mark.complete
@pytest.mark.fault("C6.stalled", "C6.saves-first")
def test_a_loader_that_stalls_is_one_that_failed(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECAMP_FAULT", "loader.read:split=train:nth=11:sleep=4")
    monkeypatch.setattr("ecamp_fast.shards.load.prefetch.PATIENCE", 0.1)
    with pytest.raises(StorageError, match="stands still"):
        make("run", "safety.watchdog.data=1.0").train()
    (saved,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    assert 0 < int(saved.name[5:]) <= 5
    while any(thread.name == "ecamp-fast-loader" for thread in threading.enumerate()):
        time.sleep(0.05)


def test_a_fault_before_the_first_step_is_raised_at_once(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECAMP_FAULT", "shard.read:file=train-*:EIO")
    with pytest.raises(DataError, match="cannot be read"):
        make("run").train()
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_a_batch_that_fails_is_stood_in_for_by_the_one_before() -> None:
    def batches():
        yield "a"
        yield "b"
        raise KeyError("c")

    heartbeat = Heartbeat()
    guarded = GuardedBatches(batches(), heartbeat, 7, 2)
    assert next(guarded) == "a" and heartbeat.at == (7, 0, "step")
    assert next(guarded) == "b" and heartbeat.at == (7, 1, "step") and guarded.fault is None
    assert next(guarded) == "b" and heartbeat.at == (8, 0, "step") and isinstance(guarded.fault, KeyError)
    assert next(guarded) == "b"
    with pytest.raises(StopIteration):
        next(GuardedBatches(iter([]), heartbeat, 0, 1))


def test_an_evaluation_ends_at_its_fault() -> None:
    def batches():
        yield "a"
        raise KeyError("b")

    heartbeat = Heartbeat()
    watched = GuardedEvaluation(heartbeat, 3)
    assert list(watched(batches())) == ["a"] and isinstance(watched.fault, KeyError)
    assert heartbeat.at == (3, AFTER_ALL, "evaluation")


def test_the_others_leave_with_the_exit_code_of_the_first_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[object] = [None, ("x.tar is gone", "restore it", 3), ("y", "", 5)]
    monkeypatch.setattr(loader_fault.dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(loader_fault.dist, "all_gather_object", lambda found, mine: found.__setitem__(slice(3), others))
    error = gather_fault(None)
    assert isinstance(error, EcampError) and error.exit_code == 3 and EcampError.exit_code == 1
    assert error.what == "the loader of rank 1 failed: x.tar is gone" and error.hint == "restore it"
    own = ValueError("holds anything")
    assert gather_fault(own) is own
    said = []
    monkeypatch.setattr(loader_fault.dist, "all_gather_object", lambda found, mine: said.append(mine))
    gather_fault(own)
    assert said == [("ValueError", "", 1)]
