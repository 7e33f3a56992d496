"""Profiled runs: the same numbers as unprofiled ones, a trace and a page that say where the time went."""

import errno
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, StorageError
from ecamp_fast.model import ecamp
from ecamp_fast.model.compile import compile_blocks
from ecamp_fast.model.components import scopes
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.report.profile_page import profile_files
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.profiling import watch
from ecamp_fast.run.profiling.steps import ProfiledSteps
from ecamp_fast.run.profiling.summary import Summary
from ecamp_fast.run.profiling.watch import StepWatch
from ecamp_fast.run.rundir import read_metrics
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trainer import Trainer

SHORT = ("schedule.epochs=0.65", "log_every=1")  # 4 steps
OF_THE_CLOCK = ("time", "images_per_second", "tokens_per_second", "data_wait", "memory_bytes")
Make = Callable[..., Trainer]


@pytest.fixture
def make(tiny: Callable[..., Recipe], phantoms: Path, context: DistContext, tmp_path: Path) -> Make:
    """A Trainer of the run of that name, with ``--profile`` as told."""

    def build(name: str, profile: str = "", *changes: str) -> Trainer:
        job = Job(tiny(*SHORT, *changes), phantoms, tmp_path / name)
        profiler = StepWatch(ProfiledSteps.parse(profile), profile_files) if profile else None
        return Trainer(job, context, profiler=profiler)

    return build


def summary(folder: Path) -> Any:
    return json.loads((folder / "profile" / "summary.json").read_text())


def left_by(trainer: Trainer) -> list[Any]:
    """What a watch lays ranges around: as it is now."""
    functions = [getattr(torch.distributed, name, None) for name in watch.COLLECTIVES]
    functions += [getattr(ecamp, name) for name in ("mim_loss", "mlm_loss", "super_resolution_loss")]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in trainer.engine.module.modules()]
    return [*functions, *hooks, "update" in vars(trainer.optimizer_step)]


def test_a_profiled_run_has_the_same_numbers_and_leaves_a_trace_and_a_page(make: Make, tmp_path: Path) -> None:
    plain = make("plain")
    assert plain.total == 4 and plain.train() == "complete"
    profiled, seconds = make("profiled", "2"), []
    before, step = left_by(profiled), profiled._step

    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = step(*arguments)
        seconds.append(time.perf_counter() - began)
        return result

    profiled._step = timed  # type: ignore[method-assign]
    assert profiled.train() == "complete" and left_by(profiled) == before
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("plain", "profiled")]
    assert weights[0] == weights[1]
    told = [
        [{k: v for k, v in line.items() if k not in OF_THE_CLOCK} for line in read_metrics(run)]
        for run in (tmp_path / "plain", tmp_path / "profiled")
    ]
    assert told[0] == told[1] and len(told[0]) == 4

    found = summary(tmp_path / "profiled")
    assert found["steps"] == [3, 4] and list(found["of_steps"]) == ["3", "4"]
    assert sum(row["together"] for row in found["rows"]) == pytest.approx(sum(seconds[2:4]) * 500, rel=0.05)
    assert found["before"] == pytest.approx(seconds[1] * 1e3, rel=0.05)
    rows = {row["component"]: row for row in found["rows"]}
    wanted = {"encoder", "decoder", "fusion", "text layers", "MLM head", "super-resolution", "optimizer", "data wait"}
    assert wanted <= set(rows) and all(rows[name]["backward"] > 0 for name in ("encoder", "fusion", "MLM head"))
    assert rows["encoder"]["operations"] > 0 and rows["encoder"]["of_ceiling"] > 0

    trace = json.loads(gzip.decompress((tmp_path / "profiled" / "profile" / found["trace"]).read_bytes()))
    names = [line["name"] for line in trace["traceEvents"]]
    assert names.count("step: 3") == names.count("step: 4") == 1 and "step: 2" not in names
    files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "profiled" / "profile").iterdir()}
    assert files == dict.fromkeys(["summary.html", "summary.json", "summary.md", "trace-3-4.json.gz"], 0o600)
    assert not (tmp_path / "plain" / "profile").exists()


