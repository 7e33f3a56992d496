"""The Triton kernels: right first, then how fast, how near to what the chip can do, and in how much memory.

On a GPU: bfloat16 at the paper's shapes, against eager PyTorch, torch.compile and other libraries. Elsewhere: float32
in Triton's interpreter at small shapes, and what the compiler makes of the kernels for each chip.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from ecamp_fast.errors import ConfigError, EcampError, EnvironmentFault
from ecamp_fast.printable import items
from ecamp_fast.usage.options import FiniteRange, json_option

GATE_BATCHES = (2, 16)  # of the larger one, every chip's programs get a second tile of sr_loss
REPEATED_BATCH, REPEATS = 64, 20  # on a GPU: runs whose bits are compared
INTERPRETED_BATCHES, INTERPRETED_REPEATS = (2,), 2  # three programs only: each has many tiles at any batch
COMPILED_BATCH = 2
PROJECTED_BATCH = 8  # the fixed part of an operation, a table or some weights, should not count
PARTS = ("gate", "compile")  # what a child process can be asked for


@click.command()
@click.option("--batch", default=256, show_default=True, type=click.IntRange(1), help="Samples to time on a GPU.")
@json_option()
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png", help="Times as bars.")
@click.option("--tune", is_flag=True, help="Sweep launch constants first and keep the winners in kernels/tuning.json.")
@click.option("--tune-only", multiple=True, metavar="KEY", help="With --tune: this key of the table; may be repeated.")
@click.option("--tune-seconds", type=FiniteRange(1), help="With --tune: try no further candidate after these.")
@click.option("--times/--no-times", default=True, show_default=True, help="Without: only whether they are right.")
@click.option("--compiled/--no-compiled", default=True, show_default=True, help="On a GPU, torch.compile beside ours.")
@click.option("--quick", is_flag=True, help="Without a GPU: less is compiled, and nothing run twice.")
@click.option("--child", type=click.Choice(PARTS), hidden=True)
def command(
    batch: int,
    as_json: bool,
    plot: Path | None,
    tune: bool,
    tune_only: tuple[str, ...],
    tune_seconds: float | None,
    times: bool,
    compiled: bool,
    quick: bool,
    child: str | None,
) -> None:
    """Correctness of every kernel, then its times; without a GPU the compiler's report instead of times.

    Exit code 1: a kernel of ours is wrong, does not repeat to the bit, or spills registers.

    \b
    Example:
      ecamp-fast bench kernels --no-times --quick
    """
    if child:
        click.echo(json.dumps(_gate_here(quick) if child == "gate" else _compile_here(quick)))
        return
    if plot and not times:
        raise ConfigError("--no-times with --plot, which needs times", "leave one of them out")
    sweep = {"only": _keys(tune_only), "budget": tune_seconds or math.inf} if tune else None
    result = measure(batch, sweep, plot is not None, times, compiled, quick)
    if plot:
        draw(result, plot)
    click.echo(json.dumps(result) if as_json else describe(result))
    if failed(result):
        click.get_current_context().exit(1)


def _keys(given: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ConfigError where one is no key of the table."""
    from ecamp_fast.bench.ops.tuning import CANDIDATES

    wrong = [key for key in given if key not in CANDIDATES]
    if wrong:
        raise ConfigError(f"--tune-only {wrong[0]}: no such key", f"name some of {', '.join(CANDIDATES)}")
    return given


def failed(result: dict[str, Any]) -> bool:
    """Whether a kernel of ours is wrong, differs from run to run, or spills."""
    judged = [row for row in result["correctness"] if row["implementation"] == "triton"] + result["repeats"]
    return bool(result["faults"]) or not all(row["passed"] for row in judged)


def measure(
    batch: int,
    tune: dict[str, Any] | None = None,
    times_needed: bool = False,
    times: bool = True,
    compiled: bool = True,
    quick: bool = False,
) -> dict[str, Any]:
    """All there is to know on this machine.  tune: options of ``tuning.tune``   others: as the command's options

    correctness, repeats   rows of ``kernel_gate``, with their batch
    times                  rows of ``gpu_times``, on a GPU
    compiled, faults       rows of ``compiled`` and what is wrong with them, elsewhere
    projected              rows of ``kernel_roofline``, elsewhere
    tuned                  with ``tune``
    and what it was measured on.
    """
    import torch
    import triton

    from ecamp_fast.bench.timing import environment

    result: dict[str, Any] = {
        "schema": 1,
        "batch": batch,
        "environment": environment() | {"triton": triton.__version__},
        "repeats": [],
        "tuned": [],
        "times": [],
        "copy_bytes_per_second": None,
        "compiled": [],
        "projected": [],
        "faults": [],
    }
    if torch.cuda.is_available():
        return result | {"dtype": "bfloat16"} | _on_gpu(batch, tune, times, compiled)
    if tune is not None or times_needed:
        raise EnvironmentFault("--tune and --plot need times", "run it on a machine with a GPU")
    from ecamp_fast.bench.ops.compiled import faults

    if not times:
        judged = _gate_here(quick) if _interpreted() else _child("gate", quick)
        return result | {"dtype": "float32", **judged}
    judged, report = _gate_and_compile(quick)
    found = {"compiled": report, "projected": _projected(report), "faults": faults(report)}
    return result | {"dtype": "float32", **judged, **found}


