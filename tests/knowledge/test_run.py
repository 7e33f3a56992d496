"""`make knowledge`: planted bad figures fail, a step is done once, and the whole chain runs, small."""

import copy
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ecamp_fast import cli
from ecamp_fast.attend.map_scores import MapPair
from ecamp_fast.attend.model import Gloria
from ecamp_fast.commands.knowledge.attend_train import find_recipe
from ecamp_fast.config import load_recipe
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trainer import Trainer


@pytest.fixture(scope="module")
def knowledge() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("knowledge_run", Path(__file__).with_name("run.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def about(value: float, width: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - width, "high": value + width}


def good() -> dict[str, Any]:
    """Figures of which everything that must hold does, and nothing else."""
    metrics = ("pointing", "iou", "lift", "side")
    scores = {name: {"own": about(0.1), "above usual": about(-0.3), "above other": about(-0.1)} for name in metrics}
    distilled = scores | {"lift": {"own": about(1.1), "above usual": about(-0.3), "above other": about(0.011)}}
    return {
        "auroc": {"distilled": [about(0.761), about(0.80)], "raw": [about(0.5), about(0.5)]},
        "pairs": 400,
        "maps": {"distilled": distilled, "raw": scores},
        "difference": {name: {"own": about(-1.0), "above other": about(-1.0)} for name in metrics},
        "pretraining": {
            "none": {"auroc": [0.7, 0.7], "mim": [0.1, 0.1], "above none": None},
            "soft": {"auroc": [0.6, 0.6], "mim": [0.2, 0.2], "above none": about(-0.1)},
        },
        "core_minutes": 99.0,
    }


def test_what_must_hold_is_enough(knowledge: ModuleType) -> None:
    lines, code = knowledge.judge(good())
    assert code == 0 and not any(line.startswith("NOT THERE") for line in lines)
    assert sum(line.startswith("OK") for line in lines) == 3  # two AUROC, one share
    assert any("no" in line and "claimed" in line for line in lines)


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "prompts of one seed are not surely over 0.75": lambda it: it["auroc"]["distilled"].__setitem__(1, about(0.755)),
    "maps are not surely above another patient's": lambda it: it["maps"]["distilled"]["lift"].update(
        {"above other": about(0.009)}
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_figures_fail(knowledge: ModuleType, bad: str) -> None:
    figures = copy.deepcopy(good())
    BAD[bad](figures)
    lines, code = knowledge.judge(figures)
    assert code == 1 and sum(line.startswith("NOT THERE") for line in lines) == 1


def planted(seeing: bool, seed: int) -> list[MapPair]:
    """Masses on either side; maps of noise, with the mass in them or not."""
    generator, pairs = np.random.default_rng(0), []
    noise = np.random.default_rng(seed + 1)
    for number in range(40):
        x = int(generator.integers(2)) * 4
        boxes = np.array([[x, 2, x + 2, 5]]) / 8
        map = noise.random((8, 8))
        map[2:5, x : x + 2] += 2 * seeing
        pairs.append(MapPair(f"i{number}", "mass", f"p{number // 2}", map, boxes))
    return pairs


def test_maps_are_compared_on_what_all_have(knowledge: ModuleType) -> None:
    read = {("distilled", seed): planted(True, seed) for seed in (1, 2)}
    read |= {("raw", seed): planted(False, seed)[seed:] for seed in (1, 2)}
    found = knowledge.compare_maps(read, (1, 2))
    assert found["pairs"] == 38
    assert found["maps"]["distilled"]["side"]["own"]["value"] > 0.9
    assert found["maps"]["distilled"]["lift"]["above other"]["low"] > 0
    assert found["maps"]["raw"]["lift"]["above other"]["low"] < 0 < found["maps"]["raw"]["lift"]["above other"]["high"]
    gap, both = found["difference"]["iou"], found["maps"]
    assert gap["own"]["low"] > 0
    assert gap["own"]["value"] == pytest.approx(
        both["distilled"]["iou"]["own"]["value"] - both["raw"]["iou"]["own"]["value"]
    )
    same = knowledge.compare_maps({key: planted(True, 1) for key in read}, (1, 2))
    assert same["difference"]["iou"]["own"] == {"value": 0, "low": 0, "high": 0}


def test_a_step_is_done_once_and_a_failure_ends_all(knowledge: ModuleType, tmp_path: Path) -> None:
    called: list[list[str]] = []

    def call(arguments: Sequence[str]) -> tuple[int, str]:
        called.append(list(arguments))
        return (0, 'a library speaks\n{"found": 1}\n') if "fail" not in arguments else (75, "stopped")

    plan = knowledge.Plan(studies=9)
    steps = knowledge.Steps(tmp_path, plan, call)
    steps("one", "a", 1)
    with pytest.raises(SystemExit) as left:
        steps("two", "fail")
    assert left.value.code == 75
    again = knowledge.Steps(tmp_path, plan, call)
    again("one", "a", 1)
    with pytest.raises(SystemExit):
        again("two", "fail")
    assert called == [["a", "1", "--json"], ["fail", "--json"], ["fail", "--json"]]
    assert json.loads((tmp_path / "told" / "one.json").read_text()) == {"found": 1}
    assert list(again.seconds) == ["one"]
    with pytest.raises(SystemExit, match="another plan"):
        knowledge.Steps(tmp_path, knowledge.Plan(studies=10), call)


TINY = (
    "image.high_size=64",
    "image.low_size=32",
    "log_every=1",
    "evaluation.samples=8",
    "batch.total=8",
    "batch.micro=8",
)
SHORT = ("schedule.epochs=0.3", "schedule.horizon_epochs=0.3", "schedule.warmup_epochs=0.1")


@pytest.mark.slow
def test_the_whole_chain_runs_and_its_verdict_is_no(
    knowledge: ModuleType, tmp_path: Path, context: DistContext, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few steps of everything: nothing is learned in them, and that is what it says."""
    trained: list[Path] = []

    def call(arguments: Sequence[str]) -> tuple[int, str]:
        words = list(arguments)
        if "train" not in words[:2]:
            done = CliRunner().invoke(cli.command, words, catch_exceptions=False)
            return done.exit_code, done.stdout
        changes = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        if words[0] == "attend":
            job = Job(load_recipe(find_recipe("phantom"), changes), Path(words[2]), Path(words[3]), model=Gloria)
        else:
            data, out = (Path(words[words.index(option) + 1]) for option in ("--data", "--out"))
            job = Job(load_recipe("demo", changes), data, out)
        assert Trainer(job, context).train() == "complete"
        trained.append(job.out)
        return 0, "{}"

    plan = knowledge.Plan(
        studies=96,
        size=72,
        held_out=0.75,
        gloria=(*TINY, *SHORT, "gloria.image_size=64"),
        trainings=(23,),
        pretraining=(*TINY, *SHORT),
        pretrainings=(42,),
        arms=("none", "soft"),
    )
    assert knowledge.conduct(plan, tmp_path / "out", call) == 1
    assert len(trained) == 4
    told = capsys.readouterr().out
    assert "NOT THERE distilled: AUROC of prompts" in told and "pre-training, guidance soft: probe AUROC" in told
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["maps"]["raw"]["side"]["own"]["value"] > 0 and len(found["pretraining"]["soft"]["mim"]) == 1
    assert knowledge.conduct(plan, tmp_path / "out", call) == 1 and len(trained) == 4
