"""The command that installs an extra: one that works where the reader is."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from ecamp_fast import extras

ROOT = Path(__file__).resolve().parents[1]


def test_in_a_checkout_it_is_that_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "pip").touch()
    monkeypatch.setattr(extras.sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.chdir(tmp_path)
    assert extras.install_hint("onnx", tmp_path) == ".venv/bin/pip install -e '.[onnx]'"
    monkeypatch.chdir("/")
    assert extras.install_hint("onnx", tmp_path) == f"in {tmp_path}: .venv/bin/pip install -e '.[onnx]'"
    (tmp_path / ".venv" / "bin" / "pip").unlink()
    assert extras.install_hint("onnx", tmp_path).endswith(f"{extras.sys.executable} -m pip install -e '.[onnx]'")


def test_elsewhere_it_is_the_packages_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = ['onnx>=1.18; extra == "onnx"', "onnxscript>=0.5; extra == 'onnx'", "torch>=2", 'ray; extra == "ray"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    monkeypatch.setattr(extras.sys, "prefix", str(tmp_path))
    told = extras.install_hint("onnx", tmp_path)
    assert told == f"{extras.sys.executable} -m pip install 'onnx>=1.18' 'onnxscript>=0.5'"
    assert extras.install_hint("none", tmp_path) == "install the extra none"


def test_no_hint_names_the_package_on_an_index() -> None:
    files = [file for folder in ("ecamp_fast", "shards", "bench", "kernels") for file in (ROOT / folder).rglob("*.py")]
    assert not [file for file in files if "ecamp-fast[" in file.read_text()]


def test_every_extra_that_a_hint_names_is_one() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    import re

    files = [file for folder in ("ecamp_fast", "shards") for file in (ROOT / folder).rglob("*.py")]
    named = {name for file in files for name in re.findall(r"install_hint\(['\"](\w+)['\"]\)", file.read_text())}
    assert named and named <= known.keys()
