"""Start the ranks of a run on this machine, and end them when asked: DeepSpeed's launcher in a session of its own.

The launcher alone orphans its ranks when it is signalled, and loses their exit codes; so stopping goes through the run
directory's STOP file, killing through the process tree, and the outcome is read from run_state.json.
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
from typing import Any

from ecamp_fast.errors import STOPPED
from ecamp_fast.machine import free_port
from ecamp_fast.run.rundir import RunDir

SCRIPT = Path(__file__).resolve().parents[1] / "train.py"


def start(
    arguments: Sequence[str], ranks: int, log: Any = None, module: str | None = None, threads: int | None = None
) -> "subprocess.Popen[bytes]":
    """Start ``train.py``, or another ``module``, with its own ``arguments`` on every rank; output goes to ``log``.

    threads: that a rank computes with; None: its share of the machine's cores
    """
    program = ["--module", module] if module else [str(SCRIPT)]
    world = base64.urlsafe_b64encode(json.dumps({"localhost": list(range(ranks))}).encode()).decode()
    command = [sys.executable, "-u", "-m", "deepspeed.launcher.launch", f"--world_info={world}"]
    command += ["--master_addr=127.0.0.1", f"--master_port={free_port()}", "--log_level=warning"]
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    whole = [*command, *program, *arguments]
    return subprocess.Popen(whole, stdout=log, stderr=log, start_new_session=True, env=environment)


def wait(process: "subprocess.Popen[bytes]", out: Path) -> int:
    """Wait for the run in ``out``; an interrupt asks it to stop, a second one kills it. Returns the exit code."""
    run = RunDir(out, writes=False)
    asked = 0

    def ask(*_: Any) -> None:
        nonlocal asked
        asked += 1
        if asked > 1 or not out.is_dir():
            kill(process)
        else:
            run.stop_file.touch()

    with _on_interrupt(ask):
        code = process.wait()
    status = run.state().get("status") if out.is_dir() else None
    if status == "running":  # nobody was left to say otherwise
        RunDir(out).set_state(status="failed", fault=f"launcher left with {code}")
    if code == 0:
        return STOPPED if status == "stopped" else 0
    return code if code > 0 else 1


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Within it SIGINT and SIGTERM are noted, as the function it gives says; a second one is a KeyboardInterrupt."""
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
    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL the launcher and every rank below it: they share its session's process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
