"""A run that is killed and resumed, and one that is not, are the same run."""

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ecamp_fast.errors import STOPPED
from ecamp_fast.run import launch
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.safety.compare import compare, compare_redone
from ecamp_fast.run.safety.flight import FILE, SIZE, read_flight
from ecamp_fast.shards.builder.build import Options, build_phantoms

pytestmark = pytest.mark.slow
LOSSES = ("step", "loss", "mim", "sr", "mlm", "lr", "grad_norm", "tokens")


def losses(run: Path) -> list[tuple[float, ...]]:
    return [tuple(record[name] for name in LOSSES) for record in read_metrics(run)]


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = load_file(one / "weights.safetensors"), load_file(other / "weights.safetensors")
    return ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)


def assert_same_flight(whole: Path, broken: Path, steps: int) -> int:
    """Every step of both is the same to the bit, and so is what ``broken`` did again; returns how many those were."""
    one, other = read_flight(whole), read_flight(broken)
    found, again = compare(one.steps, other.steps), compare_redone(other)
    assert (found.first, found.compared, len(other.steps)) == (None, steps, steps)
    assert again.first is None
    return again.compared


def asked_to_stop(run: RunDir) -> bool:
    """Ask once the run is under way; never a reason to kill."""
    if read_metrics(run.path):
        run.stop_file.touch()
    return False


