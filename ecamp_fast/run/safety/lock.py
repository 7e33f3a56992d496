"""One writer per run directory: the file LOCK says who it is, the file HEARTBEAT that it lives.

No clock of one machine is compared with that of another: a writer that cannot be seen from here counts as dead once its
heartbeat has stood still for so long while we looked.
"""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from ecamp_fast.errors import StorageError
from ecamp_fast.fault_points import reach
from ecamp_fast.files import sync, write_json
from ecamp_fast.run.safety.processes import ProcessId, kernel

LOCK, HEARTBEAT = "LOCK", "HEARTBEAT"
BEAT = 2.0  # seconds between two heartbeats
STILL = 20.0  # seconds without one, after which a writer that cannot be seen from here counts as dead
LEAVING = 60.0  # seconds a new start waits for one that has been asked to stop, or whose first rank is gone
_LOOK = 0.2  # seconds between two looks
_STALE = 10  # looks at a file whose handle a network file system has lost


@dataclass(frozen=True)
class Writer:
    """Who holds a lock.

    kernel  what its numbers of processes belong to: ``processes.kernel``
    ranks   processes of the run that belong to the same, (pid, started)
    since   in words, by its own clock
    """

    host: str
    kernel: str
    ranks: tuple[tuple[int, int], ...]
    since: str
    token: str

    @property
    def in_sight(self) -> bool:
        """Whether its processes can be seen from here."""
        return self.kernel == kernel()

    def living(self) -> list[ProcessId]:
        """Its processes that live, where they are in sight."""
        return [one for one in (ProcessId(*rank) for rank in self.ranks) if one.alive] if self.in_sight else []

    @property
    def is_orphaned(self) -> bool:
        """Whether its first rank is gone and others still live."""
        return bool(self.living()) and not ProcessId(*self.ranks[0]).alive

    @property
    def is_this_process(self) -> bool:
        """Whether it is an earlier run of this very process, which ends one before it begins another."""
        return self.in_sight and ProcessId(*self.ranks[0]) == ProcessId.own()

    def __str__(self) -> str:
        return f"process {self.ranks[0][0] if self.ranks else '?'} on {self.host or '?'}, since {self.since or '?'}"


