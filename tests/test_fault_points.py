"""Faults on request: where and when they happen, and that nothing happens unasked."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from ecamp_fast import fault_points
from ecamp_fast.fault_points import reach


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_points, "_seen", fault_points.Counter())
    monkeypatch.delenv("ECAMP_FAULT", raising=False)
    monkeypatch.delenv("RANK", raising=False)


def test_nothing_happens_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reach("anywhere", file="x") == ""
    monkeypatch.setenv("ECAMP_FAULT", "elsewhere:EIO;anywhere:rank=1:EIO;anywhere:file=y:EIO;anywhere:step=1:EIO")
    assert reach("anywhere", file="x") == ""


def test_the_disk_refuses_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECAMP_FAULT", "write:file=*.jsonl:nth=2:ENOSPC")
    assert reach("write", file="a.json") == reach("write", file="a.jsonl") == ""
    with pytest.raises(OSError, match=r"No space left on device: .b\.jsonl.") as caught:
        reach("write", file="b.jsonl")
    assert caught.value.errno == errno.ENOSPC
    assert reach("write", file="a.jsonl") == ""


def test_from_a_time_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECAMP_FAULT", "loss:from=2:rank=3:nan")
    monkeypatch.setenv("RANK", "3")
    assert [reach("loss") for _ in range(4)] == ["", "nan", "nan", "nan"]


@pytest.mark.parametrize("action, code", [("kill", -signal.SIGKILL), ("term", -signal.SIGTERM), ("exit", 1)])
def test_the_process_ends_as_asked(action: str, code: int) -> None:
    program = "from ecamp_fast.fault_points import reach; reach('here', step=2); reach('here', step=3); print('alive')"
    environment = os.environ | {"ECAMP_FAULT": f"here:step=3:{action}", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert (done.returncode, done.stdout) == (code, b"")
