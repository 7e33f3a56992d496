"""How fast a build turns originals into shards, beside its floor: decoding, reducing and encoding, nothing else.

Both in as many processes, in turns, from their start to the end. Of the build, listing the source and training the
tokenizer come before; checks, text, tar files, journal and manifest are in it.
"""

import csv
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ecamp_fast.usage.options import json_option, workers_option

DRAWN = 8  # different originals; the files repeat them


@click.command()
@click.option("--images", default=384, show_default=True, type=click.IntRange(8), help="Originals in a round.")
@workers_option()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Of each in turn.")
@click.option("--short-side", default=1024, show_default=True, type=click.IntRange(8), help="Pixels kept.")
@json_option()
def command(images: int, workers: int, rounds: int, short_side: int, as_json: bool) -> None:
    """Time a build from originals of 2500 x 3000 pixels.

    \b
    Example:
      ecamp-fast bench build --images 96
    """
    with tempfile.TemporaryDirectory(prefix="ecamp-fast-") as folder:
        result = measure(_originals(Path(folder), images), short_side, workers, rounds)
    click.echo(json.dumps(result) if as_json else describe(result))


def measure(table: Path, short_side: int, workers: int, rounds: int) -> dict[str, Any]:
    """Images a second of the build and of its floor, medians over rounds, and their ratio.  table: for ``CsvSource``"""
    from ecamp_fast.bench.data.originals import HEIGHT, WIDTH
    from ecamp_fast.bench.timing import environment
    from ecamp_fast.machine import available_cores

    workers = workers or available_cores()
    files = sorted(table.parent.glob("*.jpg"))
    seconds: dict[str, list[float]] = {"floor": [], "build": []}
    for _ in range(rounds):
        seconds["floor"].append(_floor(files, short_side, workers))
        seconds["build"].append(_build(table, short_side, workers))
    rates = {name: len(files) / statistics.median(times) for name, times in seconds.items()}
    return {
        "schema": 1,
        "images_per_second": round(rates["build"], 2),
        "floor_images_per_second": round(rates["floor"], 2),
        "share_of_floor": round(rates["build"] / rates["floor"], 4),
        "seconds": {name: [round(time, 3) for time in times] for name, times in seconds.items()},
        "images": len(files),
        "original": [HEIGHT, WIDTH],
        "original_bytes": sum(path.stat().st_size for path in files) // len(files),
        "short_side": short_side,
        "workers": workers,
        "cores": available_cores(),
        "environment": environment(),
    }


def describe(result: dict[str, Any]) -> str:
    height, width = result["original"]
    return (
        f"build: {result['images_per_second']} images/s of {width} x {height} pixels"
        f" ({result['original_bytes'] / 1e6:.1f} MB) to a short side of {result['short_side']},"
        f" {result['workers']} processes, {result['cores']} cores\n"
        f"floor, decoding and encoding alone: {result['floor_images_per_second']} images/s;"
        f" the build reaches {result['share_of_floor']:.0%}"
    )


def _originals(folder: Path, count: int) -> Path:
    """JPEG files of the hospital's size, and the table that names them."""
    from ecamp_fast.bench.data.originals import original
    from ecamp_fast.phantom import describe as describe_phantom

    rows = []
    for number in range(count):
        path = folder / f"{number:04d}.jpg"
        path.write_bytes(original(0, number) if number < DRAWN else (folder / f"{number % DRAWN:04d}.jpg").read_bytes())
        report = describe_phantom(0, number).report
        rows.append({"study_id": f"s{number}", "image_path": path.name, "view": "PA", "report": report})
    with open(folder / "table.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "table.csv"


def _floor(files: Sequence[Path], short_side: int, workers: int) -> float:
    """Seconds for all files."""
    from concurrent.futures import ProcessPoolExecutor

    from ecamp_fast.machine import worker_processes
    from ecamp_fast.shards.builder.pack import CHUNK

    context = worker_processes(["ecamp_fast.shards.builder.workers"])  # as the build does
    began = time.perf_counter()
    with ProcessPoolExecutor(workers, context) as pool:
        deque(pool.map(_convert, files, [short_side] * len(files), chunksize=CHUNK), maxlen=0)
    return time.perf_counter() - began


def _convert(path: Path, short_side: int) -> int:
    from ecamp_fast.shards.images.encode import decode_reduced, jpeg, radiograph

    image, _ = decode_reduced(path.read_bytes(), short_side)
    return len(jpeg(radiograph(image, short_side)))


def _build(table: Path, short_side: int, workers: int) -> float:
    """Seconds from the first call of ``tick``, before there are workers, until the set stands."""
    from ecamp_fast.shards.builder.build import Options, build
    from ecamp_fast.shards.sources.csv_file import CsvSource

    marks: list[float] = []
    options = Options(short_side=short_side, workers=workers)
    with tempfile.TemporaryDirectory(prefix="ecamp-fast-") as folder:
        build(CsvSource(table), Path(folder) / "set", options, tick=lambda *_: marks.append(time.perf_counter()))
        return time.perf_counter() - marks[0]
