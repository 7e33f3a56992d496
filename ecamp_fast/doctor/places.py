"""Folders that libraries write to without asking, and what files made here may be read by."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.machine import SOCKET, SOCKET_NAME, socket_folder

CACHES = {"TRITON_CACHE_DIR": ".triton", "TORCHINDUCTOR_CACHE_DIR": "", "TORCH_EXTENSIONS_DIR": ".cache"}
TEMPORARY_BYTES = 2**30  # compiled programs, and what loaders hand on


def home(setup: RunSetup) -> Iterator[Finding]:
    """The home folder: named, there, this user's."""
    named = os.environ.get("HOME")
    place = Path(os.path.expanduser("~"))
    hint = f"export HOME=/a/folder/of/yours, or export XDG_CACHE_HOME={tempfile.gettempdir()}/cache"
    if not named:
        yield warn("home", f"HOME is not set: libraries write their caches to {place}", hint)
    elif not place.is_dir():
        yield warn("home", f"{place} is not there: libraries that keep caches in it do without", hint)
    elif place.stat().st_uid != os.getuid():
        found = f"{place} belongs to user {place.stat().st_uid}, this is user {os.getuid()}"
        yield warn("home", f"{found}: files made there cannot be removed, or are not read", hint)
    else:
        yield ok("home", str(place))


def programs(setup: RunSetup) -> Iterator[Finding]:
    """Whether what is compiled into the temporary folder and the caches may be run from there."""
    folders = {Path(tempfile.gettempdir()): "TMPDIR"}
    for variable, default in CACHES.items():
        place = os.environ.get(variable) or (Path(os.path.expanduser("~"), default) if default else "")
        if place and Path(place).is_dir():
            folders[Path(place)] = variable
    refused = [(folder, variable) for folder, variable in folders.items() if runs_nothing(folder)]
    for folder, variable in refused:
        found = f"{folder} is mounted noexec: what Triton and the compiler put there does not load"
        yield fail("programs", found, f"export {variable}=/a/folder/where/programs/run")
    if not refused:
        yield ok("programs", f"compiled ones load from {', '.join(map(str, folders))}")


def sockets(setup: RunSetup) -> Iterator[Finding]:
    """Whether a temporary folder's path leaves room for the names of sockets in it."""
    usual, folder = tempfile.gettempdir(), socket_folder()
    if folder is None:
        length = len(os.fsencode(usual)) + SOCKET_NAME
        found = f"{usual} is too long a path: sockets in it would have {length} bytes, {SOCKET} are allowed"
        yield fail("sockets", found, "export TMPDIR=/a/short/folder")
    elif folder != usual:
        yield ok("sockets", f"of workers lie in {folder}: {usual} is too long a path for them")
    else:
        yield ok("sockets", f"of workers fit into {folder}")


def temporary_room(setup: RunSetup) -> Iterator[Finding]:
    """Free space in the temporary folder."""
    folder = tempfile.gettempdir()
    status = os.statvfs(folder)
    free = status.f_frsize * status.f_bavail
    found = f"{free / 2**30:,.1f} GB free in {folder}"
    if free < TEMPORARY_BYTES:
        yield warn("temporary space", found, "free some, or export TMPDIR=/a/larger/folder")
    else:
        yield ok("temporary space", found)


def umask(setup: RunSetup) -> Iterator[Finding]:
    """Who may read, and change, files that are made here."""
    mask = os.umask(0o077)
    os.umask(mask)
    if not mask & stat.S_IWOTH:
        yield warn("umask", f"{mask:04o}: files made here may be changed by anybody", "umask 0077")
    elif mask & (stat.S_IRUSR | stat.S_IWUSR | stat.S_IXUSR):
        yield fail("umask", f"{mask:04o}: a run could not read its own files", "umask 0077")
    else:
        yield ok("umask", f"{mask:04o}")


def runs_nothing(folder: Path) -> bool:
    """Whether a folder lies on a file system that is mounted noexec."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)
    except OSError:
        return False
