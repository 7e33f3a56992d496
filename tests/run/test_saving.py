"""The checkpoints of a run: what is told of saves, and from which one it goes on, or why it does not."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ecamp_fast import fault_points
from ecamp_fast.config import load_recipe
from ecamp_fast.errors import ConfigError, DataError, NumericsError, StorageError
from ecamp_fast.run import saving
from ecamp_fast.run.checkpoint import commit
from ecamp_fast.run.checkpoint.retention import best_of
from ecamp_fast.run.rundir import RunDir, read_records
from ecamp_fast.run.saving import RunCheckpoints
from ecamp_fast.run.setup import Job

ZERO = {"zero_optimization": {"stage": 0}, "gradient_clipping": 1.0}


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "PAUSE", 0.001)
    monkeypatch.setattr(fault_points, "_seen", fault_points.Counter())


class Engine:
    """What DeepSpeed's keeps without ZeRO, around one layer."""

    def __init__(self) -> None:
        self.module = torch.nn.Linear(3, 2)
        self.optimizer = self.basic_optimizer = torch.optim.AdamW(self.module.parameters())
        self.global_steps = 0

    def zero_optimization(self) -> bool:
        return False

    def zero_optimization_stage(self) -> int:
        return 0

    def train(self) -> None:
        self.module(torch.ones(3)).sum().backward()
        self.optimizer.step()


@pytest.fixture
def out(tmp_path: Path, context: Any) -> Path:
    return tmp_path / "run"


@pytest.fixture
def opened(out: Path) -> Callable[..., RunCheckpoints]:
    """opened(*changes of the recipe, resume, allow, data, ds_config): the checkpoints of the run, by a new process."""

    def make(*changes: str, resume="auto", allow=(), data="d", ds_config=ZERO, stay=()) -> RunCheckpoints:
        recipe = load_recipe("demo", [*changes])
        job = Job(recipe, Path("data"), out, resume=resume, allow=allow)
        return RunCheckpoints(job, RunDir(out), Engine(), recipe, ds_config, data, stay)

    return make


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_records(out / "events.jsonl") if event["event"] == kind]


def saved(checkpoints: RunCheckpoints, *steps: int, **options: Any) -> None:
    for step in steps:
        checkpoints._engine.train()
        checkpoints.save(step, **options)
        checkpoints._saver.wait()
        checkpoints.look()


def state(out: Path) -> dict[str, Any]:
    return json.loads((out / "run_state.json").read_text())


def test_saved_and_told_and_gone_on_from(opened, out: Path) -> None:
    first = opened()
    saved(first, 3, 4)
    assert [(event["step"], event["checkpoint"]) for event in events(out, "saved")] == [
        *((3, "step-00000003"), (4, "step-00000004"))
    ]
    assert state(out)["saved"] == state(out)["step"] == 4 and state(out)["alarm"] is None
    second = opened()
    assert second.resume() == 4 == second._engine.global_steps and second.opening == []
    weights, before = second._engine.module.state_dict(), first._engine.module.state_dict()
    assert all(weights[name].equal(before[name]) for name in before)
    assert [event["checkpoint"] for event in events(out, "resumed")] == ["step-00000004"]


@pytest.mark.fault("C2.training-goes-on", "C2.alarm", "C2.last-good")
@pytest.mark.parametrize("background", ["true", "false"])
def test_a_save_that_fails_is_an_alarm_and_no_end(opened, out: Path, monkeypatch, background: str) -> None:
    checkpoints = opened(f"checkpoint.background={background}")
    saved(checkpoints, 1)
    monkeypatch.setenv("ECAMP_FAULT", "write:file=rank-*:ENOSPC")
    saved(checkpoints, 2)
    (told,) = events(out, "not_saved")
    assert told["step"] == 2 and "No space left" in told["fault"]
    assert state(out)["alarm"].startswith("step 2 was not saved: ") and state(out)["saved"] == 1
    assert opened().resume() == 1
    with pytest.raises(StorageError, match="No space left"):
        checkpoints.finish()
    monkeypatch.delenv("ECAMP_FAULT")
    saved(checkpoints, 3)
    assert state(out)["alarm"] is None and state(out)["saved"] == 3
    checkpoints.finish()


