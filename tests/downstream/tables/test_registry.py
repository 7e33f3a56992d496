"""Every task of the registry for once: a grid of a small encoder on few phantoms, from YAML to a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ecamp_fast.config import Recipe
from ecamp_fast.downstream.tables.cells import check_plan
from ecamp_fast.downstream.tables.evaluate import evaluate
from ecamp_fast.downstream.tables.grid import read_plan
from ecamp_fast.downstream.tables.registry import TASKS, named
from ecamp_fast.downstream.tables.rows import ScoreRow, compare
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.weights.export import to_ours

QUICK = {"steps": 2, "warmup": 1, "batch": 8, "precision": "fp32"}


@pytest.fixture(scope="module")
def run(small: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoder") / "run"
    out.mkdir()
    torch.manual_seed(5)
    to_ours.write(Ecamp(small("official"), 30).eval(), out)
    return out


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("registry") / "phantoms"
    build_phantoms(150, out, size=64, options=Options(workers=1, vocab_size=300, holdout=0.4))
    return out


@pytest.fixture
def scored(run: Path, shards: Path, tmp_path: Path) -> Callable[..., dict[str, ScoreRow]]:
    """Rows by method of a grid of one task."""

    def score(task: str, **changes: Any) -> dict[str, ScoreRow]:
        tasks = {"one": {"task": task, "data": str(shards)} | changes}
        tree = {"encoders": {"ours": str(run)}, "tasks": tasks, "lr_factors": [1.0, 3.0], "device": "cpu"}
        (tmp_path / "grid.yaml").write_text(json.dumps(tree))
        plan = read_plan(tmp_path / "grid.yaml", named(TASKS))
        check_plan(plan, TASKS)
        return {row.method: row for row in compare(plan, TASKS, evaluate(plan, tmp_path / "out", TASKS))}

    return score


def test_probes_and_plain_pixels_beside_them(scored: Callable[..., dict[str, ScoreRow]]) -> None:
    rows = scored("probe", options={"pooling": 2})
    assert list(rows) == ["untrained", "pixels 16 x 16", "pixels PCA 16", "ours"]
    assert all(row.metric == "AUC" and row.score and 0 < row.score < 100 for row in rows.values())
    assert rows["ours"].gain == pytest.approx((rows["ours"].score or 0) - (rows["untrained"].score or 0))


@pytest.mark.parametrize("task", ["classify", "probe-sgd"])
def test_classifiers(task: str, scored: Callable[..., dict[str, ScoreRow]]) -> None:
    rows = scored(task, settings=QUICK)
    assert list(rows) == ["untrained", "pixels 16 x 16", "pixels PCA 16", "ours"]
    assert rows["ours"].factor in (1.0, 3.0) and rows["pixels 16 x 16"].factor is None


def test_segmentation(scored: Callable[..., dict[str, ScoreRow]]) -> None:
    rows = scored("segment", settings=QUICK, options={"head": "linear", "augment": False, "masks": ["effusion"]})
    assert list(rows) == ["untrained", "ours"] and {row.metric for row in rows.values()} == {"Dice"}


@pytest.mark.slow
def test_patches_beside_place_and_pixels(scored: Callable[..., dict[str, ScoreRow]]) -> None:
    rows = scored("patches", options={"count": 40})
    assert list(rows) == ["untrained", "pixels of the patch", "place alone", "ours"]
    assert len({row.score for row in rows.values()}) == 4


def test_detection(scored: Callable[..., dict[str, ScoreRow]]) -> None:
    pytest.importorskip("faster_coco_eval")
    rows = scored("detect", settings=QUICK, options={"head": "fcos", "channels": 32})
    assert list(rows) == ["untrained", "ours"] and {row.metric for row in rows.values()} == {"mAP"}


def test_prompts(monkeypatch: pytest.MonkeyPatch, scored: Callable[..., dict[str, ScoreRow]]) -> None:
    """The seam alone: the answers are made up, since a run without ``losses.align`` gives none."""
    import sys
    from types import ModuleType, SimpleNamespace

    from ecamp_fast.downstream.tables import cells
    from ecamp_fast.scores import Estimate

    monkeypatch.setattr(cells, "_is_aligned", lambda run: True)

    def answers(model: Any, shards: Any, split: str, wordpiece: Any, **options: Any) -> Any:
        tokenizers.append(wordpiece)
        scores = SimpleNamespace(negation=Estimate(0.8, 0.7, 0.9), auroc=None)
        return SimpleNamespace(mean=scores, findings={"effusion": scores}, samples=7)

    module = ModuleType("ecamp_fast.downstream.zero_shot")
    module.score_prompts = answers  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    tokenizers: list[Any] = []
    monkeypatch.setattr("ecamp_fast.text.wordpiece.load_wordpiece", str)
    scored("zero-shot", options={"score": "negation", "test": "val", "tokenizer": "other/tokenizer.json"})
    rows = scored("zero-shot", options={"score": "negation", "test": "val"})
    assert tokenizers[0] == "other/tokenizer.json" and tokenizers[-1].endswith("phantoms/tokenizer.json")
    assert list(rows) == ["ours"] and (rows["ours"].score, rows["ours"].low) == (80.0, 70.0)
    assert rows["ours"].metric == "negation"
