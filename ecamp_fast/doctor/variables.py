"""Variables of this shell that change what a run does, and the libraries that they put before the installed ones."""

import os
import site
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ecamp_fast import fault_points
from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.requirements import requirements
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.machine import available_cores

OFF = ("", "0", "false", "no", "off")
ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc")  # preloaded on purpose
CUDA_LIBRARIES = ("libcudart", "libcublas", "libcudnn", "libnccl", "libstdc++", "libgomp", "libtorch")
BINDINGS = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


class Harm(NamedTuple):
    """What a value of a variable does: which values, what to say of them, and whether a run is lost with them."""

    by: Callable[[str], bool]
    why: str
    fatal: bool = False


def is_on(value: str) -> bool:
    """Whether a variable that is a flag is set to on."""
    return value.lower() not in OFF


def is_set(value: str) -> bool:
    """Whether a variable says anything."""
    return bool(value)


HARMFUL = {
    "CUDA_LAUNCH_BLOCKING": Harm(is_on, "every GPU kernel is waited for"),
    "PYTORCH_NO_CUDA_MEMORY_CACHING": Harm(is_on, "every allocation waits for the GPU"),
    "TORCH_COMPILE_DISABLE": Harm(is_on, "nothing is compiled"),
    "TORCHDYNAMO_DISABLE": Harm(is_on, "nothing is compiled"),
    "TORCH_DISTRIBUTED_DEBUG": Harm(lambda value: value.upper() == "DETAIL", "every collective is checked first"),
    "NVIDIA_TF32_OVERRIDE": Harm(is_set, "products in float32 are computed in another precision than asked for"),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": Harm(is_on, "products in float32 are computed in TF32"),
    "TRITON_ALWAYS_COMPILE": Harm(is_on, "kernels are compiled in every process"),
    "MALLOC_PERTURB_": Harm(is_set, "memory is overwritten when it is freed"),
    fault_points.VARIABLE: Harm(is_set, "something is made to go wrong on purpose", fatal=True),
}
PYTHON = {
    "PYTHONHOME": Harm(is_set, "Python looks for its library elsewhere"),
    "PYTHONOPTIMIZE": Harm(is_on, "assertions are left out, DeepSpeed's among them"),
    "PYTHONDONTWRITEBYTECODE": Harm(
        is_on, "every process compiles the libraries anew, which takes longer than to load"
    ),
    "PYTHONDEVMODE": Harm(is_on, "memory is checked, which is slow"),
    "PYTHONMALLOC": Harm(lambda value: "debug" in value or value == "malloc", "memory is taken in a slow way"),
    "PYTHONTRACEMALLOC": Harm(is_on, "every allocation is traced"),
    "PYTHONPROFILEIMPORTTIME": Harm(is_on, "every import is reported"),
    "PYTHONINSPECT": Harm(is_on, "a rank that ends waits at a prompt, and the others for it", fatal=True),
    "PYTHONWARNINGS": Harm(lambda value: "error" in value, "a warning of a library ends the run", fatal=True),
    "PYTHONIOENCODING": Harm(
        lambda value: not value.lower().startswith(("utf-8", "utf8")), "messages are not in UTF-8"
    ),
}


def variables(setup: RunSetup) -> Iterator[Finding]:
    """Variables that slow a run down, or change its numbers."""
    yield from _harmful(HARMFUL, "variables", "none that would change a run")


def python_variables(setup: RunSetup) -> Iterator[Finding]:
    """Variables that Python itself obeys."""
    yield from _harmful(PYTHON, "PYTHON variables", "none that would change a run")


