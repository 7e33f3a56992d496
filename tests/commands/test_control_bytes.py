"""What commands print off a terminal holds no control byte; nor does it on one whose user has said NO_COLOR.

Every command of the tree gives its help and fails, and those that are quick succeed, in one process for all of them;
the complete version calls the slow ones too.
"""

import json
import os
import re
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from ecamp_fast import cli

ROOT = Path(__file__).resolve().parents[2]
SPEAKING = Path(__file__).parent / "speaking.py"
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")  # all but tab and line feed
STUDIES, SIZE = "24", "146"
NOISE = re.compile(rb"\w*Warning: .*|\[WARNING\].*|\[INFO\].*|\[[WE]\d{3} .*")  # of libraries

Calls = list[list[str]]
Speak = Callable[[Calls, Path], bytes]


def commands(
    group: click.Command = cli.command, path: tuple[str, ...] = ()
) -> Iterator[tuple[list[str], click.Command]]:
    if not isinstance(group, click.Group):
        yield list(path), group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        child = group.get_command(context, name)
        assert child is not None
        yield from commands(child, (*path, name))


def helped_and_failed() -> Calls:
    """The help of every command, and a call that names what is not there."""
    calls = [["--help"], ["--version"], ["nothing"]]
    for path, command in commands():
        needed = [one for one in command.params if one.required]
        words = [
            word
            for one in sorted(needed, key=lambda one: isinstance(one, click.Argument))
            for word in (["missing"] if isinstance(one, click.Argument) else [one.opts[0], _value(one)])
        ]
        calls += [[*path, "--help"], [*path, *(words or ["--nothing"])]]
    return calls


def _value(option: click.Parameter) -> str:
    return str(option.type.choices[0]) if isinstance(option.type, click.Choice) else "missing"


def quick() -> Calls:
    """Calls that succeed, in this order, in an empty folder."""
    build = ["shard", "build", "--from", "phantom", STUDIES]
    options = ["--size", SIZE, "--holdout", "0.3", "--workers", "1"]
    return [
        [*build, "set", *options],
        [*build, "set", *options],
        [*build, "other", *options, "--dry-run"],
        [*build, "part1", *options, "--part", "1/2"],
        [*build, "part2", *options, "--part", "2/2"],
        ["shard", "merge", "part1", "part2", "whole"],
        ["shard", "merge", "part1", "part2", "whole"],
        ["shard", "verify", "set"],
        ["shard", "stats", "set"],
        ["shard", "show", "set", "picture.png"],
        ["shard", "repair", "--from", "phantom", STUDIES, "set"],
        ["distill", "run", "set", "answers", "--rules"],
        ["distill", "run", "set", "answers", "--rules"],
        ["shard", "put", "set", "put", "--distilled", "answers", "--workers", "1"],
        ["shard", "put", "set", "put", "--distilled", "answers", "--workers", "1"],
    ]


def slow() -> Calls:
    """Calls that train, fit and measure, in this order, where those of ``quick`` were."""
    small = [
        "--set",
        "batch.total=8",
        "--set",
        "batch.micro=8",
        "--set",
        "schedule.epochs=1",
        "--set",
        "losses.align=true",
    ]
    steps = ["--set", "steps=4", "--set", "warmup=1", "--set", "evaluate_every=2"]
    return [
        ["train", "--recipe", "demo", "--data", "set", "--out", "trained", *small],
        ["train", "--recipe", "demo", "--data", "set", "--out", "trained", *small],
        ["stop", "trained"],
        ["doctor", "--recipe", "demo", "--data", "set"],
        ["report", "trained", "--data", "set"],
        ["compare-runs", "trained", "trained"],
        ["replay", "trained", "2", "--data", "set"],
        ["export", "trained", "exported", "--to", "ours,timm"],
        ["features", "trained", "set", "features.npz"],
        ["finetune", "classify", "trained", "set", "classes", *steps],
        ["finetune", "segment", "trained", "set", "masks", *steps],
        ["finetune", "detect", "trained", "set", "boxes", *steps],
        ["probe", "trained", "set", "probe"],
        ["predict", "classes", "picture.png", "predicted.csv"],
        ["visualize", "trained", "--out", "looks", "--data", "set", "--samples", "4"],
        ["evaluate", "--label-free", "trained", "--data", "set", "--out", "card"],
        ["zero-shot", "trained", "set"],
        ["attend", "train", "set", "attending", "--recipe", "phantom", "--set", "schedule.epochs=0.5"],
        ["attend", "apply", "attending", "set", "maps"],
        ["attend", "score", "maps", "set"],
        ["distill", "audit", "set", "answers", "--out", "audit.html"],
        ["bench", "text"],
        ["bench", "loader", "--data", "set", "--images", "16", "--device", "cpu"],
    ]


