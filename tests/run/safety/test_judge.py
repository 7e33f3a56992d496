"""Who is to blame: by what one rank has seen of all."""

import math
from dataclasses import replace
from typing import Any

import pytest

from ecamp_fast.config.sections import WatchdogConfig
from ecamp_fast.run.safety.ending import SHOWN, Ending, claim, read_ending
from ecamp_fast.run.safety.heartbeat import AFTER_ALL, ORDER, Beat
from ecamp_fast.run.safety.judge import DEAD, DEAD_AT_THE_END, LOADER_FIRST, Seen, judge, limit_of
from ecamp_fast.run.safety.member import Member

LIMITS = WatchdogConfig(start=100, step=30, data=20, evaluation=40, save=50, stopped=10, silent=15)
HERE = Beat(step=7, part=1, phase="step", warm=True, where="trainer.py:_step", waits=True)


def rank(number: int, beat: Beat = HERE, **seen: Any) -> Seen:
    return Seen(Member(number, "host", 100 + number, 0, "machine"), beat, **seen)


def judged(*ranks: Seen, unheard: float = 0.0, me: int = 0) -> tuple[str, int] | None:
    ending = judge(me, ranks, LIMITS, "store:1", unheard)
    return ending and (ending.kind, ending.rank)


def test_a_rank_that_is_gone_is_named_at_once_and_one_that_left_at_the_end_later() -> None:
    assert judged(rank(0), rank(1, state="dead", lost_for=DEAD)) == ("died", 1)
    assert judged(rank(0), rank(1, state="dead", lost_for=DEAD / 2)) is None
    end = replace(HERE, phase="end")
    assert judged(rank(0, end), rank(1, end, state="dead", lost_for=DEAD_AT_THE_END - 1)) is None
    assert judged(rank(0, end), rank(1, end, state="dead", lost_for=DEAD_AT_THE_END)) == ("died", 1)


def test_nobody_else_is_blamed_while_a_rank_is_lost_but_not_yet_for_long() -> None:
    late = replace(HERE, still=1000.0, waits=False)
    assert judged(rank(0), rank(1, late), rank(2, late)) is None
    for state in ("dead", "stopped"):
        assert judged(rank(0, late), rank(1, late), rank(2, late, state=state, lost_for=0.5)) is None
    assert judged(rank(0, late), rank(1, late), rank(2, late)) == ("stalled", -1)


def test_a_stop_may_last_as_long_as_its_limit() -> None:
    assert judged(rank(0), rank(1, state="stopped", lost_for=9)) is None
    assert judged(rank(0), rank(1, state="stopped", lost_for=10)) == ("stopped", 1)


@pytest.mark.parametrize("phase", ORDER)
def test_each_phase_has_its_limit(phase: str) -> None:
    beat = Beat(step=3, phase=phase, warm=True)
    name, limit = limit_of(beat, LIMITS)
    assert name == {"end": "save"}.get(phase, phase)
    assert limit == getattr(LIMITS, name) + LOADER_FIRST * (phase == "data")
    assert judged(rank(0, replace(beat, still=limit - 1)), rank(1, replace(beat, still=limit - 1))) is None
    late = judge(0, [rank(0, replace(beat, still=limit))], LIMITS, "", 0.0)
    assert late is not None and late.rank == 0 and late.code == (5 if phase in ("data", "save") else 4)
    assert limit_of(replace(beat, warm=False), LIMITS) == ("start", 100)