def _on_gpu(batch: int, tune: dict[str, Any] | None, times: bool, compiled: bool) -> dict[str, Any]:
    import torch

    from ecamp_fast.bench.ops.gpu_times import copy_bandwidth, time_cases
    from ecamp_fast.bench.ops.kernel_cases import cases
    from ecamp_fast.bench.ops.tuning import CANDIDATES
    from ecamp_fast.bench.ops.tuning import tune as sweep

    def make(batch: int) -> list[Any]:
        chosen = cases(batch, "cuda", torch.bfloat16)
        keys = (tune or {}).get("only") or CANDIDATES
        return [case for case in chosen if tune is None or case.operation in {CANDIDATES[key][0] for key in keys}]

    tuned = [] if tune is None else sweep(make(batch), make(GATE_BATCHES[-1]), **tune)
    found = {"tuned": tuned, **_judged(make, GATE_BATCHES, (REPEATED_BATCH, REPEATS))}
    if not times:
        return found
    timed = time_cases(make(batch), found["correctness"], compiled=compiled)
    return found | {"copy_bytes_per_second": copy_bandwidth(), "times": timed}


def _judged(
    make: Callable[[int], list[Any]], batches: tuple[int, ...], repeated: tuple[int, int] | None
) -> dict[str, Any]:
    """make: cases of a number of samples   repeated: samples and runs of the comparison of bits; None: there is none"""
    from ecamp_fast.bench.ops.kernel_gate import gate, repeats

    correctness = [row | {"batch": batch} for batch in batches for row in gate(make(batch))]
    if repeated is None:
        return {"correctness": correctness, "repeats": []}
    batch, times = repeated
    return {"correctness": correctness, "repeats": [row | {"batch": batch} for row in repeats(make(batch), times)]}


