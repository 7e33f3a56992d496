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


@pytest.mark.parametrize(("told", "steps"), [("10-13", "10-13"), ("11", "3-13"), ("13-13", "13")])
def test_steps_that_no_leg_has_are_refused(told: str, steps: str) -> None:
    for done in (0, 5, 12):
        with pytest.raises(ConfigError, match=f"takes steps {steps}, the run has 12"):
            ProfiledSteps.parse(told).settle(done, 12)


@pytest.mark.parametrize(
    ("told", "done", "said"),
    [
        ("4-6", 6, "--profile 4-6: 6 steps of the run are done already; nothing is profiled"),
        ("4-6", 4, "--profile 4-6: 4 steps of the run are done already; nothing is profiled"),
        ("3", 8, "--profile 3: 4 steps are left, and it takes 2 to be warm; nothing is profiled"),
        ("3", 12, "--profile 3: 0 steps are left, and it takes 2 to be warm; nothing is profiled"),
    ],
)
def test_the_same_command_goes_on_though_its_steps_are_done(told: str, done: int, said: str) -> None:
    steps = ProfiledSteps.parse(told)
    steps.require(12)
    assert steps.settle(0, 12) and steps.settle(done, 12) is None and steps.lacks(done, 12) == said
