"""Processes of this machine: who is still alive, who started whom, and how to end with one's parent. Linux only."""

import contextlib
import ctypes
import os
import signal
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None).prctl  # now: between fork and exec nothing may be loaded
_LAUNCHERS = (
    "deepspeed",
    "deepspeed.launcher.runner",
    "ds",
    "ecamp-fast",
)  # programs that start a launcher and do nothing else


class Entry(NamedTuple):
    """A line of the kernel's table of processes.  started: in clock ticks since the machine's boot"""

    state: str
    parent: int
    group: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it still runs, or could: a dead one whose parent has not asked for its end counts as dead."""
        return self.state not in ("Z", "X", "x")


def entry(pid: int) -> Entry | None:
    """What the kernel knows of a process; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return Entry(fields[0], int(fields[1]), int(fields[2]), int(fields[19]))


@dataclass(frozen=True)
class ProcessId:
    """One process for good: a number that another process is given later is not mistaken for it."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        found = entry(pid)
        return cls(pid, found.started) if found and found.alive else None

    @classmethod
    def own(cls) -> "ProcessId":
        found = cls.of(os.getpid())
        assert found
        return found

    @property
    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self


@cache
def kernel() -> str:
    """Names what numbers of processes belong to: one boot of one machine, and the container on it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """From now on this process gets a signal when the thread that started it ends, however that comes about."""
    _prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def adopt_orphans() -> None:
    """From now on a process below this one whose parent ends becomes a child of this one."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def launchers() -> list[ProcessId]:
    """The processes whose end ends a rank: its parent, and the command that started that one, if all it does is that.

    ``deepspeed`` starts deepspeed.launcher.launch and waits; killed, it leaves that one and the ranks behind.
    """
    parent = os.getppid()
    above = entry(parent)
    found = [ProcessId.of(parent)]
    if above and _is_launcher(above.parent):
        found.append(ProcessId.of(above.parent))
    return [one for one in found if one]


def _is_launcher(pid: int) -> bool:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return any(os.path.basename(word).decode(errors="replace") in _LAUNCHERS for word in words[:3])
    return False


def members(group: int) -> list[ProcessId]:
    """The living processes of a process group."""
    return [ProcessId(pid, found.started) for pid, found in _table() if found.group == group]


def descendants(pid: int) -> list[ProcessId]:
    """The living processes below one, its children first."""
    table = _table()
    found, parents = [], {pid}
    while parents:
        children = [(child, of) for child, of in table if of.parent in parents]
        found += [ProcessId(child, of.started) for child, of in children]
        parents = {child for child, _ in children}
    return found


def children(pid: int) -> list[ProcessId]:
    """The living processes that one has started itself."""
    return [ProcessId(child, found.started) for child, found in _table() if found.parent == pid]


def send(target: ProcessId, number: int) -> None:
    """A signal to a process, if it is still there."""
    if target.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(target.pid, number)


def _table() -> list[tuple[int, Entry]]:
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [(pid, found) for pid in numbers if (found := entry(pid)) and found.alive]
