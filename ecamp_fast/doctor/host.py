"""Limits that this machine, its container or its job sets to a process: memory, cores, processes, sizes."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.machine import available_cores

CGROUP = Path("/sys/fs/cgroup")
UNLIMITED = resource.RLIM_INFINITY
PROCESS_BYTES = 2**30  # that a rank takes before it has a model: PyTorch, DALI, DeepSpeed
ADDRESS_BYTES = 64 * 2**30  # of address space, much of which CUDA and PyTorch only reserve
THREADS_PER_RANK = 64  # of PyTorch, DALI, NCCL and the compiler
FEW_TASKS = 64
PINNED_BYTES = 2**20  # that a network card asks to lock
SAMPLE_BYTES = 3  # of a decoded pixel: grey as DALI hands it on, its crops, and the copy on its way to the device


def loader_memory(setup: RunSetup) -> Iterator[Finding]:
    """What the loaders of all ranks hold ready, beside the processes themselves, against the memory there is."""
    if setup.recipe is None:
        return
    recipe, free = setup.recipe, free_memory()
    micro = recipe.batch.total if recipe.batch.micro == "auto" else recipe.micro
    pixels = recipe.image.high_size**2 * SAMPLE_BYTES
    held = micro * (recipe.loader.prefetch + 1) * pixels + PROCESS_BYTES
    ranks = min(setup.ranks, setup.gpus) or setup.ranks
    needed = ranks * held
    found = f"{ranks} rank(s) hold about {needed / 1e9:.1f} GB, loader.prefetch {recipe.loader.prefetch}"
    if not free:
        yield ok("loader memory", found)
    elif needed > free:
        found += f", {free / 1e9:.1f} GB of memory are free: the system would kill a rank"
        yield fail("loader memory", found, "--set loader.prefetch=1, a smaller batch.micro, or fewer ranks")
    elif needed > 0.8 * free:
        yield warn("loader memory", f"{found}, {free / 1e9:.1f} GB are free", "--set loader.prefetch=1")
    else:
        yield ok("loader memory", f"{found}, {free / 1e9:.1f} GB are free")


def free_memory() -> int:
    """Bytes that new processes can have, within the container's limit where there is one; 0 where that is not known."""
    sizes = []
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            sizes.append(int(line.split()[1]) * 1024)
    limit, used = _number(CGROUP / "memory.max"), _number(CGROUP / "memory.current")
    if limit is not None:
        sizes.append(max(0, limit - (used or 0)))
    return min(sizes, default=0)


def memory_limit(setup: RunSetup) -> Iterator[Finding]:
    """A limit of memory that a job or a container sets, beyond which processes are killed without a word."""
    limit = _number(CGROUP / "memory.max") or _number(CGROUP / "memory" / "memory.limit_in_bytes")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if limit is None or limit >= total:
        yield ok("memory limit", "none below the memory of the machine")
    elif limit < 2 * PROCESS_BYTES * setup.ranks:
        found = f"{limit / 2**30:.1f} GB for {setup.ranks} rank(s): what goes beyond is killed without a word"
        yield fail("memory limit", found, "docker run --memory=..., or #SBATCH --mem=...")
    else:
        yield ok("memory limit", f"{limit / 2**30:.1f} GB of {total / 2**30:.1f} GB")


def processor_limit(setup: RunSetup) -> Iterator[Finding]:
    """Processor time that a container may use, against the cores that it sees."""
    quota, _, period = _text(CGROUP / "cpu.max").partition(" ")
    cores = available_cores()
    if not (quota.isdecimal() and period.strip().isdecimal()):
        yield ok("processor limit", f"none, {cores} cores")
        return
    share = int(quota) / int(period)
    if share < cores:
        found = f"the time of {share:g} cores, though {cores} are seen: threads wait for each other"
        yield warn("processor limit", found, f"export OMP_NUM_THREADS={max(1, int(share / setup.ranks))}")
    else:
        yield ok("processor limit", f"the time of {share:g} cores, {cores} are seen")


def processes(setup: RunSetup) -> Iterator[Finding]:
    """How many threads and processes there may be."""
    needed = FEW_TASKS + THREADS_PER_RANK * setup.ranks
    user = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    own = _number(CGROUP / "pids.max")
    limits = {"ulimit -u": user if user != UNLIMITED else None, "pids of the container": own}
    tight = {name: limit for name, limit in limits.items() if limit is not None and limit < needed}
    for name, limit in tight.items():
        hint = "ulimit -u unlimited" if name == "ulimit -u" else "docker run --pids-limit=-1"
        yield fail("processes", f"{name}: {limit}, a run has about {needed} threads", hint)
    if not tight:
        yield ok("processes", f"room for {needed} threads")


def sizes(setup: RunSetup) -> Iterator[Finding]:
    """Limits of the size of a file and of the address space."""
    file, space = (resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_AS))
    smallest = setup.parameters * 4 if setup.parameters else 2**30
    if file != UNLIMITED and file < smallest:
        found = f"files of {file / 2**20:,.0f} MB at most: a checkpoint does not fit"
        yield fail("sizes", found, "ulimit -f unlimited")
    elif space != UNLIMITED and space < ADDRESS_BYTES:
        found = f"address space of {space / 2**30:.1f} GB: libraries reserve more than they use"
        yield warn("sizes", found, "ulimit -v unlimited")
    else:
        yield ok("sizes", "no limit that a run would meet")


def locked_memory(setup: RunSetup) -> Iterator[Finding]:
    """Memory that may be locked, which network cards between machines ask for."""
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    cards = [path.name for path in _entries(Path("/sys/class/infiniband"))]
    if cards and limit != UNLIMITED and limit < PINNED_BYTES:
        found = f"{limit // 1024} kB may be locked, {', '.join(cards)} needs more: NCCL would go over the slow network"
        yield warn("locked memory", found, "ulimit -l unlimited, or docker run --ulimit memlock=-1")
    else:
        yield ok("locked memory", f"no InfiniBand card, {_kilobytes(limit)}" if not cards else _kilobytes(limit))


def _kilobytes(limit: int) -> str:
    return "no limit" if limit == UNLIMITED else f"limit {limit // 1024:,} kB"


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.isdecimal() else None
