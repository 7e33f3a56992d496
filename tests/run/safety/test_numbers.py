"""The judge of numbers by itself: no engine, no files."""

import math
from typing import Any

import pytest

from ecamp_fast.config import SafetyConfig
from ecamp_fast.run.safety.numbers import ALWAYS, IN_A_ROW, LEAVE_OUT, NO_LIMITS, Judgement, Numbers, rebuild

Step = tuple[float, float]  # norm, loss
GOOD, BAD = (1.0, 5.0), (math.inf, 5.0)


def go(numbers: Numbers, steps: list[Step], start: int = 0) -> list[Judgement]:
    """Steps as a run would take them: an update is applied within the limits."""
    verdicts = []
    for step, (norm, loss) in enumerate(steps, start + 1):
        limits = numbers.limits(step)
        applied = math.isfinite(norm) and math.isfinite(loss) and norm <= limits[0] and loss <= limits[1]
        verdicts.append(numbers.judge(step, norm, loss, applied))
    return verdicts


def lines(verdicts: list[Judgement], start: int = 0) -> list[dict[str, Any]]:
    """As events.jsonl has them."""
    return [
        {"event": verdict.event, "step": step, **verdict.facts}
        for step, verdict in enumerate(verdicts, start + 1)
        if verdict.event
    ]


@pytest.mark.fault("N1.in-a-row")
def test_sixteen_in_a_row_are_too_many() -> None:
    verdicts = go(Numbers(SafetyConfig(skips=1.0)), [GOOD] * 100 + [BAD] * IN_A_ROW)
    assert [bool(verdict.fault) for verdict in verdicts[100:]] == [False] * 15 + [True]
    assert "16 steps in a row" in verdicts[-1].fault


@pytest.mark.fault("N1.budget")
def test_the_budget_is_a_share_of_the_steps_so_far_and_eight_always() -> None:
    verdicts = go(Numbers(SafetyConfig()), [GOOD, BAD] * 20)
    first = next(step for step, verdict in enumerate(verdicts, 1) if verdict.fault)
    assert first == 2 * (ALWAYS + 1)
    late = go(Numbers(SafetyConfig()), [GOOD] * 2000 + [BAD, GOOD] * 25)
    skipped = [verdict for verdict in late if verdict.event == "skipped"]
    assert [bool(verdict.fault) for verdict in skipped[:21]] == [False] * 20 + [True]


def test_a_loss_that_is_not_finite_is_one_too() -> None:
    (verdict,) = go(Numbers(SafetyConfig()), [(1.0, math.nan)])
    assert verdict.event == "skipped"


def test_weights_are_proven_by_the_step_after_them() -> None:
    numbers = Numbers(SafetyConfig())
    go(numbers, [GOOD] * 10)
    assert numbers.healthy_until is None
    go(numbers, [BAD, GOOD, BAD], start=10)
    assert numbers.healthy_until == 9  # step 10 proved the weights after 9; those after 10 gave the first bad one
    verdicts = go(numbers, [GOOD] * 64, start=13)
    assert numbers.healthy_until is None and verdicts[-1].event == "calm"


def test_a_run_does_not_end_ten_times_worse_than_it_began() -> None:
    """Logged spikes become the rule after a while; the first finite loss does not."""
    numbers = Numbers(SafetyConfig(spikes="log"))
    go(numbers, [(1.0, math.nan), (1.0, 5.0), *[(1.0, 3e12)] * 70])
    assert numbers.fault_of_end(49.0) == ""
    assert "3e+12, and the first step had 5" in numbers.fault_of_end(3e12)
    assert numbers.fault_of_end(math.nan) == "not finite"
    again = rebuild(SafetyConfig(), 3, [], [(1, 1.0, math.inf), (2, 1.0, 6.0), (3, 1.0, 9.0), (4, 1.0, 1.0)])
    assert not again.fault_of_end(59.0) and again.fault_of_end(61.0)


def test_trouble_at_once_leaves_the_first_weights() -> None:
    numbers = Numbers(SafetyConfig())
    go(numbers, [BAD])
    assert numbers.healthy_until == 0


SPIKE = [GOOD] * 20 + [(1.0, 60.0)]


