"""Runs that are recorded: a difference that is planted in one of them is named by its step and its quantity."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.model import ecamp
from ecamp_fast.run import trainer as trainer_module
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.safety.compare import Comparison, compare, compare_redone
from ecamp_fast.run.safety.flight import FILE, FIRST, HEAD, LEFT_OUT, read_flight
from ecamp_fast.run.safety.guard import Guard
from ecamp_fast.run.safety.heartbeat import Heartbeat
from ecamp_fast.run.safety.recorder import Recorder
from ecamp_fast.run.safety.tally import Measured, StepTally
from ecamp_fast.run.safety.watch import NumbersWatch
from ecamp_fast.run.setup import Job
from ecamp_fast.run.step import OptimizerStep
from ecamp_fast.run.trainer import Trainer
from ecamp_fast.shards.load.batching import MicroBatches
from ecamp_fast.text.packing import layout, masking

STEPS, PLANTED, MICRO = 6, 3, 4  # PLANTED: the step, as it is recorded
MEASURED, LOSSES = Measured(1, 2**40 - 1, 3, 2**52 - 1), (0.5, 1.0, 2.0, 3.0)
Train = Callable[[str], Path]


@pytest.fixture
def train(tiny: Callable[..., Recipe], phantoms: Path, context: DistContext, tmp_path: Path) -> Train:
    """Train a run of that name, of six steps."""

    def run(name: str) -> Path:
        recipe = tiny("precision=fp32", "schedule.epochs=1", "log_every=1", "evaluation.samples=1")
        trainer = Trainer(Job(recipe, phantoms, tmp_path / name), context)
        assert trainer.total == STEPS and trainer.train() == "complete"
        return tmp_path / name

    return run


@pytest.fixture
def whole(train: Train) -> Path:
    return train("whole")


def apart(one: Path, other: Path) -> Comparison:
    return compare(read_flight(one).steps, read_flight(other).steps)


def exchange_samples(patch: pytest.MonkeyPatch) -> None:
    """The first sample of a step for the first of the next."""
    former = MicroBatches.__call__

    def other(self: MicroBatches, step: int) -> tuple[np.ndarray, np.ndarray]:
        epochs, samples = former(self, step)
        if step == PLANTED - 1:
            epochs, samples = epochs.copy(), samples.copy()
            later = former(self, step + 1)
            epochs[0, 0], samples[0, 0] = later[0][0, 0], later[1][0, 0]
        return epochs, samples

    patch.setattr(MicroBatches, "__call__", other)


def in_step(patch: pytest.MonkeyPatch, change: Callable[[OptimizerStep], None]) -> None:
    """Call ``change`` before the micro-batches of the step."""
    former = OptimizerStep.backward

    def backward(self: OptimizerStep, step: int, *rest: Any) -> Any:
        if step == PLANTED - 1:
            change(self)
        return former(self, step, *rest)

    patch.setattr(OptimizerStep, "backward", backward)


def mask_another_patch(patch: pytest.MonkeyPatch) -> None:
    """Of one sample in one micro-batch, a kept patch and a masked one change places."""
    former, pending = ecamp.Ecamp.view, []

    def view(self: ecamp.Ecamp, batch: Any) -> Any:
        found = former(self, batch)
        if pending:
            pending.clear()
            found.keep[0, 0], found.masked[0, 0] = found.masked[0, 0].clone(), found.keep[0, 0].clone()
        return found

    patch.setattr(ecamp.Ecamp, "view", view)
    in_step(patch, lambda step: pending.append(1))


def mask_another_word(patch: pytest.MonkeyPatch) -> None:
    """The fifth micro-batch is the first of step 3; of one of its masked words the mask is lifted."""
    former, calls = masking.masked_words, []

    def masked_words(rows: Any, *rest: Any) -> Any:
        chosen = former(rows, *rest)
        calls.extend([1] * (rows.batch == MICRO))  # not the held-out sample
        if len(calls) == 2 * (PLANTED - 1) + 1 and rows.batch == MICRO:
            chosen[chosen.nonzero()[0]] = False
        return chosen

    patch.setattr(masking, "masked_words", masked_words)


def flip_a_bit_of_a_weight(patch: pytest.MonkeyPatch) -> None:
    """The lowest of one weight, once the step's update is done."""

    def flip(step: OptimizerStep) -> None:
        engine, update = step._engine, step._engine.step
        calls = []

        def updated() -> None:
            update()
            calls.append(1)
            if len(calls) == step.accumulation:
                next(engine.module.parameters()).data.view(torch.int32).view(-1)[0] ^= 1
                del engine.step

        engine.step = updated

    in_step(patch, flip)


def raise_the_rate(patch: pytest.MonkeyPatch) -> None:
    former = trainer_module.learning_rate

    def rate(recipe: Recipe, step: int, samples: int) -> float:
        return former(recipe, step, samples) * (1.001 if step == PLANTED - 1 else 1.0)

    patch.setattr(trainer_module, "learning_rate", rate)


@pytest.mark.fault("C8.difference-named")
@pytest.mark.parametrize(
    ("plant", "quantity"),
    [
        (exchange_samples, "samples"),
        (mask_another_patch, "patches"),
        (mask_another_word, "words"),
        (flip_a_bit_of_a_weight, "weights"),
        (raise_the_rate, "weights"),
    ],
)
def test_a_planted_difference_is_named(
    whole: Path, train: Train, monkeypatch: pytest.MonkeyPatch, plant: Callable[..., None], quantity: str
) -> None:
    plant(monkeypatch)
    found = apart(whole, train("other")).first
    assert found and (found.step, found.quantity) == (PLANTED, quantity)


