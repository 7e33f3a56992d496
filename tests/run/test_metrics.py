import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ecamp_fast.batch import Batch, Text
from ecamp_fast.config import load_recipe
from ecamp_fast.model.flops import step_work, summed
from ecamp_fast.objectives import Losses
from ecamp_fast.run import metrics
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.log import RunLog
from ecamp_fast.run.metrics import Clock, Gauge, LossMeter, TensorBoardLog
from ecamp_fast.run.rundir import RunDir, read_metrics

ZERO = torch.zeros(())
RECIPE = load_recipe("demo", ["text.max_tokens=50"])
LINE = {"step": 3, "loss": 1.5, "mim": 0.5, "tokens": 10}


def test_without_tensorboard_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    TensorBoardLog(tmp_path, writes=True, start=0).add(LINE)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="the extra tensorboard is not installed")
def test_scalars_are_written_by_one_rank(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    TensorBoardLog(tmp_path / "other", writes=False, start=0).add(LINE)
    assert not (tmp_path / "other").exists()
    found = TensorBoardLog(tmp_path / "run", writes=True, start=0)
    found.add(LINE)
    found.add(LINE | {"split": "val", "loss": 2.5})
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["train/loss", "train/mim", "val/loss", "val/mim"]
    assert [(event.step, event.value) for event in events.Scalars("val/loss")] == [(3, 2.5)]


@pytest.mark.parametrize("refused", ["at first", "later"])
def test_a_disk_that_refuses_ends_tensorboard_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: str
) -> None:
    class Writer:  # as the real one does: its thread's error comes out of a later call
        def __init__(self, *_: object, **__: object) -> None:
            self.calls = 0
            if refused == "at first":
                raise OSError(28, "No space left on device")

        def add_scalar(self, *_: object) -> None:
            self.calls += 1

        def flush(self) -> None:
            if self.calls > 2:
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(metrics, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    log = TensorBoardLog(tmp_path, writes=True, start=0)
    for _ in range(4):
        log.add(LINE)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "training goes on without TensorBoard" in said


@pytest.mark.fault("N1.strict-json")
def test_scalars_that_are_not_finite_leave_gaps(tmp_path: Path) -> None:
    written = []

    class Writer:
        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None: ...

    log = TensorBoardLog(tmp_path, writes=False, start=0)
    log._writer = Writer()
    log.add(LINE | {"loss": float("nan"), "grad_norm": float("inf")})
    assert written == [("train/mim", 0.5, 3)]


def a_batch(lengths: list[int], weights: list[float] | None = None) -> Batch:
    """Of samples with so many tokens; predicted words, if any, have these weights."""
    nothing = torch.zeros(len(lengths))
    text = None if weights is None else Text(*[nothing] * 4, torch.tensor(weights), nothing, nothing, 0)
    return Batch(nothing, nothing, nothing, text, torch.tensor(lengths), nothing, nothing)


def losses(total: float) -> Losses:
    return Losses(torch.tensor(total), torch.tensor(total / 2), ZERO, torch.tensor(-total))


def test_the_meter_weighs_micro_batches_and_starts_anew_when_read() -> None:
    meter = LossMeter("cpu", RECIPE)
    meter.add(losses(1.0), a_batch([5, 2]), weight=2)
    meter.add(losses(4.0), a_batch([7]), weight=1)
    assert meter.drain() == {"loss": 2.0, "mim": 1.0, "sr": 0.0, "mlm": -2.0, "tokens": 14.0, "overflows": 0.0}
    meter.add(losses(3.0), a_batch([1]))
    assert meter.drain()["loss"] == 3.0


def test_the_meter_is_read_over_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank beside this one has seen one micro-batch of loss 7 and 10 tokens."""
    other = LossMeter("cpu", RECIPE)
    other.add(losses(7.0), a_batch([10]))

    def all_reduce(sums: Tensor) -> None:
        sums += other._sums

    monkeypatch.setattr(metrics.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(metrics.dist, "all_reduce", all_reduce)
    meter = LossMeter("cpu", RECIPE)
    meter.add(losses(1.0), a_batch([5]))
    assert meter.drain() == {"loss": 4.0, "mim": 2.0, "sr": 0.0, "mlm": -4.0, "tokens": 15.0, "overflows": 0.0}


def test_words_are_told_by_the_weight_of_each() -> None:
    """Two micro-batches of two and one samples, 50 tokens each: mlm x 100 and x 50 nats over weights of 4 and 1."""
    meter = LossMeter("cpu", RECIPE)
    meter.add(Losses(ZERO, ZERO, ZERO, torch.tensor(0.08)), a_batch([9, 9], [1.0, 2.0, 0.5, 0.5]))
    meter.add(Losses(ZERO, ZERO, ZERO, torch.tensor(0.04)), a_batch([9], [1.0]))
    found = meter.drain()
    assert found["mlm_per_token"] == pytest.approx((0.08 * 100 + 0.04 * 50) / 5)
    assert found["mlm"] == pytest.approx(0.06)


def test_the_clock_leaves_out_what_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: now[0])
    clock = Clock()
    clock.images, now[0] = 60, 105.0
    began = now[0]
    now[0] = 109.0
    clock.pause(began)
    now[0] = 110.0
    assert clock.lap() == 10.0  # 6 seconds
    clock.images, now[0] = 8, 112.0
    assert clock.lap() == 4.0
    began, now[0] = now[0], 113.0
    clock.images, now[0] = 8, 114.0
    assert clock.lap() == 4.0  # in the midst of a pause
    now[0] = 120.0
    clock.pause(began)
    clock.images, now[0] = 8, 122.0
    assert clock.lap() == 4.0  # of the pause, what came before that lap does not count twice


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ((), "loss 1.5000 (mim 0.5000, sr 0.4000, mlm 0.6000, 3.00 nats a token)"),
        (("losses.mlm=false",), "loss 1.5000 (mim 0.5000, sr 0.4000)"),
        (("losses.mim=false", "losses.sr=false"), "loss 1.5000 (mlm 0.6000, 3.00 nats a token)"),
    ],
)
def test_a_line_has_the_losses_that_are_on_alone(
    changes: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(tmp_path)
    run.create()
    log = RunLog(run, load_recipe("paper", changes), 10, 5, 0)
    means = {"loss": 1.5, "mim": 0.5, "sr": 0.4, "mlm": 0.6, "mlm_per_token": 3.0}
    log.trained(5, means, 1.0)
    log.held_out(5, means | {"samples": 4})
    lines = capsys.readouterr().err.splitlines()
    assert f"  {told}  " in lines[0] and lines[1] == f"held out, step 5: {told} on 4 samples"
    assert all(record["mim"] == 0.5 for record in read_metrics(tmp_path))  # the file has every column


CPU, GPU = DistContext(0, 2, torch.device("cpu")), DistContext(0, 2, torch.device("cuda"))


def test_the_meter_tells_what_ranks_waited_for_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of two ranks, 3 and 5 seconds."""
    monkeypatch.setattr(metrics.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(metrics.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(metrics.dist, "all_reduce", lambda sums: sums[-7].add_(5.0))
    meter = LossMeter("cpu", RECIPE)
    assert meter.drain(3.0)["data_seconds"] == 4.0 and "data_seconds" not in meter.drain()


def test_predicted_words_are_counted_whatever_they_weigh() -> None:
    meter = LossMeter("cpu", RECIPE)
    meter.add(losses(1.0), a_batch([5, 2], [0.5, 0.0, 2.0, 0.1]))
    meter.add(losses(1.0), a_batch([5], [0.0, 1.0]))
    assert meter.drain()["predicted"] == 4


def test_a_gauge_on_a_cpu_has_all_but_the_utilisation() -> None:
    found = Gauge(RECIPE, 500, CPU).read({"tokens": 300.0, "data_seconds": 0.5}, rate=8.0, seconds=2.0)
    assert found.keys() == {"tokens_per_second", "data_wait", "memory_bytes"}
    assert found["tokens_per_second"] == 150.0 and found["data_wait"] == 0.25
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert found["memory_bytes"] == pytest.approx(int(status["VmRSS"].split()[0]) * 1024, rel=0.2)


def test_utilisation_is_the_counted_work_over_what_the_chips_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 16 samples of 50 tokens, of which 5 are predicted, in 2 seconds on two H200."""
    monkeypatch.setattr(metrics.torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(metrics.torch.cuda, "max_memory_allocated", lambda device: 7)
    reset = []
    monkeypatch.setattr(metrics.torch.cuda, "reset_peak_memory_stats", reset.append)
    recipe = load_recipe("paper", ["batch.micro=4"])
    found = Gauge(recipe, 30000, GPU).read({"tokens": 800.0, "predicted": 80.0}, rate=8.0e4, seconds=2e-4)
    work = summed(step_work(recipe, 30000, [50] * 4, 20)).total / 4
    assert found["mfu"] == pytest.approx(work * 8.0e4 / (2 * 9.89e14), rel=1e-3) and found["mfu"] > 0.01
    assert found["memory_bytes"] == 7 and reset == [GPU.device]
    monkeypatch.setattr(metrics.torch.cuda, "get_device_name", lambda device: "NVIDIA T4")
    assert "mfu" not in Gauge(recipe, 30000, GPU).read({"tokens": 800.0}, 8.0, 2.0)


def test_a_line_tells_of_the_machine_too(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.create()
    log = RunLog(run, load_recipe("demo"), 10, 5, 0, Gauge(RECIPE, 500, CPU))
    log.clock.images = 4
    log.trained(2, {"loss": 1.5, "mim": 0.5, "sr": 0.4, "mlm": 0.6, "tokens": 30.0, "data_seconds": 0.0}, 1.0)
    (line,) = read_metrics(tmp_path)
    assert line["tokens_per_second"] == pytest.approx(line["images_per_second"] * 30 / 4, rel=0.01)
    assert line["data_wait"] == 0.0 and line["memory_bytes"] > 0 and "data_seconds" not in line and "mfu" not in line
