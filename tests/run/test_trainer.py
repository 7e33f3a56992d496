"""A Trainer until its first step: constructed, it leaves the disk as it was; started, it takes the run over."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.run.checkpoint.retention import best_of
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.evaluate import evaluate
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trainer import Trainer

SHORT = ("schedule.epochs=0.3", "checkpoint.every_steps=1")
Make = Callable[..., Trainer]


@pytest.fixture
def make(tiny: Callable[..., Recipe], phantoms: Path, context: DistContext, tmp_path: Path) -> Make:
    """A Trainer of the run ``tmp_path / run``, resumed as told, with changes to its recipe."""

    def build(resume: str = "auto", *changes: str) -> Trainer:
        return Trainer(Job(tiny(*SHORT, *changes), phantoms, tmp_path / "run", resume=resume), context)

    return build


def on_disk(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every path below: when it was changed, and what it holds."""
    paths = sorted(folder.rglob("*"))
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths}


@pytest.mark.parametrize("micro", ["4", "auto"])
def test_constructing_one_leaves_the_disk_as_it_was(make: Make, tmp_path: Path, micro: str) -> None:
    setting = f"batch.micro={micro}"
    for resume in ("auto", "never"):
        make(resume, setting)
        assert on_disk(tmp_path) == {}
    assert make("auto", setting).train() == "complete"
    RunDir(tmp_path / "run").stop_file.touch()
    before = on_disk(tmp_path)
    for resume in ("auto", "never", "must"):
        make(resume, setting)
        assert on_disk(tmp_path) == before


def test_a_request_from_before_is_forgotten_and_a_later_one_heard(make: Make, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.create()
    run.stop_file.touch()
    make().start()
    assert not run.stop_file.exists()
    run.stop_file.touch()
    os.utime(run.stop_file, ns=(1, 1))
    trainer = make()
    run.stop_file.touch()
    assert trainer.train() == "stopped" and trainer.step == 1


@pytest.mark.fault("C4.evaluation")
def test_an_evaluation_is_cut_short_and_the_next_start_makes_it(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluated() -> list[int]:
        return [line["step"] for line in read_metrics(tmp_path / "run", "val")]

    trainer = make("auto", "evaluation.every_steps=1")
    assert trainer.total == 2

    def ask(*arguments: Any) -> dict[str, float]:
        if trainer.step == 1:
            trainer.run.stop_file.touch()
        return evaluate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("ecamp_fast.run.trainer.evaluate", ask)
        assert trainer.train() == "stopped" and trainer.step == 1 and evaluated() == [0]
    assert make("auto", "evaluation.every_steps=1").train() == "complete" and evaluated() == [0, 1, 2]


def test_starting_over_sets_the_earlier_run_aside_once(make: Make, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert make().train() == "complete"
    trainer = make("never")
    assert not (out / "previous-1").exists()
    trainer.start()
    trainer.start()
    assert [path.name for path in out.glob("previous-*")] == ["previous-1"] and trainer.step == 0


def test_another_clipping_is_told_and_must_be_allowed(
    tiny: Callable[..., Recipe], phantoms: Path, context: DistContext, tmp_path: Path
) -> None:
    def job(clipping: float, epochs: float, allow: tuple[str, ...] = ()) -> Job:
        file = tmp_path / f"{clipping}.json"
        file.write_text(json.dumps({"zero_optimization": {"stage": 2}, "gradient_clipping": clipping}))
        return Job(tiny(*SHORT, f"schedule.epochs={epochs}"), phantoms, tmp_path / "run", file, "auto", allow)

    assert Trainer(job(1.0, 0.3), context).train() == "complete"
    with pytest.raises(ConfigError, match=r"gradient_clipping was 1\.0, is 0\.5") as caught:
        Trainer(job(0.5, 0.5), context)
    assert "--allow-change gradient_clipping" in caught.value.hint
    trainer = Trainer(job(0.5, 0.5, ("gradient_clipping",)), context)
    assert trainer.train() == "complete" and trainer.trained
    (resumed,) = [event for event in read_records(tmp_path / "run/events.jsonl") if event["event"] == "resumed"]
    assert resumed["changes"] == ["gradient_clipping was 1.0, is 0.5"]


def test_a_checkpoint_that_is_rejected_is_told_by_the_run(make: Make, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = make()
    assert first.train() == "complete" and first.step > 1
    newest = max((out / "checkpoints").glob("step-*"))
    (newest / "MANIFEST.json").unlink()
    second = make()
    second.start()
    assert second.step == first.step - 1
    told = [(event["event"], event["checkpoint"]) for event in read_records(out / "events.jsonl")[-2:]]
    assert told == [("rejected", newest.name), ("resumed", f"step-{second.step:08d}")]


def test_without_a_checkpoint_that_verifies_nothing_is_trained(make: Make, tmp_path: Path) -> None:
    assert make().train() == "complete"
    for manifest in (tmp_path / "run" / "checkpoints").glob("step-*/MANIFEST.json"):
        manifest.write_text("{")
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(DataError, match="none of"):
        make().train()
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics


def test_what_a_run_says_before_its_first_step(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(trainer: Trainer) -> str:
        trainer.train()
        return capsys.readouterr().err

    assert "weights: random numbers of seed 42\n" in told(make())  # no word of MAE, whose weights fit ViT-B/16 alone
    assert "nothing to do" in (again := told(make())) and "weights:" not in again
    weights = tmp_path / "run" / "weights.safetensors"
    assert "weights:" not in told(make("never", f"init_from={weights}"))


def test_milestones_and_the_best_are_saved(make: Make, tmp_path: Path) -> None:
    """Four epochs of 5 steps each; a checkpoint is due at the end alone."""
    settings = ("schedule.epochs=4", "checkpoint.every_steps=1000", "checkpoint.milestones=[1, 2]")
    trainer = make("auto", *settings, "checkpoint.keep_best=true", "evaluation.every_steps=3")
    assert trainer.train() == "complete"
    folder = tmp_path / "run" / "checkpoints"
    epoch = math.ceil(trainer.samples / 8)
    losses = {line["step"]: line["loss"] for line in read_metrics(tmp_path / "run", "val") if line["step"]}
    best = min(losses, key=lambda step: losses[step])
    steps = {int(path.name[5:]) for path in folder.glob("step-*")}
    assert {epoch, math.ceil(2 * trainer.samples / 8), best, trainer.total} <= steps
    name, loss = best_of(folder)
    assert name == f"step-{best:08d}" and loss == losses[best]
