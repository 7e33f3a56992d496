"""What a start does not wait for: modules that nothing in the run needs."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from ecamp_fast.machine import cuda_devices

ROOT = Path(__file__).parents[2]
LAUNCHES = """
import subprocess, sys
from ecamp_fast import cli
from ecamp_fast.run import launch

def begin(*_, **__):
    raise SystemExit(str(sorted({"torch", "deepspeed", "nvidia.dali"} & set(sys.modules))))

launch.subprocess.Popen = begin
cli.main(["train", "--recipe=demo", f"--out={sys.argv[1]}"])
"""
STEPS = """
import sys
import torch
from ecamp_fast.config import load_recipe
from ecamp_fast.run import distributed, engine, step

distributed.init()
recipe = load_recipe("demo", ["batch.total=1", "batch.micro=1"])
settings = {"train_batch_size": 1, "train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 2}}
with torch.device("cpu"):
    trained = engine.build_engine(torch.nn.Linear(2, 1), recipe, settings)
step.start_micro_step(1, 0, 0)
trained.backward(trained(torch.ones(1, 2)).sum())
compilers = {f"torch._inductor.{name}" for name in ("compile_fx", "cudagraph_trees", "lowering", "scheduler")}
print("deepspeed.runtime.zero.muon.muon_optimizer" in sys.modules, *sorted(compilers & set(sys.modules)))
distributed.shutdown()
"""


@pytest.mark.skipif(cuda_devices() > 0, reason="there is a GPU, of which PyTorch is asked")
def test_the_process_that_launches_imports_no_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHES, str(tmp_path / "run")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr.strip() == "[]" and done.returncode == 1


@pytest.mark.slow
@pytest.mark.skipif(cuda_devices() > 0, reason="there is a GPU, for which blocks are compiled")
def test_a_step_that_compiles_nothing_imports_no_compiler() -> None:
    """It takes over two seconds; DeepSpeed compiles what it knows its Muon by."""
    done = subprocess.run([sys.executable, "-c", STEPS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True", done.stdout


def test_without_a_driver_pytorch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", no_driver)
    monkeypatch.setattr("torch.cuda.device_count", lambda: pytest.fail("asked"))
    assert cuda_devices() == 0
    monkeypatch.setattr(ctypes, "CDLL", lambda name: name)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert cuda_devices() == 3
