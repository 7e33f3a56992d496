"""The catalogue of mutants is whole, and its runner tells what is killed from what is not."""

import importlib.util
import subprocess
import sys
from collections import Counter
from itertools import takewhile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = ROOT / "tests" / "mutants"
COSINE = "math.cos(math.pi * min(progress, 1.0))"
PLANTED = {
    "killed": (COSINE, "math.sin(math.pi * min(progress, 1.0))"),
    "EQUIVALENT": (COSINE, "math.cos(math.pi * min(progress, 1))"),
    "BROKEN": ("import math\n", "import maths as math\n"),
    "SURVIVED": ("return peak * epoch /", "return peak * (1 + 1e-14) * epoch /"),
}
AREA = f"""
from mutant import mutants


def rates():
    from ecamp_fast.config import load_recipe
    from ecamp_fast.run.schedule import learning_rate

    return [learning_rate(load_recipe("paper"), step, 100_000) for step in (0, 100, 2000)]


MUTANTS = mutants("ecamp_fast/run/schedule.py", "tests/run/test_schedule.py", rates, {PLANTED!r})
"""


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutant", MUTANTS / "mutant.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mutant", module)  # the areas import it by this name
    spec.loader.exec_module(module)
    return module


def test_every_mutant_has_its_place_and_its_tests(catalogue: ModuleType) -> None:
    found = catalogue.load()
    for mutant in found:
        assert mutant.source(ROOT) != (ROOT / mutant.file).read_text(encoding="utf-8")
        files = list(takewhile(lambda test: test != "-k", mutant.tests))  # behind it, words of pytest's
        assert files and all((ROOT / test.partition("::")[0]).exists() for test in files), mutant.name
    names = Counter((mutant.area, mutant.name) for mutant in found)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(found) >= 150


@pytest.mark.slow
def test_the_runner_tells_what_is_killed(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(AREA)
    command = [sys.executable, MUTANTS / "run.py", "--areas", tmp_path, "--no-baseline"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    told = [line.split() for line in done.stdout.splitlines() if " planted: " in line]
    assert {name: verdict for verdict, *_, name in told} == {name: name for name in PLANTED}, done.stdout + done.stderr
    assert done.returncode == 1
    done = subprocess.run([*command, "--only=killed"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