@pytest.mark.fault("C2.logs")
def test_logs_that_the_disk_refuses_are_written_later(opened, out: Path, monkeypatch, capsys) -> None:
    checkpoints = opened()
    monkeypatch.setenv("ECAMP_FAULT", "write:file=events.jsonl:ENOSPC;write:file=run_state.json:EIO")
    saved(checkpoints, 1, 2)
    assert not (out / "events.jsonl").exists() and not (out / "run_state.json").exists()
    assert capsys.readouterr().err.count("training goes on") == 2
    monkeypatch.delenv("ECAMP_FAULT")
    saved(checkpoints, 3)
    assert [event["step"] for event in events(out, "saved")] == [1, 2, 3] and state(out)["saved"] == 3


def test_what_is_not_finite_is_not_saved(opened, out: Path) -> None:
    checkpoints = opened()
    saved(checkpoints, 1)
    checkpoints._engine.module.weight.data[0, 0] = math.nan
    checkpoints.save(2)
    with pytest.raises(NumericsError, match="weight/weight is not finite"):
        checkpoints.finish()
    assert opened().resume() == 1


@pytest.mark.fault("C2.after-the-commit")
def test_a_best_that_cannot_be_noted_is_told(opened, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECAMP_FAULT", "write:file=BEST:ENOSPC")
    saved(opened("checkpoint.keep_best=true"), 1, loss=0.5)
    assert [event["step"] for event in events(out, "untidy")] == [1] and events(out, "not_saved") == []


def test_the_best_is_remembered(opened, out: Path) -> None:
    checkpoints = opened("checkpoint.keep_best=true")
    assert checkpoints.is_best(0.5) and not checkpoints.is_best(math.inf) and not opened().is_best(0.5)
    saved(checkpoints, 1, loss=0.5)
    assert not checkpoints.is_best(0.6) and checkpoints.is_best(0.4)
    saved(checkpoints, 2, loss=0.6)
    saved(checkpoints, 3, 4)
    again = opened("checkpoint.keep_best=true")
    assert again.resume() == 4 and not again.is_best(0.5) and again.is_best(0.49)
    assert best_of(out / "checkpoints")[0] == "step-00000001" and (out / "checkpoints" / "step-00000001").is_dir()


def test_a_clock_beside_steps(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: now))
    checkpoints, without = opened("checkpoint.every_minutes=2"), opened()
    now += 119
    assert not checkpoints.is_due
    now += 1
    assert checkpoints.is_due and not without.is_due
    saved(checkpoints, 1)
    assert not checkpoints.is_due


@pytest.mark.fault("C2.room")
def test_a_disk_without_room_for_one_is_told_at_the_start(opened, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out.mkdir()
    checkpoints = opened()
    checkpoints.require_room()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50))
    with pytest.raises(StorageError, match="GB free, a checkpoint takes"):
        checkpoints.require_room()


@pytest.mark.fault("C2.deepspeed")
def test_files_for_deepspeed_that_cannot_be_written_are_told(opened, out: Path) -> None:
    checkpoints = opened("checkpoint.deepspeed=true")

    def full() -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file")

    writer = checkpoints._engine.checkpoint_engine = SimpleNamespace(save=full)
    checkpoints._engine.save_checkpoint = lambda *_, **__: writer.save()
    saved(checkpoints, 1)
    (told,) = events(out, "not_saved")
    assert told["fault"].startswith("DeepSpeed's files of step 1 not written: ") and opened().resume() == 1


# Where a run goes on


@pytest.mark.fault("C1.before-the-first")
def test_killed_before_its_first_checkpoint_it_says_what_that_costs(opened, out: Path) -> None:
    fresh = opened()
    assert fresh.resume() == 0 and fresh.opening == []
    run = RunDir(out)
    for step in (1, 2, 7):
        run.metric({"step": step, "loss": 1.0})
    (out / "checkpoints" / "step-00000005.tmp-0a1b").mkdir(parents=True)
    again = opened()
    assert again.resume() == 0
    assert again.opening == ["no checkpoint was committed before: 7 steps are trained again"]
    assert [event["steps"] for event in events(out, "restarted")] == [7]


@pytest.mark.fault("C3.never-silently")
@pytest.mark.parametrize("witness", ["events.jsonl", "run_state.json"])
@pytest.mark.parametrize("resume", ["auto", "must"])
def test_checkpoints_that_are_gone_are_no_fresh_start(opened, out: Path, witness: str, resume: str) -> None:
    saved(opened(), 3, 4)
    shutil.rmtree(out / "checkpoints")
    for name in {"events.jsonl", "run_state.json"} - {witness}:
        (out / name).unlink()
    with pytest.raises(DataError, match="step 4 was saved") as caught:
        opened(resume=resume).resume()
    assert caught.value.exit_code == 3 and "restore the folder" in caught.value.hint


