import sys
import warnings
from collections.abc import Iterator

import pytest

from ecamp_fast.doctor.checks import GROUPS, CheckGroup, examine, exit_code, run_checks
from ecamp_fast.doctor.finding import Finding, Status, fail, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.errors import DataError


def one(finding: Finding) -> list[Finding]:
    return [finding]


def test_an_error_of_ours_becomes_a_finding_with_its_hint_and_code() -> None:
    def check(setup: RunSetup) -> Iterator[Finding]:
        yield ok("first", "well")
        raise DataError("a.tar is damaged", "restore it")

    first, second = examine(check, RunSetup())
    assert first.status is Status.OK
    assert (second.name, second.found, second.hint, second.exit_code) == ("check", "a.tar is damaged", "restore it", 3)


def test_a_missing_module_becomes_a_command() -> None:
    def check(setup: RunSetup) -> Iterator[Finding]:
        raise ModuleNotFoundError("No module named 'yaml'", name="yaml")
        yield

    (finding,) = examine(check, RunSetup())
    assert (finding.exit_code, finding.hint) == (4, 'pip install "pyyaml>=6.0"')


def test_a_module_of_ours_is_not_looked_for_on_the_index() -> None:
    def check(setup: RunSetup) -> Iterator[Finding]:
        raise ModuleNotFoundError("No module named 'ecamp_fast.x'", name="ecamp_fast.x")
        yield

    assert "incomplete" in examine(check, RunSetup())[0].hint


def test_an_unforeseen_error_tells_its_kind_and_no_content() -> None:
    def check(setup: RunSetup) -> Iterator[Finding]:
        raise KeyError("Moderate left pleural effusion.")
        yield

    (finding,) = examine(check, RunSetup())
    assert finding.found == "stumbled over a KeyError"
    assert "effusion" not in repr(finding)


def test_what_libraries_print_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    def check(setup: RunSetup) -> Iterator[Finding]:
        print("[INFO] noise")
        print("[WARNING] noise", file=sys.stderr)
        warnings.warn("noise", stacklevel=1)
        yield ok("quiet", "yes")

    assert [finding.found for finding in examine(check, RunSetup())] == ["yes"]
    assert capsys.readouterr() == ("", "")


def test_a_group_gives_its_code_to_failures_that_have_none() -> None:
    checks = (lambda setup: one(fail("a", "bad", "fix it")), lambda setup: one(fail("b", "bad", "fix it", 3)))
    groups = (CheckGroup("disk", 5, checks),)  # type: ignore[arg-type]
    assert [(name, f.exit_code) for name, f in run_checks(RunSetup(), groups)] == [("disk", 5), ("disk", 3)]


def test_the_exit_code_is_that_of_the_first_failing_class() -> None:
    assert exit_code([]) == 0
    assert exit_code([ok("a", ""), warn("b", "", "hint")]) == 0
    assert exit_code([fail("a", "", "m", 5), fail("b", "", "m", 4)]) == 4
    assert exit_code([fail("a", "", "m", 3), fail("b", "", "m", 2), warn("c", "", "m")]) == 2


def test_every_check_has_a_name_of_its_own_and_is_documented() -> None:
    checks = [check for group in GROUPS for check in group.checks]
    assert len({check.__name__ for check in checks}) == len(checks)
    assert all(check.__doc__ for check in checks)
