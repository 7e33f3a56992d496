"""Start the ranks of a run on this machine, and end them when asked: DeepSpeed's launcher in a session of its own.

The launcher alone ends its ranks 30 seconds after it was signalled, and loses their exit codes; so a request goes to
the ranks themselves, killing to the process group, and the outcome is read from run_state.json. The launcher ends with
the command that started it, the ranks with the launcher; whoever is left of them is told to save, then killed.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ecamp_fast.errors import STOPPED, EcampError
from ecamp_fast.machine import cuda_devices, free_port
from ecamp_fast.rendezvous import VARIABLES
from ecamp_fast.run.preemption import SIGNALS, StopRequest
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety import lock
from ecamp_fast.run.safety.guard import SPEAKS, last_line
from ecamp_fast.run.safety.processes import ProcessId, children, end_with_parent, members, send

SCRIPT = Path(__file__).resolve().parents[1] / "train.py"
SURVIVORS = 60.0  # seconds that ranks without a launcher have to save
_LOOK = 0.05
_STDERR = 2
_ENDS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGTERM)  # what a rank is ended by


class Launcher(Protocol):
    """A process that starts ranks, as ``subprocess`` has it: the first of a process group in which they are."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...


def start(
    arguments: Sequence[str], ranks: int, log: Any = None, module: str | None = None, threads: int | None = None
) -> "subprocess.Popen[bytes]":
    """Start ``train.py``, or another ``module``, with its own ``arguments`` on every rank.

    log: a file for both streams; None: standard error
    threads: that a rank computes with; None: its share of the machine's cores
    """
    program = ["--module", module] if module else [str(SCRIPT)]
    world = base64.urlsafe_b64encode(json.dumps({"localhost": list(range(ranks))}).encode()).decode()
    command = [sys.executable, "-u", "-m", "deepspeed.launcher.launch", f"--world_info={world}"]
    command += ["--master_addr=127.0.0.1", f"--master_port={free_port()}"]
    command += ["--log_level=critical"]  # else it prints a rank's command line as an error, also where one just stopped
    # Not those of this process, which has been the only rank of a run where it measured or replayed one.
    environment = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, "LOCAL_WORLD_SIZE")}
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    environment |= {SPEAKS: "1"} if log is None else {}  # who starts it has the last word
    if not cuda_devices():
        environment.setdefault("DS_ACCELERATOR", "cpu")  # the launcher would print that it found no other
    whole = [*command, *program, *arguments]
    output = _STDERR if log is None else log  # ranks have no results: what libraries print is no line of ours
    return subprocess.Popen(
        whole, stdout=output, stderr=log, start_new_session=True, env=environment, preexec_fn=end_with_parent
    )


def wait(launcher: Launcher, out: Path) -> int:
    """Wait for the run in ``out`` and for every rank of it. Returns the exit code.

    An interrupt asks it to stop, SIGTERM and SIGHUP likewise; a second one, ``ONE_REQUEST`` later, kills it.
    """
    return run_ranks(lambda: launcher, out)


def run_ranks(begin: Callable[[], Launcher], out: Path) -> int:
    """The same of what ``begin`` starts: a request is heard from before that."""
    run = RunDir(out, writes=False)
    before = _state(run).get("leg")
    with StopRequest(raises=False) as stop:
        launcher, told = begin(), False
        while (code := launcher.poll()) is None:
            if stop.signalled and not told:
                _ask(launcher)
                told = True
            if stop.again:
                _kill_group(launcher.pid)
            time.sleep(_LOOK)
        _end_survivors(launcher.pid, stop)
        return _outcome(run, before, code, stop)


def _ask(launcher: Launcher) -> None:
    """Ask every rank to stop; where none has been started yet, the launcher, which ends at once."""
    own = ProcessId.of(launcher.pid)
    for one in children(launcher.pid) or ([own] if own else []):
        send(one, signal.SIGTERM)


def _end_survivors(group: int, stop: StopRequest) -> None:
    """After the launcher's end: ask the ranks that are left to save, and kill what is left of them."""
    began, asked = time.monotonic(), set[ProcessId]()
    while living := members(group):
        if stop.again or time.monotonic() - began > SURVIVORS:
            _kill_group(group)
        for one in set(living) - asked:
            send(one, signal.SIGTERM)
            asked.add(one)
        time.sleep(_LOOK)


