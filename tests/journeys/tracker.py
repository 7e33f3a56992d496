"""Journey: the tracker hangs, dies or has no space, and the run ends as it would without it, to the bit."""

import json
import sys
from pathlib import Path

from journeys import stop_resume
from journeys.harness import Typed, Walk, check, check_complete, digest, program, tiny

# What a module does that stands in for wandb, and for trackio: it notes its calls beside the run, then goes wrong.
MODULE = """
import errno, os, signal, time

def note(call, words=()):
    with open("told", "a") as file:  # a sender works in RUN/tracker
        file.write(" ".join([call, *words]) + "\\n")

def goes_wrong(call):
    if call == PLACE:
        note("wrong")
        WRONG

class Settings:
    model_fields = {"silent": None}
    def __init__(self, **given):
        pass

class Run:
    def define_metric(self, *names, **more):
        pass
    def log(self, values, step=None):
        goes_wrong("log")
        note("log", sorted(values))
    def finish(self):
        goes_wrong("finish")
        note("finish")

run = Run()

def init(*project, **given):
    goes_wrong("init")
    note("init")
    return run

def log(values, step=None):
    run.log(values, step)

def finish():
    run.finish()

def teardown():
    pass

goes_wrong("import")
"""
# name: where it goes wrong, and how
FAULTS = {
    "is killed": ("log", "os.kill(os.getpid(), signal.SIGKILL)"),  # the short journey's
    "is broken": ("import", "raise ImportError('broken installation')"),
    "refuses": ("init", "raise RuntimeError('no such user')"),
    "hangs at once": ("import", "time.sleep(100_000)"),
    "hangs later": ("log", "time.sleep(100_000)"),
    "hangs at the end": ("finish", "time.sleep(100_000)"),
    "dies": ("log", "os._exit(9)"),
    "fills the disk": ("log", "raise OSError(errno.ENOSPC, 'No space left on device')"),
    "works": ("", "pass"),
}
LOST = "warning: wandb is lost"
GRACE = 30.0  # seconds: it may live 10 longer than the run


def journey(walk: Walk) -> None:
    walk.grace = GRACE
    if walk.short:  # a run that was interrupted, and goes on with such a tracker: that journey in the same breath
        ended = stop_resume.journey(walk, also=" --track wandb", env=with_module(walk, "is killed"))
        check_told(walk.here / "RUN", "is killed", ended)
        return
    walk.need("SHARDS", "RUN:plain")
    command = f"ecamp-fast train --data SHARDS --recipe demo --no-report {tiny(stop_resume.LENGTH)} --track wandb"
    for number, name in enumerate(FAULTS):
        run = walk.here / f"tracked-{number}"
        ended = walk.type(f"{command} --out {run.name}  # it {name}", env=with_module(walk, name), timeout=300)
        check_complete(walk.state(run.name))
        check_told(run, name, ended)
        check_undisturbed(
            digest(walk.here / "plain" / "weights.safetensors"), digest(run / "weights.safetensors"), name
        )


def with_module(walk: Walk, name: str) -> dict[str, str]:
    """The environment in which wandb is this stand-in."""
    folder = walk.folder / name.replace(" ", "-")
    write_module(folder / "wandb", *FAULTS[name])
    return {"PYTHONPATH": ":".join(filter(None, (str(folder), walk.env.get("PYTHONPATH", ""))))}


def check_told(run: Path, name: str, ended: Typed) -> None:
    """It went wrong where it was to, and that is said once; or numbers arrived, and nothing is said."""
    told = (run / "tracker" / "told").read_text().splitlines()
    if FAULTS[name][0]:
        check("wrong" in told, f"it {name}")
        check_lost(ended.err, (run / "events.jsonl").read_text())
        return
    check(told[-1] == "finish" and sum(line.startswith("log") for line in told) > 2, "numbers arrive")
    check(LOST not in ended.err, "nothing is said")


def write_module(folder: Path, place: str = "", wrong: str = "pass") -> None:
    """A library in a folder that goes wrong at a call, or nowhere.  place: import, init, log or finish"""
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(MODULE.replace("PLACE", repr(place)).replace("WRONG", wrong))


def check_lost(said: str, events: str) -> None:
    """Its loss is told once, in words and as an event."""
    lost = [line for line in events.splitlines() if json.loads(line).get("event") == "tracker lost"]
    check(said.count(LOST) == len(lost) == 1, f"its loss is told once: {lost}")


def check_undisturbed(plain: str, tracked: str, name: str) -> None:
    """Weights that are equal to the bit."""
    check(plain == tracked, f"the tracker {name}: the weights are those of a run without it")


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