@pytest.mark.fault("C3.never-silently")
def test_logs_that_cannot_be_read_are_no_fresh_start_but_stop_nobody_who_has_a_checkpoint(opened, out: Path) -> None:
    saved(opened(), 3)
    (out / "events.jsonl").write_bytes(b'\xff\xfe\n5\n{"event": "saved"}\n')
    (out / "run_state.json").write_text("{")
    aside = (out / "checkpoints").rename(out / "aside")
    with pytest.raises(DataError, match=r"run_state\.json cannot be read"):
        opened().resume()
    (out / "events.jsonl").write_text('5\n"x"\n[]\n{"event": "saved"}\n{"event": "saved", "step": "9"}\n')
    with pytest.raises(DataError, match=r"run_state\.json cannot be read"):
        opened().resume()
    (out / "run_state.json").write_text('{"saved": "3"}')
    assert opened().resume() == 0
    aside.rename(out / "checkpoints")
    (out / "events.jsonl").write_bytes(b"\xff\n")
    assert opened().resume() == 3


@pytest.mark.fault("C3.older-used", "C3.named")
def test_what_was_rejected_is_in_the_events(opened, out: Path) -> None:
    saved(opened(), 3, 4)
    (out / "checkpoints" / "step-00000004" / "MANIFEST.json").unlink()
    assert opened().resume() == 3
    assert [(event["checkpoint"], bool(event["reason"])) for event in events(out, "rejected")] == [
        ("step-00000004", True)
    ]


@pytest.mark.fault("C3.verified-first")
def test_data_are_judged_after_a_checkpoint_verified(opened, out: Path) -> None:
    """A damaged field says nothing about data, and an older sound checkpoint is there."""
    saved(opened(), 3)
    saved(opened(data="e"), 4)
    with pytest.raises(DataError, match=r"step-00000004 was trained on another shard set\n.*--data"):
        opened().resume()
    file = out / "checkpoints" / "step-00000004" / "MANIFEST.json"
    file.write_bytes(file.read_bytes().replace(b'"data": "e"', b'"data": "f"'))
    assert opened().resume() == 3


@pytest.mark.fault("C9.identity")
def test_another_recipe_is_refused(opened, out: Path) -> None:
    saved(opened(), 3)
    with pytest.raises(ConfigError, match=r"another recipe: seed was 42, is 7\n.*--out"):
        opened("seed=7", allow=("seed",)).resume()


@pytest.mark.fault("C9.tunables")
def test_what_tunes_must_be_allowed_and_is_told(opened, out: Path) -> None:
    saved(opened(), 3)
    clipped = {**ZERO, "gradient_clipping": 0.5}
    with pytest.raises(ConfigError, match=r"gradient_clipping was 1\.0, is 0\.5\n.*--allow-change gradient_clipping"):
        opened(ds_config=clipped).resume()
    allowed = opened(ds_config=clipped, allow=("gradient_clipping",))
    assert allowed.resume() == 3 and allowed.opening == ["changed: gradient_clipping was 1.0, is 0.5"]
    assert events(out, "resumed")[0]["changes"] == ["gradient_clipping was 1.0, is 0.5"]


@pytest.mark.fault("C7.told")
def test_another_layout_is_told(opened, out: Path) -> None:
    saved(opened("batch.micro=2"), 3)
    again = opened("batch.micro=4")
    assert again.resume() == 3
    (line,) = again.opening
    assert line.startswith("laid out anew: batch.micro 2 -> 4; ") and "dropout and the order of sums do not" in line


def test_settings_that_lie_with_a_true_digest_are_refused_by_name(opened, out: Path) -> None:
    saved(opened(), 3)
    file = out / "checkpoints" / "step-00000003" / "MANIFEST.json"
    for settings in ({}, {"recipe": {}}, {"recipe": {"seed": [[]]}, "deepspeed": {"planted": {}}, "layout": {}}):
        tree = json.loads(file.read_text())
        del tree["digest"]
        tree["position"]["settings"] = settings
        text = json.dumps(tree, indent=0).removesuffix("\n}").encode()
        file.write_bytes(text + f',\n"digest": "{hashlib.sha256(text).hexdigest()}"}}\n'.encode())
        with pytest.raises(ConfigError):
            opened().resume()


