"""Paired differences of rows: what is a training of its own, and what only another subset of one."""

from dataclasses import dataclass

import numpy as np
import pytest

from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.tables.cells import Group
from ecamp_fast.downstream.tables.differences import PairedDifference, differences
from ecamp_fast.downstream.tables.evaluate import GroupResult
from ecamp_fast.downstream.tables.registry import TASKS
from ecamp_fast.scores import over_seeds

FROZEN, FITTED = "probe", "classify"
DRAWS = 200


@dataclass(frozen=True)
class Scores:
    """Of (source, seed): the score of all samples; draws of patients are around it, the same for all rows."""

    kind: str
    row: str
    of: dict[tuple[str, int], float]
    baseline: bool = False

    def result(self) -> GroupResult:
        sources = tuple(dict.fromkeys(source for source, _ in self.of))
        group = Group("t", self.kind, self.row, sources, 1.0, self.baseline)
        return GroupResult(group, {key: one(value, len(self.row)) for key, value in self.of.items()}, 1.0, {})


def one(score: float, row: int, test: int = 50) -> TaskResult:
    around = score + np.random.default_rng(row).normal(0, 0.01, DRAWS)
    counts = {"train": 1, "val": 1, "test": test}
    draws = {"resampled": [score, *around.tolist()]}
    return TaskResult("t", "auroc", score, score, score, {}, {}, "", "", 1.0, 1, counts, draws)


def gap(*rows: Scores) -> PairedDifference:
    (found,) = differences([row.result() for row in rows], TASKS)
    return found


def by_hand(gaps: list[float], ours: str, theirs: str) -> tuple[float, float, float]:
    """The gap of each training, its draws being those of ``one``."""
    noise = [np.random.default_rng(len(row)).normal(0, 0.01, DRAWS) for row in (ours, theirs)]
    rows = np.array([[gap, *(gap + noise[0] - noise[1])] for gap in gaps])
    found = over_seeds(100 * rows)
    return found.value, found.low, found.high


def told(found: PairedDifference) -> tuple[float, float, float]:
    return found.value, found.low, found.high


OURS = {("a", 1): 0.80, ("a", 2): 0.70, ("b", 1): 0.90, ("b", 2): 0.70}
FIRST = {("u", 1): 0.60, ("u", 2): 0.62, ("v", 1): 0.60, ("v", 2): 0.58}


@pytest.mark.parametrize("kind", [FROZEN, FITTED])
def test_subsets_of_one_pre_training_are_averaged_first(kind: str) -> None:
    found = gap(Scores(kind, "ours", OURS), Scores(kind, "untrained", FIRST, baseline=True))
    assert (found.pairs, found.above) == (2, 2)  # of the four differences 0.20, 0.08; 0.30, 0.12
    assert told(found) == pytest.approx(by_hand([0.14, 0.21], "ours", "untrained"))


def test_seeds_are_trainings_where_a_single_pre_training_is_fitted_with_each() -> None:
    ours, first = ({key: score for key, score in of.items() if key[0] in "au"} for of in (OURS, FIRST))
    fitted = gap(Scores(FITTED, "ours", ours), Scores(FITTED, "untrained", first, baseline=True))
    assert fitted.pairs == 2 and told(fitted) == pytest.approx(by_hand([0.20, 0.08], "ours", "untrained"))
    frozen = gap(Scores(FROZEN, "ours", ours), Scores(FROZEN, "untrained", first, baseline=True))
    assert frozen.pairs == 1 and told(frozen) == pytest.approx(by_hand([0.14], "ours", "untrained"))
    assert frozen.high - frozen.low < fitted.high - fitted.low


def test_pixels_stand_against_each_pre_training() -> None:
    pixels = Scores(FROZEN, "pixels", {("p", 1): 0.75, ("p", 2): 0.60}, baseline=True)
    found = gap(Scores(FROZEN, "ours", OURS), pixels)
    assert (found.pairs, found.above) == (2, 2)
    assert told(found) == pytest.approx(by_hand([0.075, 0.125], "ours", "pixels"))


def test_what_diverged_or_has_other_test_samples_is_no_pair() -> None:
    ours = Scores(FITTED, "ours", OURS).result()
    first = Scores(FITTED, "untrained", FIRST, baseline=True).result()
    first.results["u", 1] = None
    first.results["v", 2] = one(0.58, len("untrained"), test=49)
    (found,) = differences([ours, first], TASKS)
    assert found.pairs == 2 and told(found) == pytest.approx(by_hand([0.08, 0.30], "ours", "untrained"))


def test_two_encoders_stand_against_each_other_and_baselines_against_none() -> None:
    other = Scores(FROZEN, "others", {("c", 1): 0.5, ("d", 1): 0.9})
    rows = [Scores(FROZEN, "ours", OURS), other, Scores(FROZEN, "untrained", FIRST, baseline=True)]
    found = {(one.method, one.against): one.value for one in differences([row.result() for row in rows], TASKS)}
    assert set(found) == {("ours", "others"), ("others", "ours"), ("ours", "untrained"), ("others", "untrained")}
    assert found["ours", "others"] == pytest.approx(15) == -found["others", "ours"]
