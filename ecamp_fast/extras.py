"""How an extra of this package is installed here: the package itself is on no index."""

import importlib.metadata
import re
import shlex
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def install_hint(extra: str, root: Path = _ROOT) -> str:
    """The command that installs ``extra``: in a checkout of that checkout, elsewhere the packages that the extra names.

    root: of the checkout, if this is one
    """
    if (root / "pyproject.toml").is_file():
        command = f"{_pip(root)} install -e '.[{extra}]'"
        return command if Path.cwd() == root else f"in {root}: {command}"
    packages = [shlex.quote(name) for name in packages_of(extra)]
    return f"{_pip(Path.cwd())} install {' '.join(packages)}" if packages else f"install the extra {extra}"


def packages_of(extra: str) -> list[str]:
    """The requirements of an extra, by the installed package's own metadata; none where there is none."""
    try:
        lines = importlib.metadata.requires("ecamp-fast") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    pairs = (line.partition(";")[::2] for line in lines)
    return [name.strip() for name, marker in pairs if re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", marker)]


def _pip(start: Path) -> str:
    """The pip of this Python, as short as it is from ``start``; its module where there is no such program."""
    pip = Path(sys.prefix) / "bin" / "pip"
    if not pip.exists():
        return f"{sys.executable} -m pip"
    return str(pip.relative_to(start)) if pip.is_relative_to(start) else str(pip)
