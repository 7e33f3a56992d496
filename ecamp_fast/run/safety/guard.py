"""What ends a rank in order: requests to stop, the death of its launcher, and the lock of its run directory.

``train.py`` opens its ``Guard`` before it imports anything heavy. A thread of it hears signals while the main thread
waits in a library, looks after the launcher, and tells that the writer lives. What a request does depends on what there
is to save:

before a first step is done    the process ends at once with 75: nothing is lost
from then on                   ``requested`` is true; the loop saves at the next boundary of a step, all ranks together
while it waits for data        the same, but it ends without a save where none comes
a second request               ends it at once, without a save
the death of the launcher      is a request; who has not ended ``ORPHANED`` seconds later is ended

No other run can begin meanwhile: the lock names the processes, and they are alive.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

from ecamp_fast.errors import STOPPED, EcampError, StorageError
from ecamp_fast.printable import one_line
from ecamp_fast.run.preemption import SIGNALS, StopRequest
from ecamp_fast.run.rundir import WRITING, RunDir
from ecamp_fast.run.safety import lock
from ecamp_fast.run.safety.processes import ProcessId, descendants, end_with_parent, launchers, send

ORPHANED = 120.0  # seconds after the death of its launcher, for a save that takes long
DATA = 20.0  # seconds that a rank waits for data after a request: less than the 30 that DeepSpeed's launcher gives
_LOOK = 0.25  # seconds between two looks at the launcher and the file STOP
_OF_RANK_0 = 3.0  # seconds that other ranks leave to rank 0 to say how the run ended
T = TypeVar("T")
SPEAKS = "ECAMP_FAST_LAUNCHER"  # set where the command that started the ranks has the last word


class Guard:
    """Of one rank. Use as a context, in the main thread; contexts within contexts are one.

    leaves  whether the process belongs to the run alone and may be ended here; otherwise a request is only noted
    """

    def __init__(self, leaves: bool = False) -> None:
        self.step = 0  # steps done
        self.saved = 0  # of them in a checkpoint
        self.run: RunDir | None = None
        self._leaves = leaves
        self._stop = StopRequest(raises=not leaves)
        self._lock: lock.RunLock | None = None
        self._refusal: EcampError | None = None
        self._taken = False
        self._begun = self._speaks = self._has_spoken = False
        self._saves = False  # whether there is something to save, and a loop that will
        self._launchers: Sequence[ProcessId] = ()
        self._orphaned = 0.0  # since when
        self._passed_on = False
        self._waits = 0.0  # for data, since when
        self._depth = 0
        self._hearing = threading.RLock()  # the handler may interrupt itself
        self._thread: threading.Thread | None = None

    @property
    def requested(self) -> bool:
        """Whether the run was asked to stop, as far as this rank knows."""
        return self._stop.requested

    def __enter__(self) -> "Guard":
        self._depth += 1
        if self._depth == 1:
            self._ends, self._wakes = os.pipe()
            for end in (self._ends, self._wakes):
                os.set_blocking(end, False)
            self._woken = signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
            self._stop.listen = self._listen
            self._stop.__enter__()  # after the pipe: of a signal that is handled, a thread hears too
            if self._leaves and "RANK" in os.environ:  # a launcher started it, which may die first
                end_with_parent()
                self._launchers = launchers()
            self._thread = threading.Thread(target=self._watch, name="ecamp-fast-guard", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth:
            return
        self._stop.listen = lambda: None
        signal.set_wakeup_fd(self._woken)
        os.close(self._wakes)  # the end of the thread
        if self._thread:
            self._thread.join()
        os.close(self._ends)
        self._release()
        if not self._leaves:  # else the process is about to end, and ends with its own code, whatever it is still sent
            self._stop.__exit__(None, None, None)

    def claim(self, run: RunDir, former: int | None) -> None:
        """Lock the run directory, on rank 0, as early as it is known: before it meets the other ranks.

        former: ``RunDir.stop_asked`` of a request that was meant for an earlier run

        Raises StorageError where another writer lives. The launcher then ends the other ranks; they must not meet those
        of the other run, which may listen at the same port.
        """
        self.run, self._speaks = run, run.writes
        self._stop.heed(run.stop_file, former)
        if not run.writes:
            return
        try:
            run.create()
            mine = lock.RunLock(run.path)
            mine.acquire(_say)
        except OSError as error:
            run.remove_unused()
            self._refusal = StorageError(f"cannot make {run.path}: {error.strerror}", "choose another --out")
            raise self._refusal from error
        except EcampError as error:
            run.remove_unused()
            self._refusal = error
            raise
        self._lock = mine
        run.forget_stop(former)

    def take(
        self,
        run: RunDir,
        agree: Callable[[bool], bool],
        gather: Callable[[list[int]], list[list[int]]],
        former: int | None = None,
    ) -> None:
        """Be the only writer of the run directory; once, and every rank calls it before anything there is changed.

        agree   whether any rank says yes
        gather  numbers of every rank, in their order
        former  as ``claim`` has it, where that was not called

        Raises StorageError on all ranks where another writer lives.
        """
        if self._taken:
            return
        if self.run is None:
            with contextlib.suppress(EcampError):  # all hear of it first
                self.claim(run, former)
        if agree(self._refusal is not None):
            self._refusal = self._refusal or StorageError(f"{run.path} cannot be written: rank 0 says why")
            raise self._refusal
        own, where = ProcessId.own(), _number_of_kernel()
        ranks = gather([own.pid, own.started, where])
        if self._lock:
            self._lock.add_ranks([ProcessId(pid, started) for pid, started, its in ranks if its == where])
            if run.state().get("status") == "running":
                run.set_state(status="failed", fault="ended without a word")
        self._taken = True

    def begin(self, step: int) -> None:
        """The run goes on from ``step``, which a checkpoint holds; 0 needs none."""
        self.step = self.saved = step
        self._begun = True

    def done(self, step: int) -> None:
        """So many steps are done: from now on there is something to save."""
        with WRITING:
            self.step, self._saves = step, True

    def note_saved(self, step: int) -> None:
        """So many steps are in a checkpoint."""
        self.saved = step

    def waiting(self, batches: Iterator[T]) -> Generator[T, None, None]:
        """The same batches. A request that finds a rank waiting for one, and still so ``DATA`` seconds later, ends it.

        Other ranks may then be in the midst of a step, which they cannot end without it: nothing can be saved.
        """
        while True:
            self._waits = time.monotonic()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self._waits = 0.0
            yield batch

    def over(self) -> None:
        """The loop has ended: a request ends this process at once again."""
        with WRITING:
            self._saves = False

    @property
    def leg(self) -> dict[str, Any]:
        """What run_state.json says of the writer: ``leg``, another with every start; nothing of former ends."""
        return {"leg": self._lock.token, "fault": "", "steps_lost": 0} if self._lock else {}

    def note_failure(self, error: BaseException) -> bool:
        """Say in run_state.json how the run ended: by ``error``, or by a request that another rank followed first.

        Rank 0 says it; another rank does where that one is dead. Returns whether it was stopped, which is no failure:
        before its first step, or by a rank that could not wait for a save.
        """
        run = self.run
        stopped = self.requested and not isinstance(error, EcampError)
        if self._saves and run is not None:  # unless another rank has said that it left without a save
            stopped = stopped and run.state().get("status") == "stopped"
        if run is None or self._refusal is not None or not (self._begun or stopped):
            return stopped
        facts: dict[str, Any] = (
            {"status": "stopped"} if stopped else {"status": "failed", "fault": type(error).__name__}
        )
        if self._begun:
            facts |= {"step": self.saved}
        if run.writes:
            run.set_state(**self.leg | facts)
        elif _first_rank_is_dead(run):
            RunDir(run.path).set_state(**facts)
            self._speaks = True
        return stopped

    def say_end(self) -> None:
        """The last line of a run that is not complete, on the rank that knows, where no command above has that word.

        Once. Of a stop it says that the code is none of an error: DeepSpeed's launcher calls it one.
        """
        if (
            not self._speaks
            or SPEAKS in os.environ
            or self.run is None
            or self._refusal is not None
            or self._has_spoken
        ):
            return
        with contextlib.suppress(EcampError):
            if self.run.state().get("status") in ("stopped", "failed"):
                self._has_spoken = True
                _say(last_line(self.run))

    def end_now(self, code: int, **facts: Any) -> None:
        """End this process without a word to the main thread, which may wait in a library.

        facts: for run_state.json
        """
        free = WRITING.acquire(timeout=2.0)  # kept: nobody writes a state after this one
        with contextlib.suppress(Exception):
            if not free:  # the disk hangs
                pass
            elif self._lock:
                self._end_run(facts)
            elif self.run is not None and self._taken:  # before that, the run there may be another
                self.run.stop_file.touch()  # what this rank was told, the others learn
                if self._saves:  # they will fail without it
                    RunDir(self.run.path).set_state(**{"status": "stopped", "step": self.saved} | facts)
        with contextlib.suppress(Exception):
            for child in descendants(os.getpid()):
                send(child, signal.SIGKILL)
            sys.stderr.flush()
        os._exit(code)

    def _end_run(self, facts: dict[str, Any]) -> None:
        assert self.run and self._lock
        state = self.run.state()
        if state.get("status") != "complete":
            step = self.saved if self._begun else state.get("step", 0)
            self.run.set_state(**self.leg | {"status": "stopped", "step": step} | facts)
        self._release()
        self.say_end()

    def _release(self) -> None:
        if self._lock and self._lock.held:
            if self.run and self.requested:
                with contextlib.suppress(OSError):
                    self.run.stop_file.unlink(missing_ok=True)  # it was followed
            self._lock.release()
            if self.run:
                self.run.remove_unused()  # a start that failed leaves no empty folder

    def _watch(self) -> None:
        """The thread: ends with the pipe that signals are written to."""
        beaten = time.monotonic()
        while True:
            heard, _, _ = select.select([self._ends], [], [], _LOOK)
            if heard and not self._listen():
                return
            self._look_after_launchers()
            self._follow()
            if self._lock and time.monotonic() - beaten >= lock.BEAT:
                beaten = time.monotonic()
                self._beat()

    def _listen(self) -> bool:
        """Hear of the signals that have come; on the thread, and in the handler.  Returns whether more can come"""
        with self._hearing:
            try:
                numbers = os.read(self._ends, 64)
            except BlockingIOError:  # the other one has heard of them
                return True
            for number in numbers:
                if number in SIGNALS:
                    self._stop.heard(number)
            return bool(numbers)

    def _follow(self) -> None:
        if not self._leaves:
            return
        lost = {"steps_lost": self.step - self.saved} if self._saves else {}
        if self._stop.again:
            self.end_now(128 + self._stop.again, **lost)
        if self.requested and self._waits and time.monotonic() - max(self._waits, self._stop.first) > DATA:
            self.end_now(STOPPED, **lost)
        if self.requested and not self._saves:
            self._end_unless_done()
        if self._stop.signalled and self.run is not None and self._taken and not self._passed_on:
            with contextlib.suppress(OSError):
                self.run.stop_file.touch()  # ranks that were not told see it in an evaluation, which waits for all
            self._passed_on = True

    def _end_unless_done(self) -> None:
        """End the process, as long as there is nothing to save; where a disk hangs, only after a while."""
        free = WRITING.acquire(timeout=_LOOK)  # then `done` waits
        try:
            if not self._saves and (free or time.monotonic() - self._stop.first > DATA):
                self.end_now(STOPPED)
        finally:
            if free:
                WRITING.release()

    def _look_after_launchers(self) -> None:
        if self._orphaned:
            if time.monotonic() - self._orphaned > ORPHANED:
                self.end_now(1, status="failed", fault="its launcher died, and it could not save in time")
        elif any(not one.alive for one in self._launchers):
            self._orphaned = time.monotonic()
            self._stop.note(signal.SIGTERM)

    def _beat(self) -> None:
        assert self._lock
        if self._lock.held and self._lock.is_lost():  # this process stood still, and was taken for dead
            _say(f"error: another start has taken {self.run.path if self.run else 'RUN'} over; this one ends")
            self._lock = None
            self._refusal = StorageError("the lock is lost")
            if self._leaves:
                self.end_now(StorageError.exit_code)
        elif self._lock.held:
            self._lock.beat(self.step, self.requested)


def last_line(run: RunDir) -> str:
    """What is true of a run that ended, and what to do next; of run_state.json."""
    state = run.state()
    step, status = state.get("step", 0), state.get("status")
    if status == "complete":
        return f"complete at step {step}"
    where = f"saved at step {step}" if step else "stopped before anything was saved"
    if status == "failed":
        where = f"failed ({state.get('fault', 'unknown')}); " + (f"saved at step {step}" if step else "nothing saved")
    if state.get("steps_lost"):
        where += f", and left {state['steps_lost']} step(s) later without a save"
    return f"{where}; the same command goes on"


def _first_rank_is_dead(run: RunDir) -> bool:
    """Wait a little for rank 0 to say how the run ended; True where it cannot any more, and has not."""
    began = time.monotonic()
    while time.monotonic() - began < _OF_RANK_0:
        with contextlib.suppress(OSError, EcampError):
            writer = lock.holder(run.path)
            if writer is None or run.state().get("status") != "running":
                return False
            if writer.in_sight and writer.ranks and not ProcessId(*writer.ranks[0]).alive:
                return True
        time.sleep(0.1)
    return False


def _number_of_kernel() -> int:
    """The same on all ranks that see each other's processes."""
    import hashlib

    return int.from_bytes(hashlib.sha256(lock.kernel().encode()).digest()[:6], "big")


def _say(text: str) -> None:
    print(one_line(text), file=sys.stderr, flush=True)
