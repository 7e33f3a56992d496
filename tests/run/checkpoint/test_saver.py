"""Saving behind a running loop."""

import time
from pathlib import Path

import psutil
import pytest
import torch

from ecamp_fast.errors import NumericsError, StorageError
from ecamp_fast.run.checkpoint import commit
from ecamp_fast.run.checkpoint.agreement import AgreementError, Alone
from ecamp_fast.run.checkpoint.retention import best_of
from ecamp_fast.run.checkpoint.saver import Request, Saver

SLOW = "fsync:file=rank-*:sleep=0.2"


@pytest.fixture
def saver(folder: Path) -> Saver:
    return Saver(folder, Alone(), keep=2)


def test_how_it_went_is_told_once(saver: Saver, folder: Path, lab) -> None:
    saver.save(lab.whole(1), Request(lab.at(1)))
    saver.wait()
    (outcome,) = saver.finished()
    assert outcome.path == folder / "step-00000001" and outcome.fault is None and outcome.untidy == ""
    assert lab.is_as_saved(outcome.path) and saver.finished() == []
    assert outcome.request.position == lab.at(1) and 0 < outcome.stall <= outcome.seconds


@pytest.mark.fault("C2.background")
def test_what_is_trained_meanwhile_is_not_in_it(saver: Saver, folder: Path, lab, monkeypatch) -> None:
    monkeypatch.setenv("ECAMP_FAULT", "checkpoint.write:sleep=0.2")
    state = lab.whole(3)
    saver.save(state, Request(lab.at(3)))
    assert not (folder / "step-00000003").exists() and saver.finished() == []
    for tensor in state.values():
        tensor.fill_(9)
    saver.wait()
    assert lab.is_as_saved(folder / "step-00000003")


def test_in_the_foreground_it_is_on_the_disk_when_it_returns(folder: Path, lab) -> None:
    saver = Saver(folder, Alone(), keep=2, background=False)
    saver.save(lab.whole(3), Request(lab.at(3)))
    (outcome,) = saver.finished()
    assert lab.is_as_saved(outcome.path) and outcome.stall == outcome.seconds > 0


