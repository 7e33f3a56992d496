"""`ecamp-fast worth`: what must hold, what is noted, and that a failed run ends the other."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast.commands import worth
from ecamp_fast.errors import ConfigError, EcampError
from ecamp_fast.evidence.features import FeatureEvidence
from ecamp_fast.evidence.images import ImageEvidence
from ecamp_fast.evidence.judge import Evidence
from ecamp_fast.evidence.words import WordEvidence
from ecamp_fast.report.facts import read_results
from ecamp_fast.run import launch
from ecamp_fast.scores import Estimate
from ecamp_fast.shards.builder.build import build_phantoms


def about(value: float, width: float = 0.01) -> Estimate:
    return Estimate(value, value - width, value + width)


def evidence(**changes: Estimate) -> Evidence:
    """Just enough of everything; ``changes`` of single numbers."""
    numbers = {"words": about(1.4), "picture": about(0.12), "findings": about(0.2), "image": about(0.1)}
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
    return Evidence(ImageEvidence(one, {"blur": one}, "blur", given["image"]), words, {1: features, 2: features})


def test_just_enough_passes() -> None:
    assert [check.passed for check in worth.claims(evidence(), 12.5)] == [None, True, True, True, True]
    assert "12.5 core-minutes" in worth.claims(evidence(), 12.5)[0].found


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({"image": about(0.0)}, "patches"),
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


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Trainings that compute a little, or fail where they are told to; their command lines."""
    started: list[list[str]] = []

    def start(arguments: list[str], ranks: int, log: object, threads: int) -> "subprocess.Popen[bytes]":
        assert (ranks, threads) == (1, 1)
        started.append(arguments)
        wrong = any("image-only" in one and "fail" in one for one in arguments)
        work = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.3: pass"
        if any("patient" in one for one in arguments):
            work = "import time; time.sleep(60)"
        return subprocess.Popen(
            [sys.executable, "-c", "raise SystemExit(1)" if wrong else work], start_new_session=True
        )

    monkeypatch.setattr(launch, "start", start)
    return started


def test_both_runs_are_trained_alike_and_their_cost_is_noted(fake: list[list[str]], tmp_path: Path) -> None:
    runs = {tmp_path / "ecamp": ["seed=7"], tmp_path / "image-only": ["seed=7", "losses.mlm=false"]}
    for times in (1, 2):  # the same command goes on
        worth._train(runs, tmp_path / "phantoms")
        for run in runs:
            assert times * 0.3 / 60 <= read_results(run)["core_minutes"] < times * 3 / 60
    assert len(fake) == 4
    first, second = ([one for one in arguments if not one.startswith("--out")] for arguments in fake[:2])
    assert second == [*first, "--set=losses.mlm=false"] and "--recipe=worth" in first


def test_a_failed_run_is_said_and_ends_the_other(fake: list[list[str]], tmp_path: Path) -> None:
    runs = {tmp_path / "fail" / "image-only": [], tmp_path / "patient": []}
    began = time.monotonic()
    with pytest.raises(EcampError, match="failed"):
        worth._train(runs, tmp_path / "phantoms")
    assert time.monotonic() - began < 30


def test_the_verdict_is_the_exit_code(fake: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worth, "_build", lambda studies, shards: None)
    monkeypatch.setattr(worth, "_report", lambda run, shards: run / "report.html")
    found = evidence()
    monkeypatch.setattr(worth, "_judge", lambda home, shards: found)
    done = CliRunner().invoke(worth.command, ["--out", str(tmp_path), "--seed", "3"])
    assert done.exit_code == 0 and done.stdout.count("OK  ") == 4 and "seed-3/ecamp/report.html" in done.stdout
    assert all("--set=seed=3" in arguments for arguments in fake)
    monkeypatch.setattr(worth, "_judge", lambda home, shards: replace(found, words=evidence(words=about(0.2)).words))
    done = CliRunner().invoke(worth.command, ["--out", str(tmp_path), "--seed", "3", "--json"])
    assert done.exit_code == 1 and '"passed": false' in done.stdout
    assert [check["passed"] for check in read_results(tmp_path / "seed-3" / "ecamp")["checks"]].count(False) == 1


def test_what_cannot_be_judged_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    for override in ("losses.mlm=false", "losses={mim: false, sr: false}"):
        done = CliRunner().invoke(worth.command, ["--out", str(tmp_path), "--set", override])
        assert isinstance(done.exception, ConfigError) and not list(tmp_path.iterdir())


def test_a_set_of_another_size_is_not_taken(tmp_path: Path) -> None:
    build_phantoms(8, tmp_path / "phantoms", size=64)
    worth._build(8, tmp_path / "phantoms")
    with pytest.raises(ConfigError, match="holds 8 studies, not 9"):
        worth._build(9, tmp_path / "phantoms")
