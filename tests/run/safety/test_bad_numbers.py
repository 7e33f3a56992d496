"""Numbers made to go bad in a real run: what is left out, how it ends, what `replay` says of it."""

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.commands.replay import command
from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, DataError, NumericsError
from ecamp_fast.fault_points import VARIABLE
from ecamp_fast.replay.rebuild import Rebuild, Replayed
from ecamp_fast.run import trainer as trainer_module
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.export import WEIGHTS
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.safety.flight import FILE, read_flight
from ecamp_fast.run.safety.numbers import Numbers
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trainer import Trainer
from ecamp_fast.run.update import Update
from ecamp_fast.shards.format.manifest import REPORT
from ecamp_fast.shards.load.read import ShardSet

SHORT = (
    *("schedule={epochs: 1, warmup_epochs: 0, horizon_epochs: 2}", "log_every=1"),
    *("checkpoint.every_steps=2", "checkpoint.keep=3"),
)
STEPS = 6
Make = Callable[..., Trainer]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def make(tiny: Callable[..., Recipe], phantoms: Path, context: DistContext, out: Path) -> Make:
    """A Trainer of a run of six steps, with changes to its recipe."""

    def build(*changes: str, resume: str = "auto") -> Trainer:
        return Trainer(Job(tiny(*SHORT, *changes), phantoms, out, resume=resume), context)

    return build


@pytest.fixture
def replay(out: Path, context: DistContext) -> Callable[[int], Replayed]:
    return lambda step: Rebuild(out, context).replay(step)


def events(out: Path, *kinds: str) -> list[dict[str, Any]]:
    return [event for event in read_records(out / "events.jsonl") if event["event"] in kinds]


def is_strict(file: Path) -> bool:
    def refuse(word: str) -> None:
        raise AssertionError(f"{file.name} holds {word}")

    return [json.loads(line, parse_constant=refuse) for line in file.read_text().splitlines()] != []


@pytest.mark.parametrize(
    ("fault", "kind", "terms"),
    [
        pytest.param("batch.pixel:step=3:micro=1:nan", "input", {"mim", "sr", "mlm"}, id="pixel"),
        pytest.param("loss.term:step=3:micro=1:nan", "term", {"mlm"}, id="term"),
        pytest.param("gradient:step=3:nan", "gradient", set(), id="gradient"),
    ],
)
@pytest.mark.fault("N1.pixel", "N1.term", "N1.gradient", "N1.samples", "N1.replay", "N1.strict-json")
def test_one_bad_number_leaves_one_update_out(
    make: Make, replay: Any, out: Path, monkeypatch: pytest.MonkeyPatch, fault: str, kind: str, terms: set[str]
) -> None:
    monkeypatch.setenv(VARIABLE, fault)
    trainer = make()
    assert trainer.train() == "complete" and trainer.step == STEPS
    (event,) = events(out, "skipped", "spike")
    assert event["step"] == 3 and event["event"] == "skipped" and set(event["terms"]) <= terms
    assert len(event["samples"]) == 16 and event["healthy_until"] == 1
    assert all(tensor.isfinite().all() for tensor in load_file(out / WEIGHTS).values())
    assert is_strict(out / "metrics.jsonl") and is_strict(out / "events.jsonl")
    assert math.isnan(read_metrics(out)[2]["grad_norm"])

    found = replay(3)
    assert found.start == "step-00000002" and not found.applied and found.agrees
    assert found.first is not None and found.first.kind == kind
    if kind == "input":
        assert found.first.micro == 1 and len(found.keys) == 1


def test_without_a_fault_replay_gives_what_was_recorded(make: Make, replay: Any, out: Path) -> None:
    make("checkpoint.every_steps=4").train()
    line = read_metrics(out)[2]
    found = replay(3)
    assert found.start == "" and found.start_step == 0 and found.first is None and found.applied and found.agrees
    assert found.losses["loss"] == line["loss"] and found.grad_norm == line["grad_norm"]  # to the bit