def test_training_stands_still_for_the_copy_alone(saver: Saver, lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECAMP_FAULT", SLOW)
    returned = []
    for step in (1, 2, 3):
        began = time.perf_counter()
        saver.save(lab.whole(step), Request(lab.at(step)))
        returned.append(time.perf_counter() - began)
        saver.wait()
        (outcome,) = saver.finished()
        assert outcome.stall <= returned[-1] and outcome.seconds - outcome.stall >= 0.2
    assert min(returned) < 0.15


@pytest.mark.fault("C2.background")
def test_a_second_save_waits_for_the_first(saver: Saver, folder: Path, lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECAMP_FAULT", SLOW)
    began = time.perf_counter()
    for step in (1, 2, 3):
        saver.save(lab.whole(step), Request(lab.at(step)))
        assert len(list(folder.glob("step-*.tmp-*"))) <= 1
    assert time.perf_counter() - began >= 0.4
    saver.wait()
    assert [outcome.request.position.step for outcome in saver.finished()] == [1, 2, 3]
    assert lab.is_as_saved(folder / "step-00000002") and lab.is_as_saved(folder / "step-00000003")
    assert not (folder / "step-00000001").exists()  # two are kept


@pytest.mark.fault("C2.last-good", "C2.background")
def test_a_save_that_fails_is_told_and_the_next_succeeds(saver: Saver, folder: Path, lab, monkeypatch) -> None:
    saver.save(lab.whole(1), Request(lab.at(1)))
    saver.wait()
    monkeypatch.setenv("ECAMP_FAULT", "write:file=rank-*:ENOSPC")
    saver.save(lab.whole(2), Request(lab.at(2), best=0.1))
    saver.wait()
    monkeypatch.delenv("ECAMP_FAULT")
    saver.save(lab.whole(3), Request(lab.at(3)))
    saver.wait()
    good, bad, next_one = saver.finished()
    assert good.fault is next_one.fault is None and isinstance(bad.fault, StorageError)
    assert "No space left" in str(bad.fault) and bad.path.name == "step-00000002" and not bad.path.exists()
    assert lab.is_as_saved(folder / "step-00000001") and lab.is_as_saved(folder / "step-00000003")
    assert best_of(folder)[0] == "" and lab.left_overs(folder) == []


def test_who_waits_is_not_kept_waiting_for_attempts(saver: Saver, lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "PAUSE", 60.0)
    monkeypatch.setenv("ECAMP_FAULT", "write:file=rank-*:EIO")
    saver.save(lab.whole(1), Request(lab.at(1)))
    began = time.perf_counter()
    saver.wait()
    assert time.perf_counter() - began < 20 and isinstance(saver.finished()[0].fault, StorageError)


def test_what_is_not_finite_is_told_too(saver: Saver, folder: Path, lab) -> None:
    saver.save(lab.whole(1) | {"weight/c": torch.tensor([1.0, float("nan")])}, Request(lab.at(1)))
    saver.wait()
    assert isinstance(saver.finished()[0].fault, NumericsError) and not (folder / "step-00000001").exists()


def test_the_best_is_noted_and_stays(saver: Saver, folder: Path, lab) -> None:
    for step, loss in ((1, 0.5), (2, None), (3, None), (4, None)):
        saver.save(lab.whole(step), Request(lab.at(step), best=loss))
    saver.wait()
    assert best_of(folder) == ("step-00000001", 0.5)
    assert sorted(path.name[-1] for path in folder.glob("step-*")) == ["1", "3", "4"]


@pytest.mark.fault("C2.after-the-commit")
@pytest.mark.parametrize("fault", ["write:file=BEST:ENOSPC", "rename:file=BEST:EIO", "checkpoint.purge:EIO"])
def test_what_is_refused_after_the_commit_makes_no_failed_save(folder: Path, lab, crew, fault: str) -> None:
    """All ranks must judge a save alike; the checkpoint stands, and the next save tidies up."""

    def job(ranks, tell):
        saver = Saver(folder, ranks, keep=2)
        for step in (1, 2, 3):
            saver.save(lab.share(step, ranks.rank, 2), Request(lab.at(step), best=1 / step))
            saver.wait()
        tell([[outcome.fault is None, bool(outcome.untidy)] for outcome in saver.finished()])

    (first,), (second,) = crew.start(job, fault=fault).answers()
    assert [fine for fine, _ in first] == [fine for fine, _ in second] == [True] * 3
    assert any(untidy for _, untidy in first) and not any(untidy for _, untidy in second)
    assert lab.is_as_saved(folder / "step-00000003")


def test_memory_does_not_grow_over_20_saves(saver: Saver, lab) -> None:
    process, state = psutil.Process(), {f"weight/{i}": torch.ones(250_000) for i in range(16)}  # 16 MB
    held = []
    for step in range(20):
        saver.save(state, Request(lab.at(step)))
        saver.wait()
        held.append(process.memory_info().rss)
    assert max(held[4:]) - held[3] < 8e6, [f"{bytes / 1e6:.0f}" for bytes in held]


def test_buffers_are_made_once(saver: Saver, lab) -> None:
    places = []
    for step in (1, 2):
        saver.save(lab.whole(step), Request(lab.at(step)))
        saver.wait()
        places.append({name: buffer.data_ptr() for name, buffer in saver._buffers.items()})
    assert places[0] == places[1] and len(places[0]) == len(lab.whole(1))


@pytest.mark.fault("C1.no-hang")
def test_a_rank_that_is_gone_is_told_by_the_next_save_at_the_latest(folder: Path, lab) -> None:
    def job(ranks):
        if ranks.rank == 1:
            return None
        saver = Saver(folder, ranks, keep=2)
        saver.save(lab.share(1, 0, 2), Request(lab.at(1)))
        saver.wait()
        return saver.finished()[0].fault

    fault, _ = lab.in_threads(job, patience=0.2)
    assert isinstance(fault, AgreementError) and "rank 1" in str(fault)