def test_a_run_again_is_the_same_to_the_bit_and_what_it_did_again_too(whole: Path, train: Train) -> None:
    found = apart(whole, train("again"))
    assert found.first is None and found.compared == STEPS
    steps = read_flight(whole).steps
    assert steps["flags"].tolist() == [FIRST] + [0] * (STEPS - 1) and set(steps["ranks"]) == {1}
    for name in ("samples", "patches", "words", "weights", "loss", "norm"):
        assert len(set(steps[name].tolist())) == STEPS, name
    assert np.allclose(steps["loss"], steps["mim"] + steps["sr"] + steps["mlm"], rtol=1e-5)


def test_losses_and_norm_are_those_of_the_metrics(whole: Path) -> None:
    steps, lines = read_flight(whole).steps, read_metrics(whole)
    assert [line["step"] for line in lines] == steps["step"].tolist() == list(range(1, STEPS + 1))
    for name in ("loss", "mim", "sr", "mlm", "norm"):
        told = [line["grad_norm" if name == "norm" else name] for line in lines]
        assert steps[name].tolist() == np.array(told, np.float32).tolist(), name


def record(run: Path, *steps: int, **changes: Any) -> None:
    recorder = Recorder(RunDir(run), 1)
    for step in steps:
        recorder.write(step, MEASURED, LOSSES, changes.get("norm", 1.0), changes.get("applied", True))
    recorder.sync(steps[-1])
    recorder.close()


@pytest.mark.fault("C2.recorder")
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EROFS"])
def test_a_disk_that_refuses_is_told_once_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    recorder = Recorder(RunDir(tmp_path), 1)
    for step in range(1, 9):
        monkeypatch.setenv("ECAMP_FAULT", f"write:file={FILE}:{fault}" if step in (1, 2, 5) else "")
        recorder.write(step, MEASURED, LOSSES, 1.0, True)
    monkeypatch.setenv("ECAMP_FAULT", f"fsync:file={FILE}:{fault}")
    recorder.sync(8)
    recorder.close()
    assert read_flight(tmp_path).steps["step"].tolist() == list(range(1, 9))
    events = [(event["event"], event["step"]) for event in read_records(tmp_path / "events.jsonl")]
    told = [("unrecorded", 1), ("recorded", 3), ("unrecorded", 5), ("recorded", 6), ("unrecorded", 8)]
    assert events == told


def test_a_file_of_another_version_is_left_alone_and_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(HEAD[:8] + b"\2" + HEAD[9:])
    before = (tmp_path / FILE).read_bytes()
    record(tmp_path, 1, 2, 3)
    assert (tmp_path / FILE).read_bytes() == before
    (event,) = read_records(tmp_path / "events.jsonl")
    assert event["event"] == "unrecorded" and "version 2" in event["reason"]


def test_legs_and_updates_left_out_are_marked_and_other_ranks_write_nothing(tmp_path: Path) -> None:
    record(tmp_path, 1, 2)
    record(tmp_path, 2, 3, applied=False, norm=np.inf)
    flight = read_flight(tmp_path)
    assert flight.steps["flags"].tolist() == [FIRST, FIRST | LEFT_OUT, LEFT_OUT]
    assert flight.steps["patches"].tolist() == [2**40 - 1] * 3 and flight.steps["weights"][0] == 2**52 - 1
    assert [compare_redone(flight).first.quantity] == ["norm"]  # type: ignore[union-attr]
    Recorder(RunDir(tmp_path / "other", writes=False), 2).write(1, MEASURED, LOSSES, 1.0, True)
    assert not (tmp_path / "other").exists()


def test_what_float32_cannot_hold_is_recorded(tmp_path: Path) -> None:
    record(tmp_path, 1, norm=1e300)
    assert read_flight(tmp_path).steps["norm"].tolist() == [np.inf]


@pytest.mark.slow
def test_safety_costs_less_than_half_a_percent_of_a_demo_step(
    phantoms: Path, context: DistContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is done for records, heartbeat and checks of numbers, the loader's thread included.

    Medians of each thread's own CPU time. Twice the half percent is allowed: small operations suffer most where others
    use the caches.
    """
    spent: dict[str, list[float]] = defaultdict(list)

    def clocked(owner: Any, name: str) -> None:
        former = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return former(*arguments, **options)
            finally:
                spent[name].append(time.thread_time() - began)

        monkeypatch.setattr(owner, name, timed)

    recipe = load_recipe("demo", ["schedule.epochs=6", "evaluation.samples=1", "checkpoint.every_steps=1000"])
    trainer = Trainer(Job(recipe, phantoms, tmp_path / "run"), context)
    trainer.total, total = 2, trainer.total
    trainer.train()  # what is done once: first allocations, the file
    per_step = {
        StepTally: ("add", "put", "put_weights", "read"),
        Recorder: ("write",),
        NumbersWatch: ("limits", "judge"),
        Heartbeat: ("mark",),
        Guard: ("done",),
    }
    for owner, names in per_step.items():
        for name in names:
            clocked(owner, name)
    clocked(layout, "mask_digest")
    clocked(Trainer, "_step")
    trainer.total = total
    trainer.train()
    step = statistics.median(spent.pop("_step"))
    each = {name: statistics.median(found) * round(len(found) / (total - 2)) for name, found in spent.items()}
    told = ", ".join(f"{name} {seconds * 1e6:.0f}" for name, seconds in each.items())
    print(f"a demo step {step * 1e3:.0f} ms, of which for its safety {sum(each.values()) / step:.2%} (us: {told})")
    assert sum(each.values()) < 0.01 * step
