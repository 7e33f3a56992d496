import tomllib
from pathlib import Path

import pytest

from ecamp_fast.doctor.requirements import Versions, numbers, parse, python_versions, requirements

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_every_dependency_of_the_project_is_understood() -> None:
    declared = {line.split(">")[0] for line in PROJECT["dependencies"]}
    assert {requirement.name for requirement in requirements()} == declared
    assert all(requirement.versions.text.startswith(">=") for requirement in requirements())


def test_the_supported_pythons_are_the_projects() -> None:
    assert python_versions().text == PROJECT["requires-python"]
    assert [python_versions().allows(v) for v in ("3.10.14", "3.11.0", "3.12.7", "3.13.0")] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("version", "allowed"),
    [("2.11", True), ("2.11.0", True), ("2.14.1+cu130", True), ("2.9.1", False), ("3.0.0rc1", True), ("2.10.9", False)],
)
def test_versions_are_compared_by_number(version: str, allowed: bool) -> None:
    assert Versions(">=2.11").allows(version) is allowed


def test_numbers_stop_at_the_first_word() -> None:
    assert numbers("2.14.1+cu130") == (2, 14, 1)
    assert numbers("1.0rc2") == (1, 0)
    assert numbers("unknown") == ()


def test_a_requirement_names_its_command_and_module() -> None:
    requirement = parse("pyyaml>=6.0")
    assert requirement is not None
    assert (requirement.module, requirement.hint) == ("yaml", 'pip install "pyyaml>=6.0"')


@pytest.mark.parametrize("line", ["x>=1; sys_platform == 'plan9'", 'flash-attn>=2.8; extra == "flash"'])
def test_requirements_of_other_platforms_and_extras_are_left_out(line: str) -> None:
    assert parse(line) is None


def test_metadata_of_a_wheel_reads_the_same() -> None:
    written = parse('nvidia-dali-cuda130>=2.0; sys_platform == "linux"')
    assert written == parse("nvidia-dali-cuda130>=2.0; sys_platform == 'linux'")
    assert written is not None and written.module == "nvidia.dali"


def test_a_requirement_in_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="not a requirement"):
        parse("torch @ https://example.org/torch.whl")