@pytest.mark.parametrize(
    ("fault", "precision", "stage"),
    [
        ("weight", "fp32", 2),
        ("moment", "fp32", 2),
        *(
            pytest.param(name, *rest, marks=pytest.mark.complete)
            for name in ("weight", "moment")
            for rest in (("fp32", 0), ("bf16", 0), ("bf16", 1), ("bf16", 2))
        ),
    ],
)
@pytest.mark.fault("N1.weight", "N1.moment", "N1.next-step", "N1.exit", "N1.hint", "N1.never-exported")
def test_weights_that_are_ruined_end_the_run_at_the_next_step(
    tiny: Any,
    phantoms: Path,
    context: DistContext,
    out: Path,
    replay: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    precision: str,
    stage: int,
) -> None:
    monkeypatch.setenv(VARIABLE, f"{fault}:step=3:nan")
    ds_config = tmp_path / "ds.json"
    ds_config.write_text(json.dumps({"zero_optimization": {"stage": stage}, "zero_allow_untested_optimizer": True}))
    trainer = Trainer(Job(tiny(*SHORT, f"precision={precision}"), phantoms, out, ds_config), context)
    with pytest.raises(NumericsError, match="not finite after step 4") as error:
        trainer.train()
    assert "--resume" in error.value.hint and "step-00000002" in error.value.hint
    assert f"replay {out} 4" in error.value.hint
    assert trainer.numbers.healthy_until == 2 and RunDir(out).state()["healthy_until"] == 2
    assert not (out / WEIGHTS).exists() and RunDir(out).state()["status"] == "failed"
    found = replay(4)
    assert found.first is not None and not found.applied
    if fault == "moment":
        assert found.bad_since is not None and found.bad_since[0] == 3
    kind = replay(3).first.kind
    assert kind == ("exp_avg" if fault == "moment" else "weight" if (precision, stage) == ("fp32", 0) else "master")