class RunLock:
    """The lock of the run directory ``run``; ``acquire`` takes it, ``release`` gives it back."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._path = run / LOCK
        own = ProcessId.own()
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        self._writer = Writer(socket.gethostname(), kernel(), ((own.pid, own.started),), since, uuid4().hex)
        self._beats = 0
        self.held = False

    @property
    def token(self) -> str:
        return self._writer.token

    def acquire(self, say: Callable[[str], None] = lambda text: None) -> None:
        """Take the lock; one whose writer is dead is taken over.  say: told when that takes a while

        Raises StorageError where another writer lives, or the disk refuses.
        """
        try:
            self._acquire(say)
        except OSError as error:
            raise _refused_by_disk(self._path, error) from error
        self.held = True
        self.beat(0, False)

    def _acquire(self, say: Callable[[str], None]) -> None:
        began, told = time.monotonic(), ""
        while not self._create():
            writer = holder(self._run)
            if writer is None:  # given back just now
                time.sleep(_LOOK / 10)
                continue
            if not writer.in_sight and told != writer.token:
                say(f"{self._run} is locked by {writer}: looking for {STILL:.0f} s whether it still lives")
                told = writer.token
            if writer.is_this_process or not is_alive(self._run, writer):
                self._take_over(writer)
            elif not writer.token:  # it was being written
                continue
            elif not is_leaving(self._run, writer) or time.monotonic() - began > LEAVING:
                raise _refused(self._run, writer)
            else:
                time.sleep(_LOOK)

    def add_ranks(self, ranks: list[ProcessId]) -> None:
        """The other processes of this run on this machine: while one of them lives, nobody else may write."""
        self._writer = replace(self._writer, ranks=tuple((one.pid, one.started) for one in ranks))
        write_json(self._path, asdict(self._writer))

    def beat(self, step: int, stopping: bool) -> None:
        """Say that this writer lives.  step: steps done   stopping: whether it will end soon

        Written in place, always as long: a disk that is full does not refuse it.
        """
        self._beats += 1
        told = {"token": self.token, "beat": self._beats, "step": step, "stopping": stopping}
        text = json.dumps(told | {"time": time.strftime("%Y-%m-%d %H:%M:%S %z")}).ljust(199) + "\n"
        with contextlib.suppress(OSError):  # a network file system that is away for a moment
            reach("heartbeat", beat=self._beats)
            descriptor = os.open(self._run / HEARTBEAT, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(descriptor, text.encode(), 0)
            finally:
                os.close(descriptor)

    def is_lost(self) -> bool:
        """Whether somebody else has taken the lock over; a file that cannot be read now says nothing.

        One that was deleted is made again.
        """
        with contextlib.suppress(OSError):
            writer = holder(self._run)
            if writer is None and self._create():
                return False
            return writer is not None and writer.token not in ("", self.token)
        return False

    def release(self) -> None:
        """Give the lock back, if it is still ours."""
        if self.held and not self.is_lost():
            for name in (HEARTBEAT, LOCK):
                with contextlib.suppress(OSError):
                    (self._run / name).unlink(missing_ok=True)
        self.held = False

    def _create(self) -> bool:
        """Whether the file was made now: ``O_EXCL`` lets one alone do that, over NFS too.  Raises OSError."""
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return False
        try:
            with open(descriptor, "wb") as file:
                reach("lock.write", file=LOCK)
                file.write(json.dumps(asdict(self._writer)).encode())
                file.flush()
                os.fsync(file.fileno())
            sync(self._run)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        return True

    def _take_over(self, dead: Writer) -> None:
        """Remove the lock of a dead writer, and no other: of several that try, the rename lets one succeed."""
        aside = self._run / f".{LOCK}.{self.token}"
        try:
            os.rename(self._path, aside)
        except FileNotFoundError:
            return
        if (found := _read(aside)) is not None and _parse(found).token != dead.token:  # somebody was quicker
            with contextlib.suppress(FileExistsError):
                os.link(aside, self._path)
        aside.unlink()


def holder(run: Path) -> Writer | None:
    """Who holds the lock of a run directory; None where it is free. One that is damaged names nobody.

    Raises OSError where it cannot be read.
    """
    text = _read(run / LOCK)
    return None if text is None else _parse(text)


def refuse_second(run: Path) -> None:
    """Raises StorageError where a writer lives that can be seen from here, and is not about to end."""
    with contextlib.suppress(OSError):
        writer = holder(run)
        if writer and writer.living() and not is_leaving(run, writer):
            raise _refused(run, writer)


def is_alive(run: Path, writer: Writer) -> bool:
    """Whether the holder of the lock lives. Known at once in sight; else its heartbeat is watched for ``STILL`` s."""
    if writer.in_sight:
        return bool(writer.living())
    before, began = (_read(run / HEARTBEAT), _read(run / LOCK)), time.monotonic()
    while time.monotonic() - began < STILL:
        time.sleep(_LOOK)
        if (_read(run / HEARTBEAT), _read(run / LOCK)) != before:
            return True
    return False


def is_leaving(run: Path, writer: Writer) -> bool:
    """Whether a living holder is about to end: it was asked to stop, or lost its first rank."""
    told = last_beat(run)
    return writer.is_orphaned or (told.get("token") == writer.token and bool(told.get("stopping")))


def last_beat(run: Path) -> dict[str, Any]:
    """What the last heartbeat said: ``token``, ``step``, ``stopping``, ``time``; empty where there is none."""
    try:
        told = json.loads(_read(run / HEARTBEAT) or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def remove_dead(run: Path, writer: Writer) -> None:
    """Remove the lock that a dead writer left."""
    RunLock(run)._take_over(writer)


def _read(path: Path) -> str | None:
    for look in range(_STALE):
        try:
            reach("lock.read", file=path.name)
            return path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ESTALE or look == _STALE - 1:
                raise
            time.sleep(_LOOK)
    raise AssertionError


def _parse(text: str) -> Writer:
    try:
        found = json.loads(text)
        ranks = tuple((int(pid), int(started)) for pid, started in found["ranks"])
        names = (str(found[name]) for name in ("since", "token"))
        return Writer(str(found["host"]), str(found["kernel"]), ranks, *names)
    except (ValueError, TypeError, KeyError):
        return Writer("", "", (), "", "")  # cut by a crash, or being written now


def _refused(run: Path, writer: Writer) -> StorageError:
    if writer.is_orphaned:
        numbers = " ".join(str(one.pid) for one in writer.living())
        return StorageError(
            f"{run}: ranks of an earlier start still run on {writer.host} (process {numbers}), but not their first",
            f"wait until they have left, or end them: kill {numbers}",
        )
    hint = f"`ecamp-fast stop {run}` saves and ends it; or choose another --out"
    return StorageError(f"{run} is being written by {writer}", hint)


def _refused_by_disk(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot lock {path}: {error.strerror}", "free space, or check permissions")
