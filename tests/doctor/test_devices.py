import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ecamp_fast.config import load_recipe
from ecamp_fast.doctor import devices
from ecamp_fast.doctor.finding import Finding, Status
from ecamp_fast.doctor.run_setup import RunSetup

SMALL = Path(__file__).resolve().parents[1] / "data" / "small.yaml"

CPU_ONLY = not torch.cuda.is_available()


def only(check: object, setup: RunSetup) -> Finding:
    (finding,) = check(setup)  # type: ignore[operator]
    return finding


def driver_says(monkeypatch: pytest.MonkeyPatch, version: str, returncode: int = 0) -> None:
    answer = SimpleNamespace(stdout=version, returncode=returncode)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)


@pytest.mark.skipif(not CPU_ONLY, reason="there is a GPU")
@pytest.mark.fault("E2.no-gpu")
def test_a_cpu_is_no_fault() -> None:
    setup = RunSetup(recipe=load_recipe(SMALL))
    findings = [
        finding
        for check in (devices.torch_build, devices.driver, devices.gpus, devices.collectives, devices.triton)
        for finding in check(setup)
    ]
    assert {finding.status for finding in findings} == {Status.OK}
    assert setup.gpus == 0


def test_bf16_without_instructions_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cpu_flags", lambda: {"avx2"})
    assert only(devices.cpu_bf16, RunSetup(recipe=load_recipe(SMALL))).status is Status.WARN
    assert only(devices.cpu_bf16, RunSetup(recipe=load_recipe(SMALL, ["precision=fp32"]))).status is Status.OK
    monkeypatch.setattr(devices, "cpu_flags", lambda: {"avx2", "avx512_bf16"})
    assert only(devices.cpu_bf16, RunSetup(recipe=load_recipe(SMALL))).status is Status.OK


@pytest.mark.parametrize(
    ("version", "cuda", "hidden", "says"),
    [
        ("535.129.03\n", "13.0", None, "update the driver to 580"),
        ("580.65.06\n", None, None, "pip install"),
        ("580.65.06\n", "13.0", "", "unset CUDA_VISIBLE_DEVICES"),
        ("580.65.06\n", "13.0", None, "--gpus all"),
    ],
)
@pytest.mark.fault("E2.old-driver")
def test_a_gpu_that_cannot_be_used_is_a_warning(
    version: str, cuda: str | None, hidden: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_says(monkeypatch, version)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    finding = only(devices.driver, RunSetup())
    assert finding.status is Status.WARN and says in finding.hint


def test_no_driver_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    driver_says(monkeypatch, "NVIDIA-SMI has failed", returncode=9)
    assert only(devices.driver, RunSetup()).found == "nvidia-smi finds no GPU"

    def hangs(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 5)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert "does not answer" in only(devices.driver, RunSetup()).found


def fake_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], free: float = 1.0) -> RunSetup:
    properties = SimpleNamespace(name="Test GPU", total_memory=80 * 2**30, major=capability[0], minor=capability[1])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free * 80 * 2**30), 80 * 2**30))
    monkeypatch.setattr(devices, "_compute_fault", lambda _: "")
    return RunSetup(recipe=load_recipe("paper"), gpus=1)


@pytest.mark.parametrize(
    ("capability", "free", "status", "says"),
    [
        ((9, 0), 1.0, Status.OK, "bf16"),
        ((9, 0), 0.2, Status.WARN, "16 GiB free"),
        ((7, 5), 1.0, Status.WARN, "emulated"),
        ((6, 1), 1.0, Status.FAIL, "too old for Triton"),
    ],
)
def test_gpus(
    capability: tuple[int, int], free: float, status: Status, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = only(devices.gpus, fake_gpu(monkeypatch, capability, free))
    assert finding.status is status and says in finding.found
    assert "Test GPU, 80 GiB" in finding.found


def test_a_gpu_that_computes_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = fake_gpu(monkeypatch, (9, 0))
    monkeypatch.setattr(devices, "_compute_fault", lambda _: "no kernel image is available")
    assert only(devices.gpus, setup).status is Status.FAIL


def test_more_ranks_than_gpus_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = fake_gpu(monkeypatch, (9, 0))
    setup.asked_ranks = 4
    *_, finding = devices.gpus(setup)
    assert (finding.name, finding.status) == ("ranks", Status.WARN)


@pytest.mark.fault("E2.no-compiler")
def test_triton_needs_a_compiler_only_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert only(devices.triton, RunSetup()).status is Status.OK
    assert only(devices.triton, RunSetup(gpus=1)).status is Status.FAIL
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert only(devices.triton, RunSetup(gpus=1)).status is Status.WARN
    assert only(devices.triton, RunSetup()).status is Status.OK


def test_a_model_too_large_for_the_device_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "device_memory", lambda _: 10**9)
    assert only(devices.memory, RunSetup(parameters=10**6)).status is Status.OK
    assert only(devices.memory, RunSetup(parameters=10**8)).status is Status.WARN
    assert only(devices.memory, RunSetup(parameters=10**7, asked_ranks=8)).status is Status.WARN


def test_memory_is_known_on_this_machine() -> None:
    assert devices.device_memory(RunSetup()) > 2**28
