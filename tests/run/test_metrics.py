import importlib.util
from pathlib import Path

import pytest

from ecamp_fast.run import metrics
from ecamp_fast.run.metrics import TensorBoardLog

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
