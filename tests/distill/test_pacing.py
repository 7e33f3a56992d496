"""How many requests, how long between two, and when to give up: by a clock that the test moves."""

import random

import pytest

from ecamp_fast.distill.pacing import Governor, Pace
from ecamp_fast.errors import EndpointError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_number_grows_with_answers_and_shrinks_once_for_a_busy_server(clock: Clock) -> None:
    governor = Governor(Pace(concurrency=16, first=4), clock)
    assert governor.slots == 4
    for _ in range(4):
        governor.answered()
    assert governor.slots == 8  # twice as many after as many answers
    for _ in range(100):
        governor.answered()
    assert governor.slots == 16
    clock.now = 110.0
    for _ in range(16):  # all that were under way together count once
        governor.failed("busy", 105.0, None)
    assert governor.slots == 11
    for _ in range(11):
        governor.answered()
    assert governor.slots == 12  # one more for as many answers: it knows now what is too much
    governor.failed("busy", 111.0, None)
    assert governor.slots == 8


def test_failures_that_say_nothing_of_load_do_not_shrink_it(clock: Clock) -> None:
    governor = Governor(Pace(concurrency=8, first=8), clock)
    for kind in ("broken", "unreadable", "redirect", "connection"):
        governor.failed(kind, clock.now, None)
    assert governor.slots == 8
    for _ in range(50):
        clock.now += 1
        governor.failed("timeout", clock.now, None)
    assert governor.slots == 1


@pytest.mark.fault("L2.retry-after", "L1.governor")
def test_what_a_server_asks_to_wait_holds_for_all(clock: Clock) -> None:
    governor = Governor(Pace(), clock)
    assert governor.wait == 0
    governor.failed("busy", 100.0, 30.0)
    governor.failed("busy", 100.0, 10.0)
    assert governor.wait == 30.0
    clock.now = 129.0
    assert governor.wait == pytest.approx(1.0)
    clock.now = 131.0
    assert governor.wait == 0


@pytest.mark.fault("L1.jitter")
def test_waits_double_with_jitter_up_to_a_limit(clock: Clock) -> None:
    governor = Governor(Pace(pause=0.5, longest_pause=60.0), clock, random.Random(1))
    for failures, longest in ((1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (1000, 60.0)):
        waits = [governor.delay(failures) for _ in range(200)]
        assert longest / 2 <= min(waits) < 0.6 * longest and 0.9 * longest < max(waits) <= longest
        assert len(set(waits)) > 100


@pytest.mark.fault("L1.exit")
def test_patience_ends_and_an_answer_renews_it(clock: Clock) -> None:
    governor = Governor(Pace(patience=60.0), clock)
    clock.now = 160.0
    governor.failed("connection", 159.0, None)
    governor.answered()
    clock.now = 220.0
    governor.failed("timeout", 219.0, None)
    clock.now = 221.0
    with pytest.raises(EndpointError, match="no answer for 61 seconds") as caught:
        governor.failed("connection", 220.0, None)
    assert "2 connection, 1 timeout" in caught.value.what and caught.value.exit_code == 7


@pytest.mark.fault("L2.retry-after")
def test_a_pause_that_the_server_asks_for_is_not_taken_for_silence_but_not_for_ever(clock: Clock) -> None:
    governor = Governor(Pace(patience=60.0), clock)
    governor.failed("busy", 100.0, 600.0)
    clock.now = 701.0
    governor.failed("busy", 700.0, None)
    clock.now = 761.0
    with pytest.raises(EndpointError):
        governor.failed("busy", 760.0, None)
    governor = Governor(Pace(patience=60.0), clock)
    start = clock.now
    with pytest.raises(EndpointError):
        for _ in range(100):
            governor.failed("busy", clock.now, 600.0)
            clock.now += 601.0
    assert clock.now - start < 3 * 3600
