"""``--track`` and ``ecamp-fast track``: what cannot be meant is refused at once; what was not sent is."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.cli import main
from ecamp_fast.machine import child_environment
from ecamp_fast.run import launch
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.processes import descendants
from ecamp_fast.run.tracking.choice import TrackerChoice, parse_choice
from ecamp_fast.train import main as program

SMALL = str(Path(__file__).resolve().parents[1] / "data" / "small.yaml")
STAND_IN = """
import json, os, time
def init(project, **given):
    if os.environ.get("STAND_IN_FAILS"):
        raise RuntimeError(os.environ["STAND_IN_FAILS"])
    note(project, given["name"])
    if os.environ.get("STAND_IN_HANGS"):
        time.sleep(1000)
def note(*what):
    with open(os.environ["STAND_IN_RECORD"], "a") as file:
        file.write(json.dumps(what) + "\\n")
def log(values, step): note(step, values)
def finish(): note("finish")
"""


def left_with(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as left:
        main([*arguments])
    return left.value.code


@pytest.fixture
def trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that writes what it is told into the file."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "trackio.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(modules))
    monkeypatch.syspath_prepend(str(modules))
    monkeypatch.setenv("STAND_IN_RECORD", str(tmp_path / "told"))
    return tmp_path / "told"


@pytest.mark.parametrize(
    ("track", "code", "said"),
    [
        ("mlflow", 2, "--track mlflow: no such tracker"),
        ("wandb:", 2, "'' is no name of a project"),
        ("wandb:/home/x", 2, "no name of a project"),
        ("wandb:a b", 2, "no name of a project"),
        ("wandb", 4, "install -e '.[wandb]'"),
        ("trackio:some", 4, "install -e '.[trackio]'"),
    ],
)
def test_before_any_launcher_starts(
    track: str, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "wandb").mkdir()  # which wandb leaves where it was called: no installation
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("wandb", "trackio"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("a launcher was started"))
    monkeypatch.setattr("ecamp_fast.train.run_rank", lambda *_: pytest.fail("the run began"))
    out = ["--recipe", SMALL, "--out", str(tmp_path / "run"), "--track", track]
    assert left_with("train", *out, "--ranks", "1") == code
    assert said in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        program(out)
    assert left.value.code == code and said in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    assert left_with("track", str(tmp_path / "run"), "--to", track) == code and said in capsys.readouterr().err


def test_a_choice_says_itself() -> None:
    assert parse_choice("wandb") == TrackerChoice("wandb", "ecamp-fast")
    for text in ("trackio:ecamp-fast", "wandb:Chest.X-ray_2"):
        assert str(parse_choice(text)) == text


def test_the_ranks_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trackio: Path) -> None:
    class Started(Exception):
        pass

    def start(arguments: list[str], *_: object, **__: object) -> None:
        raise Started(*arguments)

    monkeypatch.setattr(launch, "start", start)
    with pytest.raises(Started) as begun:
        main(["train", "--recipe", SMALL, "--ranks", "1", "--out", str(tmp_path / "run"), "--track", "trackio:some"])
    assert "--track=trackio:some" in begun.value.args


def test_what_was_not_sent_is_sent_once(tmp_path: Path, trackio: Path, capsys: Any) -> None:
    run = RunDir(tmp_path / "run")
    for step in (1, 2):
        run.metric(
            {"step": step, "loss": step / 2, "device": "zqcell", "keys": [1], "accuracy": True, "mlm": float("nan")}
        )
    run.metric({"split": "val", "step": 2, "loss": 3})
    run.metric({"split": "Mr Zqtext", "step": 2, "loss": 3})
    command = ("track", str(run.path), "--to", "trackio")
    assert left_with(*command) == 0
    (project, name), *told = map(json.loads, trackio.read_text().splitlines())
    sent = [[1, {"train/loss": 0.5}], [2, {"train/loss": 1.0}], [2, {"val/loss": 3.0}]]
    assert told == [*sent, ["finish"]]
    assert project == "ecamp-fast" and f"as {name}: train to step 2, val to step 2" in capsys.readouterr().out
    run.metric({"step": 1, "loss": 9.0})
    run.metric({"step": 3, "loss": 0.25})
    assert left_with(*command, "--json") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == {"train": 3, "val": 2}
    (again, *later) = map(json.loads, trackio.read_text().splitlines()[5:])
    assert again == [project, name] and later == [[3, {"train/loss": 0.25}], ["finish"]]
    assert left_with(*command) == 0 and "knew it all" in capsys.readouterr().out


@pytest.mark.parametrize("seconds", ["inf", "nan", "-inf", "0"])
def test_seconds_without_an_end_are_refused(seconds: str, tmp_path: Path, trackio: Path, capsys: Any) -> None:
    RunDir(tmp_path / "run").metric({"step": 1, "loss": 1.0})
    assert left_with("track", str(tmp_path / "run"), "--to", "trackio", "--timeout", seconds) == 2
    assert "'--timeout'" in capsys.readouterr().err and not trackio.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_nobody(
    number: int, tmp_path: Path, trackio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path / "run")
    run.metric({"step": 1, "loss": 1.0})
    monkeypatch.setenv("STAND_IN_HANGS", "1")
    words = ["-m", "ecamp_fast.cli", "track", str(run.path), "--to", "trackio"]
    process = subprocess.Popen([sys.executable, *words], env=child_environment())
    until = time.monotonic() + 60
    while not trackio.exists() and time.monotonic() < until:
        time.sleep(0.02)
    below = descendants(process.pid)
    assert below
    process.send_signal(number)
    process.wait(20)
    while any(one.alive for one in below) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(one.alive for one in below)


def test_a_tracker_that_fails_is_told_of(
    tmp_path: Path, trackio: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path / "run")
    assert left_with("track", str(tmp_path), "--to", "trackio") == 2
    run.metric({"step": 1, "loss": 1.0})
    monkeypatch.setenv("STAND_IN_FAILS", "no answer")
    capsys.readouterr()
    assert left_with("track", str(run.path), "--to", "trackio", "--timeout", "5") == 7
    assert "trackio fails" in capsys.readouterr().err
    assert "no answer" in (run.path / "tracker" / "tracker.log").read_text()
