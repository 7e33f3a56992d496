"""The process and its machine: Python, installation, text encoding, folders, open files, clock."""

import importlib.metadata
import locale
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import ecamp_fast
from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.requirements import DISTRIBUTION, python_versions
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.files import folder_fault
from ecamp_fast.machine import available_cores

OPEN_FILES = 1024  # the usual limit, enough for everything
FEW_OPEN_FILES = 32  # a run of 2 ranks on 4 shards, on the CPU: works with 36, fails with 28
PER_RANK = 4  # sockets to each other rank
DAY = 86400.0


def python(setup: RunSetup) -> Iterator[Finding]:
    """The interpreter against the versions this package supports."""
    wanted, version = python_versions(), platform.python_version()
    if wanted.allows(version):
        yield ok("Python", f"{version} ({sys.executable})")
    else:
        yield fail("Python", f"{version}, supported is {wanted}", "make the environment with a supported Python")


def installation(setup: RunSetup) -> Iterator[Finding]:
    """Which copy of ecamp-fast this is: a second checkout silently runs the installed one."""
    package = Path(ecamp_fast.__file__).resolve().parent
    checkout = Path("ecamp_fast").resolve()
    found = f"{ecamp_fast.__version__} in {package}"
    if (checkout / "__init__.py").is_file() and checkout != package:
        yield warn("ecamp-fast", f"{found}, not the one in this folder", "`pip install -e .` here, in its own .venv")
    elif not _installed():
        hint = "pip install -e . (without it the launcher's ranks find the package only with PYTHONPATH set)"
        yield warn("ecamp-fast", f"{found}, not installed", hint)
    else:
        yield ok("ecamp-fast", found)


def _installed() -> bool:
    try:
        return bool(importlib.metadata.version(DISTRIBUTION))
    except importlib.metadata.PackageNotFoundError:
        return False


def system(setup: RunSetup) -> Iterator[Finding]:
    """Operating system and processor."""
    found = f"{platform.system()} {platform.release()}, {platform.machine()}, {available_cores()} cores"
    if platform.system() == "Linux":
        yield ok("system", found)
    else:
        yield warn("system", found, "DALI and Triton exist for Linux only: train on Linux (WSL2 counts)")


def encoding(setup: RunSetup) -> Iterator[Finding]:
    """Reports are read as UTF-8 whatever the locale says; file names and the terminal are not."""
    names, text = sys.getfilesystemencoding(), locale.getpreferredencoding(False)
    found = f"file names {names}, text {text}"
    if {names.lower().replace("-", ""), text.lower().replace("-", "")} <= {"utf8"}:
        yield ok("encoding", found)
    else:
        yield warn("encoding", found, "export PYTHONUTF8=1, or LC_ALL=C.UTF-8")


def language(setup: RunSetup) -> Iterator[Finding]:
    """The locale that variables name is one that this machine has; without it programs fall back, each in its way."""
    named = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "")
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, named)
    except locale.Error:
        yield warn("locale", f"{named} is not installed on this machine", "export LC_ALL=C.UTF-8")
        return
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    yield ok("locale", named or "none named")


def folders(setup: RunSetup) -> Iterator[Finding]:
    """Places that libraries write to without asking: home, caches, temporary files."""
    temporary = Path(tempfile.gettempdir())
    yield _writable("temporary files", temporary, "set TMPDIR to a folder you may write to", fatal=True)
    home = Path(os.path.expanduser("~"))
    variables = {"TRITON_CACHE_DIR": home / ".triton", "TORCH_EXTENSIONS_DIR": home / ".cache", "MPLCONFIGDIR": home}
    for variable, default in variables.items():
        place = Path(os.environ.get(variable) or default)
        finding = _writable("caches", place, f"export {variable}={temporary / 'cache'}", fatal=False)
        if finding.hint:
            yield finding
            return
    yield ok("caches", f"home {home} and the caches in it can be written")


def _writable(name: str, place: Path, hint: str, fatal: bool) -> Finding:
    fault = folder_fault(place)
    if not fault:
        return ok(name, f"{place} can be written")
    return (fail if fatal else warn)(name, f"{place}: {fault}", hint)


def open_files(setup: RunSetup) -> Iterator[Finding]:
    """How many files and sockets a process may hold open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    shards = min(len(setup.shards.manifest.shards), 256) if setup.shards else 0  # the reader keeps no more open
    needed = FEW_OPEN_FILES + PER_RANK * setup.ranks + shards
    hint = "ulimit -n 65536" if hard == unlimited else f"ulimit -n {hard}"
    if hard != unlimited and hard < OPEN_FILES:
        hint = "raise the hard limit: /etc/security/limits.conf, or docker run --ulimit nofile=65536"
    if soft == unlimited or soft >= OPEN_FILES:
        yield ok("open files", "no limit" if soft == unlimited else f"limit {soft:,}")
    elif soft < needed:
        yield fail("open files", f"limit {soft}, a run needs about {needed}", hint)
    else:
        yield warn("open files", f"limit {soft}, a run needs about {needed}, more with GPUs", hint)


def clock(setup: RunSetup) -> Iterator[Finding]:
    """A clock far behind makes logs and caches lie."""
    installed = Path(ecamp_fast.__file__).stat().st_mtime
    behind = installed - time.time()
    if behind > DAY:
        yield warn("clock", f"{behind / DAY:.0f} days before this package was installed", "set the clock (NTP)")
    else:
        yield ok("clock", time.strftime("%Y-%m-%d %H:%M:%S %Z"))
