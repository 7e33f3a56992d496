"""Shells, limits and machines that runs die of: each setup is named, with the right exit code and its hint."""

import os
import resource
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from ecamp_fast import machine
from ecamp_fast.config import load_recipe
from ecamp_fast.doctor import cluster, environment, gpu_state, host, places, releases, rundir, variables
from ecamp_fast.doctor.checks import CheckGroup, exit_code, run_checks
from ecamp_fast.doctor.finding import Finding, Status
from ecamp_fast.doctor.run_setup import RunSetup

Patch = pytest.MonkeyPatch
CHECKS = (
    *(environment.language, environment.encoding, environment.folders, environment.open_files),
    *(places.home, places.programs, places.sockets, places.temporary_room, places.umask),
    *(variables.variables, variables.python_variables, variables.libraries, variables.python_path, variables.threads),
    *(releases.bad_releases, releases.locked, rundir.ownership),
    *(cluster.launch, cluster.master, cluster.host_name, cluster.interfaces, cluster.nccl, cluster.slurm, cluster.mpi),
    *(cluster.hostfile, host.memory_limit, host.loader_memory, host.processor_limit, host.processes, host.sizes),
    *(host.locked_memory, gpu_state.visible, gpu_state.modes, gpu_state.slices, gpu_state.memory_errors),
)