def python_path(setup: RunSetup) -> Iterator[Finding]:
    """Folders of PYTHONPATH that hold another copy of what a run imports."""
    modules = {requirement.module.partition(".")[0] for requirement in requirements()}
    hidden = [
        f"{folder}: {name}"
        for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        for name in sorted(modules)
        if Path(folder, name, "__init__.py").is_file() or Path(folder, f"{name}.py").is_file()
    ]
    own = Path(site.getusersitepackages()) if site.ENABLE_USER_SITE else None
    from_home = [name for name in sorted(modules) if own and _lies_in(name, own)]
    if hidden:
        yield warn("PYTHONPATH", f"puts {', '.join(hidden)} before what is installed", "unset PYTHONPATH")
    elif from_home:
        hint = "export PYTHONNOUSERSITE=1, or install into the environment"
        yield warn("PYTHONPATH", f"{', '.join(from_home)} come from {own}, not from the environment", hint)
    else:
        yield ok("PYTHONPATH", "hides nothing that is installed")


def libraries(setup: RunSetup) -> Iterator[Finding]:
    """What LD_PRELOAD and LD_LIBRARY_PATH put before the libraries that PyTorch brings."""
    preloaded = os.environ.get("LD_PRELOAD", "").replace(":", " ").split()
    gone = [path for path in preloaded if "/" in path and not Path(path).exists()]
    unusual = [path for path in preloaded if not any(name in path for name in ALLOCATORS)]
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    before = sorted({f"{found.name} in {folder}" for folder in folders for found in _libraries_in(Path(folder))})
    if gone:
        yield warn("LD_PRELOAD", f"{', '.join(gone)} is not there: every process complains", "unset LD_PRELOAD")
    elif unusual:
        yield warn("LD_PRELOAD", f"{', '.join(unusual)} goes before every library", "unset LD_PRELOAD")
    if before:
        more = f" and {len(before) - 3} more" if len(before) > 3 else ""
        found = f"{', '.join(before[:3])}{more} go before those that PyTorch brings"
        yield warn("LD_LIBRARY_PATH", found, "unset LD_LIBRARY_PATH, unless this machine needs it")
    if not (unusual or before):
        yield ok("libraries", "none before those that PyTorch brings")


def threads(setup: RunSetup) -> Iterator[Finding]:
    """OMP_NUM_THREADS and the binding of threads to cores, against the ranks on this machine."""
    given, cores = os.environ.get("OMP_NUM_THREADS", ""), available_cores()
    numbers = [int(part) for part in given.split(",") if part.strip().isdecimal()]
    bound = [name for name in BINDINGS if os.environ.get(name, "").lower() not in (*OFF, "disabled", "none")]
    ranks = min(setup.ranks, setup.gpus) or setup.ranks
    if given and (not numbers or not all(numbers)):
        hint = f"export OMP_NUM_THREADS={max(1, cores // ranks)}, or unset it"
        yield warn("OMP_NUM_THREADS", f"is {given!r}, which is no number of threads", hint)
    elif numbers and numbers[0] * ranks > cores:
        hint = f"export OMP_NUM_THREADS={max(1, cores // ranks)}, or unset it"
        yield warn("OMP_NUM_THREADS", f"is {given}: {ranks} rank(s) x {numbers[0]} threads on {cores} cores", hint)
    elif bound and ranks > 1:
        found = f"{bound[0]} is set to {os.environ[bound[0]]}: the threads of all ranks may share the same cores"
        yield warn("OMP_NUM_THREADS", found, f"unset {bound[0]}")
    else:
        yield ok("OMP_NUM_THREADS", f"{given}, {cores} cores" if given else f"not set, {cores} cores")


def _harmful(table: dict[str, Harm], name: str, well: str) -> Iterator[Finding]:
    found = [(variable, harm) for variable, harm in table.items() if harm.by(os.environ.get(variable, ""))]
    found = [(variable, harm) for variable, harm in found if variable in os.environ]
    for variable, harm in found:
        what = f"is set to {os.environ[variable]}: {harm.why}"
        yield (fail if harm.fatal else warn)(variable, what, f"unset {variable}")
    if not found:
        yield ok(name, well)


def _lies_in(module: str, folder: Path) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return bool(file) and Path(str(file)).is_relative_to(folder)


def _libraries_in(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.name.startswith(CUDA_LIBRARIES) and ".so" in path.name]
    except OSError:
        return []
