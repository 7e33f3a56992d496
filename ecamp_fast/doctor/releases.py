"""Installed releases: those that must not be there, and how far the installation is from the tested one."""

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.requirements import numbers, requirements
from ecamp_fast.doctor.run_setup import RunSetup

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"  # of a checkout; a wheel has none


class BadRelease(NamedTuple):
    """Versions of a package that must not be installed: some, or all below one."""

    package: str
    versions: tuple[str, ...]
    below: str
    why: str


STEALS = "published by a thief: it reads keys and passwords of this machine"
BAD = (
    BadRelease("litellm", ("1.82.7", "1.82.8"), "", STEALS),
    BadRelease("lightning", ("2.6.2", "2.6.3"), "", STEALS),
    BadRelease("pydicom", (), "3.0.2", "a file may name another to be read"),
    BadRelease("monai", (), "1.6", "its bundles run what they bring"),
    BadRelease("torch", (), "2.10", "torch.load runs code though weights_only is set"),
)


def bad_releases(setup: RunSetup) -> Iterator[Finding]:
    """Releases that are known to be malicious or unsafe."""
    found = []
    for bad in BAD:
        version = _installed(bad.package)
        if version and (version in bad.versions or (bad.below and numbers(version) < numbers(bad.below))):
            stolen = bad.versions and "pip uninstall {}, and change every key that this machine knew"
            hint = (stolen or 'pip install "{}>=' + bad.below + '"').format(bad.package)
            found.append(fail(bad.package, f"{version}: {bad.why}", hint))
    yield from found
    if not found:
        yield ok("releases", f"none of those that are known to be unsafe ({', '.join(bad.package for bad in BAD)})")


def locked(setup: RunSetup) -> Iterator[Finding]:
    """The dependencies against requirements.lock, the set that the tests ran with."""
    if not LOCK.is_file():
        yield ok("lock", "none beside this installation")
        return
    wanted = dict(re.findall(r"^([\w.-]+)==(\S+)", LOCK.read_text(), re.MULTILINE))
    names = [requirement.name for requirement in requirements() if requirement.name in wanted]
    installed = {name: _installed(name) for name in names}
    other = [f"{name} {installed[name]} (lock {wanted[name]})" for name in names if installed[name] != wanted[name]]
    if other:
        found = f"{len(other)} of {len(names)} differ from requirements.lock: {', '.join(other)}"
        yield warn("lock", found, "pip install --require-hashes --no-deps -r requirements.lock")
    else:
        yield ok("lock", f"all {len(names)} dependencies are those of requirements.lock")


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
