"""ZeRO stages compute what plain data parallelism computes, up to the order of sums."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.run.rundir import read_metrics
from ecamp_fast.run.safety.compare import compare
from ecamp_fast.run.safety.flight import read_flight
from ecamp_fast.shards.load.read import ShardSet

pytestmark = pytest.mark.slow
MICRO = 2
RELATIVE = 1e-5
SETTINGS = [
    "precision=fp32",
    "log_every=1",
    "image.high_size=32",
    "image.low_size=16",
    "model.vision.patch=4",
    "model.vision.width=32",
    "model.vision.heads=2",
    "model.vision.depth=1",
    "model.decoder.width=32",
    "model.decoder.heads=2",
    "model.decoder.depth=1",
    "model.text.width=32",
    "model.text.ffn=32",
    "model.text.dropout=0.1",
    "text.max_tokens=32",
    "optim.lr=1.5e-4",  # the recipe paper; rounding errors grow with it
    "optim.weight_decay=0.05",
    f"batch.micro={MICRO}",
    "evaluation.samples=1",
    "checkpoint.every_steps=1000",
]
CASES: dict[str, dict[str, Any]] = {
    "stage 0": {"stage": 0},
    "stage 1": {"stage": 1},
    "stage 2": {"stage": 2, "reduce_bucket_size": 5000, "overlap_comm": True},  # several buckets
}
REORDERED = "stage 0, two threads"  # every large sum is taken in another order


def cases(ranks: int, steps: int, shards: Path, out: Path) -> dict[str, dict[str, Any]]:
    """What ``trainers_on_rank`` is to run."""
    batch = 2 * MICRO * ranks  # two micro-steps
    epochs = batch * steps / ShardSet(shards).count("train")
    schedule = [f"batch.total={batch}", f"schedule.epochs={epochs}", f"schedule.horizon_epochs={2 * epochs}"]
    found = {}
    for name, zero in CASES.items():
        file = out / f"{name}.json"
        file.write_text(json.dumps({"zero_optimization": zero, "zero_allow_untested_optimizer": True}))
        found[name] = {"ds_config": str(file), "threads": 1, "settings": [*SETTINGS, *schedule]}
    return found | {REORDERED: found["stage 0"] | {"threads": 2}}


def apart(losses: list[float], others: list[float]) -> float:
    """Largest relative difference of two runs."""
    assert len(losses) == len(others)
    return max(abs(one - other) / abs(one) for one, other in zip(losses, others, strict=True))


@pytest.mark.parametrize(
    ("ranks", "steps"), [(2, 20), *(pytest.param(n, 200, marks=pytest.mark.complete) for n in (1, 2))]
)
def test_the_loss_is_that_of_stage_0(
    ranks: int, steps: int, phantoms: Path, tmp_path: Path, trainers: Callable[[int, Path, Path, dict[str, Any]], None]
) -> None:
    wanted = cases(ranks, steps, phantoms, tmp_path)
    trainers(ranks, phantoms, tmp_path / "runs", wanted)
    flights = {name: read_flight(tmp_path / "runs" / name).steps for name in wanted}
    same = {name: compare(flights["stage 0"], steps, 100 * RELATIVE).first for name, steps in flights.items()}
    assert same == dict.fromkeys(wanted)
    losses = {name: [line["loss"] for line in read_metrics(tmp_path / "runs" / name)] for name in wanted}
    difference = {name: apart(losses["stage 0"], others) for name, others in losses.items()}
    assert len(losses["stage 0"]) == steps and losses["stage 0"][-1] < losses["stage 0"][0]
    assert all(value <= RELATIVE for value in difference.values()), difference