@pytest.mark.fault("C7.former")
@pytest.mark.parametrize("resume", ["auto", "must"])
def test_the_former_format_is_refused_with_the_command(opened, out: Path, resume: str) -> None:
    path = out / "checkpoints" / "step-00000003"
    path.mkdir(parents=True)
    (path / "MANIFEST.json").write_text(json.dumps({"format": 1, "files": {}}, indent=1))
    with pytest.raises(DataError, match=f"`ecamp-fast import --checkpoint {out}`") as caught:
        opened(resume=resume).resume()
    assert caught.value.exit_code == 3


@pytest.mark.fault("C8.earlier")
def test_gone_on_from_an_earlier_one_the_later_are_set_aside(opened, out: Path) -> None:
    """They would be what the next start finds, and would push out what this one saves."""
    saved(opened(), 2)
    shutil.copytree(out / "checkpoints" / "step-00000002", out / "kept")
    saved(opened(), 4, 6)
    shutil.copytree(out / "kept", out / "checkpoints" / "step-00000002", dirs_exist_ok=True)
    earlier = opened(resume=str(out / "checkpoints" / "step-00000002"))
    assert earlier.resume() == 2
    assert earlier.opening == ["set aside, since they are later: step-00000006, step-00000004"]
    saved(earlier, 3)
    assert opened().resume() == 3
    names = [path.name for path in (out / "checkpoints").iterdir()]
    assert sorted(names) == ["left-step-00000004", "left-step-00000006", "step-00000002", "step-00000003"]
    saved(earlier, 4)
    assert opened(resume=str(out / "checkpoints" / "step-00000003")).resume() == 3  # once more: aside stays one


@pytest.mark.fault("C8.earlier")
def test_gone_back_in_the_middle_the_later_are_set_aside(opened, out: Path) -> None:
    """What is saved next is neither purged as too old, nor passed over by a start after a kill."""
    checkpoints = opened()
    saved(checkpoints, 2, 8)
    assert checkpoints.go_back(out / "checkpoints" / "step-00000002") == 2
    saved(checkpoints, 3, 4, 5)
    assert opened().resume() == 5
    names = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert names == ["left-step-00000008", "step-00000004", "step-00000005"]


def test_from_which_checkpoint_another_run_may_start(opened, out: Path, tmp_path: Path) -> None:
    saved(opened(), 3)
    kept = shutil.copytree(out / "checkpoints" / "step-00000003", tmp_path / "kept")
    shutil.rmtree(out)
    assert opened(resume=str(kept)).resume() == 3
    with pytest.raises(DataError, match="name a complete checkpoint"):
        opened(resume=str(tmp_path)).resume()


@pytest.mark.fault("N1.healthy-checkpoint")
@pytest.mark.parametrize("resume", ["auto", "must"])
def test_after_numbers_went_bad_the_same_command_goes_on_from_before(opened, out: Path, resume: str) -> None:
    saved(opened("checkpoint.keep=4"), 2, 4, 6)
    RunDir(out).set_state(status="failed", resume_before=5)
    assert opened(resume=resume).resume() == 4
    (told,) = events(out, "set_aside")
    assert told["checkpoints"] == ["step-00000006"]
    RunDir(out).set_state(resume_before=None)
    assert opened(resume=resume).resume() == 4


@pytest.mark.fault("N1.healthy-checkpoint")
def test_where_no_checkpoint_is_from_before_nothing_is_gone_on_from(opened, out: Path) -> None:
    saved(opened(), 2, 4)
    RunDir(out).set_state(status="failed", resume_before=1)
    with pytest.raises(DataError, match="numbers of the run went bad after step 1") as caught:
        opened().resume()
    assert "--resume never" in caught.value.hint
    assert opened(resume=str(out / "checkpoints" / "step-00000002")).resume() == 2


@pytest.mark.fault("N2.left-out-again")
def test_what_is_to_be_left_out_travels_with_the_checkpoint(opened, out: Path) -> None:
    saved(opened(), 4, left_out=(7, 6))
    again = opened()
    assert again.left_out == [] and again.resume() == 4 and again.left_out == [6, 7]


def test_a_best_that_was_set_aside_is_none(opened, out: Path) -> None:
    checkpoints = opened("checkpoint.keep_best=true", "checkpoint.keep=4")
    saved(checkpoints, 2, loss=0.9)
    saved(checkpoints, 4, loss=0.5)
    again = opened("checkpoint.keep_best=true", resume=str(out / "checkpoints" / "step-00000002"))
    assert again.resume() == 2 and best_of(out / "checkpoints") == ("", math.inf)
    assert again.is_best(0.8)
