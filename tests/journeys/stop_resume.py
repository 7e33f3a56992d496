"""Journey: a run is interrupted by Ctrl-C, by `stop` and by SIGKILL, goes on, and learns the same to the bit."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from journeys.harness import Broken, Typed, Walk, check, check_complete, digest, program, tiny

LENGTH = "schedule={epochs: 8, warmup_epochs: 1, horizon_epochs: 8}"  # RUN of `fixtures.yaml` has it too
# What is typed in another terminal, or the signal of a key or a machine; whether it saves.
WAYS = (("", signal.SIGINT, True), ("ecamp-fast stop RUN", 0, True), ("", signal.SIGKILL, False))
SAVED = re.compile(r"saved at step (\d+); the same command goes on")


def journey(walk: Walk, also: str = "", env: Mapping[str, str] | None = None) -> Typed:
    """also, env: of the last leg, the one that comes to the end.  returns what that said"""
    walk.need("SHARDS")
    command = f"ecamp-fast train --recipe demo --data SHARDS --no-report {tiny(LENGTH)}"
    if walk.short:
        walk.need("RUN:undisturbed")
    else:
        walk.type(f"{command} --out undisturbed", says=["complete at step"])
    begin = 0
    for way in WAYS[: 1 if walk.short else None]:
        begin = interrupt(walk, f"{command} --out RUN", begin, way)
    last = walk.type(f"{command} --out RUN{also}", says=["complete at step"], env=env)
    check_complete(walk.state("RUN"))
    check_same(walk.here / "undisturbed", walk.here / "RUN")
    walk.type("ecamp-fast compare-runs undisturbed RUN")
    if not walk.short:
        before = digest(walk.here / "RUN" / "metrics.jsonl")
        walk.type(f"{command} --out RUN", says=["nothing to do"])
        check(digest(walk.here / "RUN" / "metrics.jsonl") == before, "a finished run is left as it is")
    return last


def interrupt(walk: Walk, command: str, begin: int, way: tuple[str, int, bool]) -> int:
    """Start, interrupt after two steps, judge what is said.  returns the step that was saved"""
    typed, number, saves = way
    running = walk.start(command)
    running.until(lambda: steps(walk.here / "RUN") >= begin + 2)
    if typed:
        walk.type(typed, code=None)
    else:
        running.press(number)
        if number == signal.SIGKILL:
            kill_all(walk)
    ended = running.end()
    if not saves:
        check(ended.code != 0, "a killed command does not leave with 0")
        return int(walk.state("RUN").get("saved", 0))
    return check_saved(ended, walk.state("RUN").get("step", 0), begin)


def kill_all(walk: Walk) -> None:
    """As a machine does that has no memory left."""
    for pid in walk.left():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def steps(run: Path) -> int:
    """The last step that metrics.jsonl has."""
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    found = [re.search(r'"step": ?(\d+)', line) for line in lines]
    return max((int(one[1]) for one in found if one), default=0)


def check_saved(typed: Typed, step: int, begin: int) -> int:
    """A stop reads as a stop: exit code 75, the last line names the saved step.  returns it"""
    check(typed.code == 75, f"the exit code is 75: {typed.code}")
    told = SAVED.search(typed.last)
    check(told, f"the last line says that it is saved: {typed.last}")
    if told is None or int(told[1]) != step or step <= begin:
        raise Broken(f"says step {told and told[1]}, run_state.json {step}, before it was {begin}")
    return step


def check_same(ours: Path, other: Path) -> None:
    """Weights that are equal to the bit."""
    found = {folder.name: digest(folder / "weights.safetensors")[:12] for folder in (ours, other)}
    check(len(set(found.values())) == 1, f"the weights are equal to the bit: {found}")


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