@pytest.mark.fault("N1.learning-rate")
def test_a_wild_learning_rate_for_one_step_never_ends_well(make: Make, out: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv(VARIABLE, "rate:step=3:wild")
    with pytest.raises(NumericsError) as error:
        make().train()
    assert error.value.exit_code == 6 and "step-00000002" in error.value.hint
    assert events(out, "skipped") and not (out / WEIGHTS).exists() and is_strict(out / "metrics.jsonl")


@pytest.mark.fault("N1.learning-rate", "N1.never-exported")
def test_a_wild_learning_rate_in_the_last_step_is_seen_by_the_held_out_loss(
    make: Make, out: Path, monkeypatch: Any
) -> None:
    """No step follows that would prove the weights it made."""
    monkeypatch.setenv(VARIABLE, f"rate:step={STEPS}:wild")
    with pytest.raises(NumericsError, match="held-out loss after step 6") as error:
        make().train()
    assert "step-00000004" in error.value.hint and not (out / WEIGHTS).exists()
    assert RunDir(out).state()["healthy_until"] == STEPS - 1 and not (out / "checkpoints" / "step-00000006").exists()


@pytest.mark.fault("N1.never-exported")
def test_a_run_that_ends_ruined_is_not_complete(make: Make, out: Path, monkeypatch: Any) -> None:
    """Spikes are only logged by default, and a loss of 3e12 is finite."""
    sound, losses = trainer_module.evaluate, iter([6.0, 6.0, 3e12])
    monkeypatch.setattr(trainer_module, "evaluate", lambda *given: sound(*given) | {"loss": next(losses)})
    with pytest.raises(NumericsError, match=r"held-out loss after step 6, the last, is 3e\+12") as error:
        make("evaluation.every_steps=3").train()
    assert error.value.exit_code == 6 and not (out / WEIGHTS).exists()
    assert RunDir(out).state()["status"] == "failed"


@pytest.mark.parametrize("damaged", [False, True])
def test_a_resume_knows_the_windows_of_every_step_though_few_were_logged(make: Make, out: Path, damaged: bool) -> None:
    change = "log_every=3"
    make(change).train()
    if damaged:
        (out / FILE).write_bytes(b"")
    trainer = make(change, "schedule.epochs=2")
    trainer.numbers.resume(5)
    known = list(trainer.numbers._numbers._losses._values)
    logged = [line["loss"] for line in read_metrics(out) if line["step"] <= 5]
    assert len(logged) < 5
    assert known == pytest.approx(logged if damaged else read_flight(out).steps["loss"][:5].tolist())


@pytest.mark.fault("N1.budget")
def test_a_run_most_of_whose_updates_are_left_out_is_never_complete(make: Make, out: Path, monkeypatch: Any) -> None:
    """20 of 30, never 16 in a row."""
    monkeypatch.setenv(VARIABLE, ";".join(f"gradient:step={step}:nan" for step in range(1, 31) if step % 3))
    with pytest.raises(NumericsError, match="9 of 13 updates were left out"):
        make(
            "schedule={epochs: 5, warmup_epochs: 0, horizon_epochs: 5}",
            "evaluation.every_steps=null",
            "checkpoint.every_steps=100",
        ).train()
    assert len(events(out, "skipped")) == 9 and not (out / WEIGHTS).exists()


@pytest.mark.fault("N1.resume")
def test_what_was_left_out_counts_after_a_resume(make: Make, out: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv(VARIABLE, "gradient:step=[34]:nan")
    make("checkpoint.every_steps=4").train()
    shutil.rmtree(out / "checkpoints" / "step-00000006")
    second = make("checkpoint.every_steps=4")
    second.start()
    numbers = second.numbers._numbers
    assert second.step == 4 and (numbers.skips, numbers.in_a_row, numbers.healthy_until) == (2, 2, 1)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spikes are judged from the fourth step on, not from the seventeenth."""
    monkeypatch.setattr("ecamp_fast.run.safety.spikes.ARMED", 3)


@pytest.mark.parametrize("choice", ["log", "skip"])
@pytest.mark.fault("N2.logged", "N2.skipped", "N2.samples")
def test_a_spike_is_logged_and_on_demand_left_out(
    make: Make, out: Path, monkeypatch: Any, soon: None, choice: str
) -> None:
    monkeypatch.setenv(VARIABLE, "loss.term:step=5:micro=0:spike")
    trainer = make(f"safety.spikes={choice}", "checkpoint.every_steps=100")
    assert trainer.train() == "complete"
    (event,) = events(out, "spike")
    assert event["step"] == 5 and event["quantity"] == "loss" and event["z"] > 10 and len(event["samples"]) == 16
    assert event["applied"] is (choice == "log") and event["value"] > 1000


@pytest.mark.fault("N2.rolled-back", "N2.ledger")
def test_a_spike_is_rolled_back_once_and_its_update_left_out(
    make: Make, out: Path, replay: Any, monkeypatch: Any, soon: None
) -> None:
    monkeypatch.setenv(VARIABLE, "loss.term:step=5:micro=0:nth=1:spike")
    trainer = make("safety.spikes=roll_back", "checkpoint.every_steps=2")
    assert trainer.train() == "complete" and trainer.step == STEPS
    (back,) = events(out, "rolled_back")
    assert back["step"] == 5 and back["checkpoint"] == "step-00000002" and back["left_out"] == [4, 5]
    assert [event["step"] for event in events(out, "left_out")] == [4, 5] and trainer.numbers.left_out == (4, 5)
    lines = [
        (record["step"], record["loss"]) for record in read_records(out / "metrics.jsonl") if "split" not in record
    ]
    assert [step for step, _ in lines] == [1, 2, 3, 4, 3, 4, 5, 6]
    assert lines[2] == lines[4]  # the same step from the same weights
    found = replay(6)  # the last checkpoint before it is from step 4, whose update was left out; so was that of step 5
    assert found.start == "step-00000004" and found.agrees and found.losses["loss"] == lines[-1][1]


@pytest.mark.fault("N2.exit")
def test_too_many_roll_backs_end_the_run(make: Make, out: Path, monkeypatch: Any, soon: None) -> None:
    monkeypatch.setattr("ecamp_fast.run.safety.numbers.ROLL_BACKS", 0)
    monkeypatch.setenv(VARIABLE, "loss.term:step=5:micro=0:spike")
    with pytest.raises(NumericsError, match="went bad again") as error:
        make("safety.spikes=roll_back").train()
    assert error.value.exit_code == 6 and "step-00000002" in error.value.hint


@pytest.mark.fault("N5.told-as-infinite", "N5.not-applied")
def test_a_norm_that_deepspeed_calls_minus_one_is_infinite_here(
    make_engine: Any, tiny: Any, context: DistContext
) -> None:
    """ZeRO takes a norm of its own where the DeepSpeed JSON asks for it: nothing of ours reads that."""
    engine = make_engine(2, "fp32", zero_optimization={"stage": 2, "compute_grad_norm": True})
    batch = synthetic_batch(tiny(), 100, [20, 30, 40, 64]).to(context.device)
    engine.backward(engine(batch).total * math.nan)
    engine.step()
    engine.backward(engine(batch).total)
    result = Update(engine, 0.0).apply()
    norm = engine.get_global_grad_norm()
    assert norm is not None and not 0 <= float(norm) < math.inf
    assert result.norm == math.inf and not result.applied


def test_checks_cost_little(tiny: Any, phantoms: Path) -> None:
    """What the host does for a step, without a spike: far below a thousandth of any step."""
    numbers = Numbers(tiny("safety.spikes=skip").safety)
    torch.manual_seed(0)
    values = (5 + torch.rand(2000)).tolist()
    began = time.process_time()
    for step, value in enumerate(values, 1):
        numbers.limits(step)
        numbers.judge(step, value, value, True)
    assert (time.process_time() - began) / len(values) < 1e-3


@pytest.mark.fault("N1.replay", "N1.nothing-leaves")
def test_the_command_tells_keys_and_neither_text_nor_pixels(
    make: Make, phantoms: Path, out: Path, monkeypatch: pytest.MonkeyPatch, context: DistContext
) -> None:
    monkeypatch.setenv(VARIABLE, "batch.pixel:step=1:micro=1:nan")
    monkeypatch.setattr("ecamp_fast.run.distributed.init", lambda: context)
    monkeypatch.setattr("ecamp_fast.run.distributed.shutdown", lambda: None)
    make("schedule.epochs=0.1").train()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    told = [CliRunner().invoke(command, [str(out), "1", *options]) for options in ([], ["--json"])]
    assert [done.exit_code for done in told] == [0, 0], told[0].output
    found = json.loads(told[1].stdout)
    assert found["schema"] == 1 and found["first"]["kind"] == "input" and found["losses"]["loss"] is None
    assert "first not finite: input image, micro-batch 1 of rank 0" in told[0].stdout
    shards = ShardSet(phantoms)
    (sample,) = found["first"]["samples"]
    assert found["keys"] == [shards.key("train", sample)] and found["keys"][0] in told[0].stdout
    for text in (shards.read("train", index, (REPORT,))[REPORT].decode() for index in range(shards.count("train"))):
        for sentence in text.replace("\n", ".").split("."):
            assert len(sentence) < 8 or not any(sentence.strip() in done.output for done in told)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_what_cannot_be_replayed_is_said(make: Make, phantoms: Path, out: Path, context: DistContext) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        Rebuild(out, context)
    out.mkdir()
    with pytest.raises(ConfigError, match=r"no recipe\.yaml"):
        Rebuild(out, context)
    make("schedule.epochs=0.1").train()
    with pytest.raises(ConfigError, match="has no step 7"):
        Rebuild(out, context).replay(7)
    RunDir(out).set_state(manifest="another")
    with pytest.raises(DataError, match="is not the shard set of"):
        Rebuild(out, context)
