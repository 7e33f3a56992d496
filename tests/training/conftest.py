"""A small phantom shard set and a recipe that trains on it in seconds."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.machine import free_port
from ecamp_fast.run import launch
from ecamp_fast.shards.builder.build import build_phantoms

ON_RANK = Path(__file__).with_name("trainers_on_rank.py")
TINY = [
    "precision=bf16",
    "log_every=1",
    "masking.image_ratio=0.75",
    "image.flip=0.5",
    "image.crop_area=[0.5, 1.0]",
    "model.vision.width=48",
    "model.vision.depth=2",
    "model.decoder.width=48",
    "model.decoder.depth=1",
    "model.text.width=48",
    "model.text.depth=1",
    "model.text.ffn=64",
    "model.text.dropout=0.1",
    "image.high_size=64",
    "image.low_size=32",
    "model.vision.patch=8",
    "text.max_tokens=64",
    "batch.total=16",
    "batch.micro=4",
    "schedule.epochs=3",
    "checkpoint.every_steps=2",
]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "phantoms"
    build_phantoms(48, out, size=96)
    return out


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("demo", TINY)


@pytest.fixture
def arguments(phantoms: Path) -> Callable[..., list[str]]:
    """The command line of a tiny run into ``out``."""

    def build(out: Path, *extra: str) -> list[str]:
        settings = [f"--set={item}" for item in TINY]
        return [f"--data={phantoms}", f"--out={out}", "--recipe=demo", "--no-report", *settings, *extra]

    return build


@pytest.fixture
def train(arguments: Callable[..., list[str]], tmp_path: Path) -> Callable[..., int]:
    """Run the launcher to its end; its log goes to ``tmp_path / log`` and is shown when a test fails."""

    def run(out: Path, *extra: str, ranks: int = 2) -> int:
        with open(tmp_path / "log", "ab") as log:
            code = launch.wait(launch.start(arguments(out, *extra), ranks, log), out)
        print((tmp_path / "log").read_text()[-4000:])
        return code

    return run


@pytest.fixture(scope="session")
def trainers() -> Callable[[int, Path | str, Path, dict[str, Any]], None]:
    """Several runs one after the other, on so many ranks, each under its name in ``out``: ``trainers_on_rank``."""

    def run(ranks: int, shards: Path | str, out: Path, cases: dict[str, Any]) -> None:
        command = [sys.executable, str(ON_RANK), str(shards), str(out), json.dumps(cases)]
        world = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
        world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        world |= {"OMP_WAIT_POLICY": "passive"}  # threads share cores
        processes = [
            subprocess.Popen(command, env=os.environ | world | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(ranks)
        ]
        try:
            assert [process.wait(timeout=300) for process in processes] == [0] * ranks
        finally:
            for process in processes:
                process.kill()

    return run


@pytest.fixture(autouse=True)
def no_gpu_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit-for-bit claims are made for the CPU."""
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "")
