"""What was validated best in bfloat16 is judged in bfloat16."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ecamp_fast.downstream.tasks.classify import ClassifyOptions, ClassifyTask, classify
from ecamp_fast.downstream.tasks.detect import DetectOptions, DetectTask, HeadOptions, detect
from ecamp_fast.downstream.tasks.segment import SegmentOptions, SegmentTask, segment
from ecamp_fast.downstream.tasks.splits import Subset
from ecamp_fast.downstream.training.settings import load_settings
from ecamp_fast.shards.load.read import ShardSet

SOME = Subset(count=40)


class Judged(Exception):
    """The fit is over."""


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(("name", "run", "task", "options"), [
    ("classify", classify, ClassifyTask, ClassifyOptions(SOME)),
    ("segment", segment, SegmentTask, SegmentOptions(SOME, head="linear")),
    ("detect", detect, DetectTask, DetectOptions(SOME, head=HeadOptions("fcos"))),
])  # fmt: skip
def test_the_test_split_is_judged_as_the_validation_split_was(
    name: str,
    run: Callable[..., Any],
    task: type,
    options: Any,
    precision: str,
    tiny_run: Path,
    phantoms: ShardSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[bool] = []

    def validate(self: Any) -> float:
        used.append(torch.is_autocast_enabled("cpu"))
        return 0.5

    def test(self: Any) -> None:
        used.append(torch.is_autocast_enabled("cpu"))
        raise Judged

    monkeypatch.setattr(task, "validate", validate)
    monkeypatch.setattr(task, "test", test)
    settings = load_settings(name, None, ["steps=1", "warmup=0", "batch=4", f"precision={precision}"])
    with pytest.raises(Judged):
        run(str(tiny_run), phantoms, settings, tmp_path, options)
    assert used == [precision == "bf16"] * 2
