"""How fast the loader alone delivers training batches: images a second, and where a core's time goes.

Nothing computes on the batches. The stages are timed once more, one after the other, on one thread.
"""

import json
import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.bench.options import note_renamed, recipe_options
from ecamp_fast.errors import ConfigError
from ecamp_fast.machine import available_cores
from ecamp_fast.shards.storage.address import parse_address
from ecamp_fast.usage.options import data_option, device_option, json_option

if TYPE_CHECKING:
    from ecamp_fast.config import Recipe


WARM_UP = 2  # batches: DALI's buffers grow during the first ones
PHANTOMS = 64


@click.command()
@data_option("Shard set: folder, s3://, gs:// or https://. Default: phantoms of 1024 pixels.")
@recipe_options("Sizes and threads.")
@click.option("--images", default=512, show_default=True, type=click.IntRange(1), help="Images to time, at least.")
@device_option()
@click.option("--baselines", is_flag=True, help="One core's time for an image, beside other loaders.")
@click.option("--rivals", "former", is_flag=True, hidden=True)  # what --baselines was called, for one more release
@json_option()
def command(
    data: str | None,
    name: str,
    overrides: tuple[str, ...],
    images: int,
    device: str | None,
    baselines: bool,
    former: bool,
    as_json: bool,
) -> None:
    """Time the loader alone: images a second for one rank.

    \b
    Example:
      ecamp-fast bench loader --data SHARDS --images 2048
    """
    from ecamp_fast.config import load_recipe
    from ecamp_fast.shards.builder.build import build_phantoms

    micro = () if any(o.startswith("batch.") for o in overrides) else ("batch.micro=32", "batch.total=32")
    recipe = load_recipe(name, [*micro, *overrides])
    if former:
        note_renamed("bench loader --rivals", "bench loader --baselines")
    baselines = baselines or former
    if baselines and data and parse_address(data):
        raise ConfigError("--baselines reads files, which an address has none of", "name a folder")
    with tempfile.TemporaryDirectory(prefix="ecamp-fast-") as folder:
        if data is None:
            data = str(Path(folder) / "phantoms")
            click.echo(f"no --data: drawing {PHANTOMS} phantoms of 1024 pixels", err=True)
            build_phantoms(PHANTOMS, Path(data), size=1024)
        result = measure(data, recipe, images, device)
        if baselines:
            from ecamp_fast.bench.data.loader_baselines import measure_baselines
            from ecamp_fast.shards.load.read import ShardSet

            result["core_milliseconds"] = measure_baselines(ShardSet(data), recipe, images)
    click.echo(json.dumps(result) if as_json else describe(result))


def measure(data: Path | str, recipe: "Recipe", images: int, device: str | None = None) -> dict[str, Any]:
    """Rates of one rank.  images: to time, rounded up to whole batches   device: None: cuda where there is one.

    returns images_per_second (wall), images_per_core_second (CPU time of this process, all threads),
    stages (``loader_stages.stages``), host_core_milliseconds (of them all before decoding), and what they were measured
    on.
    """
    import torch

    from ecamp_fast.bench.data.loader_stages import stages
    from ecamp_fast.bench.timing import environment
    from ecamp_fast.shards.load.loader import Loader
    from ecamp_fast.shards.load.read import ShardSet

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    shards = ShardSet(data, cache_gb=recipe.loader.cache_gb)
    micro = recipe.micro
    count = -(-images // micro)
    steps = -(-(count + WARM_UP) * micro // recipe.batch.total)
    batches = Loader(shards, "train", recipe, device=device).batches(0, steps)
    for _ in range(WARM_UP):
        next(batches)
    wall, core = time.perf_counter(), time.process_time()
    for _ in range(count):
        next(batches)
    wall, core = time.perf_counter() - wall, time.process_time() - core
    batches.close()
    parts = stages(shards, recipe, device)
    return {
        "schema": 1,
        "images_per_second": round(count * micro / wall, 1),
        "images_per_core_second": round(count * micro / core, 1),
        "host_core_milliseconds": round(sum(parts[name] for name in ("read", "checksum", "prepare")), 4),
        "stages": {name: round(time, 4) for name, time in parts.items()},
        "images": count * micro,
        "batch": micro,
        "size": recipe.image.high_size,
        "threads": recipe.loader.threads,
        "region": recipe.loader.region,
        "hardware": recipe.loader.hardware,
        "short_side": shards.manifest.short_side,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or "cpu",
        "cores": available_cores(),
        "torch": torch.__version__,
        "environment": environment(),
    }


def describe(result: dict[str, Any]) -> str:
    parts, whole = result["stages"], sum(result["stages"].values())
    return (
        f"loader: {result['images_per_second']:,} images/s, {result['images_per_core_second']:,} per core-second"
        f" ({result['size']} pixels from a short side of {result['short_side']}, batch {result['batch']},"
        f" {result['threads']} threads, {result['cores']} cores, {result['device']})\n"
        f"stages on one core, {whole:.2f} ms per image: "
        + ", ".join(f"{name} {time:.3f} ({time / whole:.1%})" for name, time in parts.items())
        + _baselines(result.get("core_milliseconds", {}))
    )


def _baselines(ways: dict[str, dict[str, float]]) -> str:
    if not ways:
        return ""
    ours = ways["ours"]["median"]
    lines = [
        f"\n  {name:14} {times['median']:8.2f} core-ms per image, {times['median'] / ours:5.2f} times ours"
        for name, times in ways.items()
    ]
    return "\non one core, in turns:" + "".join(lines)