def _outcome(run: RunDir, before: str | None, code: int, stop: StopRequest) -> int:
    """The exit code of a run that has ended, and the truth about it in run_state.json.

    before: the ``leg`` that run_state.json told of when it was started   code: of the launcher
    """
    state = _state(run)
    ours = state.get("leg") != before
    asked = stop.signalled or code in (STOPPED, 1) or code <= 0  # 1: the launcher was, and forgets what its ranks said
    if state.get("status") == "running" and not _is_written(run):  # nobody was left to say otherwise
        ends = {"status": "stopped"} if stop.again else {"status": "failed", "fault": _fault(code)}
    elif ours and state.get("status") == "stopped" and not asked:  # a rank died, the others were told to end
        ends = {"status": "failed", "fault": _fault(code)}
    else:
        ends = {}
    if ends:
        RunDir(run.path).set_state(**ends)
        state |= ends
    if stop.again:
        return 128 + stop.again
    if stop.signalled or code == STOPPED or (ours and state.get("status") == "stopped"):
        return 0 if ours and state.get("status") == "complete" else STOPPED
    if ours and state.get("status") == "complete" and code <= 0:
        return 0
    return code if code > 0 else 1


def _fault(code: int) -> str:
    """How processes ended that said nothing of themselves.

    code: of the launcher, which takes that of a rank for its own; a signal is a negative one, of which eight bits stay.
    With 1 it also leaves by itself.
    """
    who, number = ("the launcher", -code) if code < 0 else ("a rank", 256 - code)
    for one in signal.Signals if code < 0 else _ENDS:
        if one == number:
            return f"{who} was ended by {one.name}"
    return f"{'the launcher' if code == 1 else who} left with {code}"


def _state(run: RunDir) -> dict[str, Any]:
    """run_state.json; empty where it cannot be read, which the run itself has said by then."""
    with contextlib.suppress(EcampError):
        return run.state()
    return {}


def _is_written(run: RunDir) -> bool:
    """Whether another start of this run lives. The lock of one that was killed is removed."""
    try:
        writer = lock.holder(run.path)
        if writer is None or not writer.in_sight or writer.living():
            return writer is not None
        lock.remove_dead(run.path, writer)
    except OSError:
        return True
    return False


def say_last_line(out: Path, code: int) -> None:
    """On standard error, after everything else: how the run in ``out`` stands, and what to do next.

    code: of ``wait``. Where the command could not be meant, or another run is on, the error says it.
    """
    run = RunDir(out, writes=False)
    if code in (2, 3, 4, 5):
        return
    with contextlib.suppress(OSError):  # nobody listens any more
        print(last_line(run) if _state(run) else "ended before anything was saved", file=sys.stderr)


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Within it SIGINT, SIGTERM and SIGHUP are noted, as the function it gives says; a second one raises.

    That is a KeyboardInterrupt.
    """
    asked = 0

    def note(*_: Any) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise KeyboardInterrupt

    with _on_interrupt(note):
        yield lambda: asked > 0


@contextlib.contextmanager
def _on_interrupt(handle: Callable[..., None]) -> Iterator[None]:
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # of nohup
    previous = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL the launcher and every rank below it: they share its session's process group."""
    _kill_group(process.pid)
    process.wait()


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def kill_when(
    process: "subprocess.Popen[bytes]",
    ready: Callable[[], bool],
    patience: float,
    moves: Callable[[], object] = lambda: None,
) -> bool:
    """SIGKILL everything once ``ready()``. False: it was not ready before its end, and was killed if it stood still.

    patience: seconds without another value of ``moves()``, which a slow machine may need many times over
    """
    seen, since = moves(), time.monotonic()
    try:
        while process.poll() is None and time.monotonic() - since < patience:
            if ready():
                kill(process)
                return True
            if (now := moves()) != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.02)
    except BaseException:  # an interrupt does not reach the ranks: they are in a session of their own
        kill(process)
        raise
    if process.poll() is None:
        kill(process)
    return False