def test_a_slow_loader_and_a_heavy_component_are_seen(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both in the third step alone, the one that is watched: the loader waits 1.6 s, fusion multiplies much."""
    trainer = make("run", "3-3")
    batches, fusion = trainer._batches, trainer.engine.module.text.fusion
    forward, weight = fusion.forward, torch.full((768, 768), 1e-3)

    def late(loader: Any) -> Any:
        feed = batches(loader)
        fetch = feed._fetch

        def slow() -> Any:
            time.sleep(0.8 * (trainer.step == 2))
            return fetch()

        feed._fetch = slow  # type: ignore[method-assign]
        return feed

    def heavy(*arguments: Any, **named: Any) -> Any:
        out = forward(*arguments, **named)
        if trainer.step != 2 or not trainer.engine.module.training:
            return out
        wide = out.repeat(1, 16)  # 768; the model's own products are 48 wide
        for _ in range(48):
            wide = wide @ weight
        return out + 0 * wide[:, : out.shape[-1]]

    monkeypatch.setattr(trainer, "_batches", late)
    fusion.forward = heavy
    assert trainer.total == 4 and trainer.train() == "complete"
    rows = {row["component"]: row for row in summary(tmp_path / "run")["rows"]}
    order = list(rows)  # by time
    assert order[0] == "data wait" and rows["data wait"]["together"] >= 1600
    assert summary(tmp_path / "run")["waits"][0]["what"] == "data wait"
    parts = ("encoder", "decoder", "fusion", "text layers", "MLM head")
    assert max(parts, key=lambda name: rows[name]["forward"]) == "fusion"
    assert max(parts, key=lambda name: rows[name]["backward"]) == "fusion"


def test_a_run_that_is_stopped_tells_of_the_steps_it_has_seen_and_the_same_command_goes_on(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trainer = make("run", "2-4")
    judge = trainer.numbers.judge

    def stop(step: int, *rest: Any) -> None:
        judge(step, *rest)
        if step == 2:
            trainer.run.stop_file.touch()

    trainer.numbers.judge = stop  # type: ignore[method-assign]
    assert trainer.train() == "stopped" and trainer.step == 3
    assert summary(tmp_path / "run")["steps"] == [2, 3] and "nothing is profiled" not in capfd.readouterr().err
    assert make("run", "2-4").train() == "complete" and summary(tmp_path / "run")["steps"] == [2, 3]
    assert "--profile 2-4: 3 steps of the run are done already; nothing is profiled\n" in capfd.readouterr().err


class Numbers(torch.nn.Module):
    def forward(self, batch: Any) -> Any:
        return torch.ones(64, 64) @ torch.ones(64, 64)


@pytest.fixture
def short(tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is watched of a trainer, without one; ``do(watcher, number, seconds)`` is a step that takes so long."""
    recipe = tiny()
    batch = synthetic_batch(recipe, 100, [20, 30, 40, 64])
    optimizer, feed = SimpleNamespace(update=lambda: None), SimpleNamespace(_fetch=lambda: time.sleep(0.01))
    trainer: Any = SimpleNamespace(step=0, total=10, recipe=recipe, run=SimpleNamespace(path=tmp_path))
    trainer.engine, trainer.optimizer_step = SimpleNamespace(module=Numbers()), optimizer
    trainer.context = SimpleNamespace(is_main=True, device=torch.device("cpu"), world=1)
    trainer.heartbeat = SimpleNamespace(mark=lambda *_: None)
    monkeypatch.setattr(watch, "_updated_weights", lambda _: 1)
    monkeypatch.setattr(watch, "_facts", lambda _: {"images a step": "8"})
    log: Any = SimpleNamespace(leave_out=lambda _: None)

    def do(watcher: StepWatch, number: int, seconds: float) -> None:
        trainer.step = number - 1
        with watcher.watch(trainer, feed, log):
            feed._fetch()
            trainer.engine.module(batch)
            time.sleep(seconds)
        trainer.step = number
        trainer.engine.module(batch)  # of an evaluation

    trainer.do = do
    return trainer


def pages(found: Summary) -> dict[str, bytes]:
    return {"summary.json": json.dumps(found.as_dict()).encode()}


def test_a_disk_that_refuses_ends_no_run(
    short: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise StorageError(f"cannot write {path}: no room") from OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(watch, "write_atomically", full)
    watcher = StepWatch(ProfiledSteps.parse("3-3"), pages)
    watcher.begin(short)
    for number in (1, 2, 3, 4):
        short.do(watcher, number, 0.0)
    assert "warning: no profile, training goes on: cannot write" in capsys.readouterr().err
    assert list((tmp_path / "profile").iterdir()) == []


def test_a_run_that_goes_back_and_one_that_evaluates_are_told_of_as_they_are(
    short: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 1 to 4, back to 1, then 2 to 6; an evaluation after each, whose texts are none of a step."""
    counted: list[dict[int, Any]] = []
    monkeypatch.setattr(StepWatch, "_work", lambda self, _: counted.append(self._seen) or {})
    watcher = StepWatch(ProfiledSteps.parse("3-5"), pages)
    watcher.begin(short)
    times = [(1, 0.0), (2, 0.3), (3, 0.2), (4, 0.2), (2, 0.6), (3, 0.01), (4, 0.01), (5, 0.01), (6, 0.1)]
    for number, seconds in times:
        short.do(watcher, number, seconds)
    found = summary(tmp_path)
    assert found["steps"] == [3, 5] and list(found["of_steps"]) == ["3", "4", "5"]
    assert found["step_milliseconds"] < 100 and 300 <= found["before"] < 500
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1)
    assert sum(row["together"] for row in found["rows"]) == pytest.approx(found["step_milliseconds"])
    assert {step: len(micro) for step, micro in counted[0].items()} == {3: 1, 4: 1, 5: 1}


def test_steps_beyond_the_run_are_said_before_the_first(make: Make) -> None:
    trainer = make("run", "4")
    with pytest.raises(ConfigError, match="takes steps 3-6, the run has 4"):
        trainer.train()
    assert trainer.step == 0


def test_nothing_compiles_again_for_the_ranges(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny("compile=default")
    torch.manual_seed(0)
    model = Ecamp(recipe, 100)
    assert compile_blocks(model, recipe, torch.device("cpu"), backend="eager")
    batch = synthetic_batch(recipe, 100, [20, 30, 40, 64])
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    model(batch).total.backward()
    graphs = counters["stats"]["unique_graphs"]
    assert graphs > 0
    with scopes(model):
        model(batch).total.backward()
    model(batch).total.backward()
    assert counters["stats"]["unique_graphs"] == graphs and not counters["graph_break"]
