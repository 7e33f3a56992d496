"""`ecamp-fast worth`: what must hold, what is noted, and that a failed run ends the other."""

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast.commands import worth
from ecamp_fast.config import load_recipe
from ecamp_fast.errors import STOPPED, ConfigError, EcampError
from ecamp_fast.evidence.features import FeatureEvidence
from ecamp_fast.evidence.images import ImageEvidence
from ecamp_fast.evidence.judge import Evidence
from ecamp_fast.evidence.words import WordEvidence
from ecamp_fast.report.facts import read_results
from ecamp_fast.run import launch
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.scores import Estimate
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.describe import rules


def about(value: float, width: float = 0.01) -> Estimate:
    return Estimate(value, value - width, value + width)


def evidence(**changes: Estimate) -> Evidence:
    """Just enough of everything; ``changes`` of single numbers."""
    numbers = {"words": about(1.4), "picture": about(0.12), "findings": about(0.2)}
    numbers |= {"image": about(0.1), "with_mean": about(0.1)}
    numbers |= {"trained": about(0.83), "random": about(0.2), "pixels": about(0.05), "image_only": about(0.03)}
    given = numbers | changes
    names = {"random weights": "random", "pixels 16 x 16": "pixels", worth.IMAGE_ONLY: "image_only"}
    features = FeatureEvidence(
        1,
        {"trained": given["trained"]} | dict.fromkeys(names, about(0.7)),
        {name: given[key] for name, key in names.items()},
    )
    one = about(2.4)
    words = WordEvidence(one, about(3.8), given["words"], one, given["picture"], given["findings"], one, one)
    return Evidence(
        ImageEvidence(one, {"blur": one}, given["image"], given["with_mean"]), words, {1: features, 2: features}
    )


def test_just_enough_passes() -> None:
    assert [check.passed for check in worth.claims(evidence(), 12.5)] == [None] + [True] * 5
    assert "12.5 core-minutes" in worth.claims(evidence(), 12.5)[0].found


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({"image": about(0.0)}, "smeared"),
        ({"with_mean": about(0.0)}, "neighbours"),
        ({"words": about(1.39)}, "guessed"),
        ({"words": Estimate(2.0, -0.1, 4.0)}, "guessed"),
        ({"picture": about(0.119)}, "picture"),
        ({"picture": about(0.0)}, "picture"),
        ({"findings": about(0.0)}, "picture"),
        ({"trained": about(0.829)}, "probe"),
        ({"random": about(0.0)}, "probe"),
        ({"pixels": about(-0.02)}, "probe"),
        ({"image_only": about(0.005)}, "probe"),
    ],
)
def test_anything_less_fails(change: dict[str, Estimate], failed: str) -> None:
    checks = worth.claims(evidence(**change), 1.0)
    assert [failed in check.name for check in checks if check.passed is False] == [True]


COMPUTE = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.3: pass"
WAIT = """
import json, pathlib, sys, time
run = pathlib.Path(sys.argv[1])
for _ in range(600):
    if (run / "STOP").exists():
        (run / "run_state.json").write_text(json.dumps({"status": "stopped"}))
        sys.exit(75)
    time.sleep(0.1)
"""


class Fake:
    """Trainings that compute a little, wait to be stopped, or fail, as their folder is called."""

    def __init__(self) -> None:
        self.arguments: list[list[str]] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, arguments: list[str], ranks: int, log: object, threads: int) -> "subprocess.Popen[bytes]":
        assert (ranks, threads) == (1, 1)
        self.arguments.append(arguments)
        (out,) = [Path(one.removeprefix("--out=")) for one in arguments if one.startswith("--out=")]
        programs = {"fails": "raise SystemExit(6)", "waits": WAIT}
        command = [sys.executable, "-c", programs.get(out.name, COMPUTE), str(out)]
        self.processes.append(subprocess.Popen(command, start_new_session=True))
        return self.processes[-1]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(launch, "start", made.start)
    monkeypatch.setattr(worth, "available_cores", lambda: 2)
    return made


