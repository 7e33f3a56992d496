"""Stand-ins for trackio and wandb, which write down what they are told and then do as they are told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STAND_IN = """
import errno, json, os, subprocess, time

def note(**what):
    with open(os.environ["STAND_IN_RECORD"], "a") as file:
        file.write(json.dumps(what) + "\\n")

def do(where):
    if os.path.exists(os.environ["STAND_IN_RECORD"] + ".back"):
        return
    for wish in os.environ.get("STAND_IN_DOES", "").split():
        place, action = wish.split(":")
        if place != where:
            continue
        if action == "raise":
            raise RuntimeError("Mr Zqtext of /private/zqfolder")
        if action == "spawn":  # as wandb does
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            note(call="spawn", pid=child.pid)
            time.sleep(1000)
        if action == "hang":
            time.sleep(1000)
        if action == "kill":
            os.kill(os.getpid(), 9)
        if action == "full":
            raise OSError(errno.ENOSPC, "No space left on device")

class Settings:
    model_fields = dict.fromkeys(("console", "silent", "x_disable_meta"))
    def __init__(self, **given):
        self.given = given

class Run:
    def define_metric(self, *names, **more): pass
    def log(self, values, step=None):
        do("log")
        step = values.pop("step") if step is None else step
        note(call="log", step=step, values=values)
    def finish(self):
        do("finish")
        note(call="finish")

def init(project, **given):
    do("init")
    settings = given.pop("settings", None)
    heard = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    note(call="init", project=project, given=given, settings=getattr(settings, "given", None), heard=heard)
    global run
    run = Run()
    return run

def log(values, step): run.log(values, step)
def finish(): run.finish()
def teardown(): note(call="teardown")
"""


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Stands in for both; called, it gives what they were told so far, of one kind of call."""
    folder, record = tmp_path / "modules", tmp_path / "told.jsonl"
    folder.mkdir()
    for name in ("trackio", "wandb"):
        (folder / f"{name}.py").write_text(STAND_IN)
    monkeypatch.setenv("STAND_IN_RECORD", str(record))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))

    def told(call: str = "") -> list[dict[str, Any]]:
        lines = record.read_text().splitlines() if record.exists() else []
        return [one for line in lines if (one := json.loads(line))["call"] == call or not call]

    return told