@pytest.mark.parametrize("quantity, spike", [("loss", (1.0, 60.0)), ("grad_norm", (11.0, 5.0))])
@pytest.mark.parametrize("choice", ["log", "skip", "roll_back"])
@pytest.mark.fault("N2.ten-times", "N2.logged", "N2.skipped", "N2.rolled-back")
def test_spikes_by_choice(choice: Any, quantity: str, spike: Step) -> None:
    numbers = Numbers(SafetyConfig(spikes=choice))
    verdict = go(numbers, [*SPIKE[:-1], spike])[-1]
    assert verdict.event == "spike" and verdict.facts["quantity"] == quantity and verdict.facts["z"] > 10
    assert verdict.facts["applied"] is (choice == "log") and numbers.skips == (choice != "log")
    assert verdict.goes_back is (choice == "roll_back") and not verdict.fault
    assert (numbers.limits(22) == NO_LIMITS) is (choice == "log")


@pytest.mark.fault("N2.ledger", "N2.exit")
def test_roll_backs_blame_the_updates_since_the_last_proof_and_are_few() -> None:
    numbers = Numbers(SafetyConfig(spikes="roll_back"))
    go(numbers, SPIKE)
    assert numbers.go_back(21) == "" and numbers.left_out == (20, 21)
    assert numbers.limits(20) == numbers.limits(21) == LEAVE_OUT != numbers.limits(22)
    assert go(numbers, [GOOD], start=20)[0].event == "left_out"
    faults = [numbers.go_back(21) for _ in range(3)]
    assert [bool(fault) for fault in faults] == [False, False, True]


def test_too_many_skips_go_back_where_spikes_do() -> None:
    verdicts = go(Numbers(SafetyConfig(spikes="roll_back")), [GOOD] * 3 + [BAD] * 9)
    assert not verdicts[-2].goes_back and verdicts[-1].goes_back


def state(numbers: Numbers) -> Any:
    counts = numbers.skips, numbers.in_a_row, numbers.healthy_until, numbers.left_out, numbers._bad, numbers._backs
    return *counts, numbers.limits(1000)


@pytest.mark.parametrize("choice", ["log", "skip", "roll_back"])
@pytest.mark.fault("N1.resume")
def test_what_a_run_wrote_down_gives_the_same_judge(choice: Any) -> None:
    steps = [GOOD] * 3 + [BAD] + [(1.0 + n / 50, 5.0 - n / 60) for n in range(30)] + [(40.0, 5.0), BAD, BAD, GOOD, BAD]
    steps += [GOOD] * 70 + [BAD, BAD]
    numbers = Numbers(SafetyConfig(spikes=choice))
    events: list[dict[str, Any]] = []
    for step, (norm, loss) in enumerate(steps, 1):
        events += lines(go(numbers, [(norm, loss)], step - 1), step - 1)
        past = [(number, *values) for number, values in enumerate(steps, 1)]
        assert state(rebuild(numbers._safety, step, events, past)) == state(numbers), step


@pytest.mark.fault("N2.ledger")
def test_the_ledger_outlives_the_way_back() -> None:
    safety = SafetyConfig(spikes="roll_back")
    numbers = Numbers(safety)
    events = lines(go(numbers, SPIKE))
    numbers.go_back(21)
    events.append({"event": "rolled_back", "step": 21, "left_out": [20, 21]})
    found = rebuild(safety, 18, events, [(step, *GOOD) for step in range(1, 21)])
    assert found.left_out == (20, 21) and found.skips == 0 and found.healthy_until is None
    after = rebuild(safety, 21, [*events, {"event": "left_out", "step": 20}, {"event": "left_out", "step": 21}], [])
    assert after.skips == after.in_a_row == 0 and after._backs == [21]


def test_lines_of_before_are_read() -> None:
    """Versions up to 0.1 noted that an update was skipped, and in which row."""
    old = [{"event": "skipped", "step": 7, "in_a_row": 1}, {"event": "saved", "step": 8}, {"event": "skipped"}]
    found = rebuild(SafetyConfig(), 8, old, [])
    assert (found.skips, found.in_a_row, found.healthy_until, found.left_out) == (1, 0, None, ())
    assert rebuild(SafetyConfig(), 7, old, []).in_a_row == 1


def test_a_roll_back_that_helped_is_not_counted_for_ever() -> None:
    safety = SafetyConfig(spikes="roll_back")
    events = [{"event": "rolled_back", "step": 21, "left_out": [20, 21]}]
    numbers = rebuild(safety, 18, events, [(step, *GOOD) for step in range(1, 19)])
    verdicts = go(numbers, [GOOD] * safety.window, start=21)
    assert [verdict.event for verdict in verdicts[-2:]] == ["", "calm"] and numbers._backs == []