def test_both_runs_are_trained_alike_and_their_cost_is_noted(fake: Fake, tmp_path: Path) -> None:
    runs = {tmp_path / "ecamp": ["seed=7"], tmp_path / "image-only": ["seed=7", "losses.mlm=false"]}
    for times in (1, 2):  # the same command goes on
        worth._train(runs, tmp_path / "phantoms")
        for run in runs:
            assert times * 0.3 / 60 <= read_results(run)["core_minutes"] < times * 3 / 60
    cost = read_results(tmp_path / "ecamp")["core_minutes"]
    RunDir(tmp_path / "ecamp").set_state(status="complete")
    worth._train(runs, tmp_path / "phantoms")
    assert read_results(tmp_path / "ecamp")["core_minutes"] == cost  # there was nothing to do
    assert len(fake.arguments) == 6
    first, second = ([one for one in arguments if not one.startswith("--out")] for arguments in fake.arguments[:2])
    assert second == [*first, "--set=losses.mlm=false"] and "--recipe=worth" in first


def test_a_failed_run_hands_its_exit_code_on_and_ends_the_other(fake: Fake, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(EcampError, match="failed") as caught:
        worth._train({tmp_path / "waits": [], tmp_path / "fails": []}, tmp_path / "phantoms")
    assert caught.value.exit_code == 6 and time.monotonic() - began < 30
    assert [process.returncode for process in fake.processes] == [-signal.SIGKILL, 6]


def test_what_cannot_be_started_ends_the_other(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        worth._train({tmp_path / "waits": [], tmp_path / "file" / "run": []}, tmp_path / "phantoms")
    assert [process.returncode for process in fake.processes] == [-signal.SIGKILL]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_asks_both_to_stop(
    fake: Fake, tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {tmp_path / one / "waits": [] for one in "ab"}
    timer = threading.Timer(1.0, lambda: signal.raise_signal(number))
    timer.start()
    with pytest.raises(SystemExit) as caught:
        worth._train(runs, tmp_path / "phantoms")
    assert caught.value.code == STOPPED and "the same command goes on" in capsys.readouterr().err
    assert [process.returncode for process in fake.processes] == [STOPPED, STOPPED]
    assert all("core_minutes" in read_results(run) for run in runs)


def test_the_verdict_is_the_exit_code(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worth, "_build", lambda *_: None)
    monkeypatch.setattr(worth, "_report", lambda run, shards: run / "report.html")
    found = evidence()
    monkeypatch.setattr(worth, "_judge", lambda home, shards: found)
    done = CliRunner().invoke(worth.command, ["--out", str(tmp_path), "--seed", "3"])
    assert done.exit_code == 0 and done.stdout.count("OK  ") == 5 and "seed-3/ecamp/report.html" in done.stdout
    assert all("--set=seed=3" in arguments for arguments in fake.arguments)
    monkeypatch.setattr(worth, "_judge", lambda home, shards: replace(found, words=evidence(words=about(0.2)).words))
    done = CliRunner().invoke(worth.command, ["--out", str(tmp_path), "--seed", "3", "--json"])
    assert done.exit_code == 1 and '"passed": false' in done.stdout
    assert [check["passed"] for check in read_results(tmp_path / "seed-3" / "ecamp")["checks"]].count(False) == 1


def test_what_cannot_be_judged_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    for override in ("losses.mlm=false", "losses={mim: false, sr: false}"):
        done = CliRunner().invoke(worth.command, ["--out", str(tmp_path), "--set", override])
        assert isinstance(done.exception, ConfigError) and not list(tmp_path.iterdir())


def test_the_seed_has_one_place(tmp_path: Path) -> None:
    done = CliRunner().invoke(worth.command, ["--out", str(tmp_path), "--set", "seed=43"])
    assert isinstance(done.exception, ConfigError) and "--seed" in str(done.exception)


def test_a_set_that_this_command_would_not_draw_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards, recipe = tmp_path / "phantoms", load_recipe("worth", ["image={high_size: 64, low_size: 32}"])
    build_phantoms(8, shards, size=73, options=Options(holdout=worth.HELD_OUT))
    worth._build(8, shards, recipe)
    with pytest.raises(ConfigError, match="its studies is 8, not 9"):
        worth._build(9, shards, recipe)
    with pytest.raises(ConfigError, match="its size is 73, not 146"):
        worth._build(8, shards, load_recipe("worth"))
    monkeypatch.setattr(rules, "RULES_DIGEST", "another")
    with pytest.raises(ConfigError, match="rules of another version"):
        worth._build(8, shards, recipe)
