"""What a person sees of a job: an ETA of warm steps, and no long silence before the first line."""

import io
import sys

import pytest

from ecamp_fast.printable import takes_control_codes
from ecamp_fast.run import progress
from ecamp_fast.run.progress import TrainProgress, Waiting
from ecamp_fast.run.safety.heartbeat import AFTER_ALL, Heartbeat

LINE = {"loss": 1.0, "mim": 1.0, "sr": 1.0, "mlm": 1.0, "images_per_second": 3.0}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_first_eta_leaves_out_the_first_step(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """It took 600 s, and the held-out loss before it 300; every other takes 2."""
    shown = TrainProgress(100, 0, visible=True)
    clock[0] += 900
    shown.warmed_up(1)
    clock[0] += 18
    shown.update(10, LINE)
    assert capsys.readouterr().err.endswith("ETA 0:03:00\n")


def test_the_eta_leaves_out_what_comes_once(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """A page of a profile took 400 s, a roll back to step 5 threw 40 s away; every step takes 2."""
    shown = TrainProgress(100, 0, visible=True)
    shown.leave_out(100)
    shown.warmed_up(1)
    clock[0] += 18 + 400
    shown.leave_out(400)
    shown.update(10, LINE)
    assert capsys.readouterr().err.endswith("ETA 0:03:00\n")
    clock[0] += 40
    shown.warmed_up(5)
    clock[0] += 10
    shown.update(10, LINE)
    assert capsys.readouterr().err.endswith("ETA 0:03:00\n")


def test_without_a_warm_step_there_is_no_eta(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown = TrainProgress(100, 40, visible=True)
    shown.warmed_up(41)
    shown.update(41, LINE)
    assert capsys.readouterr().err.endswith("ETA after the next step\n")


def test_what_takes_so_long_before_the_first_line(clock: list[float]) -> None:
    heartbeat = Heartbeat()
    waiting = Waiting(heartbeat, visible=False)
    clock[0] += 25
    assert waiting.line() == "at work for 25 s: reading the shards and building the model"
    heartbeat.at = (0, 2, "evaluation")
    assert waiting.line().endswith(": the held-out loss at step 0, batch 3")
    heartbeat.at = (0, AFTER_ALL, "evaluation")
    assert waiting.line().endswith(": the held-out loss at step 0")
    heartbeat.at = (0, 0, "data")
    assert waiting.line().endswith(": waiting for the data of step 1")
    heartbeat.parts = 8
    heartbeat.at = (0, 1, "step")
    assert waiting.line().endswith(": the first step, micro-step 2 of 8")
    clock[0] += 20
    heartbeat.at = (0, 3, "step")  # 10 s each, and five to go with this one
    assert waiting.line().endswith(": the first step, micro-step 4 of 8; it takes about 50 s more")
    heartbeat.warm, heartbeat.at = True, (3, 0, "step")
    assert waiting.line().endswith(": step 4; 3 done")


def test_it_speaks_until_the_first_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.01)
    heartbeat = Heartbeat()
    with Waiting(heartbeat, visible=True):
        while not capsys.readouterr().err.startswith("at work for 0 s: "):
            pass
        heartbeat.told = True
    with Waiting(Heartbeat(), visible=False):
        pass
    assert capsys.readouterr().err.count("at work") <= 1


@pytest.mark.parametrize(
    ("variables", "takes"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": ""}, False),
    ],
)
def test_what_a_terminal_takes(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], takes: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert takes_control_codes(Terminal()) is takes and not takes_control_codes(io.StringIO())
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = TrainProgress(10, 0, visible=True)
    shown.close()
    assert (shown._bar is not None) is takes
