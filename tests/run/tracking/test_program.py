"""The process beside a run: it tries again after an outage, and nobody is left after its end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.config import load_recipe
from ecamp_fast.machine import child_environment
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.processes import ProcessId, descendants
from ecamp_fast.run.tracking.lines import GrowingLines, numbers, position
from ecamp_fast.run.tracking.sent import SentSteps, read_sent, write_sent
from ecamp_fast.run.tracking.settings import recipe_settings

QUICK = (
    "import sys; from ecamp_fast.run.tracking import program; program.PAUSE = 0.1; sys.exit(program.main(sys.argv[1:]))"
)
Told = Callable[..., list[dict[str, Any]]]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path, tracker: Told) -> Iterator[Start]:
    """start(grace): the program for the run ``tmp_path``, which pauses shortly."""
    (tmp_path / "tracker").mkdir()
    begun: list[subprocess.Popen[bytes]] = []

    def run(grace: float) -> "subprocess.Popen[bytes]":
        words = [sys.executable, "-c", QUICK, str(tmp_path), "wandb:some", str(grace), "loss"]
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(words, stdin=pipe, stdout=pipe, env=child_environment(), start_new_session=True))
        return begun[-1]

    yield run
    for one in begun:
        one.kill()
        one.wait()
        for pipe in (one.stdin, one.stdout):
            if pipe:
                pipe.close()


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_after_an_outage_all_is_told_once(
    start: Start, tracker: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DOES", "log:raise")
    run = RunDir(tmp_path)
    for step in (1, 2):
        run.metric({"step": step, "loss": 1.0})
    child = start(30)
    assert child.stdout and child.stdin
    assert [child.stdout.readline() for _ in range(2)] == [b"RuntimeError\n"] * 2  # it tries again
    Path(os.environ["STAND_IN_RECORD"] + ".back").touch()
    until(lambda: len(tracker("log")) == 2)
    run.metric({"step": 3, "loss": 1.0})
    until(lambda: len(tracker("log")) == 3)
    child.stdin.close()
    assert child.wait(30) == 0 and [one["step"] for one in tracker("log")] == [1, 2, 3]
    assert len({one["given"]["id"] for one in tracker("init")}) == 1


@pytest.mark.parametrize("who", ["keeper", "sending", "asked"])
def test_whichever_process_is_killed_nobody_is_left(
    who: str, start: Start, tracker: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DOES", "init:spawn")
    child = start(60)
    until(lambda: tracker("spawn"))
    below, number = descendants(child.pid), signal.SIGTERM if who == "asked" else signal.SIGKILL
    spawned = ProcessId.of(tracker("spawn")[0]["pid"])
    assert spawned in below and len(below) == 3
    os.kill(below[0].pid if who == "sending" else child.pid, number)
    code = child.wait(20)
    assert code == {"keeper": -signal.SIGKILL, "sending": 128 + signal.SIGKILL, "asked": 128 + signal.SIGTERM}[who]
    until(lambda: not any(one.alive for one in below))


def test_nobody_is_left_after_the_end(
    start: Start, tracker: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DOES", "init:spawn")
    child = start(0.5)
    until(lambda: tracker("spawn"))
    spawned = ProcessId.of(tracker("spawn")[0]["pid"])
    assert spawned and child.stdin
    child.stdin.close()
    assert child.wait(20) == 1 and not spawned.alive


def test_lines_come_once_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = GrowingLines(file)
    assert list(lines.new()) == []
    file.write_bytes(b'{"step": 1}\nno json\n[2]\n{"st')
    assert list(lines.new()) == [{"step": 1}]
    with open(file, "ab") as more:
        more.write(b'ep": 2}\n')
    assert list(lines.new()) == [{"step": 2}] and list(lines.new()) == []


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"step": 3}, ("train", 3)),
        ({"step": 0, "split": "val"}, ("val", 0)),
        ({"step": 3, "split": "Mr Zqtext"}, None),
        ({"step": 3.5}, None),
        ({"step": True}, None),
        ({"step": -1}, None),
        ({"split": "val"}, None),
    ],
)
def test_a_line_has_a_place_or_is_none_of_ours(record: dict[str, Any], expected: tuple[str, int] | None) -> None:
    assert position(record) == expected


def test_of_a_recipe_no_word_is_told_that_somebody_chose() -> None:
    recipe = load_recipe("demo", ["init_from=/private/zqfolder/x.safetensors"]).model_copy(update={"name": "zqname"})
    told = recipe_settings(recipe)
    assert told["optim.lr"] == recipe.optim.lr and told["batch.total"] == recipe.batch.total
    assert told["precision"] == recipe.precision and told["losses.mlm"] is True and "name" not in told
    assert not [value for value in told.values() if "zq" in str(value) or "/" in str(value)]


def test_numbers_alone_are_sent() -> None:
    record = {"loss": 1, "lr": 0.5, "mim": float("inf"), "sr": "Zqtext", "mlm": [1.0], "accuracy": True, "key": 7}
    assert numbers(record, "val", ["loss", "lr", "mim", "sr", "mlm", "accuracy"]) == {"val/loss": 1.0, "val/lr": 0.5}


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"trackers": 3}', b'{"trackers": {"a:b": {"id": "../x", "steps": {}}}}']
)
def test_what_was_sent_is_kept_and_damage_begins_anew(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "tracker").mkdir()
    sent, other = SentSteps(steps={"train": 4}), SentSteps()
    write_sent(tmp_path, "a:b", sent)
    write_sent(tmp_path, "c:d", other)
    assert read_sent(tmp_path, "a:b") == sent and read_sent(tmp_path, "c:d") == other and sent.id != other.id
    assert [sent.is_new("train", step) for step in (4, 5)] == [False, True] and sent.is_new("val", 0)
    (tmp_path / "tracker" / "state.json").write_bytes(damage)
    assert read_sent(tmp_path, "a:b").steps == {}
