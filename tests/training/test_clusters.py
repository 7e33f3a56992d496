"""Ranks that others start than DeepSpeed's launcher on one machine: SLURM, torchrun, launchers on two nodes.

SLURM is played by a few lines of shell, two nodes by namespaces of one machine: each has its own address, host name and
processes, and sees of the other what comes through the network and the files of the run.
"""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from ecamp_fast.commands.train import command as train_command
from ecamp_fast.errors import STOPPED, ConfigError, DataError, NumericsError, PolicyError
from ecamp_fast.machine import free_port
from ecamp_fast.run import launch
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.safety.processes import ProcessId, descendants
from ecamp_fast.train import main as program

ROOT = Path(__file__).resolve().parents[2]
SBATCH = ROOT / "docs" / "clusters" / "ecamp-fast.sbatch"
JOB = "4711"
BIN = Path(sys.executable).parent

# What srun, scancel and scontrol do, as far as a run on one node can tell. They note what they were asked in NOTES.
SLURM = {
    "srun": """
        trap 'kill -KILL "${tasks[@]}"' TERM # so does the real one
        echo "srun $*" >> "$NOTES"
        while [ "${1#-}" != "$1" ]; do shift; done
        export SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=$SLURM_NTASKS SLURM_STEP_NUM_NODES=1
        export SLURM_STEP_TASKS_PER_NODE=$SLURM_NTASKS SLURM_NODEID=0
        for ((task = 0; task < SLURM_NTASKS; task++)); do
            SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & tasks[task]=$!
        done
        echo "${tasks[@]}" > "$TASKS"
        highest=0
        for task in "${tasks[@]}"; do
            wait "$task"
            code=$?
            [ "$code" -le "$highest" ] || highest=$code
        done
        exit "$highest"
    """,
    "scancel": 'echo "scancel $*" >> "$NOTES"; [ "$*" = "--signal=TERM $SLURM_JOB_ID" ] && kill -TERM $(cat "$TASKS")',
    "scontrol": 'echo "scontrol $*" >> "$NOTES"',
}
# A rank that trains until TERM; its exit code then, and by itself, are in the first words of its command line
RANK = """
    shift 3 # -u -m ecamp_fast.train
    trap 'sleep 0.3; exit '"$1" TERM
    echo "rank $SLURM_PROCID of $SLURM_NTASKS: $*" >> "$NOTES"
    for ((look = 0; look < $3; look++)); do sleep 0.05; done
    exit "$2"
"""


