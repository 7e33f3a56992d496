import math

import pytest

from ecamp_fast.config import load_recipe
from ecamp_fast.run.schedule import learning_rate, total_steps

PAPER_SAMPLES = 8192 * 46  # exactly 46 updates an epoch, as the released run has


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 0.0), (10, 3.75e-5), (20, 7.5e-5), (40, 1.5e-4), (80, 1.280e-4), (115, 8.235e-5), (120, 7.5e-5), (200, 0.0)],
)
def test_the_released_schedule(epoch: int, rate: float) -> None:
    assert learning_rate(load_recipe("paper"), epoch * 46, PAPER_SAMPLES) == pytest.approx(rate, rel=1e-3, abs=1e-12)


def test_the_rate_moves_with_every_step() -> None:
    """Half an epoch into the warm-up, and half an epoch past it."""
    recipe = load_recipe("paper")
    assert learning_rate(recipe, 23, PAPER_SAMPLES) == pytest.approx(1.5e-4 * 0.5 / 40, rel=1e-12)
    after = 0.75e-4 * (1 + math.cos(math.pi * 0.5 / 160))
    assert learning_rate(recipe, 40 * 46 + 23, PAPER_SAMPLES) == pytest.approx(after, rel=1e-12)


def test_past_the_horizon_it_stays_at_zero() -> None:
    assert learning_rate(load_recipe("paper"), 201 * 46, PAPER_SAMPLES) == 0.0


def test_no_warmup() -> None:
    recipe = load_recipe("paper", ["schedule.warmup_epochs=0"])
    assert learning_rate(recipe, 0, PAPER_SAMPLES) == recipe.optim.lr


def test_total_steps_covers_every_sample() -> None:
    recipe = load_recipe("paper", ["schedule.epochs=2", "batch.total=8", "batch.micro=8"])
    assert total_steps(recipe, 10) == 3  # 20 samples in batches of 8
    assert total_steps(load_recipe("paper"), PAPER_SAMPLES) == 115 * 46
