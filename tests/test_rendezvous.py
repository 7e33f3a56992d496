"""Which rank a process is, by the variables of launchers and of SLURM."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecamp_fast import rendezvous, train
from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.run import launch

ROOT = Path(__file__).resolve().parents[1]
TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
TORCHRUN |= {"MASTER_ADDR": "gpu03", "MASTER_PORT": "29500"}
SRUN = {
    **{"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "7"},
    **{"SLURM_STEP_NUM_TASKS": "7", "SLURM_STEP_NUM_NODES": "4", "SLURM_STEP_NODELIST": "gpu[03-05,09]"},
    **{"SLURM_STEP_TASKS_PER_NODE": "2(x3),1", "SLURM_NODEID": "2"},
}
FROM_SRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "7", "LOCAL_WORLD_SIZE": "2"}
FROM_SRUN |= {"MASTER_ADDR": "gpu03", "MASTER_PORT": str(15000 + 4713)}


def adopted(given: dict[str, str]) -> dict[str, str]:
    """What ``adopt`` adds or changes."""
    environment = dict(given)
    rendezvous.adopt(environment)
    return {name: value for name, value in environment.items() if given.get(name) != value}


def test_a_task_of_srun_is_a_rank() -> None:
    assert adopted(SRUN) == FROM_SRUN
    assert adopted(SRUN | FROM_SRUN) == {}  # once more changes nothing


@pytest.mark.parametrize(
    "given, changed",
    [
        ({"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "7"}, {"MASTER_ADDR": "10.0.0.1"}),
        ({"SLURM_STEP_NUM_NODES": "1"}, {"MASTER_ADDR": "127.0.0.1"}),
        ({"SLURM_STEP_NODELIST": "big1,gpu[03-05]"}, {"MASTER_ADDR": "big1"}),
        ({"SLURM_STEP_NODELIST": "rack[2-3]gpu[07,09]-ib,big1"}, {"MASTER_ADDR": "rack2gpu07-ib"}),
        ({"SLURM_NODEID": "3", "SLURM_LOCALID": "0"}, {"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}),
        ({"SLURM_NTASKS": "64"}, {"WORLD_SIZE": "7"}),  # of the job, where srun took fewer
        ({"SLURM_STEP_NUM_TASKS": ""}, {"WORLD_SIZE": "7"}),
        ({"SLURM_JOB_ID": "8000000"}, {"MASTER_PORT": str(15000 + 8000002 % 15000)}),
    ],
    ids=str,
)
def test_what_srun_says_in_other_words(given: dict[str, str], changed: dict[str, str]) -> None:
    environment = SRUN | given
    rendezvous.adopt(environment)
    assert {name: environment[name] for name in changed} == changed


ALONE = {
    "nothing": {},
    "an address left in the shell": {"MASTER_ADDR": "gpu03", "MASTER_PORT": "29500"},
    "a batch script": {name: SRUN[name] for name in ("SLURM_JOB_ID", "SLURM_NTASKS")}
    | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
    "an interactive shell of SLURM": SRUN | {"SLURM_STEP_ID": "4294967290"},
}


@pytest.mark.parametrize("name", ALONE)
def test_who_is_alone(name: str) -> None:
    assert adopted(ALONE[name]) == {} and rendezvous.is_alone(ALONE[name])


@pytest.mark.parametrize(
    "given",
    [
        TORCHRUN,
        {name: value for name, value in TORCHRUN.items() if name != "LOCAL_WORLD_SIZE"},
        TORCHRUN | {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"},  # srun torchrun, one for each node
        TORCHRUN | {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"},  # in a batch script
    ],
)
def test_a_launcher_is_believed(given: dict[str, str]) -> None:
    assert adopted(given) == {} and not rendezvous.is_alone(given)


def without(given: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in given.items() if name not in names}


REFUSED = {
    "a world without a rank": ({"WORLD_SIZE": "4"}, "half a launch: WORLD_SIZE set, RANK, LOCAL_RANK"),
    "no local rank": (without(TORCHRUN, "LOCAL_RANK"), "LOCAL_RANK not"),
    "no port": (without(TORCHRUN, "MASTER_PORT"), "MASTER_PORT not"),
    "an empty rank": (TORCHRUN | {"RANK": ""}, "RANK not"),
    "a rank beyond the world": (TORCHRUN | {"RANK": "4"}, "rank 4 of 4"),
    "a local rank beyond the rank": (TORCHRUN | {"LOCAL_RANK": "1", "RANK": "0"}, "rank 0 of 4, number 1"),
    "a local rank beyond the machine": (TORCHRUN | {"LOCAL_RANK": "2"}, "number 2 of 2"),
    "a machine beyond the world": (TORCHRUN | {"LOCAL_WORLD_SIZE": "5"}, "of 5 on its machine"),
    "a rank in words": (TORCHRUN | {"RANK": "first"}, "RANK is 'first', no number"),
    "another sort of digit": (TORCHRUN | {"RANK": "³"}, "no number"),
    "a negative rank": (TORCHRUN | {"RANK": "-1"}, "no number"),
    "no such port": (TORCHRUN | {"MASTER_PORT": "70000"}, "MASTER_PORT is 70000"),
    "half a task": (without(SRUN, "SLURM_LOCALID"), "half a task of srun: SLURM_LOCALID not set"),
    "a task beyond the step": (SRUN | {"SLURM_PROCID": "7"}, "rank 7 of 7"),
    "a task in words": (SRUN | {"SLURM_PROCID": "x"}, "SLURM_PROCID is 'x'"),
    "another rank than SLURM's": (SRUN | {"RANK": "0"}, "RANK is 0, SLURM says 5"),
    "another world than SLURM's": (SRUN | {"WORLD_SIZE": "56"}, "WORLD_SIZE is 56, SLURM says 7"),
    "no nodes": (without(SRUN, "SLURM_STEP_NODELIST"), "SLURM_STEP_NODELIST"),
    "no job": (without(SRUN, "SLURM_JOB_ID"), "SLURM_JOB_ID is ''"),
}


@pytest.mark.fault("E3.named")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_half_set_or_contradicts_itself_is_refused_by_name(name: str) -> None:
    given, words = REFUSED[name]
    with pytest.raises(EnvironmentFault) as error:
        adopted(given)
    assert words in error.value.what and error.value.hint and error.value.exit_code == 4


def test_the_program_refuses_half_a_launch_before_it_loads_anything(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in rendezvous.VARIABLES}
    command = [sys.executable, "-X", "importtime", "-m", "ecamp_fast.train", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, env=clean | {"RANK": "1"}, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4 and "error: half a launch: RANK set" in done.stderr and "Traceback" not in done.stderr
    assert "torch" not in done.stderr.replace("torchrun", "") and not (tmp_path / "run").exists()


def test_the_guard_knows_that_srun_started_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    known = []
    for name in FROM_SRUN:
        monkeypatch.setenv(name, "")  # what is put there is taken away again
        monkeypatch.delenv(name)
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(train, "GUARD", contextlib.nullcontext())
    monkeypatch.setattr(contextlib.nullcontext, "__enter__", lambda guard: known.append(os.environ.get("RANK")))
    monkeypatch.setattr(train, "main", lambda arguments: known.append("main"))
    train.be_a_rank()
    assert known == ["5", "main"]


def test_ranks_are_told_who_they_are_by_their_launcher_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has been a rank itself, the only one, where it measured or replayed a run."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    given: list[dict[str, str]] = []
    monkeypatch.setattr(launch.subprocess, "Popen", lambda command, **options: given.append(options["env"]))
    launch.start([], 2)
    assert not given[0].keys() & TORCHRUN.keys() and given[0]["PATH"] == os.environ["PATH"]
