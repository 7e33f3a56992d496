"""The processes of a run: who they are, and what the operating system says of those on this machine."""

import os
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ecamp_fast.run.safety.processes import entry, kernel

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Member:
    """A rank as a process.

    started  ticks after the boot, which tells a process from a later one with its number
    machine  the boot and the process namespace: ranks with the same can look at each other
    """

    rank: int
    host: str
    pid: int
    started: int
    machine: str

    @staticmethod
    def me(rank: int) -> "Member":
        """This process."""
        found = entry(os.getpid())
        return Member(rank, socket.gethostname(), os.getpid(), found.started if found else 0, _machine())

    @property
    def name(self) -> str:
        """For messages."""
        return f"rank {self.rank} (host {self.host}, pid {self.pid})"

    def state(self) -> str:
        """``running``, ``stopped`` by a signal, or ``dead``; call it for members of this machine only."""
        found = entry(self.pid)
        if found is None or found.started != self.started or not found.alive:
            return "dead"
        return "stopped" if found.state == "T" else "running"  # a debugger's stop is a small t


def _machine() -> str:
    """Empty where it cannot be told: then nobody looks at its processes."""
    try:
        return kernel()
    except OSError:
        return ""


def moved_bytes(left_out: Iterable[threading.Thread]) -> int:
    """Bytes that Python's threads, but for some, have read from files and written to them; less as threads end.

    0 where the system does not count them. Threads of libraries are left out: rank 0's serve the store at any time; so
    are those that watch, which are named ``ecamp-fast-`` and read all the time.
    """
    working = [thread for thread in threading.enumerate() if not thread.name.startswith("ecamp-fast-")]
    mine = {os.getpid(), *(thread.native_id for thread in working)}  # a fork knows its main thread so
    return sum(map(_moved, mine - {thread.native_id for thread in left_out}))


def _moved(thread: int | None) -> int:
    try:
        lines = (PROC / f"self/task/{thread}/io").read_text().splitlines()
    except OSError:
        return 0
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]) + int(counts["wchar"])
