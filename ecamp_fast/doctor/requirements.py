"""What the package says it needs: its dependencies with their lowest versions, and the Pythons it supports.

A small reader of its own, because the libraries that could do it are among those that may be missing.
"""

import importlib.metadata
import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ecamp_fast.errors import EnvironmentFault

DISTRIBUTION = "ecamp-fast"
MODULES = {  # what we import of a distribution, where its name does not say it
    "nvidia-dali-cuda130": "nvidia.dali",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "transformers": "tokenizers",
}

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*((?:[<>=!]=?\s*[\d.]+\s*,?\s*)*)(?:;\s*(.*))?")
_BOUND = re.compile(r"(>=|<)\s*([\d.]+)")
_MARKER = re.compile(r"sys_platform == ['\"](\w+)['\"]")


@dataclass(frozen=True, slots=True)
class Versions:
    """A range such as ``>=3.11,<3.13``; both ends may be missing."""

    text: str

    def allows(self, version: str) -> bool:
        """Whether ``version`` lies in the range, by its leading numbers alone (2.14.1+cpu counts as 2.14.1)."""
        number = numbers(version)
        return all(
            number >= numbers(bound) if sign == ">=" else number < numbers(bound)
            for sign, bound in _BOUND.findall(self.text)
        )

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Requirement:
    """A hard dependency: its name on the package index, what it is imported as, and the versions that will do."""

    name: str
    module: str
    versions: Versions

    @property
    def hint(self) -> str:
        """The command that installs it."""
        return f'pip install "{self.name}{self.versions}"'


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.14.1+cpu gives (2, 14, 1)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def python_versions() -> Versions:
    """The Pythons this package supports."""
    return Versions(_declared()["requires-python"].replace(" ", ""))


def requirements() -> list[Requirement]:
    """The hard dependencies on this platform."""
    return [found for line in _declared()["dependencies"] if (found := parse(line))]


def parse(line: str) -> Requirement | None:
    """A requirement as pyproject.toml writes it; None if it is meant for another platform or belongs to an extra."""
    found = _REQUIREMENT.fullmatch(line.strip())
    if not found:
        raise ValueError(f"not a requirement this reader knows: {line}")
    name, versions, marker = found[1], found[2].replace(" ", "").rstrip(","), found[3] or ""
    platform = _MARKER.search(marker)
    if "extra ==" in marker or (platform and platform[1] != sys.platform):
        return None
    return Requirement(name, MODULES.get(name, name.replace("-", "_")), Versions(versions))


def import_fault(error: ImportError) -> EnvironmentFault:
    """That a package is missing or does not load, with the command that installs it."""
    root = (error.name or "").partition(".")[0]
    hints = [r.hint for r in requirements() if r.module.partition(".")[0] == root]
    if root == "ecamp_fast":
        hint = "this installation is incomplete: pip install --force-reinstall ecamp-fast"
    elif isinstance(error, ModuleNotFoundError):
        hint = hints[0] if hints else f"pip install {root}"
    else:
        hint = f"{hints[0]} --force-reinstall" if hints else "reinstall the package named here"
    if isinstance(error, ModuleNotFoundError):
        return EnvironmentFault(f"needs {error.name}, which is not installed", hint)
    lines = str(error).strip().splitlines()
    return EnvironmentFault(f"{type(error).__name__}: {lines[0] if lines else root}", hint)


@cache
def _declared() -> dict[str, Any]:
    """requires-python and dependencies: from the checkout where this is one, else from the installed metadata."""
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.is_file():
        declared: dict[str, Any] = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        if declared["name"] == DISTRIBUTION:
            return declared
    metadata = importlib.metadata.metadata(DISTRIBUTION)
    return {
        "requires-python": metadata["Requires-Python"],
        "dependencies": metadata.get_all("Requires-Dist") or [],
    }