def without_terminal(calls: Calls, folder: Path, **variables: str) -> bytes:
    """Both streams, through pipes."""
    done = subprocess.run(_program(calls, folder), cwd=folder, env=_environment(variables), capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout + done.stderr


def dumb_and_wide(calls: Calls, folder: Path) -> bytes:
    return without_terminal(calls, folder, TERM="dumb", COLUMNS="200")


def on_a_terminal(calls: Calls, folder: Path, **variables: str) -> bytes:
    """Both streams on one terminal, which changes no byte of what it is sent."""
    ours, theirs = os.openpty()
    settings = termios.tcgetattr(theirs)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    found: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(ours, 65536):
                found.append(piece)
        except OSError:  # the last writer has left
            pass

    reader = threading.Thread(target=read)
    reader.start()
    environment = _environment({"TERM": "xterm-256color"} | variables)
    done = subprocess.run(_program(calls, folder), cwd=folder, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == 0, b"".join(found).decode(errors="replace")[-2000:]
    return b"".join(found)


def on_one_without_colour(calls: Calls, folder: Path) -> bytes:
    return on_a_terminal(calls, folder, NO_COLOR="1")


def _program(calls: Calls, folder: Path) -> list[str]:
    file = folder / "calls.json"
    file.write_text(json.dumps(calls))
    return [sys.executable, str(SPEAKING), str(file)]


def _environment(variables: dict[str, str]) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
    }
    return inherited | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables


def controlled(output: bytes) -> list[str]:
    """Commands with a control byte in what they print, and where."""
    found = []
    for part in output.split(b"=== ")[1:]:
        if hit := CONTROL.search(part):
            around = part[max(0, hit.start() - 40) : hit.end() + 20]
            found.append(f"{part.splitlines()[0].decode()}: {around!r}")
    return found


MODES = {"pipes": without_terminal, "dumb": dumb_and_wide, "NO_COLOR": on_one_without_colour}


@pytest.mark.parametrize("mode", ["dumb", "NO_COLOR"])
def test_no_command_prints_a_control_byte(mode: str, tmp_path: Path) -> None:
    output = MODES[mode](helped_and_failed() + quick(), tmp_path)
    assert not controlled(output)
    ended = [word.decode() for word in re.findall(rb"left with (\S+)", output)]
    helped = sum(call[-1] in ("--help", "--version") for call in helped_and_failed())
    assert ended.count("0") == helped + len(quick()), output.decode(errors="replace")[-3000:]
    assert "None" not in ended and "1" not in ended
    assert output.count(b"complete, nothing to do") == 3


def test_a_live_bar_is_found_by_it(tmp_path: Path) -> None:
    """What the others look for is there where a terminal may have it."""
    output = on_a_terminal(quick()[:1], tmp_path)
    assert controlled(output)


@pytest.mark.complete
@pytest.mark.parametrize("mode", MODES)
def test_nor_does_one_that_takes_long(mode: str, tmp_path: Path) -> None:
    output = MODES[mode](quick() + slow(), tmp_path)
    assert not controlled(output)
    ended = [word.decode() for word in re.findall(rb"left with (\S+)", output)]
    assert set(ended) == {"0"}, output.decode(errors="replace")[-3000:]
    assert not (seen := NOISE.findall(output)), seen
