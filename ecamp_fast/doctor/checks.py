"""All checks in their order, each guarded: whatever one of them stumbles over is a finding, never a traceback."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ecamp_fast.doctor import (
    backends,
    cluster,
    data,
    devices,
    disk,
    engine,
    environment,
    gpu_state,
    host,
    packages,
    places,
    recipe,
    releases,
    rundir,
    variables,
)
from ecamp_fast.doctor.finding import CONFIG, DATA, ENVIRONMENT, STORAGE, Finding, Status, fail
from ecamp_fast.doctor.requirements import import_fault
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.errors import EcampError

Check = Callable[[RunSetup], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class CheckGroup:
    """Checks of one subject, and the exit code of a fault among them that says nothing else."""

    name: str
    exit_code: int
    checks: tuple[Check, ...]


GROUPS = (
    CheckGroup(
        "environment",
        ENVIRONMENT,
        (
            environment.python,
            environment.installation,
            environment.system,
            environment.encoding,
            environment.language,
            environment.folders,
            environment.clock,
            places.home,
            places.programs,
            places.sockets,
            places.temporary_room,
            places.umask,
            variables.variables,
            variables.python_variables,
            variables.libraries,
        ),
    ),
    CheckGroup(
        "packages", ENVIRONMENT, (packages.packages, variables.python_path, releases.bad_releases, releases.locked)
    ),
    CheckGroup("recipe", CONFIG, (recipe.recipe, recipe.initial_weights)),
    CheckGroup(
        "devices",
        ENVIRONMENT,
        (
            devices.torch_build,
            devices.driver,
            gpu_state.visible,
            devices.gpus,
            gpu_state.modes,
            gpu_state.slices,
            gpu_state.memory_errors,
            gpu_state.peers,
            devices.cpu_bf16,
            devices.collectives,
            devices.triton,
        ),
    ),
    CheckGroup("backends", ENVIRONMENT, (backends.attention, backends.decoding)),
    CheckGroup(
        "data",
        DATA,
        (
            data.manifest,
            data.splits,
            data.patients,
            data.sets,
            data.patients_of_sets,
            data.annotation,
            data.text,
            data.attention_maps,
            data.pictures,
            data.sample,
            data.length,
        ),
    ),
    CheckGroup(
        "run",
        CONFIG,
        (
            engine.accelerator,
            engine.batch,
            recipe.model,
            recipe.loader_threads,
            rundir.existing,
            rundir.ownership,
        ),
    ),
    CheckGroup(
        "cluster",
        ENVIRONMENT,
        (
            cluster.launch,
            cluster.master,
            cluster.host_name,
            cluster.interfaces,
            cluster.nccl,
            cluster.slurm,
            cluster.mpi,
            cluster.hostfile,
        ),
    ),
    CheckGroup(
        "machine",
        ENVIRONMENT,
        (
            devices.memory,
            host.memory_limit,
            host.loader_memory,
            host.processor_limit,
            variables.threads,
            environment.open_files,
            host.processes,
            host.sizes,
            host.locked_memory,
        ),
    ),
    CheckGroup(
        "disk",
        STORAGE,
        (
            disk.out,
            disk.names,
            disk.file_system,
            disk.commit,
            disk.room,
            disk.files,
            disk.shared_memory,
        ),
    ),
)


def run_checks(setup: RunSetup, groups: tuple[CheckGroup, ...] = GROUPS) -> Iterator[tuple[str, Finding]]:
    """(group, finding) for all that the checks find. What libraries print meanwhile is dropped."""
    for group in groups:
        for check in group.checks:
            for finding in examine(check, setup):
                code = group.exit_code if finding.exit_code is None else finding.exit_code
                yield group.name, replace(finding, exit_code=code)


def examine(check: Check, setup: RunSetup) -> list[Finding]:
    """The findings of one check; an error it raises becomes the last of them."""
    findings: list[Finding] = []
    name = check.__name__.replace("_", " ")
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            for finding in check(setup):
                findings.append(finding)
        except EcampError as error:
            findings.append(fail(name, error.what, error.hint, error.exit_code))
        except ImportError as error:
            fault = import_fault(error)
            findings.append(fail(name, fault.what, fault.hint, ENVIRONMENT))
        except Exception as error:  # the check itself is at fault; only its kind is told: messages may quote data
            hint = "please report it: this check does not know what it met"
            findings.append(fail(name, f"stumbled over a {type(error).__name__}", hint))
    return findings


def exit_code(findings: list[Finding]) -> int:
    """0 without a FAIL, else that of the first failing class: configuration, data, environment, disk."""
    return min((f.exit_code or 1 for f in findings if f.status is Status.FAIL), default=0)
