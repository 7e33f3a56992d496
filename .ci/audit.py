"""Audit the lock: what must hold of it offline, then the known vulnerabilities of what it pins.

python .ci/audit.py [--offline]

Leaves with 1 where the lock is at fault, a pinned release has a known vulnerability or could not be looked up, with 4
where there is no pip-audit to ask. Nothing but names and versions of packages leaves the machine.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

sys.path.insert(0, str(Path(__file__).parent))
from sbom import ROOT, normal, pins

# Below these a file can run code: torch.load and exporters, the FileSet of pydicom, bundles of MONAI.
FLOORS = {"torch": "2.10", "pydicom": "3.0.2", "monai": "1.6"}
# Releases that were attacks.
BANNED = {"litellm": {"1.82.7", "1.82.8"}, "lightning": {"2.6.2", "2.6.3"}}
ENTRY = re.compile(r"^(\S[^\n]*?)(?: \\)?\n((?:    --hash=\S+(?: \\)?\n?)*)", re.MULTILINE)
TOOLS = (("pip-audit",), ("uvx", "pip-audit"), ("pipx", "run", "pip-audit"))


def faults(lock: str, project: str) -> Iterator[str]:
    """What is wrong with a lock.  project: the text of pyproject.toml"""
    pinned = pins(lock)
    for line, hashes in ENTRY.findall(lock):
        if line.startswith("#"):
            continue
        if "==" not in line:
            yield f"{line.split()[0]}: not pinned to a version"
        elif "--hash=sha256:" not in hashes:
            yield f"{line.split()[0]}: no hash"
    for name, floor in FLOORS.items():
        if name in pinned and Version(pinned[name]) < Version(floor):
            yield f"{name} {pinned[name]}: below {floor}"
    for name, versions in BANNED.items():
        if pinned.get(name) in versions:
            yield f"{name} {pinned[name]}: this release was an attack"
    told = tomllib.loads(project)["project"]
    for text in (*told["dependencies"], *told["optional-dependencies"]["dev"]):
        yield from _missing("pyproject.toml", text, pinned)


def gaps(lock: str) -> Iterator[str]:
    """What installed packages need that the lock lacks: it is installed without resolving."""
    pinned = pins(lock)
    for name, version in pinned.items():
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if found.version == version:
            for text in found.requires or ():
                yield from _missing(f"{name} {version}", text, pinned)


def _missing(who: str, text: str, pinned: dict[str, str]) -> Iterator[str]:
    wanted = Requirement(text)
    if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
        return
    version = pinned.get(normal(wanted.name))
    if version is None:
        yield f"{who} needs {wanted.name}, which is not pinned"
    elif not wanted.specifier.contains(version, prereleases=True):
        yield f"{who} needs {wanted}, pinned is {version}"


def main(offline: bool) -> int:
    lock = (ROOT / "requirements.lock").read_text()
    wrong = [*faults(lock, (ROOT / "pyproject.toml").read_text()), *gaps(lock)]
    print("\n".join(wrong) or f"requirements.lock: {len(pins(lock))} releases, all pinned with hashes, none is banned")
    if wrong or offline:
        return int(bool(wrong))
    beside = str(Path(sys.executable).parent)
    tool = next((tool for tool in TOOLS if shutil.which(tool[0]) or shutil.which(tool[0], path=beside)), None)
    if tool is None:
        print("known vulnerabilities were not looked up: no pip-audit, uvx or pipx here", file=sys.stderr)
        return 4
    program = shutil.which(tool[0]) or shutil.which(tool[0], path=beside)
    command = [str(program), *tool[1:], "--requirement", str(ROOT / "requirements.lock"), "--disable-pip"]
    # Strict, or a release that the service does not know would pass as one without a fault.
    return subprocess.run([*command, "--require-hashes", "--strict", "--progress-spinner", "off"]).returncode


if __name__ == "__main__":
    sys.exit(main(offline="--offline" in sys.argv[1:]))
