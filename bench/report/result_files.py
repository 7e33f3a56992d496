"""What every result file carries, so that a number can be traced and compared; reading a folder of them."""

import json
import resource
import shlex
import sys
from pathlib import Path
from typing import Any, TypeVar

from ecamp_fast.errors import DataError

RESULTS = Path("bench") / "results"
BENCHES = (
    "device",
    "text",
    "build",
    "loader",
    "model",
    "train",
    "repeats",
    "scaling",
    "attention",
    "kernels",
    "roofline",
)
FORMER = {"project": "roofline"}  # what a bench was called, in results that are kept -> what it is called
T = TypeVar("T")


def origin(bench: str) -> dict[str, Any]:
    """The head of a result: its schema, the name of its bench, the command line that this process was given."""
    return {"schema": 1, "bench": bench, "command": shlex.join(["ecamp-fast", *sys.argv[1:]])}


def versions() -> dict[str, Any]:
    """``timing.environment`` with the versions that a training step depends on beside it."""
    from importlib.metadata import PackageNotFoundError, version

    from ecamp_fast.bench.timing import environment

    found = environment()
    for package in ("deepspeed", "triton", "nvidia-dali-cuda130"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def peak_memory() -> dict[str, Any]:
    """``peak_memory_bytes`` so far: of tensors on a GPU, else of this whole process, as ``peak_memory_kind`` says."""
    import torch

    if torch.cuda.is_available():
        return {"peak_memory_bytes": torch.cuda.max_memory_allocated(), "peak_memory_kind": "max_memory_allocated"}
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak_memory_bytes": resident, "peak_memory_kind": "ru_maxrss"}


def read_result(path: Path) -> dict[str, Any]:
    """One result file.  Raises DataError where it is none."""
    try:
        return parse_result(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the result {path}: {error}", "give a JSON file that a bench wrote") from None


def parse_result(text: str, origin_of_it: str) -> dict[str, Any]:
    """A result from its JSON.  Raises DataError, with the place in the message, where it is none."""
    try:
        result = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{origin_of_it}: not JSON: {error}", "give a JSON file that a bench wrote") from None
    if not isinstance(result, dict) or "schema" not in result:
        raise DataError(f"{origin_of_it}: not the result of a bench", "give a JSON file that a bench wrote")
    return result


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """File name -> result, of the files of a folder that are named after a bench and tell no error.

    A file named as its bench was called before counts where there is none of the present name.
    """
    found = (path for path in sorted(folder.glob("*.json")) if _bench_in(present_name(path.name)) in BENCHES)
    paths = [path for path in found if path.stat().st_size]  # a shell makes an empty one for what is being written
    results = {path.name: read_result(path) for path in paths}
    results = {name: result for name, result in results.items() if "error" not in result}
    return {name: results[name] for name in results if present_name(name) == name or present_name(name) not in results}


def present_name(file: str) -> str:
    """The name that the file of a result has now that its bench is called otherwise: project.json is roofline.json."""
    bench = _bench_in(file)
    return FORMER.get(bench, bench) + file.removeprefix(bench)


def by_present_name(found: dict[str, T]) -> dict[str, T]:
    """What was found under names of files, under their present ones; of two for one name, that which bears it."""
    former_first = sorted(found, key=lambda file: file == present_name(file))
    return {present_name(file): found[file] for file in former_first}


def _bench_in(file: str) -> str:
    return Path(file).stem.split("-")[0]


def bench_of(name: str, result: dict[str, Any]) -> str:
    """Which bench wrote a result: as it says, else as its file is named; by its present name."""
    bench = str(result.get("bench") or _bench_in(name))
    return FORMER.get(bench, bench)


def device_of(result: dict[str, Any]) -> str:
    """The device that a result was measured on."""
    return str(result.get("environment", result).get("device", "unknown"))


def command_of(name: str, result: dict[str, Any]) -> str:
    """The command line of a result; where the file does not tell, the bench alone."""
    return str(result.get("command") or f"ecamp-fast bench {bench_of(name, result)}")
