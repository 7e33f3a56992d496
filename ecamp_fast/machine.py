"""What this machine offers a process: cores, GPUs, memory, a port, variables."""

import ctypes
import os
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ecamp_fast.errors import EnvironmentFault

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

SOCKET = 107  # bytes that Linux takes as the path of a socket
SOCKET_NAME = len("/pymp-12345678/listener-12345678")  # what multiprocessing adds to the folder
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # instead of a temporary folder whose path is too long


def socket_folder() -> str | None:
    """Where processes of ours have their sockets: the temporary folder, or a short one where its path is too long for
    them, as TMPDIR of a cluster's job may be; None where none can be written to."""
    for folder in (tempfile.gettempdir(), *_SHORT):
        if len(os.fsencode(folder)) + SOCKET_NAME <= SOCKET and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


def worker_processes(preload: Iterable[str] = ()) -> "ForkServerContext":
    """A context whose processes are no forks of this one, which may hold threads.

    preload: modules that their server imports once   Raises EnvironmentFault where no folder takes a socket.
    """
    from multiprocessing import get_context, util

    context = get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    folder, usual = socket_folder(), tempfile.gettempdir()
    if folder is None:
        raise EnvironmentFault(f"{usual} is too long a path for sockets", "export TMPDIR=/a/short/folder")
    if folder != usual:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            util.get_temp_dir()  # of this process alone, and gone with it: made once, it holds all sockets
        finally:
            tempfile.tempdir = before
    return context


def available_cores() -> int:
    """Cores this process may use, which is fewer than the machine has in a container or a job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cuda_devices() -> int:
    """GPUs that PyTorch would use. Without a driver it is not asked: importing it takes longer than all else here."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    import torch

    return torch.cuda.device_count()


def resident_bytes() -> int:
    """Memory of this process that lies in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A TCP port of this machine that nobody listens on; another process may take it before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def child_environment() -> dict[str, str]:
    """The variables of this process, and with them what another Python needs to import this very package."""
    package = str(Path(__file__).resolve().parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
