"""The watchdog of a rank: it sees that a rank is dead, stopped, silent or stuck, and ends this one by itself.

The main threads of a run wait for each other in collectives, in C++, where no signal handler and no exception reaches
them; the timeouts of collectives do not cover the process groups that DeepSpeed makes. So every rank has two threads of
its own: one talks to the other ranks (``channel``), one looks at processes and beats and decides (``judge``). When the
run must end, the rank that first says why writes it to RUN/endings, to events.jsonl and run_state.json; all ranks write
the stacks of their threads to RUN/stacks-rankN.txt, say who is to blame, and leave by ``os._exit``, with one exit code.
"""

import faulthandler
import os
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any
from uuid import uuid4

import torch.distributed as dist

from ecamp_fast.config.sections import WatchdogConfig
from ecamp_fast.errors import EcampError
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.channel import Channel
from ecamp_fast.run.safety.ending import Ending, claim, read_ending
from ecamp_fast.run.safety.heartbeat import Beat, Heartbeat
from ecamp_fast.run.safety.judge import Seen, judge
from ecamp_fast.run.safety.member import Member, moved_bytes

INTERVAL = 1.0  # seconds between two beats
RANKS_A_SECOND = 64  # whose beats a rank reads; of more it reads them less often
SUSPENDED = 5.0  # seconds that this thread may be late; later, the process was stopped, and others may have left
BY_ITSELF = 3.0  # seconds that a rank has to fail by itself, where another has failed: all may have the same fault
EXPLAINED = 6.0  # seconds that an error of a collective waits for the fault of the rank that caused it
FOLLOWS = 10.0  # seconds that a rank has to leave by itself, where the run was asked to stop and others have left
LATEST = 15.0  # seconds from an error to the end of the process: a thread that reads may hang for ever
DISK = 5.0  # seconds that writing down why may take
PACKAGES = sysconfig.get_paths()["purelib"]


