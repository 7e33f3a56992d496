"""What the lock holds as a bill of materials: CycloneDX JSON, the same for the same lock.

python .ci/sbom.py > ecamp-fast.cdx.json
"""

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def normal(name: str) -> str:
    """A package's name as indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, str]:
    """Version by normal name."""
    return {normal(name): version for name, version in PINNED.findall(lock)}


def bill(root: Path) -> dict[str, Any]:
    """The bill of the repository in ``root``: everything that ``make setup`` installs, tools of development too."""
    raw = (root / "requirements.lock").read_bytes()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    version = re.search(r'^__version__ = "(.+)"$', (root / "ecamp_fast/__init__.py").read_text(), re.MULTILINE)
    assert version
    locked = pins(raw.decode())
    reference = {name: f"pkg:pypi/{name}@{pinned}" for name, pinned in locked.items()}
    own = f"pkg:pypi/{project['name']}@{version[1]}"
    wanted = {normal(found[0]) for text in project["dependencies"] if (found := NAME.match(text))}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": own,
                "name": project["name"],
                "version": version[1],
                "purl": own,
                "licenses": [{"license": {"id": project["license"]}}],
            },
            "properties": [{"name": "ecamp-fast:lock-sha256", "value": hashlib.sha256(raw).hexdigest()}],
        },
        "components": [
            {"type": "library", "bom-ref": reference[name], "name": name, "version": pinned, "purl": reference[name]}
            for name, pinned in sorted(locked.items())
        ],
        "dependencies": [{"ref": own, "dependsOn": sorted(reference[name] for name in wanted & locked.keys())}],
    }


def as_bytes(root: Path) -> bytes:
    """The file."""
    return (json.dumps(bill(root), indent=1) + "\n").encode()


if __name__ == "__main__":
    print(as_bytes(ROOT).decode(), end="")
