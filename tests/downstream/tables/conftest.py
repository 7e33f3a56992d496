"""Fakes of tasks: a score that is a known function of encoder, rate, seed and percentage, and a count of fits."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.tables.evaluate import GroupResult, evaluate
from ecamp_fast.downstream.tables.grid import GridPlan, read_plan
from ecamp_fast.downstream.tables.registry import CellInputs, ClassOptions, TaskKind
from ecamp_fast.errors import NumericsError
from ecamp_fast.shards.builder.build import Options, build_phantoms

QUALITY = {"good": 0.80, "better": 0.85, "untrained": 0.60, "pixels": 0.55}
BEST_RATE = {"good": 0.03, "better": 0.01}  # else 0.1


def score(given: CellInputs) -> tuple[float, float]:
    """On validation and on test data; the rate that is best on the one is so on the other."""
    name = next((name for name in ("better", "good", "untrained", "pixels") if name in given.encoder), "good")
    name = "untrained" if given.encoder.startswith("untrained") else name
    loss = abs(given.settings.lr / BEST_RATE.get(name, 0.1) - 1)
    value = QUALITY[name] - 0.01 * min(loss, 5) + given.fraction / 1000 + given.settings.seed / 10000
    return value, value - 0.02


class Counter:
    """Fits that were computed, in order; ``before`` runs ahead of each."""

    def __init__(self) -> None:
        self.fits: list[CellInputs] = []
        self.before: Callable[[CellInputs, Path], None] = lambda given, out: None

    def run(self, given: CellInputs, out: Path) -> TaskResult:
        self.before(given, out)
        if given.settings.lr > 0.2:
            raise NumericsError("the gradients are not finite", "lower lr")
        (out / "checkpoints").mkdir()
        val, test = score(given)
        classes = {"Atelectasis": test, "pleural_thickening": None, "Mass": test + 0.01}
        counts = {"train": 10, "val": 5, "test": 5}
        result = TaskResult(
            "fake", "auroc", test, test - 0.05, test + 0.04, classes, given.settings.model_dump(), "0" * 64,
            given.encoder, given.fraction, given.settings.seed, counts, {"best": [7, val]},
        )  # fmt: skip
        result.write(out)
        self.fits.append(given)
        return result

    @property
    def kinds(self) -> dict[str, TaskKind]:
        plain = ("pixels", "pixels-pca")
        return {
            "classify": TaskKind(self.run, ClassOptions, "classify", published="classify", plain=plain),
            "plain": TaskKind(self.run, ClassOptions, tuned=False),
            "pixels": TaskKind(self.run, ClassOptions, tuned=False, row="pixels 16 x 16", source="pixels"),
            "pixels-pca": TaskKind(
                self.run, ClassOptions, tuned=False, row="pixels PCA {width}", source="pixels{width}"
            ),
        }


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tables") / "set"
    build_phantoms(2, out, size=64, options=Options(workers=1, vocab_size=200))
    return out


def made_run(folder: Path, weights: bytes = b"", width: int = 96) -> Path:
    """What tells a complete run, without a model."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(dump_recipe(load_recipe("demo", [f"model.vision.width={width}"])))
    (folder / "weights.safetensors").write_bytes(weights or folder.name.encode())
    (folder / "run_state.json").write_text(json.dumps({"status": "complete"}))
    return folder


@pytest.fixture
def make_run() -> Callable[..., Path]:
    return made_run


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here loses power, and a grid syncs hundreds of files."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def write_grid(tmp_path: Path, tiny_set: Path) -> Callable[..., Path]:
    """A grid with two pre-trainings of one encoder and one of another; ``changes`` of its top keys."""
    return grids_in(tmp_path, tiny_set)


def grids_in(folder: Path, shards: Path) -> Callable[..., Path]:
    runs = [made_run(folder / name) for name in ("good-1", "good-2", "better-1")]

    def write(**changes: object) -> Path:
        task = {"task": "classify", "data": str(shards), "settings": {"lr": 0.1}, "paper": "CXR14"}
        tree: dict[str, object] = {
            "encoders": {"ours": [str(runs[0]), str(runs[1])], "better": str(runs[2])},
            "tasks": {"nih": task},
            "fractions": [1, 10],
            "seeds": [1, 2],
            "lr_factors": [0.1, 0.3, 1.0],
        } | changes
        file = folder / "grid.yaml"
        file.write_text(json.dumps(tree))  # YAML too
        return file

    return write


@pytest.fixture(scope="session")
def computed(
    tmp_path_factory: pytest.TempPathFactory, tiny_set: Path
) -> tuple[GridPlan, dict[str, TaskKind], list[GroupResult]]:
    """The plan, its kinds and its results."""
    folder, counter = tmp_path_factory.mktemp("computed"), Counter()
    plan = read_plan(grids_in(folder, tiny_set)(), ["classify", "plain"])
    return plan, counter.kinds, evaluate(plan, folder / "out", counter.kinds)