@pytest.fixture(autouse=True)
def plain(monkeypatch: Patch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A shell without what these checks look at, on a machine without limits that knows its name."""
    monkeypatch.setattr(host, "CGROUP", tmp_path_factory.getbasetemp() / "no group")
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    ours = ("NCCL_", "TORCH_", "SLURM_", "OMPI_", "PMI_", "PYTHON", "LD_", "OMP_", "GLOO_", "MASTER_")
    for name in list(os.environ):
        if name.startswith(ours) or name in (*cluster.VARIABLES, "CUDA_VISIBLE_DEVICES", "TMPDIR"):
            monkeypatch.delenv(name)


def findings(setup: RunSetup | None = None) -> list[Finding]:
    return [finding for _, finding in run_checks(setup or RunSetup(), (CheckGroup("all", 4, CHECKS),))]


def said(finding: Finding) -> str:
    return f"{finding.name} | {finding.found} | {finding.hint}"


def must_say(status: Status, *words: str, setup: RunSetup | None = None, code: int = 4) -> None:
    """Exactly this is wrong, and it is told with a hint; a FAIL leaves with ``code``."""
    wrong = [finding for finding in findings(setup) if finding.status is not Status.OK]
    assert [finding.status for finding in wrong] == [status], list(map(said, wrong))
    assert all(word in said(wrong[0]) for word in words), said(wrong[0])
    assert wrong[0].hint and "stumbled" not in wrong[0].found
    assert exit_code(wrong) == (code if status is Status.FAIL else 0)


def test_this_shell_is_well() -> None:
    assert [said(finding) for finding in findings() if finding.status is not Status.OK] == []


class Shell(NamedTuple):
    """Variables of a shell, whether a run is lost with them, and what is said."""

    given: dict[str, str]
    status: Status
    words: tuple[str, ...]


TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29533"}
EIGHT_TASKS = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "1"}
FAIL, WARN = Status.FAIL, Status.WARN
SHELLS = {
    "an injected fault": Shell({"ECAMP_FAULT": "save:kill"}, FAIL, ("on purpose", "unset ECAMP_FAULT")),
    "waiting for kernels": Shell({"CUDA_LAUNCH_BLOCKING": "1"}, WARN, ("every GPU kernel", "unset CUDA_LAUNCH")),
    "no compiler": Shell({"TORCH_COMPILE_DISABLE": "1"}, WARN, ("nothing is compiled",)),
    "other precision": Shell({"NVIDIA_TF32_OVERRIDE": "1"}, WARN, ("another precision",)),
    "debugged collectives": Shell({"TORCH_DISTRIBUTED_DEBUG": "detail"}, WARN, ("every collective",)),
    "no assertions": Shell({"PYTHONOPTIMIZE": "2"}, WARN, ("assertions", "unset PYTHONOPTIMIZE")),
    "a prompt at the end": Shell({"PYTHONINSPECT": "1"}, FAIL, ("waits at a prompt",)),
    "warnings as errors": Shell({"PYTHONWARNINGS": "error"}, FAIL, ("a warning of a library ends the run",)),
    "another Python": Shell({"PYTHONHOME": "/nowhere"}, WARN, ("PYTHONHOME", "unset")),
    "slow starts": Shell({"PYTHONDONTWRITEBYTECODE": "1"}, WARN, ("compiles the libraries anew",)),
    "a preloaded library that is gone": Shell({"LD_PRELOAD": "/no/lib.so"}, WARN, ("is not there", "unset LD_PRELOAD")),
    "a preloaded library": Shell({"LD_PRELOAD": "libfake.so"}, WARN, ("before every library",)),
    "no number of threads": Shell({"OMP_NUM_THREADS": "all"}, WARN, ("'all'", "export OMP_NUM_THREADS=")),
    "no threads": Shell({"OMP_NUM_THREADS": "0"}, WARN, ("no number of threads",)),
    "too many threads": Shell({"OMP_NUM_THREADS": "4096"}, WARN, ("4096 threads on", "export OMP_NUM_THREADS=")),
    "a world without a rank": Shell({"WORLD_SIZE": "4"}, FAIL, ("ranks that do not exist", "unset WORLD_SIZE")),
    "half a launch": Shell({"RANK": "0", "MASTER_ADDR": "localhost"}, FAIL, ("WORLD_SIZE", "earlier launch")),
    "a rank beyond the world": Shell(TORCHRUN | {"RANK": "5"}, FAIL, ("rank 5", "of 2 cannot be")),
    "a rank that is no number": Shell(TORCHRUN | {"RANK": "first"}, FAIL, ("RANK is 'first'",)),
    "a host that nobody knows": Shell(TORCHRUN | {"MASTER_ADDR": "no.such.invalid"}, FAIL, ("does not resolve",)),
    "no port": Shell(TORCHRUN | {"MASTER_PORT": "99999"}, FAIL, ("not a port from 1 to 65535",)),
    "an interface that is not there": Shell({"NCCL_SOCKET_IFNAME": "ib7"}, FAIL, ("ib7 is no interface", "one of")),
    "an interface of Gloo": Shell({"GLOO_SOCKET_IFNAME": "eth77"}, FAIL, ("eth77 is no interface",)),
    "no peer access": Shell({"NCCL_P2P_DISABLE": "1"}, WARN, ("do not write to each other", "unset NCCL_P2P_DISABLE")),
    "the slow network": Shell({"NCCL_IB_DISABLE": "1"}, WARN, ("slow network",)),
    "errors that nobody handles": Shell({"TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}, FAIL, ("leaves the others waiting",)),
    "a chosen algorithm": Shell({"NCCL_ALGO": "Tree"}, WARN, ("one way to sum",)),
    "mpirun": Shell({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, WARN, ("mpirun", "ecamp-fast train")),
    "another world than SLURM's": Shell(TORCHRUN | EIGHT_TASKS, WARN, ("8 task(s)", "WORLD_SIZE is 2")),
    "a GPU twice": Shell({"CUDA_VISIBLE_DEVICES": "0,0"}, FAIL, ("stands there twice",)),
    "a language that is not installed": Shell({"LC_ALL": "xx_XX.UTF-8"}, WARN, ("xx_XX.UTF-8 is not inst", "C.UTF-8")),
}  # fmt: skip


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.fault("E3.named")
def test_shells(name: str, monkeypatch: Patch) -> None:
    shell = SHELLS[name]
    for variable, value in shell.given.items():
        monkeypatch.setenv(variable, value)
    must_say(shell.status, *shell.words)


@pytest.mark.parametrize(
    "given",
    [TORCHRUN, {"LD_PRELOAD": "libjemalloc.so.2"}, {"NCCL_SOCKET_IFNAME": "^docker"}, {"NCCL_SOCKET_IFNAME": "lo"},
     {"OMP_NUM_THREADS": "1"}, {"NCCL_DEBUG": "INFO"}, {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"},
     {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"}, {"CUDA_LAUNCH_BLOCKING": "0"}, {"PYTHONWARNINGS": "ignore"},
     TORCHRUN | {"OMPI_COMM_WORLD_RANK": "1"}],
    ids=str,
)  # fmt: skip
def test_shells_that_are_well(given: dict[str, str], monkeypatch: Patch) -> None:
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    assert [said(finding) for finding in findings() if finding.status is not Status.OK] == []


def limits(**given: int) -> Callable[[int], tuple[int, int]]:
    """getrlimit with some of its limits lowered: NOFILE=64."""
    numbers, real = {getattr(resource, f"RLIMIT_{name}"): value for name, value in given.items()}, resource.getrlimit
    return lambda which: (numbers[which], real(which)[1]) if which in numbers else real(which)


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"NOFILE": 20}, FAIL, ("open files", "ulimit -n")),
        ({"NOFILE": 64}, WARN, ("open files", "limit 64", "ulimit -n")),
        ({"NPROC": 20}, FAIL, ("processes", "ulimit -u unlimited")),
        ({"FSIZE": 2**20}, FAIL, ("a checkpoint does not fit", "ulimit -f")),
        ({"AS": 2**32}, WARN, ("address space of 4.0 GB", "ulimit -v")),
    ],
    ids=str,
)
@pytest.mark.fault("E3.open-files")
def test_limits(given: dict[str, int], status: Status, words: tuple[str, ...], monkeypatch: Patch) -> None:
    monkeypatch.setattr(resource, "getrlimit", limits(**given))
    must_say(status, *words)


def group(monkeypatch: Patch, folder: Path, **files: str) -> None:
    """A control group with these files."""
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content + "\n")
    monkeypatch.setattr(host, "CGROUP", folder)


def test_a_container_with_little_memory(monkeypatch: Patch, tmp_path: Path) -> None:
    group(monkeypatch, tmp_path, memory_max=str(2**29), memory_current="0")
    must_say(FAIL, "memory limit", "0.5 GB", "--mem=")


def test_a_container_that_has_room(monkeypatch: Patch, tmp_path: Path) -> None:
    group(monkeypatch, tmp_path, memory_max=str(2**33), memory_current="1000", cpu_max="max 100000", pids_max="max")
    assert {finding.status for finding in findings()} == {Status.OK}


def test_loaders_that_would_be_killed(monkeypatch: Patch) -> None:
    monkeypatch.setattr(host, "free_memory", lambda: 2 * 10**9)
    recipe = load_recipe("paper", ["loader.prefetch=8"])
    must_say(FAIL, "loader memory", "would kill a rank", "prefetch=1", setup=RunSetup(recipe=recipe))
    monkeypatch.setattr(host, "free_memory", lambda: 16 * 10**8)
    must_say(
        WARN, "loader memory", "1.6 GB are free", setup=RunSetup(recipe=load_recipe("paper", ["loader.prefetch=1"]))
    )


def test_processor_time_that_is_less_than_the_cores(monkeypatch: Patch, tmp_path: Path) -> None:
    group(monkeypatch, tmp_path, cpu_max="50000 100000")
    must_say(WARN, "the time of 0.5 cores", "OMP_NUM_THREADS=1")


def test_a_container_with_few_processes(monkeypatch: Patch, tmp_path: Path) -> None:
    group(monkeypatch, tmp_path, pids_max="100")
    must_say(FAIL, "pids of the container: 100", "--pids-limit=-1")


def test_cards_that_cannot_lock_memory(monkeypatch: Patch) -> None:
    monkeypatch.setattr(host, "_entries", lambda _: [Path("mlx5_0")])
    monkeypatch.setattr(resource, "getrlimit", limits(MEMLOCK=65536))
    must_say(WARN, "64 kB", "mlx5_0", "ulimit -l unlimited")


def temporary(monkeypatch: Patch, folder: Path) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(folder))


@pytest.mark.fault("E3.path")
def test_a_temporary_folder_with_a_long_path(monkeypatch: Patch, tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 100)
    folder.mkdir()
    temporary(monkeypatch, folder)
    (found,) = places.sockets(RunSetup())
    assert found.status is Status.OK and "lie in /tmp: " in said(found)
    monkeypatch.setattr(machine, "_SHORT", (str(folder),))
    must_say(FAIL, "sockets", "too long a path", "export TMPDIR=/a/short/folder")


def test_a_temporary_folder_without_programs(monkeypatch: Patch) -> None:
    monkeypatch.setattr(places, "runs_nothing", lambda folder: folder == Path(tempfile.gettempdir()))
    must_say(FAIL, "noexec", "export TMPDIR=")


def test_noexec_is_read_off_the_mount() -> None:
    assert places.runs_nothing(Path("/proc")) == bool(os.statvfs("/proc").f_flag & os.ST_NOEXEC)
    assert not places.runs_nothing(Path("/nowhere"))


def test_a_temporary_folder_that_is_full(monkeypatch: Patch) -> None:
    real = os.statvfs
    full = SimpleNamespace(f_frsize=4096, f_bavail=1, f_flag=0)
    monkeypatch.setattr(os, "statvfs", lambda place: full if str(place) == tempfile.gettempdir() else real(place))
    must_say(WARN, "temporary space", "TMPDIR")


@pytest.mark.parametrize(("mask", "status", "words"), [(0, WARN, "by anybody"), (0o777, FAIL, "its own files")])
def test_masks(mask: int, status: Status, words: str) -> None:
    before = os.umask(mask)
    try:
        found = list(places.umask(RunSetup()))
    finally:
        os.umask(before)
    assert [finding.status for finding in found] == [status] and words in found[0].found
    assert os.umask(before) == before


@pytest.mark.fault("E3.no-home")
def test_no_home(monkeypatch: Patch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    must_say(WARN, "HOME is not set", "export HOME=")


@pytest.mark.fault("E3.read-only-home")
def test_a_home_that_is_not_there(monkeypatch: Patch) -> None:
    monkeypatch.setenv("HOME", "/nowhere/home")
    assert any("is not there" in finding.found for finding in findings() if finding.status is WARN)
    monkeypatch.setenv("HOME", "/proc")
    caches = [finding for finding in environment.folders(RunSetup()) if finding.status is WARN]
    assert [finding.name for finding in caches] == ["caches"] and "TRITON_CACHE_DIR" in caches[0].hint


def test_a_home_of_somebody_else(monkeypatch: Patch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    (finding,) = places.home(RunSetup())
    assert finding.status is WARN and "this is user 4711" in finding.found


def test_a_run_of_somebody_else(monkeypatch: Patch, tmp_path: Path) -> None:
    (finding,) = rundir.ownership(RunSetup(out=tmp_path))
    assert finding.status is Status.OK
    tmp_path.chmod(0o777)
    (finding,) = rundir.ownership(RunSetup(out=tmp_path))
    assert (finding.status, finding.exit_code) == (FAIL, 5) and "chmod o-w" in finding.hint
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    (finding,) = rundir.ownership(RunSetup(out=tmp_path))
    assert (finding.status, finding.exit_code) == (FAIL, 5) and "this is user 4711" in finding.found


def test_libraries_before_pytorchs(monkeypatch: Patch, tmp_path: Path) -> None:
    (tmp_path / "libcudnn.so.9").touch()
    (tmp_path / "libz.so").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}:/nowhere")
    must_say(WARN, f"libcudnn.so.9 in {tmp_path} go before", "unset LD_LIBRARY_PATH")


def test_packages_that_are_hidden(monkeypatch: Patch, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    must_say(WARN, f"{tmp_path}: torch", "unset PYTHONPATH")


@pytest.mark.parametrize(
    ("package", "version", "words"),
    [("litellm", "1.82.7", "change every key"), ("lightning", "2.6.3", "thief"), ("torch", "2.9.1", "torch>=2.10"),
     ("monai", "1.5.2", "monai>=1.6"), ("pydicom", "2.4.4", "pydicom>=3.0.2")],
)  # fmt: skip
def test_releases_that_must_not_be_there(package: str, version: str, words: str, monkeypatch: Patch) -> None:
    real = releases._installed
    monkeypatch.setattr(releases, "_installed", lambda name: version if name == package else real(name))
    wrong = [finding for finding in releases.bad_releases(RunSetup()) if finding.status is FAIL]
    assert len(wrong) == 1 and words in said(wrong[0])
    monkeypatch.setattr(releases, "_installed", lambda name: "99.0" if name == package else real(name))
    assert all(finding.status is Status.OK for finding in releases.bad_releases(RunSetup()))


def test_an_installation_that_is_not_the_tested_one(monkeypatch: Patch, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("click==0.1 \\\n    --hash=sha256:00\nunknown==1\n")
    monkeypatch.setattr(releases, "LOCK", lock)
    must_say(WARN, "1 of 1 differ", "(lock 0.1)", "requirements.lock")
    monkeypatch.setattr(releases, "LOCK", tmp_path / "none")
    assert next(releases.locked(RunSetup())).status is Status.OK


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("localhost slots=2\nlocalhost slots=2\n", "stands there twice"),
        ("localhost\n", "line 1 does not say HOST slots=N"),
        ("# mine\n\nlocalhost slots=0\n", "line 3"),
        ("", "no line"),
        ("localhost slots=2\nno.such.host.invalid slots=2\n", "no.such.host.invalid cannot be resolved"),
    ],
)
def test_hostfiles(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "hostfile"
    file.write_text(content)
    must_say(FAIL, "hostfile", words, setup=RunSetup(hostfile=file), code=4 if "resolved" in words else 2)


def test_a_hostfile_that_is_well_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "hostfile"
    must_say(FAIL, "cannot be read", "--hostfile", setup=RunSetup(hostfile=file), code=2)
    file.write_text("localhost slots=8  # the first\n127.0.0.1 slots=4\n")
    (finding,) = cluster.hostfile(RunSetup(hostfile=file))
    assert finding.status is Status.OK and "2 machine(s), 12 slot(s)" in finding.found


def test_other_ranks_than_the_launchers(monkeypatch: Patch) -> None:
    for variable, value in TORCHRUN.items():
        monkeypatch.setenv(variable, value)
    must_say(FAIL, "WORLD_SIZE is 2, --ranks 4", "--ranks 2", setup=RunSetup(asked_ranks=4), code=2)


def test_a_port_in_use(monkeypatch: Patch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for variable, value in (TORCHRUN | {"MASTER_PORT": str(listener.getsockname()[1])}).items():
            monkeypatch.setenv(variable, value)
        must_say(WARN, "is in use on this machine", "MASTER_PORT")


def test_a_machine_that_does_not_know_its_name(monkeypatch: Patch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "no.such.host.invalid")
    must_say(WARN, "no.such.host.invalid does not resolve", "/etc/hosts")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    assert next(cluster.host_name(RunSetup())).status is Status.OK


def test_a_name_server_that_does_not_answer(monkeypatch: Patch) -> None:
    import threading

    monkeypatch.setattr(cluster, "PATIENCE", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: threading.Event().wait(1) or [])
    assert not cluster.resolves("localhost")


def test_few_cores_of_slurm(monkeypatch: Patch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    setup = RunSetup(recipe=load_recipe("demo", ["loader.threads=3"]))
    must_say(WARN, "1 core(s) each, for 3 decoding threads", "--cpus-per-task=5", setup=setup)


def smi(monkeypatch: Patch, **answers: str) -> None:
    """nvidia-smi with an answer to each question; the others it does not know."""

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        asked = command[1].partition("=index,")[2]
        known = {gpu_state.ASKED[name.replace("_", " ")]: text for name, text in answers.items()}
        return SimpleNamespace(returncode=0 if asked in known else 6, stdout=known.get(asked, ""))

    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr("subprocess.run", run)


@pytest.mark.parametrize(
    ("answers", "ranks", "status", "words"),
    [
        ({"compute_mode": "0, Prohibited\n"}, 1, FAIL, ("no process may compute", "-c DEFAULT")),
        ({"compute_mode": "0, Exclusive_Process\n"}, 2, FAIL, ("2 ranks share 1 GPU", "--ranks 1")),
        ({"slices": "0, Enabled\n"}, 2, FAIL, ("MIG", "cannot exchange", "nvidia-smi -mig 0")),
        ({"slices": "0, Enabled\n"}, 1, WARN, ("one of them",)),
        ({"memory_errors": "0, 3\n"}, 1, FAIL, ("could not be corrected", "reset or replace")),
        ({"row_remapping": "0, Yes\n"}, 1, WARN, ("next reset",)),
    ],
    ids=str,
)
def test_gpus_that_are_set_up_badly(
    answers: dict[str, str], ranks: int, status: Status, words: tuple[str, ...], monkeypatch: Patch
) -> None:
    smi(monkeypatch, **answers)
    must_say(status, *words, setup=RunSetup(gpus=1, asked_ranks=ranks))


def test_gpus_that_are_set_up_well(monkeypatch: Patch) -> None:
    answers = {"compute_mode": "0, Default\n1, Default\n", "slices": "0, [N/A]\n1, Disabled\n"}
    smi(monkeypatch, **answers, memory_errors="0, 0\n1, [N/A]\n", row_remapping="0, No\n")
    checks = (gpu_state.modes, gpu_state.slices, gpu_state.memory_errors)
    found = [finding for check in checks for finding in check(RunSetup(gpus=2, asked_ranks=2))]
    assert [finding.status for finding in found] == [Status.OK] * 4


def test_gpus_that_do_not_reach_each_other(monkeypatch: Patch) -> None:
    monkeypatch.setattr("torch.cuda.can_device_access_peer", lambda one, other: (one, other) != (0, 2))
    (finding,) = gpu_state.peers(RunSetup(gpus=3, asked_ranks=3))
    assert finding.status is WARN and "1 of 3 pairs" in finding.found
    (finding,) = gpu_state.peers(RunSetup(gpus=3, asked_ranks=2))
    assert finding.status is Status.OK
    assert list(gpu_state.peers(RunSetup(gpus=1))) == []


def test_gpus_that_are_not_there(monkeypatch: Patch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,7")
    (finding,) = gpu_state.visible(RunSetup(gpus=1))
    assert finding.status is FAIL and "sees 1 of these 2" in finding.found
    (finding,) = gpu_state.visible(RunSetup(gpus=2))
    assert finding.status is Status.OK
