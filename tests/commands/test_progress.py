"""Progress elsewhere than on a terminal: plain lines with rate, time left and what was left out."""

import re

import pytest

from ecamp_fast.commands import progress
from ecamp_fast.commands.progress import BuildProgress


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_half_minute_with_eta_and_rejects_by_class(clock, capsys):
    with BuildProgress("images") as progress:
        for done in range(0, 601):
            clock[0] += 0.1
            progress.tick(done, 3600, {"damaged": 2, "constant": 1})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"\d+/3,600 images  10\.\d/s  ETA 0:05:\d\d  left out: 2 damaged, 1 constant", lines[0]), lines[
        0
    ]


def test_what_was_done_before_does_not_count_as_speed(clock, capsys):
    with BuildProgress("images") as progress:
        progress.tick(3000, 3600)
        clock[0] += 60
        progress.tick(3300, 3600)
    assert capsys.readouterr().err == "3,300/3,600 images  5.0/s  ETA 0:01:00\n"
