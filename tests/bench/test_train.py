"""The bench of the whole step: feeds that agree with each other, and no time without parity."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ecamp_fast.batch import Batch
from ecamp_fast.bench import train as bench
from ecamp_fast.bench.step import engines
from ecamp_fast.bench.step.timed_step import StepResult
from ecamp_fast.errors import ConfigError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run import distributed
from ecamp_fast.shards.builder.build import Options, build_phantoms

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *("model.vision={width: 48, depth: 2, heads: 3, patch: 8}", "model.decoder={width: 48, depth: 1, heads: 3}"),
    *("model.text={width: 48, depth: 1, heads: 3, ffn: 64, dropout: 0.1}", "image.high_size=64", "image.low_size=32"),
    *("batch={total: 8, micro: 4}", "loader.prefetch=1"),
]


SETTINGS = [f"--set={item}" for item in TINY]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "phantoms"
    build_phantoms(16, out, size=64, options=Options(workers=1, vocab_size=300))
    return out


def run(*options: str) -> dict[str, Any]:
    """In a process of its own: DeepSpeed's groups outlive the process group."""
    settings = ["--recipe", "demo", *SETTINGS, "--steps", "2", "--blocks", "1", "--json"]
    command = [sys.executable, "-m", "ecamp_fast.bench.train", *settings, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)  # nothing else is on stdout
    return result


@pytest.mark.slow
def test_noise_needs_no_shards() -> None:
    result = run("--synthetic", "--tokens", "20", "--vocabulary", "300")
    assert result["parity"]["passed"] and result["aligned"] and result["zero_stage"] == 2
    assert list(result["feeds"]) == ["memory"] and result["stall_share"] is None
    assert result["feeds"]["memory"]["tokens"] == 20 and "from memory" in bench.describe(result)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.complete), "bf16"])
def test_both_feeds(shards: Path, precision: str) -> None:
    result = run(f"--set=precision={precision}", "--data", str(shards))
    assert result["parity"]["passed"] and (result["batch"], result["accumulation"]) == (4, 2)
    memory, fed = result["feeds"]["memory"], result["feeds"]["shards"]
    for feed in (memory, fed):
        assert 0 < feed["step_seconds"]["median"] <= feed["step_seconds"]["p99"]
        assert feed["flops_per_second"] == pytest.approx(feed["flops_per_sample"] * feed["images_per_second"])
        assert 0 < feed["predicted"] <= feed["tokens"]
    assert memory["tokens"] == pytest.approx(fed["tokens"])  # 4 micro-batches: all of them are held
    assert result["stall_share"] == pytest.approx(1 - fed["images_per_second"] / memory["images_per_second"])
    assert result["peak_memory_bytes"] > 0 and result["environment"]["deepspeed"]
    assert "waits for data" in bench.describe(result)


def stay_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process group: the one that tests share is not the command's to leave."""
    monkeypatch.setattr(distributed, "init", lambda: distributed.DistContext(0, 1, torch.device("cpu")))
    monkeypatch.setattr(distributed, "shutdown", lambda: None)


class Faulty:
    """An engine that takes no step and tells other numbers than its model."""

    accumulation = 2
    loss = gradient = 1.0

    def __init__(self, recipe: Any, vocab_size: int, *unused: Any) -> None:
        self.model = Ecamp(recipe, vocab_size)

    def check(self, batch: Batch) -> StepResult:
        self.model.eval()
        losses = self.model(batch)
        losses.total.backward()
        found = StepResult.of(losses, self.model)
        return replace(found, losses=replace(losses, mlm=losses.mlm * self.loss), norm=found.norm * self.gradient)


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_no_times_without_parity(shards: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(engines, "DeepSpeed", Faulty)
    monkeypatch.setattr(Faulty, fault, 1.001)
    stay_alone(monkeypatch)
    options = ["--recipe", "demo", *SETTINGS, "--data", str(shards), "--json"]
    done = CliRunner().invoke(bench.command, options, catch_exceptions=False)
    result = json.loads(done.stdout)
    assert done.exit_code == 1 and not result["parity"]["passed"]
    assert result["parity"]["distances"]["mlm" if fault == "loss" else "gradient_norm"] == pytest.approx(1e-3, rel=0.1)
    assert result["feeds"] == {} and result["stall_share"] is None
    assert "FAILED" in bench.describe(result)


@pytest.mark.parametrize("source", ["shards", "noise"])
def test_the_gate_has_the_shape_that_is_timed(shards: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A gate on fewer samples would compile every block twice."""
    shapes: list[list[torch.Size]] = []

    class Watched(Faulty):
        def check(self, batch: Batch) -> StepResult:
            shapes.append([tensor.shape for tensor in (*batch.tensors().values(), *batch.text.tensors().values())])
            return super().check(batch)

        def step(self, batches: Any) -> None:
            for _ in range(self.accumulation):
                batch = next(batches)
                shapes.append([tensor.shape for tensor in (*batch.tensors().values(), *batch.text.tensors().values())])

    monkeypatch.setattr(engines, "DeepSpeed", Watched)
    stay_alone(monkeypatch)
    given = ["--data", str(shards)] if source == "shards" else ["--synthetic", "--tokens", "20", "--vocabulary", "300"]
    fixed = ["--set=text.capacity=fixed", "--steps", "2", "--blocks", "1", "--json"]
    done = CliRunner().invoke(bench.command, ["--recipe", "demo", *SETTINGS, *given, *fixed], catch_exceptions=False)
    result = json.loads(done.stdout)
    assert result["parity"]["passed"] and len(shapes) > 5 and all(shape == shapes[0] for shape in shapes)
    assert list(result["feeds"]) == (["memory", "shards"] if source == "shards" else ["memory"])
    assert (result["stall_share"] is None) == (source == "noise") and result["aligned"]


@pytest.mark.parametrize("given", [["--synthetic", "--data", "SHARDS"], ["--tokens", "20"]])
def test_synthetic_batches_have_no_shards(given: list[str]) -> None:
    with pytest.raises(ConfigError, match="--synthetic"):
        CliRunner().invoke(bench.command, given, catch_exceptions=False)


def test_rates_count_rare_waits() -> None:
    class Host:
        type = "cpu"

    work = {"tokens": 1.0, "predicted": 1.0, "flops_per_sample": 10.0}
    found = bench._rates([[1.0, 1.0, 1.0, 5.0], [1.0, 1.0, 1.0, 5.0], [1.0, 1.0, 1.0, 1.0]], work, 8, Host())
    assert found["images_per_second"] == 4.0 and found["flops_per_second"] == 40.0  # the middle block: a mean of 2 s
    assert found["step_seconds"] == {"median": 1.0, "p99": 5.0} and found["mfu"] is None