class Watchdog:
    """Watches over a run from ``with`` to its end; every rank enters it, with the process group already made.

    run        where to write why the run ended
    limits     seconds by phase
    heartbeat  of this rank's main thread
    asked      whether the run was asked to stop: then ranks may be gone in order, and this one follows by itself
    """

    def __init__(
        self,
        context: DistContext,
        run: RunDir,
        limits: WatchdogConfig,
        heartbeat: Heartbeat,
        asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self._rank, self._world, self._run, self._limits = context.rank, context.world, run, limits
        self._asked = asked
        self._heartbeat, self._main = heartbeat, threading.main_thread().ident
        self._interval = max(INTERVAL, context.world / RANKS_A_SECOND)
        self._number, self._ended, self._failing = 0, False, False
        self._ending: Ending | None = None
        self._adopted = 0.0
        self._lost: dict[int, float] = {}  # by rank: when it was first seen dead or stopped
        self._bytes, self._bytes_moved, self._awake = 0, 0.0, time.monotonic()
        self._members: list[Member] = []
        self._channel: Channel | None = None
        self._leaving = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ecamp-fast-watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        me = Member.me(self._rank)
        found: list[Any] = [(me, uuid4().hex)] * self._world
        if self._world > 1:
            dist.all_gather_object(found, found[0])
            address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
            self._channel = Channel(address, found[0][1], self._rank, self._world, self._interval, self._beat)
            self._channel.start()
        self._members, self._file = [member for member, _ in found], self._run.path / "endings" / f"{found[0][1]}.json"
        self._started = time.monotonic()
        self._heartbeat.after_gap = self._given_up
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._heartbeat.after_gap = lambda: None
        if error is not None:
            self._failed(error)
            return
        self._ended = True
        self._closing.set()
        if self._channel is not None:
            self._channel.close(2 * self._interval)

    def _failed(self, error: BaseException) -> None:
        """Leave with those that have said why; otherwise tell the others, and see that this process ends."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # launchers send it once one rank has died, before it is named
        self._given_up()
        if isinstance(error, Exception) and not isinstance(error, EcampError) and self._world > 1:
            time.sleep(self._explained())  # where another rank caused it, the watchdog names that one and leaves
        self._failing = True
        code = getattr(error, "exit_code", error.code if isinstance(error, SystemExit) else 1)
        code = code if isinstance(code, int) and code else 1
        what = error.what if isinstance(error, EcampError) else type(error).__name__
        if self._ending is None:
            member = self._members[self._rank]
            self._ending = Ending("failed", member.name, self._rank, self._beat(), 0.0, code, what=what)
        if self._channel is not None:
            self._channel.hurry()
            until = time.monotonic() + 2 * self._interval  # for the others to hear it: the store may end with this rank
            while time.monotonic() < until and not self._all_have_ended():
                time.sleep(0.05)
        timer = threading.Timer(LATEST, os._exit, (code,))
        timer.daemon = True
        timer.start()

    def _explained(self) -> float:
        """``EXPLAINED``; longer where ranks run on other machines, whose death shows only by their silence."""
        apart = not all(member.rank == self._rank or self._visible(member) for member in self._members)
        return EXPLAINED + apart * self._limits.silent

    def _all_have_ended(self) -> bool:
        heard = self._channel.heard if self._channel else {}
        return sum(beat.ending is not None for beat, _ in list(heard.values())) == self._world - 1

    def _beat(self) -> Beat:
        step, part, phase = self._heartbeat.at
        self._number += 1
        still, where, waits = self._still(phase), "", False
        if still >= self._interval:
            where, waits = _where(sys._current_frames().get(self._main or 0))
        ending = self._ending.encode() if self._ending else None
        return Beat(step, part, phase, self._heartbeat.warm, still, where, waits, self._ended, ending, self._number)

    def _still(self, phase: str) -> float:
        """Seconds without progress. Bytes moved are progress of those that save, however slow the disk is."""
        now = time.monotonic()
        if phase in ("save", "end"):
            talking = [self._channel.thread] if self._channel else []
            if (count := moved_bytes([self._thread, *talking])) != self._bytes:
                self._bytes, self._bytes_moved = count, now
        return now - max(self._heartbeat.moved, self._bytes_moved, self._awake)

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._closing.wait(self._interval / 2):
            now = time.monotonic()
            if now - last > SUSPENDED:
                self._woken(now - last)
            last = now
            if self._failing:
                continue
            if (ending := self._heard_ending()) is not None:
                self._adopt(ending)
            elif (ending := self._judge(now)) is not None and not self._follows(ending, now):
                self._end(ending)

    def _follows(self, ending: Ending, now: float) -> bool:
        """Whether the rank that died was asked to leave, as this one is, which has a while to do so."""
        return ending.kind == "died" and self._asked() and now - self._lost.get(ending.rank, now) < FOLLOWS

    def _woken(self, seconds: float) -> None:
        """This process was stopped. Where the others have not left, all may have been, and begin anew."""
        self._given_up()
        self._awake = time.monotonic()
        self._lost = {rank: since + seconds for rank, since in self._lost.items()}

    def _given_up(self) -> None:
        if (ending := _in_time(lambda: read_ending(self._file))) is not None:
            self._end(ending)

    def _judge(self, now: float) -> Ending | None:
        ranks, heard = [], self._channel.heard if self._channel else {}
        for member in self._members:
            beat, since = heard.get(member.rank, (Beat(), self._started))
            if member.rank == self._rank:
                beat, since = self._beat(), now
            if not beat.ended:
                state = self._state(member)
                lost = self._lost.setdefault(member.rank, now) if state != "running" else now
                if state == "running":
                    self._lost.pop(member.rank, None)
                ranks.append(Seen(member, beat, max(0.0, now - max(since, self._awake)), state, now - lost))
        answered = max(self._channel.answered, self._awake) if self._channel else now
        address = ":".join(map(str, self._channel.address)) if self._channel else ""
        return judge(self._rank, ranks, self._limits, address, now - answered)

    def _state(self, member: Member) -> str:
        return member.state() if self._visible(member) else "running"

    def _visible(self, member: Member) -> bool:
        """Whether it is another process of this machine."""
        machine = self._members[self._rank].machine
        return bool(machine) and member.machine == machine and member.rank != self._rank

    def _heard_ending(self) -> Ending | None:
        for beat, _ in list(self._channel.heard.values()) if self._channel else ():
            if beat.ending is not None:
                return Ending.decode(beat.ending)
        return None

    def _adopt(self, ending: Ending) -> None:
        """Leave as another rank says, which may fail by the same fault as this one: then it does so by itself."""
        now = time.monotonic()
        self._adopted = self._adopted or now
        if ending.kind != "failed" or now - self._adopted >= BY_ITSELF:
            self._end(ending)

    def _end(self, ending: Ending) -> None:
        """Say why, and end this process. Never returns; a second thread that comes here waits for the first."""
        with self._leaving:
            with suppress(Exception):  # it is said without them then
                found = self._heartbeat.samples(ending.beat, ending.rank)
                ending = replace(ending, samples=ending.samples or tuple(found))
            ending = _in_time(lambda: self._write(ending)) or ending
            self._ending = ending
            if self._channel is not None:
                self._channel.hurry()
            faulthandler.dump_traceback(2, all_threads=True)
            print(f"error: {ending.fault()}", file=sys.stderr, flush=True)
            time.sleep(2 * self._interval)  # until the others have heard it: this may be the process of the store
            os._exit(ending.code)

    def _write(self, ending: Ending) -> Ending:
        """The stacks of this rank; and, if it is the first to say so, why the run ended."""
        counts, ours = claim(self._file, ending)
        with open(self._run.path / f"stacks-rank{self._rank}.txt", "w", opener=_private) as file:
            faulthandler.dump_traceback(file, all_threads=True)
        if ours and self._heartbeat.owns_run:
            run, facts = RunDir(self._run.path), ending.facts()
            run.event("ended", **facts, samples=list(ending.samples), told_by=self._rank)
            run.set_state(status="failed", fault=ending.kind, ended=facts)
        return counts


def _in_time(action: Callable[[], Ending | None]) -> Ending | None:
    """What ``action`` gives; None where the disk refuses, or takes longer than ``DISK``."""
    found: list[Ending | None] = [None]

    def act() -> None:
        with suppress(OSError, EcampError):
            found[0] = action()

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(DISK)
    return found[0]


def _where(frame: FrameType | None) -> tuple[str, bool]:
    """The innermost function outside of libraries, as ``file:function``, and whether it waits in a collective."""
    waits, own = False, ""
    while frame is not None:
        path = frame.f_code.co_filename
        waits = waits or "torch/distributed/" in path or "deepspeed/comm/" in path
        own = own or ("" if path.startswith(PACKAGES) else f"{Path(path).name}:{frame.f_code.co_name}")
        frame = frame.f_back
    return own, waits


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
