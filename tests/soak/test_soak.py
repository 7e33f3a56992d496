"""The soak in small: its own command, and that it notices."""

import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

HERE = Path(__file__).parent
GOOD = {"lost": 1, "orphans": 0, "exit_codes": [75, 75], "status": "stopped", "locked": False}


class Inline(ThreadPoolExecutor):
    """A pool of one thread, where there would be processes: they do not see what a test replaces."""

    def __init__(self, *given: Any) -> None:
        super().__init__(1)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"soak_{name}", HERE / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    return script("kills")


@pytest.mark.fault("C1.random", "C1.each-point", "C1.none-corrupt", "C1.nothing-to-clean")
def test_a_few_kills(kills: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "BLOCK", 4)
    found = kills.soak(tmp_path, 7, 1)
    assert found["kills"] == found["at_random"] + found["at_a_point"] == 7 and found["blocks"] == 2
    assert found["at_random"] and found["at_a_point"] and list(tmp_path.iterdir()) == []


def test_what_is_not_as_it_was_saved_ends_the_soak(
    kills: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = kills.module

    def spoilt(path: Path) -> ModuleType:
        found = original(path)
        found.is_as_saved = lambda path: False
        return found

    monkeypatch.setattr(kills, "module", spoilt)
    with pytest.raises(AssertionError):
        kills.soak(tmp_path, 20, 1)


def test_each_point_has_its_turn(kills: ModuleType) -> None:
    turns = kills.Turns(["a", "b", "c"], kills.random.Random(0))
    rounds = [[turns.next() for _ in range(3)] for _ in range(4)]
    assert [sorted(one) for one in rounds] == [["a", "b", "c"]] * 4 and len({*map(tuple, rounds)}) > 1


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({}, []),
        ({"lost": 2}, ["2 steps are lost"]),
        ({"orphans": 1}, ["1 processes are left"]),
        ({"exit_codes": [75, -9]}, ["exit codes [75, -9]"]),
        ({"status": "running"}, ["the state is running"]),
        ({"locked": True}, ["the lock is left"]),
    ],
)
def test_a_drill_that_failed_is_told(wrong: dict[str, Any], told: list[str]) -> None:
    assert script("drills").faults(GOOD | wrong) == told


def test_a_few_mutations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutations = script("mutations")
    monkeypatch.setattr(mutations, "BLOCK", 40)
    monkeypatch.setattr(mutations, "ProcessPoolExecutor", Inline)
    seeds: list[tuple[int, int]] = []
    lab = mutations.suite()
    run = lab.run
    monkeypatch.setattr(lab, "run", lambda *given: seeds.append(given[3:]) or run(*given))
    monkeypatch.setattr(mutations, "suite", lambda: lab)
    found = mutations.soak(tmp_path / "soak", 70, 3)
    assert found["mutations"] == 70 and found["kinds"] >= 30 and not (tmp_path / "soak").exists()
    assert seeds == [(40, 3 * mutations.APART), (30, 3 * mutations.APART + 40)]


def test_a_mutation_that_is_not_found_ends_the_soak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutations = script("mutations")
    lab = mutations.suite()
    monkeypatch.setattr(lab, "inspect", lambda *given, **named: SimpleNamespace(damage=[]))
    monkeypatch.setattr(mutations, "suite", lambda: lab)
    monkeypatch.setattr(mutations, "ProcessPoolExecutor", Inline)
    with pytest.raises(AssertionError, match="not found"):
        mutations.soak(tmp_path / "soak", 3, 1)


@pytest.mark.slow
@pytest.mark.complete
@pytest.mark.fault("C4.step", "C4.no-orphans", "C5b.one-rank")
def test_the_command_with_two_drills(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    command = [sys.executable, HERE / "run.py", "--kills=3", "--drills=2", "--mutations=40", "--seed=3", f"--out={out}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["seed"] == 3 and found["machine"]["torch"] and found["kills"]["kills"] == 3
    assert found["mutations"]["mutations"] == 40
    drills = found["drills"]
    assert drills["drills"] == 2 and 0 < drills["seconds_median"] <= drills["seconds_worst"] < 20
    assert drills["steps_lost_worst"] <= 1 and drills["orphans"] == 0
    assert drills["same_as_uninterrupted"] and drills["steps_compared"] > 10