def _gate_and_compile(quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Both at once: only one of them can run in this process, the other waits for a child."""
    with ThreadPoolExecutor(1) as pool:
        if _interpreted():
            report = pool.submit(_child, "compile", quick)
            return _gate_here(quick), report.result()
        judged = pool.submit(_child, "gate", quick)
        compiled = _compile_here(quick)
        return judged.result(), compiled


def _gate_here(quick: bool) -> dict[str, Any]:
    """Needs a process with Triton's interpreter."""
    import torch

    from ecamp_fast.bench.ops.kernel_cases import SMALL, cases

    make = partial(cases, device="cpu", dtype=torch.float32, sizes=SMALL)
    repeated = None if quick else (INTERPRETED_BATCHES[0], INTERPRETED_REPEATS)
    return _judged(make, INTERPRETED_BATCHES, repeated)


def _compile_here(quick: bool) -> list[dict[str, Any]]:
    """Needs a process without Triton's interpreter.

    quick: for each chip only what has launch constants of its own there, in bfloat16
    """
    import torch

    from ecamp_fast.bench.ops.compiled import CHIPS, compile_report
    from ecamp_fast.bench.ops.kernel_cases import PAPER, cases
    from ecamp_fast.kernels.tuning import tuning_table

    sizes = replace(PAPER, text=1)  # rows change no kernel, and the library's products of them run on this CPU
    chosen = {
        f"{case.operation}{suffix}": partial(case.run, "triton")
        for dtype, suffix in ((torch.bfloat16, ""), (torch.float32, " float32"))
        for case in cases(COMPILED_BATCH, "cpu", dtype, sizes)
    }
    if not quick:
        return compile_report(chosen)
    rows = []
    for chip in CHIPS:
        rows += compile_report({name: run for name, run in chosen.items() if name in tuning_table()[chip]}, [chip])
    return rows


def _projected(compiled: list[dict[str, Any]]) -> list[dict[str, Any]]:
    import torch

    from ecamp_fast.bench.ops.kernel_cases import PAPER, cases
    from ecamp_fast.bench.roofline.kernels import kernel_roofline

    return kernel_roofline(cases(PROJECTED_BATCH, "cpu", torch.bfloat16), PROJECTED_BATCH, compiled, PAPER.low)


def _child(part: str, quick: bool) -> Any:
    """The part in a process of its own, where the interpreter is as it needs it."""
    import ecamp_fast

    root = str(Path(ecamp_fast.__file__).resolve().parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])  # what is installed may lie on it
    wanted = {"TRITON_INTERPRET": "1" if part == "gate" else "0", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-m", "ecamp_fast.bench.kernels", "--child", part, *["--quick"] * quick],
        env=os.environ | wanted,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise EcampError(f"the {part} part ended with {done.returncode}:{items(done.stderr[-2000:].splitlines())}")
    return json.loads(done.stdout)


def _interpreted() -> bool:
    from ecamp_fast.kernels.dispatch import INTERPRETED

    return INTERPRETED


def describe(result: dict[str, Any]) -> str:
    """The tables as text."""
    where = result["environment"]
    lines = [f"{where['device']}, torch {where['torch']}, triton {where['triton']}, commit {where['commit']}", ""]
    lines.append(f"correctness, {result['dtype']}: largest error over the largest number, and what is allowed")
    for row in result["correctness"]:
        numbers = row.get("fault") or f"{row['error']:8.1e} of {row['allowed']:8.1e}"
        verdict = "" if row["passed"] else "  FAILED"
        name = f"{row['operation']:23} {row['implementation']:8} {row['part']:11}"
        lines.append(f"  {name} batch {row['batch']:3} {numbers}{verdict}")
    for row in result["repeats"]:
        told = row.get("fault") or ", ".join(f"{part} {count} times" for part, count in row["differing"].items())
        verdict = "the same bits" if row["passed"] else f"FAILED: {told} unlike the first"
        lines.append(f"  {row['operation']:23} {row['times']} runs, batch {row['batch']:3}: {verdict}")
    for row in result["tuned"]:
        lines.append(f"tuned {row['key']}: {row['constants']}, {_micro(row['before'])} -> {_micro(row['after'])} us")
    if result["times"]:
        lines += ["", *_times(result)]
    if result["compiled"]:
        lines += [
            "",
            "compiled at the paper's shapes, bfloat16 or as named: registers a thread, bytes spilled, shared memory",
        ]
        for row in result["compiled"]:
            counts = f"{row['registers']:4} {row['spilled']:5} {row['shared']:7}"
            lines.append(f"  {row['operation']:30} {row['kernel']:8} {row['chip']:7} {row['warps']:3} warps {counts}")
    if result.get("projected"):
        lines += ["", "projected, not measured: us a sample at least; by instructions issued where these bind"]
        for row in result["projected"]:
            issue = "" if row["issue"] is None else f"   issue {row['issue']:.2f}"
            lines.append(f"  {row['operation']:23} {row['chip']:5} roofline {row['roofline']:6.3f}{issue}")
    lines += [f"FAILED {fault}" for fault in result["faults"]]
    return "\n".join(lines)


def _times(result: dict[str, Any]) -> list[str]:
    copy = result["copy_bytes_per_second"]
    heads = " ".join(f"{head:>9}" for head in ("us", "p20", "p80", "roofline"))
    lines = [
        f"forward + backward of {result['batch']} samples; a large copy moves {copy / 1e12:.2f} TB/s",
        f"  {'':23} {'':8} {heads} {'share':>6} {'of copy':>8} {'extra MiB':>10} {'MB':>8} {'GFLOP':>8}",
    ]
    for row in result["times"]:
        start = f"  {row['operation']:23} {row['implementation']:8} "
        if "note" in row:
            lines.append(start + row["note"])
            continue
        share = "" if row["share"] is None else f"{row['share']:.0%}"
        times = " ".join(f"{_micro(row[key]):>9}" for key in ("median", "p20", "p80", "roofline"))
        of_copy, extra = row["bytes"] / row["median"] / copy, row["extra_bytes"] / 2**20
        counts = f"{row['bytes'] / 1e6:8.1f} {row['operations'] / 1e9:8.1f}"
        lines.append(f"{start}{times} {share:>6} {of_copy:8.0%} {extra:10.1f} {counts}")
    return lines


def _micro(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:.1f}"


def draw(result: dict[str, Any], file: Path) -> None:
    """Bars: time of every implementation over the roofline, one group an operation, on a logarithmic scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    timed = [row for row in result["times"] if "median" in row]
    operations, names = (list(dict.fromkeys(row[key] for row in timed)) for key in ("operation", "implementation"))
    height = 0.8 / max(1, len(names))
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.8 * max(1, len(operations))), layout="constrained")
    for place, name in enumerate(names):
        rows = [row for row in timed if row["implementation"] == name]
        at = [operations.index(row["operation"]) + place * height for row in rows]
        bars = axes.barh(at, [row["median"] * 1e6 for row in rows], height, label=name)
        axes.bar_label(bars, [f"{row['median'] * 1e6:.0f}" for row in rows], padding=2, fontsize=7)
    for row in timed:
        if row["roofline"]:
            middle = operations.index(row["operation"]) - height / 2
            axes.vlines(row["roofline"] * 1e6, middle, middle + height * len(names), color="black", linewidth=1)
    axes.set(yticks=[i + 0.4 - height / 2 for i in range(len(operations))], xscale="log", xlabel="microseconds")
    axes.set_yticklabels(operations)
    axes.invert_yaxis()
    axes.legend(title="black: roofline")
    axes.set_title(f"forward + backward of {result['batch']} samples, {result['environment']['device']}", fontsize=9)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    command()
