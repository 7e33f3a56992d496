"""DeepSpeed: the library, the accelerator it found, and its JSON against recipe and ranks."""

from collections.abc import Iterator
from typing import Any

from ecamp_fast.doctor.finding import CONFIG, ENVIRONMENT, Finding, fail, ok, warn
from ecamp_fast.doctor.packages import first_line
from ecamp_fast.doctor.run_setup import RunSetup


def accelerator(setup: RunSetup) -> Iterator[Finding]:
    """DeepSpeed must compute where PyTorch does."""
    try:
        from deepspeed.accelerator import get_accelerator

        found = get_accelerator().device_name()
    except ValueError as error:  # DS_ACCELERATOR names one that is not there
        yield fail("accelerator", first_line(error), "unset DS_ACCELERATOR", ENVIRONMENT)
        return
    expected = "cuda" if setup.gpus else "cpu"
    if found == expected:
        yield ok("accelerator", found)
    else:
        hint = f"unset DS_ACCELERATOR, or export DS_ACCELERATOR={expected}"
        yield fail("accelerator", f"DeepSpeed takes {found}, PyTorch computes on {expected}", hint, ENVIRONMENT)


def batch(setup: RunSetup) -> Iterator[Finding]:
    """Resolve the JSON; the batch triple with the origin of each number, then the rest as DeepSpeed reads it."""
    if setup.recipe is None:
        return
    from ecamp_fast.run.deepspeed_config import DEFAULT, check, resolve

    if setup.recipe.batch.micro == "auto":
        check(setup.ds_config, setup.recipe, setup.ranks)
        yield ok("train_micro_batch_size_per_gpu", "auto: chosen by free memory when the run starts")
        return
    resolved = resolve(setup.ds_config, setup.recipe, setup.ranks)
    size = setup.recipe.batch
    total, micro = resolved["train_batch_size"], resolved["train_micro_batch_size_per_gpu"]
    accumulation = resolved["gradient_accumulation_steps"]
    yield ok("DeepSpeed JSON", str(setup.ds_config or f"{DEFAULT.name}, the one that comes with ecamp-fast"))
    yield ok("train_batch_size", f"{total} (recipe: batch.total {size.total})")
    yield ok("train_micro_batch_size_per_gpu", f"{micro} (recipe: batch.micro {size.micro})")
    origin = f"{total} / ({micro} x {setup.ranks} rank(s), {_origin(setup)})"
    yield ok("gradient_accumulation_steps", f"{accumulation} = {origin}")
    yield from _monitors(resolved)
    yield from _as_deepspeed_reads_it(setup, resolved)


def _monitors(resolved: dict[str, Any]) -> Iterator[Finding]:
    """DeepSpeed's own monitors that are on, and the packages they lack."""
    from ecamp_fast.config.deepspeed_values import MONITORS, absent_monitors

    absent = absent_monitors(resolved)
    for name, package in absent.items():
        yield warn(name, f"{package} is not installed: DeepSpeed's monitor stays off", f"pip install {package}")
    for name in sorted(set(MONITORS) - set(absent)):
        if resolved.get(name, {}).get("enabled", False):
            yield ok(name, "DeepSpeed's monitor is on")


def _origin(setup: RunSetup) -> str:
    if setup.asked_ranks:
        return "--ranks"
    return "one per GPU" if setup.gpus else "no GPU"


def _as_deepspeed_reads_it(setup: RunSetup, resolved: dict[str, Any]) -> Iterator[Finding]:
    """Nested keys and types, which the resolver passes through untouched."""
    from ecamp_fast.config.deepspeed_fault import refusal
    from ecamp_fast.run.deepspeed_config import as_deepspeed_reads_it

    faults = as_deepspeed_reads_it(resolved)
    if faults:
        error = refusal(str(setup.ds_config), faults)
        yield fail("DeepSpeed keys", error.what, error.hint, CONFIG)
    else:
        stage = resolved.get("zero_optimization", {}).get("stage", 0)
        precision = "bf16" if resolved["bf16"]["enabled"] else "fp32"
        yield ok("DeepSpeed keys", f"accepted by DeepSpeed: ZeRO-{stage}, {precision}")
