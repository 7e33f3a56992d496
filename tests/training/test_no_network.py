"""The commands that take minutes, on a machine without a network: a namespace with the loopback device alone."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.complete
def test_the_demonstration_passes_without_a_network(alone: Callable[..., str], tmp_path: Path) -> None:
    assert alone("0 demo --out run") == ""
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.complete
def test_what_pre_training_is_worth_is_judged_without_a_network(alone: Callable[..., str]) -> None:
    """Trained for an epoch, so the bars are missed; all is done that a full run does."""
    assert alone("1 worth --studies 300 --out worth --set schedule.epochs=1") == ""


@pytest.mark.complete
def test_every_bench_runs_without_a_network(alone: Callable[..., str]) -> None:
    assert alone("0 bench all --quick --out results") == ""
