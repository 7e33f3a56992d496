import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ecamp_fast.commands import doctor
from ecamp_fast.doctor import checks
from ecamp_fast.doctor.finding import Finding, Status, fail, ok, warn

ROOT = Path(__file__).parents[2]


def call(*arguments: str, color: bool = False) -> Result:
    return CliRunner().invoke(doctor.command, arguments, color=color)


@pytest.fixture
def two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        ("data", fail("shards", "a.tar is missing\n  - and b\x1b[31m.tar", "restore them", 3)),
        ("disk", warn("free space", "little", "free some")),
        ("disk", ok("out", "well")),
    ]
    monkeypatch.setattr(checks, "run_checks", lambda _: iter(findings))


def test_a_machine_with_only_a_cpu_is_well() -> None:
    result = call("--json")
    report = json.loads(result.stdout)
    assert result.exit_code == report["exit_code"] == 0, [f for f in report["findings"] if f["status"] == "FAIL"]
    assert report["schema"] == 2
    assert len(report["findings"]) >= 75  # 60 beside the packages
    assert {"name", "status", "found", "hint", "exit_code", "group"} == set(report["findings"][0])
    assert all(finding["hint"] for finding in report["findings"] if finding["status"] != "OK")


@pytest.mark.usefixtures("two_lines")
def test_the_table_is_aligned_plain_and_counts() -> None:
    result = call()
    lines = result.stdout.splitlines()
    column = lines[1].index("a.tar")
    assert result.exit_code == 3
    assert lines[0] == "data" and lines[1].startswith("FAIL  shards ")
    assert lines[2].startswith(" " * column + "  - and b\\x1b[31m.tar")
    assert lines[3] == " " * column + "hint: restore them"
    assert any(line.startswith("WARN  free space") and line.index("little") == column for line in lines)
    assert lines[-1].startswith("1 OK, 1 WARN, 1 FAIL in ")
    assert "\x1b" not in result.stdout


@pytest.mark.usefixtures("two_lines")
def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_coloured", lambda: True)
    assert "\x1b[31m" in call(color=True).stdout
    monkeypatch.undo()
    monkeypatch.setattr(sys, "stdout", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not doctor._coloured()
    monkeypatch.delenv("NO_COLOR")
    assert doctor._coloured()


@pytest.mark.usefixtures("two_lines")
def test_the_json_names_everything_the_table_does() -> None:
    report = json.loads(call("--json").stdout)
    assert report["exit_code"] == 3
    assert [(f["group"], f["status"], f["hint"]) for f in report["findings"]] == [
        ("data", "FAIL", "restore them"),
        ("disk", "WARN", "free some"),
        ("disk", "OK", ""),
    ]


def test_a_rank_count_that_is_none_is_a_usage_error() -> None:
    assert call("--ranks", "0").exit_code == 2


def test_the_command_itself_imports_nothing_heavy() -> None:
    code = (
        "import sys, ecamp_fast.commands.doctor; "
        "print([m for m in ('torch', 'numpy', 'deepspeed', 'nvidia.dali', 'pydantic', 'yaml') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def _processor_seconds(code: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Of the processor, children included: other jobs may share it."""
    began = sum(os.times()[2:4])
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    return sum(os.times()[2:4]) - began, run


@pytest.mark.slow
def test_it_takes_five_seconds_beyond_its_imports_and_speaks_only_json() -> None:
    """Five seconds on a machine that imports the libraries in four; a slower one has as much more as it is slower."""
    imports, _ = _processor_seconds("import torch, deepspeed, nvidia.dali.fn")
    seconds, run = _processor_seconds("from ecamp_fast.commands.doctor import command; command(['--json'])")
    assert json.loads(run.stdout)["exit_code"] == run.returncode == 0
    assert run.stderr == ""
    assert seconds - imports < 5 * max(1, imports / 4)


def test_findings_are_told_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that hangs must not hide what was found before it."""

    def slow(setup: object) -> object:
        yield "first", ok("first", "well")
        raise KeyboardInterrupt

    monkeypatch.setattr(checks, "run_checks", slow)
    assert "first" in call().stdout


def test_all_groups_fail_with_a_documented_code() -> None:
    assert {group.exit_code for group in checks.GROUPS} == {2, 3, 4, 5}
    assert Status.FAIL == "FAIL" and Finding("a", Status.OK, "b").hint == ""
