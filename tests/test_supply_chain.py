"""What is installed and shipped: a lock with hashes and without known attacks, a wheel of always the same bytes."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64decode
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCK, PROJECT = (ROOT / "requirements.lock").read_text(), (ROOT / "pyproject.toml").read_text()
HASH = " \\\n    --hash=sha256:00\n"


def program(name: str) -> ModuleType:
    """A file of .ci, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    return program("audit")


def test_the_lock_passes_the_audit(audit: ModuleType) -> None:
    assert [*audit.faults(LOCK, PROJECT), *audit.gaps(LOCK)] == []
    assert len(audit.pins(LOCK)) > 100


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("torch==2.14.1", "torch==2.9.1", "torch 2.9.1: below 2.10"),
        ("pydicom==3.0.2", "pydicom==3.0.1", "pydicom 3.0.1: below 3.0.2"),
        ("aiohttp==3.14.5", f"litellm==1.82.7{HASH}aiohttp==3.14.5", "litellm 1.82.7: this release was an attack"),
        ("aiohttp==3.14.5", f"lightning==2.6.3{HASH}aiohttp==3.14.5", "lightning 2.6.3: this release was an attack"),
        ("aiohttp==3.14.5", "aiohttp>=3.14.5", "aiohttp>=3.14.5: not pinned to a version"),
        ("aiohttp==3.14.5", "flask==3.1.2\naiohttp==3.14.5", "flask==3.1.2: no hash"),
        ("triton==", "nottriton==", "pyproject.toml needs triton, which is not pinned"),
        ("safetensors==", "safetensors==0.4.9+", "pyproject.toml needs safetensors>=0.5"),
    ],
)
def test_the_audit_sees(audit: ModuleType, old: str, new: str, fault: str) -> None:
    assert old in LOCK
    assert any(found.startswith(fault) for found in audit.faults(LOCK.replace(old, new, 1), PROJECT))


def test_a_lock_with_a_gap_is_seen(audit: ModuleType) -> None:
    assert any("needs multidict, which is not pinned" in gap for gap in audit.gaps(LOCK.replace("multidict==", "x==")))


@pytest.mark.parametrize(("there", "code"), [(False, 4), (True, 9)])
def test_vulnerabilities_are_asked_for_where_that_can_be(there: bool, code: int, tmp_path: Path) -> None:
    python = tmp_path / "python"  # so that no pip-audit lies beside it
    python.symlink_to(sys.executable)
    if there:
        (tmp_path / "pip-audit").write_text('#!/bin/sh\necho "$@"\nexit 9\n')
        (tmp_path / "pip-audit").chmod(0o755)
    line = "import sys; sys.executable = sys.argv.pop(1); sys.path.insert(0, '.ci'); import audit; "
    line += "sys.exit(audit.main(offline=False))"
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", line, python], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert "all pinned with hashes" in done.stdout
    assert ("--require-hashes" in done.stdout) is there and ("were not looked up" in done.stderr) is not there


def test_the_bill_of_materials_is_that_of_the_lock() -> None:
    sbom = program("sbom")
    bill = json.loads(sbom.as_bytes(ROOT))
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.6"
    assert {c["name"]: c["version"] for c in bill["components"]} == sbom.pins(LOCK)
    references = {c["bom-ref"] for c in bill["components"]}
    (own,) = bill["dependencies"]
    assert own["ref"] == bill["metadata"]["component"]["bom-ref"] and set(own["dependsOn"]) <= references
    assert {"pkg:pypi/torch@2.14.1", "pkg:pypi/deepspeed@" + sbom.pins(LOCK)["deepspeed"]} <= set(own["dependsOn"])
    (digest,) = bill["metadata"]["properties"]
    assert digest["value"] == hashlib.sha256(LOCK.encode()).hexdigest()


def built(root: Path, out: Path, mask: str) -> Path:
    command = f'umask {mask}; exec "$@"'
    environment = os.environ | {"TZ": "Asia/Kathmandu" if mask == "077" else "UTC"}
    subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, root / ".ci" / "wheel.py", out], check=True, env=environment
    )
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.mark.slow
def test_the_same_sources_give_the_same_wheel_with_its_bill_inside(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"  # another folder, other permissions and times, caches and links in it
    for folder in ("ecamp_fast", "kernels", "shards", "bench", ".ci"):
        shutil.copytree(ROOT / folder, other / folder, symlinks=True, copy_function=shutil.copyfile)
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        shutil.copyfile(ROOT / name, other / name)
    for path in other.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o660)
        os.utime(path, (1e9, 1e9))
    (other / "build" / "lib").mkdir(parents=True)
    (other / "ecamp_fast" / "__pycache__").mkdir(exist_ok=True)
    (other / "ecamp_fast" / "__pycache__" / "x.pyc").touch()
    first, second = built(ROOT, tmp_path / "1", "022"), built(other, tmp_path / "2", "077")
    assert first.name == second.name and first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        (bill,) = [name for name in names if name.endswith(".dist-info/sboms/ecamp-fast.cdx.json")]
        assert json.loads(archive.read(bill))["components"]
        assert names[-1].endswith("RECORD") and names[:-1] == sorted(names[:-1])
        rows = [row.rsplit(",", 2) for row in archive.read(names[-1]).decode().splitlines()]
        assert [row[0] for row in rows] == names
        for name, digest, size in rows[:-1]:
            data = archive.read(name)
            assert int(size) == len(data)
            assert urlsafe_b64decode(digest.removeprefix("sha256=") + "=") == hashlib.sha256(data).digest()
    target = ["--target", tmp_path / "installed", first]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", *target], check=True)
    assert (tmp_path / "installed" / "ecamp_fast" / "cli.py").exists()
