"""The hard dependencies: importable, and new enough."""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from typing import Any

from ecamp_fast.doctor.finding import Finding, fail, ok
from ecamp_fast.doctor.requirements import Requirement, requirements
from ecamp_fast.doctor.run_setup import RunSetup

UNUSED_BY_RUNS = {"timm"}  # seconds to import, and no run does: finding it must do


def packages(setup: RunSetup) -> Iterator[Finding]:
    """One line per dependency."""
    for requirement in requirements():
        yield package(requirement)


def package(requirement: Requirement) -> Finding:
    """Import it, since an installed package may still not load, and compare its version."""
    name, module = requirement.name, None
    try:
        if name not in UNUSED_BY_RUNS:
            module = importlib.import_module(requirement.module)
        elif importlib.util.find_spec(requirement.module) is None:
            return fail(name, "not installed", requirement.hint)
    except ModuleNotFoundError as error:
        missing = error.name or requirement.module
        what = "not installed" if requirement.module.startswith(missing) else f"needs {missing}, which is not installed"
        return fail(name, what, requirement.hint if what == "not installed" else f"pip install {missing}")
    except Exception as error:  # a library that does not fit its neighbours raises whatever it stumbles over
        return fail(name, f"does not load: {first_line(error)}", requirement.hint + " --force-reinstall")
    version = _version(name, module)
    if not requirement.versions.allows(version):
        return fail(name, f"{version} does not satisfy {requirement.versions}", requirement.hint)
    return ok(name, version)


def first_line(error: BaseException) -> str:
    """The error's kind and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _version(name: str, module: Any) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # installed under another name, as DALI for another CUDA is
        return str(getattr(module, "__version__", "0"))
