"""Numbers that go bad on one of two ranks: no rank moves, and one process finds out again what it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.fault_points import VARIABLE
from ecamp_fast.replay.rebuild import Rebuild
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.rundir import read_metrics, read_records

pytestmark = pytest.mark.slow
SETTINGS = [
    "precision=fp32",
    "log_every=1",
    *("image={high_size: 32, low_size: 16}", "text.max_tokens=32"),
    "model.vision={width: 32, depth: 1, heads: 2, patch: 4}",
    "model.decoder={width: 32, depth: 1, heads: 2}",
    "model.text={width: 32, depth: 1, heads: 2, ffn: 32, dropout: 0.1}",
    *("batch={total: 8, micro: 2}", "schedule={epochs: 1, warmup_epochs: 0, horizon_epochs: 2}"),
    *("evaluation.samples=1", "checkpoint.every_steps=1000"),
]


@pytest.mark.complete
@pytest.mark.fault("N1.all-ranks-together", "N1.one-rank", "N1.replay")
def test_one_rank_of_two(
    trainers: Callable[[int, Path, Path, dict[str, Any]], None],
    phantoms: Path,
    tmp_path: Path,
    context: DistContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "gradient:rank=1:step=3:nan;batch.pixel:rank=1:step=5:micro=0:nan")
    trainers(2, phantoms, tmp_path, {"run": {"ds_config": "zero2", "threads": 1, "settings": SETTINGS}})
    out = tmp_path / "run"
    skipped = [event for event in read_records(out / "events.jsonl") if event["event"] == "skipped"]
    assert [event["step"] for event in skipped] == [3, 5]
    assert len(read_metrics(out)) == 6  # all ranks left the same updates out: none waits for another

    rebuild = Rebuild(out, context)
    assert rebuild.ranks == 2
    third, fifth, sixth = (rebuild.replay(step) for step in (3, 5, 6))
    assert third.first is not None and third.first.kind == "gradient" and not third.applied and third.agrees
    assert fifth.first is not None and (fifth.first.kind, fifth.first.rank, fifth.first.micro) == ("input", 1, 0)
    assert len(fifth.keys) == 1 and fifth.agrees
    assert sixth.first is None and sixth.applied and sixth.agrees and sixth.start == ""
    assert sixth.losses["loss"] == pytest.approx(read_metrics(out)[-1]["loss"], rel=1e-5)
