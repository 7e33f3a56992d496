"""Commands in shells that lack something: no home, few files, no language, odd paths. They work, or say what lacks."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "tests" / "data" / "small.yaml"
KEPT = ("PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "TRITON_INTERPRET", "PYTHONDONTWRITEBYTECODE")
LONG = "ein langer Weg/größe und Übermaß/" + "ünï/" * 20 + "x" * 200
LATIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # as a machine whose language has no UTF-8
SHELLS: dict[str, tuple[dict[str, str], int, str]] = {  # variables, open files, folder
    "no home": ({}, 0, "a"),
    "a home that cannot be written": ({"HOME": "/proc"}, 0, "a"),
    "a home that is a file": ({"HOME": "/etc/passwd"}, 0, "a"),
    "64 open files": ({}, 64, "a"),
    "ASCII": (LATIN, 0, "a"),
    "a language that is not there": ({"LC_ALL": "tr_TR.ISO-8859-9", "LANG": "xx_XX"}, 0, "a"),
    "a path with blanks and letters, of more than 256 characters": ({}, 0, LONG),
    "a path with letters, in ASCII": (LATIN, 0, "größe"),
}
ALL_AT_ONCE = ({"HOME": "/proc", "LANG": "xx_XX"}, 64, LONG)

Run = Callable[..., subprocess.CompletedProcess[str]]


def shell(given: dict[str, str], files: int, folder: Path) -> Run:
    """run(*arguments): `ecamp-fast` in a shell that has these variables alone, and as many open files."""
    folder.mkdir(parents=True)
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {"PYTHONPATH": str(ROOT)} | given

    def limit() -> None:
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ecamp_fast.cli", *map(str, arguments)]
        options: dict[str, Any] = {"cwd": folder, "env": environment, "preexec_fn": limit, "timeout": 300}
        return subprocess.run(command, capture_output=True, text=True, errors="replace", **options)

    return run


def works(run: Run, folder: Path) -> None:
    """A set is built, verified and described; nothing is left in the folder but the set."""
    for arguments in (
        ("shard", "build", "--from", "phantom", 4, "ein Satz", "--size", 64, "--vocab-size", 200, "--workers", 2),
        ("shard", "verify", "ein Satz", "--workers", 2),
        ("shard", "stats", "ein Satz"),
    ):
        done = run(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["samples"] == 4
    assert [path.name for path in folder.iterdir()] == ["ein Satz"]


@pytest.mark.fault("E3.no-home", "E3.open-files", "E3.locale", "E3.path", "E3.works")
def test_all_of_it_at_once(tmp_path: Path) -> None:
    given, files, name = ALL_AT_ONCE
    works(shell(given, files, tmp_path / name), tmp_path / name)


@pytest.mark.complete
@pytest.mark.fault("E3.no-home", "E3.read-only-home", "E3.open-files", "E3.locale", "E3.path", "E3.works")
@pytest.mark.parametrize("name", SHELLS)
def test_each_alone(name: str, tmp_path: Path) -> None:
    given, files, folder = SHELLS[name]
    works(shell(given, files, tmp_path / folder), tmp_path / folder)


@pytest.mark.complete
@pytest.mark.fault("E3.read-only-home", "E3.open-files", "E3.locale", "E3.path", "E3.works")
@pytest.mark.parametrize("name", ["all at once", "a path with letters, in ASCII"])
def test_a_run_trains(name: str, tmp_path: Path) -> None:
    given, files, folder = SHELLS.get(name, ALL_AT_ONCE)
    run = shell(given, files, tmp_path / folder)
    built = run("shard", "build", "--from", "phantom", 24, "set", "--size", 256, "--vocab-size", 300)
    assert built.returncode == 0, built.stderr
    options = ("--set", "batch={total: 8, micro: 4}", "--set", "schedule={epochs: 1, warmup_epochs: 0}")
    done = run("train", "--recipe", SMALL, "--data", "set", "--out", "run", "--ranks", 2, *options, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["state"]["status"] == "complete"
