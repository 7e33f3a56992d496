"""What the doctor makes of shells, limits and folders."""

from typing import Any

from mutant import mutants


def told() -> Any:
    """Findings in a few shells and folders, without the folders' names."""
    import os
    import tempfile
    from pathlib import Path
    from types import SimpleNamespace
    from unittest import mock

    from ecamp_fast.doctor import cluster, disk, gpu_state, host, rundir, variables
    from ecamp_fast.doctor.run_setup import RunSetup
    from ecamp_fast.files import folder_fault
    from ecamp_fast.machine import socket_folder

    def findings(check: Any, setup: RunSetup) -> list[tuple[str, str]]:
        return [(finding.name, str(finding.status)) for finding in check(setup)]

    launched = {"RANK": "5", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    found: list[Any] = []
    with mock.patch.dict(os.environ, launched | {"ECAMP_FAULT": "a:kill", "OMP_NUM_THREADS": "0"}):
        checks = (cluster.launch, variables.variables, variables.threads)
        found += [findings(check, RunSetup()) for check in checks]
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(host, "CGROUP", Path(folder)):
        place = Path(folder)
        (place / "memory.max").write_text("4096")
        (place / "memory.current").write_text("96")
        (place / "link").symlink_to("nowhere")
        found += [host.free_memory(), findings(host.memory_limit, RunSetup()), bool(folder_fault(place / "link"))]
        place.chmod(0o777)
        found.append(findings(rundir.ownership, RunSetup(out=place)))
        with mock.patch("os.replace", side_effect=PermissionError(1, "no")):
            found.append(findings(disk.commit, RunSetup(out=place)))
    with mock.patch("tempfile.gettempdir", lambda: "/" + "a" * 90), mock.patch("os.access", lambda *_: True):
        found.append(socket_folder())
    answer = SimpleNamespace(returncode=0, stdout="0, Enabled\n")
    with mock.patch("shutil.which", lambda _: "smi"), mock.patch("subprocess.run", lambda *_, **__: answer):
        found += [findings(gpu_state.slices, RunSetup(gpus=1, asked_ranks=ranks)) for ranks in (1, 2)]
    return found


ENVIRONMENTS = "tests/doctor/test_environments.py"

MUTANTS = [
    *mutants(
        "ecamp_fast/doctor/cluster.py",
        ENVIRONMENTS,
        told,
        {"a rank beyond its world passes": ("rank < world and local <= rank", "local <= rank")},
    ),
    *mutants(
        "ecamp_fast/doctor/variables.py",
        ENVIRONMENTS,
        told,
        {
            "an injected fault is a trifle": ('on purpose", fatal=True)', 'on purpose")'),
            "no threads are a number": ("not numbers or not all(numbers)", "not numbers"),
        },
    ),
    *mutants(
        "ecamp_fast/doctor/host.py",
        ENVIRONMENTS,
        told,
        {"the container's limit does not count": ("if limit is None or limit >= total:", "if True:")},
    ),
    *mutants(
        "ecamp_fast/machine.py",
        ENVIRONMENTS,
        told,
        {"any path is short enough for a socket": ("SOCKET_NAME <= SOCKET and", "SOCKET_NAME <= 4096 and")},
    ),
    *mutants(
        "ecamp_fast/doctor/gpu_state.py",
        ENVIRONMENTS,
        told,
        {"ranks on slices are well": ("if cut and setup.ranks > 1:", "if cut and setup.ranks > 9:")},
    ),
    *mutants(
        "ecamp_fast/doctor/rundir.py",
        ENVIRONMENTS,
        told,
        {"anybody may write": ("status.st_mode & stat.S_IWOTH", "status.st_mode & 0")},
    ),
    *mutants(
        "ecamp_fast/doctor/disk.py",
        "tests/doctor/test_disk.py",
        told,
        {"a rename is not tried": ("os.replace(new, old)", "new.exists()")},
    ),
    *mutants(
        "ecamp_fast/files.py",
        "tests/commands/test_out.py",
        told,
        {"a dangling link is a folder": ("if folder.is_symlink():", "if False:")},
    ),
]
