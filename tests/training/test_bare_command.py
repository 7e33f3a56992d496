"""The commands a newcomer types, with nothing prepared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ecamp_fast.run.rundir import RunDir, read_records

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def test_the_bare_command_trains_on_phantoms_and_reports(tmp_path: Path) -> None:
    command = [BIN / "deepspeed", ROOT / "ecamp_fast" / "train.py", "--ds_config"]
    done = subprocess.run([*command, "--set=schedule.epochs=0.2"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "no --data: drawing 640 phantom studies" in done.stderr
    run = tmp_path / "runs" / "phantoms-demo"
    assert RunDir(run, writes=False).state()["status"] == "complete"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "data:image/" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert (run / "weights.safetensors").exists()
    written, metrics = (run / "report.html").stat().st_mtime_ns, (run / "metrics.jsonl").read_bytes()
    again = subprocess.run([*command, "--set=schedule.epochs=0.2"], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0 and "nothing to do" in again.stderr
    assert (run / "report.html").stat().st_mtime_ns == written
    assert (run / "metrics.jsonl").read_bytes() == metrics  # a finished run is left as it is


def test_the_demo_crashes_resumes_and_judges(tmp_path: Path) -> None:
    """Far too few steps to pass its own checks, so it must say so: a demo that cannot fail shows nothing."""
    command = [BIN / "ecamp-fast", "demo", "--out", tmp_path / "demo", "--studies", "300", "--json"]
    settings = ["--set=schedule.epochs=1", "--set=checkpoint.every_steps=4", "--set=log_every=1"]
    done = subprocess.run([*command, *settings], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr[-4000:]
    verdict = json.loads(done.stdout)
    passed = {check["name"]: check["passed"] for check in verdict["checks"]}
    assert passed["hidden patches are reconstructed, not smeared"] is False and not verdict["passed"]
    unjudged = [check for check in verdict["checks"] if check["passed"] is None]
    names = [check["name"] for check in unjudged]  # three minutes do not suffice for them
    assert len(names) == 3 and "neighbours" in names[0] and all("words" in name for name in names[1:])
    assert all("make worth" in check["found"] for check in unjudged)
    events = [event["event"] for event in read_records(tmp_path / "demo" / "events.jsonl")]
    assert events.count("resumed") == 1
    assert Path(verdict["report"]).exists()


def test_the_demo_deletes_nothing_of_others(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = subprocess.run([BIN / "ecamp-fast", "demo", "--out", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_demo_that_could_not_be_killed_says_so_before_it_trains(tmp_path: Path) -> None:
    command = [BIN / "ecamp-fast", "demo", "--out", tmp_path / "demo", "--studies", "300"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "more --studies" in done.stderr
    assert not (tmp_path / "demo" / "train.log").exists()
