"""What this device gives at best: a large product and a large copy, the ceilings of all that is measured on it."""

import json
import statistics
from typing import Any

import click

from ecamp_fast.usage.options import json_option

SIDE, COPY_BYTES = {"cuda": 8192, "cpu": 512}, {"cuda": 2**32, "cpu": 2**26}
REPEATS, WARM_UP = 10, 3


@click.command()
@json_option()
def command(as_json: bool) -> None:
    """Operations a second of a bfloat16 product of random numbers, bytes a second of a copy, and what the device is.

    \b
    Example:
      ecamp-fast bench device
    """
    result = measure()
    click.echo(json.dumps(result) if as_json else describe(result))


def measure() -> dict[str, Any]:
    """product_per_second (operations), copy_per_second (bytes read and written), device (its properties), versions."""
    import torch

    from ecamp_fast.bench.report.result_files import origin, versions

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    side = SIDE[device.type]
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(left)
    product = _seconds(lambda: torch.mm(left, right, out=out), device)
    source = torch.empty(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = _seconds(lambda: target.copy_(source), device)
    return origin("device") | {
        "on": device.type,
        "side": side,
        "product_per_second": 2 * side**3 / product,
        "copy_bytes": len(source),
        "copy_per_second": 2 * len(source) / copy,
        "device": _properties(device),
        "environment": versions(),
    }


def _seconds(action: Any, device: Any) -> float:
    """Median of a few runs after a few that do not count."""
    from ecamp_fast.bench.step.timed_step import Stopwatch

    for _ in range(WARM_UP):
        action()
    watch = Stopwatch(device)
    watch.mark()
    for _ in range(REPEATS):
        action()
        watch.mark()
    return statistics.median(watch.laps())


def _properties(device: Any) -> dict[str, Any] | None:
    import torch

    if device.type != "cuda":
        return None
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "memory_bytes": found.total_memory,
        "l2_bytes": getattr(found, "L2_cache_size", None),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    where = result["environment"]
    side = result["side"]
    return (
        f"{where['device']}, torch {where['torch']}, commit {where['commit']}\n"
        f"product {side} x {side} x {side} in bfloat16: {result['product_per_second'] / 1e12:,.2f} TFLOP/s;"
        f" copy: {result['copy_per_second'] / 1e12:.3f} TB/s read and written"
    )


if __name__ == "__main__":
    command()
