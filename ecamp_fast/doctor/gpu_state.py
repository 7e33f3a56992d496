"""How the GPUs are set up: compute mode, slices, memory errors, and whether they reach each other."""

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Iterator

from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup

ASKED = {  # of nvidia-smi, one question each: a driver that does not know one answers none of the same question
    "compute mode": "compute_mode",
    "slices": "mig.mode.current",
    "memory errors": "ecc.errors.uncorrected.volatile.total",
    "row remapping": "remapped_rows.pending",
}
SECONDS = 5.0


def visible(setup: RunSetup) -> Iterator[Finding]:
    """CUDA_VISIBLE_DEVICES: each GPU once, none that is not there."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not given:
        return
    named = [part.strip() for part in given.split(",")]
    if len(set(named)) < len(named):
        yield fail("visible GPUs", f"CUDA_VISIBLE_DEVICES is {given}: a GPU stands there twice", "name each once")
    elif setup.gpus < len(named):
        hint = "unset CUDA_VISIBLE_DEVICES, or correct it: `nvidia-smi -L` lists the GPUs"
        found = f"CUDA_VISIBLE_DEVICES is {given}, PyTorch sees {setup.gpus} of these {len(named)}"
        yield (fail if setup.gpus else warn)("visible GPUs", found, hint)
    else:
        yield ok("visible GPUs", f"CUDA_VISIBLE_DEVICES is {given}")


def modes(setup: RunSetup) -> Iterator[Finding]:
    """Compute mode: whether processes may use a GPU, and how many at a time."""
    for index, mode in _answers("compute mode"):
        if mode == "Prohibited":
            yield fail(f"GPU {index} mode", "no process may compute on it", f"nvidia-smi -i {index} -c DEFAULT")
        elif mode.startswith("Exclusive") and setup.ranks > setup.gpus > 0:
            found = f"{mode}: one process alone, though {setup.ranks} ranks share {setup.gpus} GPU(s)"
            yield fail(f"GPU {index} mode", found, f"--ranks {setup.gpus}, or nvidia-smi -i {index} -c DEFAULT")
        else:
            yield ok(f"GPU {index} mode", mode)


def slices(setup: RunSetup) -> Iterator[Finding]:
    """MIG: a GPU cut into slices, between which NCCL does not work."""
    cut = [index for index, mode in _answers("slices") if mode == "Enabled"]
    if cut and setup.ranks > 1:
        found = f"GPU {', '.join(cut)} cut into MIG slices, between which ranks cannot exchange gradients"
        yield fail("MIG", found, "--ranks 1, or nvidia-smi -mig 0")
    elif cut:
        yield warn("MIG", f"GPU {', '.join(cut)} cut into slices: a run gets one of them", "nvidia-smi -mig 0")
    elif setup.gpus:
        yield ok("MIG", "off")


def memory_errors(setup: RunSetup) -> Iterator[Finding]:
    """ECC: errors that could not be corrected since the driver was loaded, and repairs that wait for a reset."""
    bad = [index for index, count in _answers("memory errors") if count.isdecimal() and int(count)]
    waiting = [index for index, answer in _answers("row remapping") if answer.lower() in ("yes", "1")]
    if bad:
        hint = "take these GPUs out (CUDA_VISIBLE_DEVICES), reset or replace them"
        yield fail("GPU memory", f"GPU {', '.join(bad)} had memory errors that could not be corrected", hint)
    elif waiting:
        found = f"GPU {', '.join(waiting)} has bad rows that are replaced at the next reset"
        yield warn("GPU memory", found, "nvidia-smi --gpu-reset, or restart the machine")
    elif setup.gpus:
        yield ok("GPU memory", "no error that could not be corrected")


def peers(setup: RunSetup) -> Iterator[Finding]:
    """Whether GPUs of this machine write to each other's memory."""
    import torch

    used = min(setup.gpus, setup.ranks)
    if used < 2:
        return
    pairs = [(one, other) for one in range(used) for other in range(used) if one < other]
    apart = [pair for pair in pairs if not torch.cuda.can_device_access_peer(*pair)]
    if apart:
        found = f"{len(apart)} of {len(pairs)} pairs of GPUs cannot write to each other: gradients go through the host"
        yield warn("peer access", found, "in a virtual machine or container, pass GPUs on with peer access (ACS off)")
    else:
        yield ok("peer access", f"all {len(pairs)} pairs of GPUs")


def _answers(question: str) -> list[tuple[str, str]]:
    """(index of the GPU, answer of nvidia-smi); empty where it does not tell."""
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    command = [program, f"--query-gpu=index,{ASKED[question]}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    rows = csv.reader(io.StringIO(done.stdout), skipinitialspace=True)
    return [(row[0], row[1].strip()) for row in rows if len(row) == 2 and row[0].strip().isdecimal()]
