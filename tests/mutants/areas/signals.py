"""Signals, the death of launchers, and the lock of a run directory."""

from typing import Any

from mutant import mutants

SIGNALS = "tests/run/safety/test_signals.py"
ENDS = f"{SIGNALS}::test_a_signal_saves_ends_and_leaves_nobody"
LOCK = "tests/run/safety/test_lock.py"
GUARD = "tests/run/safety/test_guard.py"


def ends() -> Any:
    """How runs end that are signalled: status, whether all steps done are saved, exit code, what is left."""
    import json
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    import ecamp_fast

    root = Path(ecamp_fast.__file__).absolute().parents[1]
    cases = [
        ("train", "top", "TERM", "setup", False, None),
        ("train", "top", "KILL", "evaluation", False, None),
        ("train", "launch", "KILL", "evaluation", False, None),
        ("runner", "top", "HUP", "data", False, None),
        ("runner", "top", "KILL", "evaluation", False, None),
        ("runner", "launch", "KILL", "evaluation", False, None),
        ("runner", "rank0", "TERM", "save", False, None),
        ("runner", "rank1", "INT", "evaluation", False, None),
        ("runner", "rank0", "KILL", "step", False, None),
        ("train", "group", "INT", "save", True, 12.0),
        ("train", "top", "TERM", "data", False, 12.0),
    ]
    names = ("top", "target", "signal", "phase", "again", "wait")
    with tempfile.TemporaryDirectory() as folder:
        given = json.dumps([dict(zip(names, case, strict=True)) for case in cases])
        command = [sys.executable, str(root / "tests/run/safety/light_run.py"), folder, given]
        done = subprocess.run(command, env={"PYTHONPATH": str(root)}, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return [
        (
            *(one["state"].get("status"), one["state"].get("steps_lost"), one["done"] - one["saved"], one["code"]),
            *(bool(one["left"]), one["locked"], one["said"], one["seconds"] > 6),
        )
        for one in found
    ]


def arrivals() -> Any:
    """What becomes of signals that a thread and a handler tell of, in every order."""
    from itertools import product

    from ecamp_fast.run import preemption

    preemption.ONE_REQUEST = -1.0  # whatever comes after a first is a second
    found = []
    for order in product(("heard", "handled"), repeat=4):
        stop, said = preemption.StopRequest(raises=False), []
        for who in order:
            stop.heard(2) if who == "heard" else stop._handle(2, None)
            said.append((stop.signalled, stop.again))
        found.append(said)
    return found


def locks() -> Any:
    """Who gets a lock, and what is left of it."""
    import json
    import tempfile
    from dataclasses import asdict, replace
    from pathlib import Path
    from unittest.mock import patch

    from ecamp_fast.errors import StorageError
    from ecamp_fast.run.safety import lock
    from ecamp_fast.run.safety.processes import ProcessId, kernel

    parent = ProcessId.of(1)
    assert parent
    alive, dead = (parent.pid, parent.started), (parent.pid, parent.started + 1)
    found: list[Any] = []
    with patch.object(lock, "STILL", 0.3), patch.object(lock, "LEAVING", 0.3), patch.object(lock, "_LOOK", 0.1):
        for where, ranks in (
            *((kernel(), (alive,)), (kernel(), (dead,)), (kernel(), (dead, alive)), ("elsewhere", (alive,))),
        ):
            with tempfile.TemporaryDirectory() as folder:
                run = Path(folder)
                other = lock.Writer("host", where, ranks, "then", "token")
                (run / lock.LOCK).write_text(json.dumps(asdict(other)))
                mine = lock.RunLock(run)
                try:
                    mine.acquire()
                    found.append("taken")
                except StorageError as error:
                    found.append(error.what.replace(folder, ""))
                found.append((mine.is_lost(), sorted(path.name for path in run.iterdir())))
                lock.remove_dead(run, replace(other, token="another"))
                mine.release()
                found.append(sorted(path.name for path in run.iterdir()))
    return found


MUTANTS = [
    *mutants(
        "ecamp_fast/run/safety/guard.py",
        f"{SIGNALS} {GUARD}",
        ends,
        {
            "the death of a launcher is not seen": (
                "elif any(not one.alive for one in self._launchers):",
                "elif False:",
            ),
            "before a first step a request waits for it": (
                "if self.requested and not self._saves:",
                "if self.requested and self._orphaned:",
            ),
            "a second signal is ignored": ("if self._stop.again:", "if self._stop.again < 0:"),
            "data is waited for without end": ("> DATA:", "> 1000 * DATA:"),
            "other ranks are not told": (
                "self.run.stop_file.touch()  # ranks that were not told",
                "pass  # ranks that were not told",
            ),
            "the lock stays": ("            self._lock.release()\n", "            pass\n"),
            "steps that were not saved are not told of": (
                'lost = {"steps_lost": self.step - self.saved} if self._saves else {}',
                "lost: dict[str, Any] = {}",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/run/preemption.py",
        f"{GUARD}::test_each_arrival_counts_once_whoever_tells_of_it_first",
        arrivals,
        {
            "a handler that runs late tells of a second request": (
                "        if self._handled[number] > self._heard[number]:\n            self.note(number)",
                "        self.note(number)",
            ),
            "a thread tells again of what was handled": (
                "        if self._heard[number] > self._handled[number]:\n            self.note(number)",
                "        self.note(number)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/run/launch.py",
        SIGNALS,
        ends,
        {
            "a stopped run is no success": (
                'code == STOPPED or (ours and state.get("status") == "stopped")',
                "code == STOPPED",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/run/safety/lock.py",
        LOCK,
        locks,
        {
            "a number alone names a writer": ("for rank in self.ranks) if one.alive]", "for rank in self.ranks)]"),
            "only the first rank counts": ("for rank in self.ranks)", "for rank in self.ranks[:1])"),
            "a lock is taken from the next": ("_parse(found).token != dead.token", "_parse(found).token == 'nobody'"),
        },
    ),
]
