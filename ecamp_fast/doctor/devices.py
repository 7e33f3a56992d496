"""What computes: the PyTorch build, NVIDIA driver and GPUs, bf16, collectives, Triton."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.packages import first_line
from ecamp_fast.doctor.run_setup import RunSetup

DRIVERS = {12: 525, 13: 580}  # lowest driver branch of each CUDA major version (NVIDIA's compatibility tables)
TENSOR_CORES = (7, 0)  # lowest compute capability that Triton compiles for
BF16 = (8, 0)  # lowest compute capability with bf16 units
STATE_BYTES = 20  # per parameter: bf16 weight and gradient, fp32 gradient, master weight and two moments
CPU_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is ARM's


def torch_build(setup: RunSetup) -> Iterator[Finding]:
    """Version, CUDA it was built for, and what it sees."""
    import torch

    setup.gpus = torch.cuda.device_count()
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    if setup.gpus:
        yield ok("torch", f"{torch.__version__}, built for {built}, sees {setup.gpus} GPU(s)")
    else:
        yield ok("torch", f"{torch.__version__}, built for {built}, runs on the CPU: no GPU in sight")


def driver(setup: RunSetup) -> Iterator[Finding]:
    """The NVIDIA driver against the CUDA that PyTorch was built for; a GPU that PyTorch cannot use."""
    import torch

    version, reason = driver_version()
    if not version:
        yield ok("NVIDIA driver", reason)
        return
    cuda = int((torch.version.cuda or "0").split(".")[0])
    needed = DRIVERS.get(cuda, 0)
    if setup.gpus:
        yield ok("NVIDIA driver", version)
    elif not cuda:
        hint = 'pip install "torch>=2.11" from the index of your CUDA: https://pytorch.org/get-started/locally'
        yield warn("NVIDIA driver", f"{version}, but this PyTorch is built without CUDA", hint)
    elif int(version.split(".")[0]) < needed:
        hint = f"update the driver to {needed} or newer, or install a PyTorch for an older CUDA"
        yield warn("NVIDIA driver", f"{version} is too old for CUDA {torch.version.cuda}: runs on the CPU", hint)
    else:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = "unset CUDA_VISIBLE_DEVICES" if hidden is not None else "in a container, start it with --gpus all"
        yield warn("NVIDIA driver", f"{version}, but PyTorch sees no GPU: runs on the CPU", hint)


def driver_version() -> tuple[str, str]:
    """Version of the NVIDIA driver, or '' and why there is none to tell."""
    program = shutil.which("nvidia-smi")
    if not program:
        return "", "none (no nvidia-smi)"
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"nvidia-smi does not answer ({type(error).__name__})"
    lines = done.stdout.split()
    if done.returncode or not lines or not lines[0][0].isdigit():
        return "", "nvidia-smi finds no GPU"
    return lines[0], ""


def gpus(setup: RunSetup) -> Iterator[Finding]:
    """Each GPU: name, memory, compute capability, bf16, and a product that it really computes."""
    import torch

    for index in range(setup.gpus):
        name, properties = f"GPU {index}", torch.cuda.get_device_properties(index)
        capability, size = (properties.major, properties.minor), properties.total_memory / 2**30
        found = f"{properties.name}, {size:.0f} GiB, compute capability {capability[0]}.{capability[1]}"
        if fault := _compute_fault(index):
            yield fail(name, f"{found}: {fault}", "install a PyTorch built for this GPU, or hide it from the run")
        elif capability < TENSOR_CORES:
            yield fail(name, f"{found}: too old for Triton", "use a GPU from Volta (7.0) on")
        elif capability < BF16 and setup.recipe and setup.recipe.precision == "bf16":
            yield warn(name, f"{found}: no bf16 units, bf16 is emulated", "--set precision=fp32, or an Ampere GPU")
        else:
            free = torch.cuda.mem_get_info(index)[0] / 2**30
            yield from _memory(name, found, free, size)
    if setup.gpus and setup.ranks > setup.gpus:
        found = f"{setup.ranks} ranks, {setup.gpus} GPU(s) here"
        yield warn("ranks", found, f"--ranks {setup.gpus}, unless further machines bring the other GPUs")


def _memory(name: str, found: str, free: float, total: float) -> Iterator[Finding]:
    if free < 0.8 * total:
        yield warn(name, f"{found}: only {free:.0f} GiB free", "see `nvidia-smi` for who uses the rest")
    else:
        yield ok(name, f"{found}, bf16")


def _compute_fault(index: int) -> str:
    import torch

    try:
        ones = torch.ones(64, 64, device=f"cuda:{index}", dtype=torch.bfloat16)
        return "" if float((ones @ ones).sum()) == 64.0**3 else "computes a wrong product"
    except RuntimeError as error:
        return first_line(error)


def cpu_bf16(setup: RunSetup) -> Iterator[Finding]:
    """Whether the CPU has bf16 instructions, where the CPU is what computes."""
    if setup.gpus:
        return
    instructions = CPU_BF16 & cpu_flags()
    wants = not setup.recipe or setup.recipe.precision == "bf16"
    if instructions:
        yield ok("bf16", f"the CPU has {', '.join(sorted(instructions))}")
    elif not wants:
        yield ok("bf16", "the CPU has no bf16 instructions; the recipe asks for fp32")
    else:
        hint = "--set precision=fp32 is faster here; bf16 gives the right numbers all the same"
        yield warn("bf16", "the CPU has no bf16 instructions: bf16 is emulated", hint)


def cpu_flags() -> set[str]:
    """The CPU's instruction sets as Linux names them; empty where that cannot be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.split()[2:]) for line in lines if line.lower().startswith(("flags", "features"))), set())


