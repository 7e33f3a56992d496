"""Ranks of a run without a model: forked processes with a watchdog each, a loop of collectives, and a fault.

python watched_ranks.py RUN JSON    JSON: ranks, steps, limits of safety.watchdog, fault (as ECAMP_FAULT), whether
the store is a process of its own that is stopped at ("store") so many seconds, and whether the ranks are "apart", each
on a machine of its own, so that none sees the other's process. Prints a JSON object: exit code of each
rank (minus the signal that killed it) and seconds from the fault to its end. A rank that was stopped goes on once the
others are gone.
"""

import contextlib
import json
import os
import signal
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from ecamp_fast.config.sections import WatchdogConfig
from ecamp_fast.errors import DataError
from ecamp_fast.fault_points import reach
from ecamp_fast.machine import free_port
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety import judge, member, watchdog
from ecamp_fast.run.safety.heartbeat import Heartbeat
from ecamp_fast.run.safety.watchdog import Watchdog

PATIENCE = 60.0  # seconds for all to leave


def train(rank: int, run: Path, case: dict) -> None:
    """Two micro-batches and a collective a step."""
    judge.LOADER_FIRST = 0.0  # there is no loader
    watchdog.INTERVAL = 0.25
    if case.get("apart"):
        watchdog.EXPLAINED = 0.5
        member._machine = lambda: f"machine {rank}"
    dist.init_process_group("gloo", timeout=timedelta(minutes=10))
    heartbeat = Heartbeat()
    heartbeat.keys = dict.fromkeys(("data", "step"), lambda step, part, of: [f"s{step}-m{part}-r{of}"])
    heartbeat.owns_run = True
    context = DistContext(rank, case["ranks"], torch.device("cpu"))
    try:
        with Watchdog(context, RunDir(run), WatchdogConfig(**case["limits"]), heartbeat):
            for step in range(case["steps"]):
                for part in range(2):
                    heartbeat.mark("data", step, part)
                    if reach("data", step=step) == "bad":
                        raise DataError("train-000001.tar: sample p7 is damaged")
                    heartbeat.mark("step", step, part)
                dist.all_reduce(torch.zeros(1))
                heartbeat.warm = True
                time.sleep(0.02)
                heartbeat.mark("save", step + 1)
                slow_save(run / f"of-rank-{rank}", reach("saving", step=step))
                dist.barrier()
            heartbeat.mark("end", case["steps"])
            dist.barrier()
    except DataError as error:
        sys.exit(error.exit_code)
    dist.destroy_process_group()


def slow_save(file: Path, word: str) -> None:
    """Three seconds of a disk that is slow but moves."""
    for _ in range(15 if word == "slow" else 0):
        with file.open("ab") as stream:
            stream.write(b"x" * 100)
        time.sleep(0.2)


def serve(port: int, seconds: float) -> None:
    """The rendezvous store, which then stops."""
    store = dist.TCPStore("127.0.0.1", port, None, True, timedelta(seconds=60), wait_for_workers=False)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGSTOP)
    del store


def fork(action, *arguments) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        action(*arguments)
        code = 0
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(code)


def is_stopped(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def main(run: Path, case: dict) -> dict[str, list]:
    port = free_port()
    os.environ |= {"WORLD_SIZE": str(case["ranks"]), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if "store" in case:
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
        server = fork(serve, port, case["store"])
    os.environ["ECAMP_FAULT"] = case["fault"]
    children = {}
    for rank in range(case["ranks"]):
        os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(rank)
        children[fork(train, rank, run, case)] = rank
    left: dict[str, list] = {}
    since, until = None, time.monotonic() + PATIENCE
    while children:
        if since is None and any(map(is_stopped, children)):
            since = time.monotonic()
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in children:
            code = os.waitstatus_to_exitcode(status)
            since = since or time.monotonic()  # where nobody is stopped: from the first that leaves
            left[str(children.pop(pid))] = [code, round(time.monotonic() - since, 2)]
        elif children and all(map(is_stopped, children)):
            time.sleep(1)
            for child in children:
                os.kill(child, signal.SIGCONT)
        elif time.monotonic() > until:
            for child in children:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    if "store" in case:
        os.kill(server, signal.SIGKILL)
    return left


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
