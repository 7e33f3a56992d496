"""Which steps ``--profile`` means, and what is said of those that a run has not."""

import pytest

from ecamp_fast.errors import ConfigError
from ecamp_fast.run.profiling.steps import ProfiledSteps


@pytest.mark.parametrize(
    ("told", "done", "steps"),
    [("3", 0, [3, 4, 5]), ("1", 0, [3]), ("3", 7, [10, 11, 12]), ("10-12", 0, [10, 11, 12]), ("4-4", 3, [4])],
)
def test_a_number_is_of_warm_steps_of_this_leg_and_a_range_of_the_run(told: str, done: int, steps: list[int]) -> None:
    span = ProfiledSteps.parse(told).settle(done, 12)
    assert [number for number in range(30) if number in span] == steps and len(span) == len(steps)


@pytest.mark.parametrize("told", ["", "0", "-3", "3-", "12-10", "0-4", "three", "1.5", "51", "1-51", "3\n", "٣"])
def test_what_names_no_steps_is_refused(told: str) -> None:
    with pytest.raises(ConfigError, match="--profile"):
        ProfiledSteps.parse(told)


@pytest.mark.parametrize(
    ("told", "done", "said"),
    [
        ("10-13", 0, "takes steps 10-13, the run has 12"),
        ("3", 8, "takes steps 11-13, the run has 12, 4 of them are left"),
        ("4-6", 4, "4 steps of the run are done"),
        ("1", 12, "0 of them are left"),
    ],
)
def test_steps_that_this_leg_will_not_do_are_refused(told: str, done: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ProfiledSteps.parse(told).settle(done, 12)
