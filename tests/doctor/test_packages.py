import sys
from pathlib import Path

import pytest

from ecamp_fast.doctor.finding import Status
from ecamp_fast.doctor.packages import package, packages
from ecamp_fast.doctor.requirements import Requirement, Versions
from ecamp_fast.doctor.run_setup import RunSetup


def test_the_environment_of_the_tests_is_well() -> None:
    findings = list(packages(RunSetup()))
    assert {finding.status for finding in findings} == {Status.OK}
    assert {"torch", "deepspeed", "pyyaml", "timm", "transformers"} <= {finding.name for finding in findings}


@pytest.mark.parametrize("name", ["webdataset", "timm"])
def test_a_missing_package_is_named_with_its_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    finding = package(Requirement(name, name, Versions(">=1.0")))
    assert (finding.status, finding.found) == (Status.FAIL, "not installed")
    assert finding.hint == f'pip install "{name}>=1.0"'


def test_a_package_that_lacks_another_names_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half.py").write_text("import the_other_half\n")
    monkeypatch.syspath_prepend(tmp_path)
    finding = package(Requirement("half", "half", Versions(">=1")))
    assert "the_other_half" in finding.found
    assert finding.hint == "pip install the_other_half"


def test_a_package_that_does_not_load_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "misfit.py").write_text("raise OSError('undefined symbol: abi\\nand a second line')\n")
    monkeypatch.syspath_prepend(tmp_path)
    finding = package(Requirement("misfit", "misfit", Versions(">=1")))
    assert finding.status is Status.FAIL
    assert finding.found == "does not load: OSError: undefined symbol: abi"
    assert "--force-reinstall" in finding.hint


@pytest.mark.fault("E2.wrong-torch")
def test_too_old_a_version_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aged.py").write_text("__version__ = '0.9.3'\n")
    monkeypatch.syspath_prepend(tmp_path)
    finding = package(Requirement("aged", "aged", Versions(">=1.2")))
    assert (finding.status, finding.found) == (Status.FAIL, "0.9.3 does not satisfy >=1.2")
