"""A run that goes on with other ranks or another ZeRO stage sees the same samples and computes the same losses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.run.rundir import read_metrics, read_records

pytestmark = pytest.mark.slow
RELATIVE = 1e-5  # of a loss, in float32
STEPS_AN_EPOCH = 45 / 16
SETTINGS = [
    "precision=fp32",
    "log_every=1",
    "model.vision={width: 48, depth: 2, heads: 3, patch: 8}",
    "model.decoder={width: 48, depth: 1, heads: 2}",
    "model.text={width: 48, depth: 1, heads: 2, ffn: 64, dropout: 0.0}",
    "image={high_size: 64, low_size: 32, crop_area: [0.5, 1.0], flip: 0.5}",
    "text.max_tokens=64",
    "batch={total: 16, micro: 4}",
    "schedule={warmup_epochs: 1, horizon_epochs: 40}",
    "checkpoint.every_steps=1000",
    "evaluation.samples=1",
]
Trainers = Callable[[int, str, Path, dict[str, Any]], None]


def leg(run: str, steps: int, stage: int, epoch: float) -> dict[str, Any]:
    """A run up to so many steps, as ``trainers`` takes it."""
    epochs = [f"schedule.epochs={(steps - 0.5) / epoch}"]
    return {"run": run, "settings": SETTINGS + epochs, "ds_config": f"zero{stage}", "threads": 1}


def losses(run: Path) -> list[tuple[float, ...]]:
    return [tuple(record[name] for name in ("loss", "mim", "sr", "mlm", "grad_norm")) for record in read_metrics(run)]


LEGS = {  # steps, ranks and ZeRO stage of each
    "ranks": [(3, 2, 2), (9, 1, 2), (12, 2, 2)],
    "stages": [(3, 1, 2), (9, 1, 0), (12, 1, 1)],
}
COMPLETE = {
    "ranks over 60 steps": [(20, 2, 2), (40, 1, 2), (60, 2, 2)],
    "stages over 60 steps": [(20, 1, 2), (40, 1, 0), (60, 1, 1)],
    "both over 60 steps": [(20, 2, 1), (40, 1, 0), (60, 2, 2)],
}
complete = pytest.mark.complete


@pytest.mark.fault("C7.ranks", "C7.stage")
@pytest.mark.parametrize(
    "legs",
    [
        *(pytest.param(legs, id=name) for name, legs in LEGS.items()),
        *(pytest.param(legs, id=name, marks=complete) for name, legs in COMPLETE.items()),
    ],
)
def test_other_ranks_and_stages_go_on_alike(
    trainers: Trainers, phantoms: Path, tmp_path: Path, legs: list[tuple[int, int, int]]
) -> None:
    go_through(trainers, str(phantoms), tmp_path, legs)


@pytest.mark.complete
def test_other_ranks_go_on_alike_on_two_sets(trainers: Trainers, two_sets: tuple[Path, Path], tmp_path: Path) -> None:
    go_through(trainers, f"{two_sets[0]} {two_sets[1]}:0.3", tmp_path, LEGS["ranks"], 24 / 16)


def go_through(
    trainers: Trainers, data: str, tmp_path: Path, legs: list[tuple[int, int, int]], epoch: float = STEPS_AN_EPOCH
) -> None:
    """The legs of a run against a run that was never cut off.  epoch: its steps"""
    launches: list[tuple[int, dict[str, Any]]] = [(legs[0][1], {"whole": leg("whole", legs[-1][0], legs[0][2], epoch)})]
    for steps, ranks, stage in legs:
        if ranks != launches[-1][0]:
            launches.append((ranks, {}))
        launches[-1][1][f"to {steps}"] = leg("broken", steps, stage, epoch)
    for ranks, cases in launches:
        trainers(ranks, data, tmp_path, cases)
    whole, broken = losses(tmp_path / "whole"), losses(tmp_path / "broken")
    assert len(whole) == len(broken) == legs[-1][0]
    pairs = [pair for rows in zip(whole, broken, strict=True) for pair in zip(*rows, strict=True)]
    apart = max(abs(one - other) / abs(one) for one, other in pairs)
    assert 0 < apart <= RELATIVE  # without any difference it was the same run twice
    resumed = [event["step"] for event in read_records(tmp_path / "broken/events.jsonl") if event["event"] == "resumed"]
    assert resumed == [steps for steps, _, _ in legs[:-1]]
