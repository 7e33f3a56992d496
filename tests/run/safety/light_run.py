"""Runs that are signalled: the launcher, guard and lock of the product around ranks that only pretend to train.

python light_run.py FOLDER CASES    CASES: JSON list of {"top", "target", "signal", "phase", "again", "wait"}; prints
what became of each, as JSON. All processes are forks of this one, which has imported nothing heavy.

top     train: ``launch.run_ranks`` as `ecamp-fast train` has it; runner: a stand-in for the `deepspeed` command
target  top, launch, rank0, rank1, group (launch and both ranks)
phase   where the ranks are by then: start, setup (blocked in C), step, evaluation, save, data
again   whether the signal is sent a second time
wait    seconds that the first save takes, and a batch; null: half a second
"""

import contextlib
import ctypes
import json
import os
import queue
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from ecamp_fast.errors import STOPPED, EcampError
from ecamp_fast.run import launch, preemption
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety import guard as guarding
from ecamp_fast.run.safety import lock, processes

STEPS, EVERY, SLOW, EVALUATED = 14, 4, 6, 10
AT_ONCE = 10  # cases
GONE = 20.0  # seconds until nothing may be left


def fork(work: Callable[[], int | None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = work() or 0
    except SystemExit as left:
        code = int(left.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code & 255)


class Forked:
    """What ``launch.run_ranks`` needs of a process."""

    def __init__(self, work: Callable[[], int | None]) -> None:
        self.pid, self._code = fork(work), None

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


class Case:
    def __init__(self, folder: Path, wanted: dict[str, Any]) -> None:
        self.folder, self.out = folder, folder / "run"
        self.phase, self.wait = wanted["phase"], wanted["wait"]
        self.wanted = wanted

    def note(self, name: str, text: object = "") -> None:
        file = self.folder / name
        file.with_suffix(".new").write_text(str(text))
        file.with_suffix(".new").rename(file)

    def pid(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())

    def reach(self, phase: str, rank: int) -> None:
        if phase == self.phase:
            self.note(f"reached-{rank}")


# The ranks


class Pretender:
    """A rank: steps are waits, a reduction is a byte to the other rank and one back."""

    def __init__(self, case: Case, rank: int, other: socket.socket) -> None:
        self.case, self.rank, self.other = case, rank, other
        self.run = RunDir(case.out, writes=rank == 0)
        self.guard = guarding.Guard(leaves=True)

    def agree(self, flag: bool) -> bool:
        self.other.sendall(bytes([flag]))
        byte = self.other.recv(1)
        if not byte:
            raise ConnectionError("the other rank is gone")
        return flag or bool(byte[0])

    def gather(self, numbers: list[int]) -> list[list[int]]:
        self.other.sendall(json.dumps(numbers).ljust(200).encode())
        theirs = json.loads(self.other.recv(200, socket.MSG_WAITALL) or "[0, 0, 0]")
        return [numbers, theirs] if self.rank == 0 else [theirs, numbers]

    def main(self) -> int:
        os.environ |= {"RANK": str(self.rank), "WORLD_SIZE": "2"}
        with self.guard:
            self.case.note(f"rank{self.rank}.pid", os.getpid())
            self.case.reach("start", self.rank)
            time.sleep(0.6 if self.case.phase == "start" else 0)
            try:
                self.guard.claim(self.run, self.run.stop_asked())
                status = self.train()
            except EcampError as error:
                print(f"error: {error}", file=sys.stderr)
                return error.exit_code
            except Exception as error:
                if not self.guard.note_failure(error):
                    traceback.print_exc()
                    return 1
                status = "stopped"
            finally:
                self.guard.say_end()
        return 0 if status == "complete" else STOPPED

    def train(self) -> str:
        self.guard.take(self.run, self.agree, self.gather)
        if self.case.phase == "setup":
            self.block()
        self.agree(False)
        self.guard.begin(0)
        self.run.set_state(status="running", step=0, **self.guard.leg)
        batches = self.guard.waiting(self.batches())
        for step in range(1, STEPS + 1):
            next(batches)
            if step == SLOW - 1:
                self.case.reach("step", self.rank)
            time.sleep(0.5 if (self.case.phase, step) == ("step", SLOW - 1) else 0.03)
            stop = self.agree(self.guard.requested)
            self.guard.done(step)
            self.case.note(f"done-{self.rank}", step)
            cut = step == EVALUATED and not stop and self.evaluate()
            if stop or cut or step % EVERY == 0:
                self.save(step)
                stop = self.agree(self.guard.requested) or stop or cut
            if stop and step < STEPS:
                self.run.set_state(status="stopped", step=step)
                self.agree(False)
                return "stopped"
        self.run.set_state(status="complete", step=STEPS)
        self.agree(False)
        return "complete"

    def block(self) -> None:
        """The main thread waits in C, where no handler of Python runs."""
        for number in preemption.SIGNALS:
            signal.siginterrupt(number, False)
        self.case.reach("setup", self.rank)
        empty, _ = os.pipe()
        ctypes.CDLL(None).read(empty, ctypes.create_string_buffer(1), 1)

    def batches(self) -> Iterator[int]:
        for step in count(1):
            if step == SLOW:
                self.case.reach("data", self.rank)
                with contextlib.suppress(queue.Empty):
                    queue.Queue[int]().get(timeout=(self.case.wait or 0.5) if self.case.phase == "data" else 0.01)
            yield step

    def evaluate(self) -> bool:
        self.case.reach("evaluation", self.rank)
        for _ in range(2000 if self.case.phase == "evaluation" else 1):
            if self.guard.requested:
                return self.agree(True)
            time.sleep(0.01)
        return self.agree(False)

    def save(self, step: int) -> None:
        part = self.run.checkpoints / f".step-{step}"
        part.mkdir(parents=True, exist_ok=True)
        (part / str(self.rank)).write_text(str(step))
        self.case.reach("save", self.rank)
        if self.case.phase == "save" and step == EVERY:
            time.sleep(self.case.wait or 0.4)
        self.agree(False)
        if self.rank == 0:
            part.rename(self.run.checkpoints / f"step-{step}")
            self.run.set_state(step=step)
        self.agree(False)
        self.guard.note_saved(self.guard.step)


# The launchers


def start_ranks(case: Case) -> int:
    """As deepspeed.launcher.launch does it: ends all once one has failed, or when told, 30 s later by force."""
    case.note("launch.pid", os.getpid())
    pair = socket.socketpair()

    def rank(number: int) -> Callable[[], int]:
        def work() -> int:
            for number_ in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number_, signal.SIG_DFL)
            pair[1 - number].close()
            return Pretender(case, number, pair[number]).main()

        return work

    ranks = [Forked(rank(number)) for number in (0, 1)]
    for end in pair:
        end.close()
    last = 1

    def end_all(number: int, frame: object) -> None:
        for one in ranks:
            if one.poll() is None:
                os.kill(one.pid, signal.SIGTERM)
            began = time.monotonic()
            while one.poll() is None:
                time.sleep(0.02)
                if time.monotonic() - began > 30:
                    os.kill(one.pid, signal.SIGKILL)
        sys.exit(last)

    signal.signal(signal.SIGTERM, end_all)
    signal.signal(signal.SIGINT, end_all)
    while any(one.poll() is None for one in ranks):
        failed = [one.poll() for one in ranks if one.poll()]
        if failed:
            last = failed[0]
            end_all(0, None)
        time.sleep(0.05)
    return max(one.poll() or 0 for one in ranks)


def train(case: Case) -> int:
    """As `ecamp-fast train` does it."""
    os.environ[guarding.SPEAKS] = "1"

    def work() -> int:
        os.setsid()
        processes.end_with_parent()
        for number in preemption.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        return start_ranks(case)

    case.note("top.pid", os.getpid())
    code = launch.run_ranks(lambda: Forked(work), case.out)
    launch.say_last_line(case.out, code)
    return code


def runner(case: Case) -> int:
    """As the `deepspeed` command does it on one machine: waits, and knows nothing of signals."""
    os.setsid()
    launcher = Forked(lambda: start_ranks(case))
    case.note("top.pid", os.getpid())
    while (code := launcher.poll()) is None:
        time.sleep(0.02)
    return max(code, 0)


# The test


def play(case: Case) -> dict[str, Any]:
    """Start it, signal it, and see what is left."""
    wanted = case.wanted
    log = os.open(case.folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    top = Forked(lambda: (train if wanted["top"] == "train" else runner)(case))
    began = time.monotonic()
    while not all((case.folder / f"reached-{rank}").exists() for rank in (0, 1)):
        if top.poll() is not None or time.monotonic() - began > GONE:
            return {"error": "its phase was never reached"}
        time.sleep(0.01)
    everybody = [case.pid(name) for name in ("top", "launch", "rank0", "rank1")]
    known = [found for pid in everybody if (found := processes.ProcessId.of(pid))]
    signalled = time.monotonic()
    for _ in range(1 + wanted["again"]):
        send(case, wanted["target"], getattr(signal, f"SIG{wanted['signal']}"))
        time.sleep(1.5 * preemption.ONE_REQUEST if wanted["again"] else 0)
    while (any(one.alive for one in known) or top.poll() is None) and time.monotonic() - signalled < GONE:
        time.sleep(0.01)
    found = {"code": top.poll(), "seconds": round(time.monotonic() - signalled, 2)}
    found["left"] = [one.pid for one in known if one.alive]
    for pid in found["left"]:
        os.kill(pid, signal.SIGKILL)
    run = RunDir(case.out, writes=False)
    done = [int(file.read_text()) for file in case.folder.glob("done-*")]
    lines = (case.folder / "log").read_text().splitlines()
    saved = [int(path.name.removeprefix("step-")) for path in case.out.glob("checkpoints/step-*")]
    found |= {"state": run.state(), "done": max(done, default=0), "saved": max(saved, default=0)}
    return found | {"said": lines[-1] if lines else "", "locked": (case.out / lock.LOCK).exists(), "log": lines[-30:]}


def send(case: Case, target: str, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended with the first
        if target == "group":
            os.killpg(case.pid("launch" if case.wanted["top"] == "train" else "top"), number)
        else:
            os.kill(case.pid(target), number)


def main(folder: str, cases: str) -> None:
    preemption.ONE_REQUEST, lock.BEAT, guarding.DATA = 0.4, 0.2, 2.0
    processes._LAUNCHERS = (*processes._LAUNCHERS, Path(__file__).name)
    waiting = [Case(Path(folder) / str(number), wanted) for number, wanted in enumerate(json.loads(cases))]
    everything, playing = list(waiting), list[Forked]()
    while waiting or playing:
        playing = [one for one in playing if one.poll() is None]
        while waiting and len(playing) < AT_ONCE:
            case = waiting.pop(0)
            shutil.rmtree(case.folder, ignore_errors=True)
            case.folder.mkdir(parents=True)
            playing.append(Forked(lambda case=case: case.note("found", json.dumps(play(case)))))
        time.sleep(0.01)
    print(json.dumps([json.loads((case.folder / "found").read_text()) for case in everything]))


if __name__ == "__main__":
    main(*sys.argv[1:])
