"""What ``ecamp-fast demo`` and ``worth`` make is for their owner alone, whatever the umask lets others do."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.commands import demo, trainings
from ecamp_fast.run import launch


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("again", [False, True])
def test_the_folder_and_its_marker(tmp_path: Path, again: bool, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "demo"
    if again:
        out.mkdir(parents=True)
        (out / demo.MARKER).touch()
    demo._clear(out)
    assert ("holds a former demo, which this one replaces" in capsys.readouterr().err) == again
    assert mode(out) == 0o700 and mode(out / demo.MARKER) == 0o600


def test_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "start", lambda *_: None)
    monkeypatch.setattr(launch, "kill_when", lambda *_: True)
    monkeypatch.setattr(launch, "wait", lambda *_: 0)
    demo._train_with_a_crash(tmp_path, tmp_path / "phantoms", 1, ())
    assert mode(tmp_path / "train.log") == 0o600


def test_those_of_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process: Any = None
    monkeypatch.setattr(launch, "start", lambda *_, **__: process)
    run = tmp_path / "seed-1" / "ecamp"
    trainings._start(run, trainings.Training("worth", (), tmp_path / "phantoms"), 1, 1)
    assert mode(run) == 0o700 and mode(run / "train.log") == 0o600