@pytest.mark.parametrize("kills", [(3,), pytest.param((3, 6), marks=pytest.mark.complete)])
def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(
    train: Callable[..., int], arguments: Callable[..., list[str]], tmp_path: Path, kills: tuple[int, ...]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(whole) == 0
    steps = len(losses(whole))
    assert steps == RunDir(whole, writes=False).state()["total_steps"] >= 8

    for kill_after in kills:  # 3: a step that no checkpoint holds
        with open(tmp_path / "log", "ab") as log:
            process = launch.start(arguments(broken), 2, log)
            assert launch.kill_when(process, lambda n=kill_after: len(read_metrics(broken)) >= n, patience=120)
        assert RunDir(broken, writes=False).state()["status"] == "running"  # nobody was left to say otherwise
    assert train(broken, "--resume=must") == 0

    assert losses(broken) == losses(whole)
    assert read_metrics(broken, "val")[-1]["loss"] == read_metrics(whole, "val")[-1]["loss"]
    resumed = [e["step"] for e in read_records(broken / "events.jsonl") if e["event"] == "resumed"]
    assert len(resumed) == len(kills) and resumed == sorted({*resumed}) and resumed[0] > 0 and resumed[-1] < steps
    assert same_weights(broken, whole)
    assert assert_same_flight(whole, broken, steps) >= len(kills)


@pytest.mark.complete
@pytest.mark.fault("C8.ten-kills")
def test_ten_kills_at_random_moments_leave_no_trace(
    train: Callable[..., int], arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Each leg is killed one to four records after its first, somewhere within the step that follows."""
    seed = random.randrange(1000)
    print(f"seed {seed}")
    draw = random.Random(seed)
    long = [f"--set={key}" for key in ("schedule.epochs=24", "schedule.horizon_epochs=24", "log_every=5")]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(whole, *long) == 0
    steps = int(RunDir(whole, writes=False).state()["total_steps"])
    flight = broken / FILE
    for _ in range(10):
        before = flight.stat().st_size // SIZE if flight.exists() else 1
        wanted, delay = before + draw.randint(1, 4), draw.uniform(0, 0.15)

        def ready(wanted: int = wanted, delay: float = delay) -> bool:
            if not flight.exists() or flight.stat().st_size < wanted * SIZE:
                return False
            time.sleep(delay)
            return True

        with open(tmp_path / "log", "ab") as log:
            assert launch.kill_when(launch.start(arguments(broken, *long), 2, log), ready, patience=120)
        print(f"killed with {flight.stat().st_size // SIZE - 1} records")
    assert train(broken, *long, "--resume=must") == 0
    assert assert_same_flight(whole, broken, steps) > 0
    assert same_weights(broken, whole)


@pytest.mark.complete
@pytest.mark.fault("C8.same-samples-and-masks")
def test_one_rank_and_two_see_the_same_samples_and_masks(train: Callable[..., int], tmp_path: Path) -> None:
    plain = ("--set=model.text.dropout=0", "--set=precision=fp32")
    runs = {ranks: tmp_path / f"on-{ranks}" for ranks in (1, 2)}
    for ranks, out in runs.items():
        assert train(out, *plain, ranks=ranks) == 0
    one, two = (read_flight(out).steps for out in runs.values())
    assert set(one["ranks"]) == {1} and set(two["ranks"]) == {2} and len(one) >= 8
    assert compare(one, two, tolerance=1e-4).first is None
    exact = compare(one, two)
    assert [exact.differ[name] for name in ("samples", "patches", "words", "left_out")] == [0] * 4


def test_stop_saves_and_the_same_command_goes_on(
    train: Callable[..., int], arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run = RunDir(out)
    with open(tmp_path / "log", "ab") as log:
        process = launch.start(arguments(out), 1, log)
        launch.kill_when(process, lambda: asked_to_stop(run), patience=60)
        assert launch.wait(process, out) == STOPPED
    stopped = run.state()
    assert stopped["status"] == "stopped"
    assert 0 < stopped["step"] < stopped["total_steps"]
    assert (run.checkpoints / f"step-{stopped['step']:08d}").is_dir()
    assert train(out, ranks=1) == 0
    assert run.state()["status"] == "complete"


@pytest.mark.complete
def test_starting_over_sets_the_old_run_aside_but_not_the_data(
    train: Callable[..., int], phantoms: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(phantoms, out / "phantoms")
    short = ("--set=schedule.epochs=0.5", f"--data={out / 'phantoms'}")
    assert train(out, *short, ranks=1) == 0
    assert train(out, *short, "--resume=never", ranks=1) == 0
    assert (out / "previous-1" / "metrics.jsonl").exists()
    assert losses(out) == losses(out / "previous-1")


def test_faults_have_their_exit_code_and_name_the_hint(train: Callable[..., int], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(out, "--set=optim.lrr=1", ranks=1) == 2
    assert "did you mean 'optim.lr'" in (tmp_path / "log").read_text()
    assert train(out, "--resume=must", ranks=1) == 3
    assert not out.exists() or not (out / "metrics.jsonl").exists()
    assert json.loads(json.dumps(RunDir(out, writes=False).state())).get("status") != "complete"


@pytest.mark.complete
def test_a_missing_shard_ends_a_run_before_its_first_step_or_is_stood_in_for(
    train: Callable[..., int], tmp_path: Path
) -> None:
    shards = tmp_path / "set"
    build_phantoms(48, shards, size=96, options=Options(workers=1, shard_size=5))
    (shards / "train-000002.tar").unlink()
    (shards / "train-000004.tar").unlink()
    short = (f"--data={shards}", "--set=schedule.epochs=1")
    assert train(tmp_path / "refused", *short, "--set=loader.quarantine=0.2", ranks=1) == 3
    log = (tmp_path / "log").read_text()
    assert "10 of" in log and "train-000002.tar is missing" in log and "train-000004.tar is missing" in log
    assert not (tmp_path / "refused" / "metrics.jsonl").exists()
    out = tmp_path / "run"
    assert train(out, *short, "--set=loader.quarantine=0.3", ranks=1) == 0
    (event,) = [event for event in read_records(out / "events.jsonl") if event["event"] == "lost"]
    assert event["samples"] == 10 and len(event["faults"]) == 2
    assert {record["sample"] for record in read_records(out / "quarantine.jsonl")} <= {*range(10, 15), *range(20, 25)}


@pytest.mark.parametrize(
    "ds_config", ["zero2", *(pytest.param(f"zero{n}", marks=pytest.mark.complete) for n in (0, 1))]
)
def test_gradients_that_stay_not_finite_end_the_run(train: Callable[..., int], tmp_path: Path, ds_config: str) -> None:
    out = tmp_path / "run"
    longer = "--set=schedule={epochs: 10, warmup_epochs: 0, horizon_epochs: 10}"
    exploding = ("--set=optim.lr=1e30", longer)
    assert train(out, *exploding, f"--ds_config={ds_config}") == 6
    skipped = [event for event in read_records(out / "events.jsonl") if event["event"] == "skipped"]
    assert [event["in_total"] for event in skipped] == list(range(1, 10))  # of 8 that may be, in so short a run
    assert "optim.lr" in (tmp_path / "log").read_text()
