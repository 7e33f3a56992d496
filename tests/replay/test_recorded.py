"""What a replayed step is compared with, and what is said of it."""

import math
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.commands.replay import _in_words
from ecamp_fast.replay.rebuild import Replayed
from ecamp_fast.replay.recorded import Recorded, find_record
from ecamp_fast.run.metrics import NAMES
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.flight import FILE, FlightFile, pack

NORM = 3.0
LOSSES = {step: 4.0 - step / 4 for step in range(1, 11)}  # exact in float32
GIVEN = {step: dict.fromkeys(NAMES, loss) for step, loss in LOSSES.items()}


def flown(run: Path, step: int, loss: float, norm: float = NORM) -> None:
    file = FlightFile(run)
    file.append(pack(step, 0, 1, (1, 2, 3), (loss, loss, loss, loss, norm), 5))
    file.close()


def logged(run: Path, step: int, since: int) -> None:
    """A line over the steps after ``since``."""
    covered = [LOSSES[number] for number in range(since + 1, step + 1)]
    line = dict.fromkeys(NAMES, sum(covered) / len(covered))
    RunDir(run).metric({"step": step, **line, "grad_norm": NORM, "images_per_second": 1.0})


def found(run: Path, step: int, given: Any = GIVEN) -> tuple[Recorded | None, list[str]]:
    told: list[str] = []
    return find_record(run, step, given, NORM, told.append), told


def said(step: int, recorded: Recorded | None) -> str:
    return _in_words(Replayed(step, "", 0, 1, True, GIVEN[step], NORM, None, (), recorded=recorded))[-1]


def test_the_record_of_that_very_step_is_what_counts(tmp_path: Path) -> None:
    logged(tmp_path, 10, 0)
    flown(tmp_path, 10, LOSSES[10])
    one, told = found(tmp_path, 10)
    assert one == Recorded(10, 10, {**GIVEN[10], "grad_norm": NORM}, {**GIVEN[10], "grad_norm": NORM}) and not told
    assert said(10, one) == "recorded: loss 1.5, mim 1.5, sr 1.5, mlm 1.5, gradient 3: the same"


def test_a_mean_is_said_to_be_one_and_set_beside_that_of_the_same_steps(tmp_path: Path) -> None:
    logged(tmp_path, 4, 0)
    logged(tmp_path, 10, 4)
    one, _ = found(tmp_path, 10)
    assert one is not None and one.agrees and (one.first, one.last) == (5, 10) and one.values["loss"] == 2.125
    text = said(10, one)
    assert text.startswith("recorded, mean of steps 5 to 10, and the gradient of step 10: loss 2.125")
    assert "; replayed, of the same steps: loss 2.125" in text and text.endswith(": the same")


def test_of_steps_that_were_not_all_gone_through_only_the_gradient_counts(tmp_path: Path) -> None:
    logged(tmp_path, 10, 0)
    one, _ = found(tmp_path, 10, {step: GIVEN[step] for step in (9, 10)})
    assert one == Recorded(0, 0, {"grad_norm": NORM}, {"grad_norm": NORM})
    assert said(10, one) == "recorded: gradient 3: the same"


@pytest.mark.parametrize(("loss", "verdict"), [(1.5001, "the same but for rounding"), (1.6, "NOT the same")])
def test_two_numbers_are_never_called_the_same(tmp_path: Path, loss: float, verdict: str) -> None:
    flown(tmp_path, 10, loss)
    text = said(10, found(tmp_path, 10)[0])
    assert f"loss {loss}" in text and "; replayed: loss 1.5," in text and text.endswith(f": {verdict}")


def test_what_is_not_finite_is_alike(tmp_path: Path) -> None:
    flown(tmp_path, 10, math.nan, math.nan)
    one = find_record(tmp_path, 10, {10: dict.fromkeys(NAMES, math.nan)}, math.inf, print)
    assert one is not None and one.agrees and "gradient not finite: the same" in said(10, one)


def test_a_damaged_record_is_told_and_the_line_of_metrics_takes_its_place(tmp_path: Path) -> None:
    logged(tmp_path, 9, 0)
    logged(tmp_path, 10, 9)
    (tmp_path / FILE).write_bytes(b"x" * 200)
    one, told = found(tmp_path, 10)
    assert one is not None and (one.first, one.last) == (10, 10) and "compared with metrics.jsonl" in told[0]


def test_where_nothing_was_recorded_nothing_is_compared(tmp_path: Path) -> None:
    assert found(tmp_path, 10) == (None, [])


def test_json_says_of_which_steps_it_is() -> None:
    one = Replayed(
        10, "", 0, 1, True, GIVEN[10], NORM, None, (), recorded=Recorded(5, 10, {"loss": 2.0}, {"loss": 3.0})
    )
    told = one.as_dict()
    assert (told["recorded"], told["recorded_steps"], told["replayed"]) == ({"loss": 2.0}, [5, 10], {"loss": 3.0})
    assert told["agrees"] is False
