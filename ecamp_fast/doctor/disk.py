"""Disk and shared memory: room for checkpoints, and whether --out can be written as a checkpoint is."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.files import folder_fault, sync

SHARED_MEMORY = Path("/dev/shm")
MOUNTS = Path("/proc/self/mountinfo")
SLOW = 1.0  # seconds for a small file to be on the disk
FILES = 1000  # that a run leaves: checkpoints kept, each with some files, shards of phantoms, logs
PATH_BYTES = 4096 - 160  # of the longest path, without the names that a run puts behind it
GONE = ("tmpfs", "ramfs", "overlay")  # with the machine's memory, or with the container
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "9p", "virtiofs")
SHARED_BYTES = 256 * 2**20  # per rank; NCCL takes tens of megabytes for each neighbour


def out(setup: RunSetup) -> Iterator[Finding]:
    """Whether the run directory can be written."""
    if setup.out is None:
        return
    if fault := folder_fault(setup.out):
        yield fail("--out", f"{setup.out}: {fault}", "choose another --out, or fix its permissions")
    else:
        yield ok("--out", f"{setup.out} can be written")


def room(setup: RunSetup) -> Iterator[Finding]:
    """Free space against the checkpoints that a run keeps, and the one it writes beside them."""
    free = shutil.disk_usage(existing_above(setup.out or Path())).free
    found = f"{free / 1e9:.1f} GB free at {setup.out or 'this folder'}"
    if setup.recipe is None or setup.parameters is None:
        yield ok("free space", found)
        return
    from ecamp_fast.run.checkpoint.manifest import ROOM, STATE_BYTES

    size = STATE_BYTES * setup.parameters
    kept = setup.recipe.checkpoint.keep
    found += f", a checkpoint takes about {size / 1e9:.2f} GB, {kept} are kept"
    if free < ROOM * size:
        yield fail("free space", found, f"free {(ROOM * size - free) / 1e9:.1f} GB, or choose another --out")
    elif free < ROOM * (kept + 1) * size:
        yield warn("free space", found, f"free {(ROOM * (kept + 1) * size - free) / 1e9:.1f} GB")
    else:
        yield ok("free space", found)


def names(setup: RunSetup) -> Iterator[Finding]:
    """The path of the run: short enough for what is put behind it, and one that can be typed."""
    if setup.out is None:
        return
    path = os.path.abspath(setup.out)
    if len(os.fsencode(path)) > PATH_BYTES:
        yield fail(
            "path", f"{len(os.fsencode(path)):,} bytes long, {PATH_BYTES:,} are allowed", "choose a shorter --out"
        )
    elif not path.isprintable() or path != path.strip():
        yield fail("path", "has characters that cannot be seen", "choose another --out")
    else:
        yield ok("path", f"{len(os.fsencode(path))} bytes long")


def files(setup: RunSetup) -> Iterator[Finding]:
    """Files that the file system has room for, which is another limit than bytes."""
    status = os.statvfs(existing_above(setup.out or Path()))
    if not status.f_files:
        yield ok("files", "no limit of their number")
    elif status.f_favail < FILES:
        yield fail("files", f"room for {status.f_favail:,} more on the file system", "remove small files (df -i)")
    else:
        yield ok("files", f"room for {status.f_favail:,} more")


def commit(setup: RunSetup) -> Iterator[Finding]:
    """What a checkpoint asks of a file system, in RUN or where it will be: write, fsync, rename, fsync, a lock."""
    if setup.out is None or folder_fault(setup.out):
        return
    folder = existing_above(setup.out)
    began, step = time.perf_counter(), "make a folder"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".ecamp-fast-doctor-") as place:
            old, new = Path(place, "old"), Path(place, "new")
            step = "lock a file"
            with open(old, "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            step = "write and fsync"
            new.write_bytes(bytes(4096))
            sync(new)
            step = "rename onto a file"
            os.replace(new, old)
            step = "fsync a folder"
            sync(Path(place))
    except OSError as error:
        found = f"{folder}: cannot {step}: {error.strerror}: a checkpoint could not be relied on"
        yield fail("commit", found, "choose an --out on another file system")
        return
    seconds = time.perf_counter() - began
    if seconds > SLOW:
        yield warn("commit", f"a small file takes {seconds:.1f} s to be on the disk", "choose a faster --out")
    else:
        yield ok("commit", f"write, fsync, rename and lock work, {seconds * 1000:.0f} ms")


def file_system(setup: RunSetup) -> Iterator[Finding]:
    """The kind of file system that RUN lies on."""
    if setup.out is None:
        return
    kind = _kind(existing_above(setup.out))
    if kind in GONE:
        lost = "the container" if kind == "overlay" else "a restart of this machine"
        yield warn("file system", f"{kind}: a run is lost with {lost}", "choose an --out on a disk or a volume")
    elif kind in NETWORK:
        yield ok("file system", f"{kind}, over a network: checkpoints go at its speed")
    else:
        yield ok("file system", kind or "of unknown kind")


def _kind(folder: Path) -> str:
    """Of the mount with the longest path above ``folder``; '' where the system does not tell."""
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    place, found = os.path.realpath(folder), ("", "")
    for line in lines:
        before, _, behind = line.partition(" - ")
        mount = before.split()[4].encode().decode("unicode_escape")
        if (place + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(found[0]):
            found = (mount, behind.split()[0])
    return found[1]


def existing_above(place: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    while not os.path.isdir(place) and place != place.parent:
        place = place.parent
    return place


def shared_memory(setup: RunSetup) -> Iterator[Finding]:
    """/dev/shm, over which NCCL talks between the GPUs of a machine; containers have 64 MB of it by default."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        yield warn("shared memory", f"no {SHARED_MEMORY}", "in a container, start it with --ipc=host")
        return
    free, needed = status.f_frsize * status.f_bavail, SHARED_BYTES * setup.ranks
    found = f"{free / 2**20:,.0f} MB free in {SHARED_MEMORY}"
    if setup.ranks > 1 and free < needed:
        yield warn("shared memory", found, f"in a container, start it with --shm-size={needed // 2**20}m or --ipc=host")
    else:
        yield ok("shared memory", found)