def collectives(setup: RunSetup) -> Iterator[Finding]:
    """The library over which ranks exchange gradients."""
    import torch.distributed as dist

    wanted = "NCCL" if setup.gpus else "Gloo"
    available = dist.is_available() and (dist.is_nccl_available() if setup.gpus else dist.is_gloo_available())
    if available:
        yield ok("collectives", wanted)
    else:
        yield fail("collectives", f"this PyTorch is built without {wanted}", 'pip install "torch>=2.11"')


def triton(setup: RunSetup) -> Iterator[Finding]:
    """Whether Triton kernels are compiled, interpreted, or not used at all."""
    if platform.system() != "Linux":
        yield ok("Triton", "not on this system: the PyTorch references run")
        return
    import triton as library

    interpreted = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")
    compiler = os.environ.get("CC") or next((c for c in ("gcc", "clang", "cc") if shutil.which(c)), "")
    if interpreted and setup.gpus:
        found = f"{library.__version__}, interpreted: TRITON_INTERPRET is set, kernels run in Python"
        yield warn("Triton", found, "unset TRITON_INTERPRET")
    elif interpreted:
        yield ok("Triton", f"{library.__version__}, interpreter on (TRITON_INTERPRET): for tests, not for training")
    elif not setup.gpus:
        yield ok("Triton", f"{library.__version__}; without a GPU the PyTorch references run")
    elif not compiler:
        yield fail("Triton", f"{library.__version__}, but no C compiler, which it needs once", "apt-get install gcc")
    else:
        yield ok("Triton", f"{library.__version__}, compiles with {compiler}; {_launch_constants()}")


def _launch_constants() -> str:
    """Whether the kernels' launch constants are this chip's own; those of an older one serve, if not best."""
    import torch

    from ecamp_fast.kernels.tuning import chip, tuning_table

    if not torch.cuda.is_available():
        return "launch constants unknown without CUDA"
    name = chip(torch.device("cuda"))
    own = f"kernels tuned for {name}"
    return own if name in tuning_table() else f"no kernels tuned for {name}: `ecamp-fast bench kernels --tune` does it"


def memory(setup: RunSetup) -> Iterator[Finding]:
    """Weights, gradients and Adam's moments against the memory of the device; activations come on top."""
    if setup.parameters is None:
        return
    size, needed = device_memory(setup), setup.parameters * STATE_BYTES
    found = f"{setup.parameters / 1e6:.1f} M parameters, at most {needed / 1e9:.1f} GB of state per rank"
    if not size:
        yield ok("memory", found)
        return
    found += f", {size / 1e9:.0f} GB of {'GPU' if setup.gpus else 'main'} memory"
    if needed * (1 if setup.gpus else setup.ranks) > size:
        yield warn("memory", found, "fewer ranks on this machine, a smaller model, or a larger device")
    else:
        yield ok("memory", found)


def device_memory(setup: RunSetup) -> int:
    """Bytes of the first GPU, or of main memory (the container's limit, where there is one); 0 if not known."""
    if setup.gpus:
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text: Any = Path(limit).read_text().strip()
        except OSError:
            continue
        sizes += [int(text)] if text.isdigit() else []
    return min(sizes)
