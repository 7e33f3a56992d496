import resource
import sys
import time
from pathlib import Path

import pytest

from ecamp_fast.doctor import environment
from ecamp_fast.doctor.finding import Status
from ecamp_fast.doctor.requirements import Versions
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.files import folder_fault

SETUP = RunSetup()


def only(check: object) -> object:
    (finding,) = check(SETUP)  # type: ignore[operator]
    return finding


def test_an_unsupported_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(environment.python).status is Status.OK
    monkeypatch.setattr(environment, "python_versions", lambda: Versions(">=3.98"))
    assert only(environment.python).status is Status.FAIL


def test_another_checkout_under_foot_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ecamp_fast").mkdir()
    (tmp_path / "ecamp_fast" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    assert only(environment.installation).status is Status.WARN


def test_a_package_that_is_not_installed_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "_installed", lambda: False)
    assert "pip install -e ." in only(environment.installation).hint
    monkeypatch.setattr(environment, "_installed", lambda: True)
    assert only(environment.installation).status is Status.OK


def test_another_encoding_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: "ANSI_X3.4-1968")
    finding = only(environment.encoding)
    assert finding.status is Status.WARN and "PYTHONUTF8" in finding.hint


def test_a_home_that_cannot_be_written_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    temporary, caches = environment.folders(SETUP)
    assert temporary.status is Status.OK
    assert caches.status is Status.WARN and "TRITON_CACHE_DIR" in caches.hint


def test_writing_is_tried_and_leaves_nothing(tmp_path: Path) -> None:
    assert folder_fault(tmp_path / "not" / "there yet") == ""
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert "is a file" in folder_fault(tmp_path / "file" / "run")
    assert folder_fault(Path("/proc/run")) != ""
    (tmp_path / "link").symlink_to("nowhere")
    assert folder_fault(tmp_path / "link" / "run") == f"{tmp_path}/link is a link to nowhere, which is not there"
    assert folder_fault(tmp_path / ("a" * 300)) == "File name too long"


@pytest.mark.parametrize(
    ("limit", "hard", "status", "hint"),
    [
        (20, 8192, Status.FAIL, "ulimit -n 8192"),
        (64, 64, Status.WARN, "raise the hard limit"),
        (256, resource.RLIM_INFINITY, Status.WARN, "ulimit -n 65536"),
        (4096, 4096, Status.OK, ""),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, Status.OK, ""),
    ],
)
def test_the_limit_of_open_files(
    limit: int, hard: int, status: Status, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, hard))
    finding = only(environment.open_files)
    assert finding.status is status and finding.hint.startswith(hint)


def test_a_clock_in_the_past_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 86400.0)
    assert only(environment.clock).status is Status.WARN


def test_other_systems_are_told_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert only(environment.system).status is Status.WARN
    assert sys.platform == "linux"
