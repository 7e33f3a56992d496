"""Ranks on many machines: whose variables count, the sbatch file, and who is blamed for a node that is lost."""

from typing import Any

from mutant import mutants


def ranks() -> Any:
    """What rows of variables are taken for."""
    import contextlib
    import os

    from ecamp_fast import rendezvous, train
    from ecamp_fast.errors import EcampError

    step = {"SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "7", "SLURM_STEP_NUM_NODES": "3", "SLURM_NODEID": "2"}
    step |= {"SLURM_STEP_NODELIST": "gpu[03-04,09]", "SLURM_STEP_TASKS_PER_NODE": "2(x2),3"}
    batch = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "9", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}
    launched = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    rows = [batch, batch | step, batch | step | {"SLURM_STEP_ID": "4294967290"}, batch | step | {"WORLD_SIZE": "4"}]
    rows += [batch | step | launched, launched | {"LOCAL_WORLD_SIZE": "1"}, {"RANK": "0", "WORLD_SIZE": "1"}, {}]
    found: list[Any] = []
    for row in rows:
        try:
            rendezvous.adopt(row)
            found.append({name: row.get(name) for name in (*rendezvous.VARIABLES, "LOCAL_WORLD_SIZE")})
        except EcampError as error:
            found.append(error.what)
    os.environ.update(batch | step)
    program: Any = train
    program.main, program.GUARD = lambda *_: found.append(os.environ.get("RANK")), contextlib.nullcontext()
    program.be_a_rank()
    return found


def jobs() -> Any:
    """Exit codes of batch scripts, and what they asked SLURM for, by what their ranks and SLURM do."""
    import os
    import signal
    import subprocess
    import tempfile
    import time
    from pathlib import Path

    import ecamp_fast

    script = Path(ecamp_fast.__file__).absolute().parents[1] / "docs/clusters/ecamp-fast.sbatch"
    found = []
    for signals, code in ((["USR1"], 75), (["USR1", "USR1"], 75), (["TERM"], 75), (["USR1"], 5), ([], 75)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ends = "" if signals else f"exit {code}; "
            programs = {"srun": f"{ends}touch up; until [ -e told ]; do sleep 0.05; done; sleep 0.3; exit {code}"}
            programs |= {"scancel": "echo $* >> notes; touch told", "scontrol": "echo $* >> notes"}
            for program, text in programs.items():
                (folder / program).write_text(f"#!/bin/bash\n{text}\n")
                (folder / program).chmod(0o755)
            environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
            batch = subprocess.Popen(["bash", script], cwd=folder, env=environment)
            until = time.monotonic() + 10
            while signals and not (folder / "up").exists() and time.monotonic() < until:
                time.sleep(0.02)
            for number in signals:
                batch.send_signal(getattr(signal, f"SIG{number}"))
                time.sleep(0.15)
            (folder / "told").touch()
            ended = batch.wait(20)
            notes = folder / "notes"
            found.append((ended, notes.read_text() if notes.exists() else ""))
    return found


def patience() -> Any:
    """How long a broken connection waits for a reason, with ranks in sight and out of it."""
    from types import SimpleNamespace

    from ecamp_fast.run.safety.member import Member
    from ecamp_fast.run.safety.watchdog import Watchdog

    found = []
    for machines in (("a", "a"), ("a", "b"), ("", "")):
        members = [Member(rank, "host", 1, 1, machine) for rank, machine in enumerate(machines)]
        watch: Any = SimpleNamespace(_members=members, _rank=0, _limits=SimpleNamespace(silent=20.0))
        watch._visible = lambda member, watch=watch: Watchdog._visible(watch, member)
        found.append(Watchdog._explained(watch))
    return found


MUTANTS = [
    *mutants(
        "ecamp_fast/rendezvous.py",
        "tests/test_rendezvous.py",
        ranks,
        {
            "a shell within SLURM is a rank": ("int(step) < _STEPS and not", "not"),
            "a launcher within SLURM is not believed": ("int(step) < _STEPS and not launched", "int(step) < _STEPS"),
            "the tasks of the job": ('if environment.get("SLURM_STEP_NUM_TASKS") else', "if False else"),
            "variables that say otherwise are overruled": ('not in (None, "", str(number)):', "is NotImplemented:"),
            "rank 0 on another node": (r"\[([^\],-]+)[^\]]*\]", r"\[[^\]]*?([^\],-]+)\]"),
            "every node as the first": ("counts[int(node)] if", "counts[0] if"),
            "half a launch passes": ("if name not in given]:", "if name not in environment and not given]:"),
            "more ranks on a machine than it has": ("local < together <= world", "together <= world"),
        },
    ),
    *mutants(
        "ecamp_fast/train.py",
        "tests/test_rendezvous.py",
        ranks,
        {"SLURM is asked after the guard": ("rendezvous.adopt()", "pass")},
    ),
    *mutants(
        "docs/clusters/ecamp-fast.sbatch",
        "tests/training/test_clusters.py",
        jobs,
        {
            "requeued whatever happened": ('&& [ "$code" -eq 75 ]; then', "; then"),
            "requeued after stop and cancel": ('if [ "$requeue" ] && [', "if ["),
            "not waited for after a signal": ('while [ "$waited" -ne "$heard" ]', 'while [ "$waited" -lt 0 ]'),
            "told twice": ('[ "$requeue" ] || scancel', "scancel"),
        },
    ),
    *mutants(
        "ecamp_fast/run/safety/watchdog.py",
        "tests/run/safety/test_watchdog.py",
        patience,
        {"those that lose a connection are blamed": ("EXPLAINED + apart * self._limits.silent", "EXPLAINED")},
    ),
]