class Job:
    """A job of SLURM that runs the batch file in ``folder``, with two tasks on this machine.

    The batch shell is what --signal reaches, and nothing else.
    """

    def __init__(self, folder: Path, *words: str, programs: dict[str, str] = SLURM) -> None:
        tools = folder / "bin"
        tools.mkdir(exist_ok=True)
        for name, text in programs.items():
            (tools / name).write_text(f"#!/bin/bash\n{text}")
            (tools / name).chmod(0o755)
        self.notes, self.tasks = folder / "notes", folder / "tasks"
        self.tasks.unlink(missing_ok=True)
        inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        mine = {"PATH": os.pathsep.join([str(tools), str(BIN), os.environ["PATH"]])}
        mine |= {"NOTES": str(self.notes), "TASKS": str(self.tasks)}
        # A batch script has the variables of its first task as well, but no step
        slurm = {"SLURM_JOB_ID": JOB, "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
        slurm |= {"SLURM_CPUS_PER_TASK": "1", "SLURM_NODEID": "0", "SLURM_NNODES": "1"}
        with open(folder / "log", "ab") as log:
            command = ["bash", str(SBATCH), *words]
            self.batch = subprocess.Popen(
                command, env=inherited | mine | slurm, stdout=log, stderr=log, start_new_session=True, cwd=folder
            )

    def noted(self) -> list[str]:
        """What the programs of SLURM were asked, and what the ranks of ``RANK`` were told."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def started(self) -> list[int]:
        """The processes of its tasks."""
        return [int(pid) for pid in self.tasks.read_text().split()] if self.tasks.exists() else []

    def time_is_up(self) -> None:
        """What the batch file asks for with ``--signal``."""
        (name,) = re.findall(r"^#SBATCH --signal=B:(\w+)@\d+$", SBATCH.read_text(), re.MULTILINE)
        self.batch.send_signal(getattr(signal, f"SIG{name}"))

    def cancel(self) -> None:
        """What ``scancel JOB`` does at first: TERM for all of the job."""
        for pid in [self.batch.pid, *self.started()]:
            os.kill(pid, signal.SIGTERM)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    begun: list[Job] = []

    def begin(*words: str, **options: Any) -> Job:
        begun.append(Job(tmp_path, *words, **options))
        return begun[-1]

    yield begin
    for one in begun:
        kill(one.batch)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """With all that it has started."""
    for one in [*descendants(process.pid), ProcessId.of(process.pid)]:
        if one and one.alive:
            os.kill(one.pid, signal.SIGKILL)
    process.wait()


def until(condition: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    while not condition():
        assert process.poll() is None
        time.sleep(0.02)


LONG, SHORT = "200", "2"
# (on TERM, by itself, looks), what happens, exit code, whether the job goes back to the queue
ENDS = {
    "saved in time": ((STOPPED, 0, LONG), "time", STOPPED, True),
    "told twice": ((STOPPED, 0, LONG), "time twice", STOPPED, True),
    "complete": ((STOPPED, 0, SHORT), "", 0, False),
    "complete just then": ((0, 0, LONG), "time", 0, False),
    "bad data": ((STOPPED, 3, SHORT), "", 3, False),
    "a fault while saving": ((5, 0, LONG), "time", 5, False),
    "cancelled": ((STOPPED, 0, LONG), "cancel", STOPPED, False),
    "stopped by its user": ((0, STOPPED, SHORT), "", STOPPED, False),
    "a rank is killed": ((STOPPED, 0, LONG), "kill", 137, False),
}


@pytest.mark.fault("C4.slurm")
@pytest.mark.parametrize("name", ENDS)
def test_the_job_goes_back_to_the_queue_when_its_time_was_up_and_only_then(job: Callable[..., Job], name: str) -> None:
    ways, event, code, again = ENDS[name]
    running = job(*map(str, ways), programs=SLURM | {"python": RANK})
    if event:
        until(lambda: sum("rank" in line for line in running.noted()) == 2 and running.started(), running.batch)
    if event.startswith("time"):
        running.time_is_up()
    if event == "time twice":
        until(lambda: any(line.startswith("scancel") for line in running.noted()), running.batch)
        running.time_is_up()
    if event == "cancel":
        running.cancel()
    if event == "kill":
        first, second = running.started()
        os.kill(second, signal.SIGKILL)
        os.kill(first, signal.SIGTERM)  # the other leaves by itself
    assert running.batch.wait(20) == code
    asked = [line for line in running.noted() if line.startswith("sc")]
    told = [f"scancel --signal=TERM {JOB}"] if event.startswith("time") else []
    assert asked == told + [f"scontrol requeue {JOB}"] * again


@pytest.mark.fault("C4.slurm")
@pytest.mark.slow
@pytest.mark.complete
def test_a_job_of_slurm_is_saved_requeued_and_goes_on(
    job: Callable[..., Job], arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = arguments(out, "--set=checkpoint.every_steps=1000")
    first = job(*words)
    until(lambda: len(read_metrics(out)) >= 2, first.batch)
    first.time_is_up()
    assert first.batch.wait(60) == STOPPED, (tmp_path / "log").read_text()
    state = RunDir(out, writes=False).state()
    assert (state["status"], first.noted()[-1]) == ("stopped", f"scontrol requeue {JOB}")
    saved = state["step"]
    assert (out / "checkpoints" / f"step-{saved:08d}").is_dir() and saved >= 2
    again = job(*words)
    assert again.batch.wait(120) == 0, (tmp_path / "log").read_text()
    assert RunDir(out, writes=False).state()["status"] == "complete"
    assert [line["step"] for line in read_metrics(out)] == list(range(1, RunDir(out).state()["step"] + 1))
    assert sum(line.startswith("scontrol") for line in again.noted()) == 1


def pods(file: str) -> list[dict[str, Any]]:
    """What a pod of each kind is made of, in a manifest for Kubernetes."""
    spec = yaml.safe_load((SBATCH.parent / file).read_text())["spec"]
    return [kind["template"]["spec"] | kind for kind in (spec.get("pytorchReplicaSpecs") or {"": spec}).values()]


@pytest.mark.parametrize("file", ["job.yaml", "pytorchjob.yaml"])
def test_a_pod_has_time_to_save_memory_to_share_and_options_that_there_are(file: str) -> None:
    for pod in pods(file):
        (container,) = pod["containers"]
        assert pod["terminationGracePeriodSeconds"] >= 300 and pod["restartPolicy"] in ("Never", "OnFailure")
        memory = {volume["name"] for volume in pod["volumes"] if volume.get("emptyDir", {}).get("medium") == "Memory"}
        assert {mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm"} == memory
        words = container["command"] + container["args"]
        name, starts = (train_command, "train") if file == "job.yaml" else (program, "ecamp_fast.train")
        with click.Context(name) as context:
            name.parse_args(context, words[words.index(starts) + 1 :])
        assert (context.params["recipe_name"], str(context.params["out"])) == ("paper", "/data/runs/paper")


def test_a_job_of_kubernetes_is_given_up_where_it_would_end_the_same_way_and_75_counts_for_nothing() -> None:
    rules = yaml.safe_load((SBATCH.parent / "job.yaml").read_text())["spec"]["podFailurePolicy"]["rules"]
    codes = {code: rule["action"] for rule in rules for code in rule.get("onExitCodes", {}).get("values", [])}
    lost = (ConfigError, DataError, NumericsError, PolicyError)
    assert codes == {**{error.exit_code: "FailJob" for error in lost}, STOPPED: "Ignore"}


@pytest.mark.fault("C4.torchrun")
@pytest.mark.slow
@pytest.mark.complete
def test_torchrun_starts_the_ranks_and_passes_a_request_on(arguments: Callable[..., list[str]], tmp_path: Path) -> None:
    out = tmp_path / "run"
    torchrun = [str(BIN / "torchrun"), "--nproc-per-node=2", f"--master-port={free_port()}", str(launch.SCRIPT)]
    command = [*torchrun, *arguments(out, "--set=checkpoint.every_steps=1000")]
    with open(tmp_path / "log", "ab") as log:
        first = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            until(lambda: len(read_metrics(out)) >= 2, first)
            first.terminate()
            assert first.wait(60) != 0
            state = RunDir(out, writes=False).state()
            assert state["status"] == "stopped" and (out / "checkpoints" / f"step-{state['step']:08d}").is_dir()
            assert subprocess.run(command, stdout=log, stderr=log, timeout=120).returncode == 0
        finally:
            kill(first)
    assert RunDir(out, writes=False).state()["status"] == "complete"


APART = ["unshare", "--user", "--map-root-user", "--net", str(Path(__file__).with_name("nodes.sh"))]
LAUNCHERS = {
    "deepspeed": "-m deepspeed.launcher.launch --node_rank=$NODE --world_info={world} --master_addr=10.77.0.1"
    " --master_port=29533 --log_level=warning",
    "torchrun": "-m torch.distributed.run --node-rank=$NODE --nnodes=2 --nproc-per-node=1 --master-addr=10.77.0.1"
    " --master-port=29533",
}


@pytest.fixture(scope="module")
def two_nodes() -> list[str]:
    """Begins a command line that runs on both, with ``NODE`` in its environment."""
    if not all(map(shutil.which, ("unshare", "ip"))) or subprocess.run([*APART, "true"], timeout=60).returncode:
        pytest.skip("this machine allows no namespaces (unshare, ip)")
    return APART


@pytest.mark.fault("C5.other-node", "C5.resumes")
@pytest.mark.slow
@pytest.mark.complete
@pytest.mark.parametrize(
    "launcher, lost, whole", [("deepspeed", 1, False), ("deepspeed", 1, True), ("torchrun", 0, False)]
)
def test_the_node_that_is_left_names_the_one_that_was_lost_and_the_same_command_goes_on(
    two_nodes: list[str], arguments: Callable[..., list[str]], tmp_path: Path, launcher: str, lost: int, whole: bool
) -> None:
    """whole: the machine is gone, not the rank alone: then no connection is closed"""
    out = tmp_path / "run"
    world = base64.urlsafe_b64encode(json.dumps({"node0": [0], "node1": [0]}).encode()).decode()
    begin = f'exec "$0" {LAUNCHERS[launcher].format(world=world)} "$@"'
    settings = arguments(out, "--set=safety.watchdog.silent=10", "--set=schedule.epochs=8")
    command = [*two_nodes, "sh", "-c", begin, sys.executable, str(launch.SCRIPT), *settings]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "eth0"}
    with open(tmp_path / "log", "ab") as log:
        first = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
        try:
            # A second save waits for the first, so by the second all ranks know of one.
            until(lambda: RunDir(out, writes=False).state().get("saved", 0) >= 4, first)
            culprit = rank_on(lost, first)
            if whole:
                unplug = ["nsenter", f"--target={culprit}", "--user", "--net", "ip", "link", "set", "eth0", "down"]
                subprocess.run(unplug, check=True)
            os.kill(culprit, signal.SIGKILL)
            began = time.monotonic()
            assert first.wait(90) != 0
            took = time.monotonic() - began
        finally:
            kill(first)
        print((tmp_path / "log").read_text()[-6000:])
        (event,) = [event for event in read_records(out / "events.jsonl") if event["event"] == "ended"]
        named = lost if lost else -1  # with rank 0 its store is gone, and may be to blame
        assert (event["fault"], event["rank"], event["told_by"]) == ("silent", named, 1 - lost)
        assert f"rank {lost} (host node{lost}, pid " in (tmp_path / "log").read_text() and took < 10 + 25
        state = RunDir(out, writes=False).state()
        assert state["status"] == "failed" and state["ended"]["rank"] == named and state["step"] >= 2
        done = subprocess.run(command, stdout=log, stderr=log, env=environment, timeout=180)
    assert done.returncode == 0, (tmp_path / "log").read_text()[-6000:]
    assert RunDir(out, writes=False).state()["status"] == "complete"


def rank_on(node: int, process: "subprocess.Popen[bytes]") -> int:
    """The process of a node's rank, seen from outside of its namespace."""
    found = []
    for one in descendants(process.pid):
        words = Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")
        variables = Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")
        if str(launch.SCRIPT).encode() in words[:4] and f"RANK={node}".encode() in variables:
            found.append(one.pid)
    return found[0]
