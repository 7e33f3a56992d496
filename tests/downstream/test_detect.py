"""Detection end to end: tokens that are computed once, a fit that finds what is there, and what its result says."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ecamp_fast.commands.downstream import detect as door
from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.downstream.data.token_cache import BoxImages, TokenCache
from ecamp_fast.downstream.heads.fcos import FcosDetector
from ecamp_fast.downstream.heads.yolo import YoloDetector
from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.tasks.detect import (
    DetectionModel,
    DetectOptions,
    DetectTask,
    HeadOptions,
    box_names,
    build_head,
    detect,
    require_boxes,
)
from ecamp_fast.downstream.tasks.splits import Subset, TaskSplits, split_task
from ecamp_fast.downstream.training.settings import Settings, load_settings, row_names
from ecamp_fast.downstream.trunk import Trunk, open_trunk
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.phantom import FINDINGS, phantom
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet

SIZES = ("model.vision={width: 32, depth: 1, heads: 2, patch: 8}", "image.high_size=64", "image.low_size=32")
QUICK = ("precision=fp32", "steps=6", "batch=4", "lr=1e-3", "warmup=2", "evaluate_every=3")
SMALL_FCOS = HeadOptions("fcos", channels=32)
faster = pytest.mark.skipif(not find_spec("faster_coco_eval"), reason="faster-coco-eval is not installed")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out: Path = tmp_path_factory.mktemp("detect") / "phantoms"
    build_phantoms(120, out, size=64, options=Options(workers=1, seed=42, vocab_size=300, holdout=0.4))
    return ShardSet(out)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    run: Path = tmp_path_factory.mktemp("run")
    (run / "recipe.yaml").write_text(dump_recipe(load_recipe("demo", list(SIZES))), encoding="utf-8")
    return f"untrained:{run}:3"


@pytest.fixture
def trunk(encoder: str) -> Trunk:
    found = open_trunk(encoder)
    found.freeze()
    return found


@pytest.fixture(scope="module")
def splits(shards: ShardSet) -> TaskSplits:
    return split_task(shards, Subset(count=12))


def quick(*overrides: str) -> Settings:
    return load_settings("detect", None, [*QUICK, *overrides])


def task_of(trunk: Trunk, shards: ShardSet, splits: TaskSplits, settings: Settings) -> DetectTask:
    torch.manual_seed(0)
    names = box_names(shards, splits)
    return DetectTask(
        DetectionModel(trunk, build_head(SMALL_FCOS, trunk, len(names), False)), shards, splits, names, settings
    )


def test_settings_are_the_papers() -> None:
    rows = {name: load_settings("detect", name) for name in row_names("detect") if name.startswith("rsna")}
    found = {name: (one.steps, one.batch, one.lr, one.warmup, one.first_evaluation) for name, one in rows.items()}
    assert found == {
        "rsna-1": (3000, 96, 5e-4, 5, 60),
        "rsna-10": (3000, 256, 5e-4, 5, 100),
        "rsna-100": (20000, 1024, 5e-4, 30, 50),
    }
    for one in rows.values():
        assert (one.optimizer, one.weight_decay, one.frozen, one.patience, one.clip) == ("adamw", 0.05, True, 20, 1.0)
        assert one.decay_all


def test_boxes_are_where_the_phantom_has_them(shards: ShardSet, trunk: Trunk, splits: TaskSplits) -> None:
    names = box_names(shards, splits)
    assert set(names) <= set(FINDINGS)
    task = task_of(trunk, shards, splits, quick())
    seen = 0
    for row, batch in enumerate(BoxImages(task._data(splits.val)).ordered(1)):
        number = int(shards.key(splits.val.split, int(splits.val.rows[row])).removeprefix("phantom").split("_")[0])
        drawn = [(x / 2, y / 2, (x + w) / 2, (y + h) / 2) for _, x, y, w, h in phantom(42, number, 64).boxes]
        assert np.allclose(batch.boxes[0].numpy().reshape(-1, 4), np.array(drawn).reshape(-1, 4), atol=1e-4)
        seen += len(drawn)
    assert seen > 3


def test_cached_tokens_are_those_of_the_trunk_in_the_same_order(
    shards: ShardSet, trunk: Trunk, splits: TaskSplits
) -> None:
    data = task_of(trunk, shards, splits, quick())._data(splits.train)
    cache, images = TokenCache(trunk, data), BoxImages(data)
    pairs = [(cache.ordered(5), images.ordered(5)), (cache.training(5, 2, 7), images.training(5, 2, 7))]
    for (cached, fresh), count in zip(pairs, (3, 5), strict=True):
        batches = list(zip(cached, fresh, strict=True))
        assert len(batches) == count
        for one, other in batches:
            with torch.no_grad():
                assert torch.allclose(one.inputs, trunk(other.inputs), atol=1e-5)
            assert all(torch.equal(a, b) for a, b in zip(one.boxes, other.boxes, strict=True))
            assert all(torch.equal(a, b) for a, b in zip(one.labels, other.labels, strict=True))
    assert TokenCache.gib(trunk, 2**20, torch.bfloat16) == 16 * 32 * 2 / 1024


def test_a_frozen_trunk_is_read_once_and_a_free_one_is_trained(
    shards: ShardSet, encoder: str, splits: TaskSplits
) -> None:
    for frozen in (True, False):
        trunk = open_trunk(encoder)
        if frozen:
            trunk.freeze()
        task = task_of(trunk, shards, splits, quick(f"frozen={str(frozen).lower()}"))
        assert task.cached == frozen
        batch = next(iter(task.batches(0, 1)))
        assert batch.inputs.ndim == (3 if frozen else 4)
        task.loss(batch).backward()
        gradients = [one.grad is not None for one in trunk.net.parameters()]
        assert any(gradients) != frozen


def test_the_head_fits_the_options(trunk: Trunk) -> None:
    yolo = build_head(HeadOptions(channels=64), trunk, 3, whole=False)
    whole = build_head(HeadOptions(channels=64), trunk, 3, whole=True)
    assert isinstance(yolo, YoloDetector) and isinstance(whole, YoloDetector)
    inner = [one.neck.middle.residual[0].out_channels for one in (yolo, whole)]  # type: ignore[union-attr]
    assert inner == [8, 16]
    assert build_head(HeadOptions(channels=64, mgca=True), trunk, 1, False).mgca  # type: ignore[union-attr]
    assert isinstance(build_head(HeadOptions("fcos"), trunk, 3, whole=True), FcosDetector)
    for wrong in (HeadOptions("fcos", reduction=4), HeadOptions("fcos", mgca=True), HeadOptions("fcos", channels=40)):
        with pytest.raises(ConfigError):
            build_head(wrong, trunk, 3, whole=False)
    with pytest.raises(ConfigError):
        build_head(HeadOptions(channels=40), trunk, 3, whole=False)


def test_findings_without_boxes_are_refused(shards: ShardSet, splits: TaskSplits) -> None:
    known = box_names(shards, splits)
    with pytest.raises(ConfigError, match="a class is named twice"):
        box_names(shards, splits, known[:1] * 2)
    assert box_names(shards, splits, known[1:2]) == known[1:2]
    with pytest.raises(DataError, match="no boxes of"):
        box_names(shards, splits, ["fracture"])


def test_images_without_any_box_are_refused_before_the_fit(shards: ShardSet, splits: TaskSplits) -> None:
    empty = [row for row in splits.val.rows if not shards.metadata(splits.val.split, int(row)).get("boxes")]
    with pytest.raises(DataError, match=f"none of the {len(empty)} images that are validated on has a box"):
        require_boxes(shards, replace(splits, val=replace(splits.val, rows=np.array(empty))), FINDINGS)
    require_boxes(shards, splits, FINDINGS)


@faster
def test_learning_beats_not_learning(shards: ShardSet, trunk: Trunk, splits: TaskSplits) -> None:
    """On what it was fitted to: boxes, classes, images and order all have to match for that."""
    task = task_of(trunk, shards, replace(splits, val=splits.train), quick())
    task.model.eval()
    before = task.validate()
    optimizer = torch.optim.AdamW(task._model.detector.parameters(), 4e-3)
    task.model.train()
    for batch in task.batches(0, 100):
        optimizer.zero_grad()
        task.loss(batch).backward()
        optimizer.step()
    task.model.eval()
    assert before < 0.05 < 0.2 < task.validate()


@faster
def test_a_fit_writes_its_result_once_and_is_read_then(shards: ShardSet, encoder: str, tmp_path: Path) -> None:
    lines: list[str] = []
    options = DetectOptions(subset=Subset(count=12), head=SMALL_FCOS)

    def run() -> TaskResult:
        return detect(encoder, shards, quick(), tmp_path, options, say=lines.append)

    first = run()
    told = len(lines)
    assert run().as_dict() == json.loads(json.dumps(first.as_dict())) and len(lines) == told
    assert (first.task, first.metric) == ("detect", "map")
    assert first.low <= first.score <= first.high
    assert first.samples["train"] == 12 and first.samples["test"] == shards.count("val")
    assert len(first.extra["resampled"]) == 201
    assert first.extra["resampled"][0] == pytest.approx(first.score, abs=1e-6)
    assert [step for step, _ in first.extra["curve"]] == [3, 6]


@faster
def test_the_command_prints_the_result(shards: ShardSet, encoder: str, tmp_path: Path) -> None:
    arguments = [encoder, str(shards.path), str(tmp_path / "out"), "--count", "8", "--head", "yolo", "--channels", "64"]
    arguments += [part for change in QUICK for part in ("--set", change)] + ["--json", "--device", "cpu"]
    (tmp_path / "out").mkdir()
    done = CliRunner().invoke(door.command, arguments, catch_exceptions=False)
    printed: dict[str, Any] = json.loads(done.stdout)
    assert printed == json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert printed["extra"]["head"] == "yolo"
    assert set(printed["per_class"]) <= set(FINDINGS)