@pytest.mark.parametrize(
    "behind, ahead",
    [
        (Beat(7, 1, "data", True), Beat(7, 1, "step", True)),
        (Beat(7, 0, "step", True), Beat(7, 1, "data", True)),
        (Beat(7, 0, "evaluation", True), Beat(7, AFTER_ALL, "evaluation", True)),
        (Beat(7, AFTER_ALL, "evaluation", True), Beat(7, 0, "save", True)),
        (Beat(7, 0, "save", True), Beat(7, 0, "data", True)),
        (Beat(6, 3, "step", True), Beat(7, 0, "evaluation", True)),
        (Beat(0, 0, "start"), Beat(0, 0, "data")),
    ],
)
def test_who_is_behind_is_to_blame_and_who_waits_for_it_is_not(behind: Beat, ahead: Beat) -> None:
    late = replace(ahead, still=1000.0)
    assert judged(rank(0, late), rank(1, behind), rank(2, late)) is None
    assert judged(rank(0, late), rank(1, replace(behind, still=1000.0)), rank(2, late)) == ("stalled", 1)


def test_where_all_are_at_one_place_one_that_moves_holds_and_one_outside_of_collectives_is_to_blame() -> None:
    late, busy = replace(HERE, still=1000.0), replace(HERE, still=1000.0, waits=False)
    assert judged(rank(0, late), rank(1), rank(2, late)) is None
    assert judged(rank(0, late), rank(1, late), rank(2, busy)) == ("stalled", 2)
    assert judged(rank(0, late), rank(1, late)) == ("stalled", -1)
    assert judged(rank(0, busy), rank(1, busy)) == ("stalled", -1)


def test_silence_counts_only_where_this_rank_stands_still_too() -> None:
    still = replace(HERE, still=15.0)
    assert judged(rank(0), rank(1, silent=99), unheard=99) is None
    assert judged(rank(0, still), rank(1, silent=15)) == ("silent", 1)
    assert judged(rank(0, still), rank(1, silent=14), unheard=14) is None
    assert judged(rank(0, still), rank(1, silent=15.5), unheard=14.9) is None, "the store is to be blamed in a moment"
    ending = judge(0, [rank(0, still), rank(1, silent=15)], LIMITS, "store:1", 15)
    assert ending is not None and "store at store:1" in str(ending.fault()) and ending.rank == -1
    cold = replace(still, warm=False, phase="start", step=0)
    assert judged(rank(0, cold), rank(1, cold, silent=99)) is None


def test_a_culprit_that_was_last_heard_earlier_is_where_the_others_wait_for_it() -> None:
    earlier = replace(HERE, step=5, part=0, phase="data", waits=False)
    ending = judge(0, [rank(0), rank(1, earlier, state="dead", lost_for=9)], LIMITS, "", 0.0)
    assert ending is not None and ending.beat.position == HERE.position and not ending.reached
    assert "the others wait for it in phase step after step 7, micro-batch 1" in str(ending.fault())
    ending = judge(0, [rank(0, earlier), rank(1, state="dead", lost_for=9)], LIMITS, "", 0.0)
    assert ending is not None and ending.beat == HERE and ending.reached


def test_a_message_names_rank_host_process_phase_step_and_samples() -> None:
    names = tuple(f"p{number}" for number in range(SHOWN + 5))
    ending = Ending("stalled", rank(1).member.name, 1, replace(HERE, phase="data"), 21.0, 5, "data", samples=names)
    error = ending.fault()
    assert error.exit_code == 5 and "safety.watchdog.data" in error.hint
    assert error.what == (
        "rank 1 (host host, pid 101) has made no progress for 21 s; last seen in phase data after step 7, micro-batch "
        "1 (in trainer.py:_step), samples p0, p1, p2, p3, p4, p5, p6, p7 and 5 more"
    )


def test_the_first_ending_counts(tmp_path) -> None:
    file = tmp_path / "endings" / "name.json"
    assert read_ending(file) is None
    first, second = (Ending("died", f"rank {n}", n, HERE, math.pi, 4, samples=("a",)) for n in (1, 2))
    assert claim(file, first) == (first, True)
    assert claim(file, second) == (first, False)
    assert read_ending(file) == first and file.stat().st_mode & 0o777 == 0o600
    file.write_text("{")
    assert read_ending(file, patience=0.1) is None
