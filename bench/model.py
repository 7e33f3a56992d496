"""The training step: how long its parts take, how much work and memory that is, and how the release compares.

On synthetic micro-batches that lie on the device. All that is timed takes turns, block by block.
"""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from ecamp_fast.bench.options import SPREAD, TOKENS, VOCABULARY, json_option, recipe_options, text_options
from ecamp_fast.config import Recipe, load_recipe

LARGEST = 12  # saved tensors that are printed


@click.command()
@recipe_options()
@click.option("--batch", type=click.IntRange(1), help="Samples of a micro-batch. Default: 8; on a GPU the recipe's.")
@text_options()
@click.option(
    "--precision", "precisions", multiple=True, type=click.Choice(["fp32", "bf16"]), help="Several take turns."
)
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1), help="Blocks, and steps of each kind.")
@click.option("--device", help="cpu or cuda. Default: cuda where there is one.")
@click.option("--peer", type=click.Path(path_type=Path), metavar="CHECKOUT", help="Time the release as well.")
@click.option("--peer-python", type=click.Path(path_type=Path), metavar="FILE", help="What runs it. Default: this one.")
@json_option()
def command(
    name: str,
    overrides: tuple[str, ...],
    batch: int | None,
    tokens: float,
    spread: float,
    precisions: tuple[str, ...],
    vocabulary: int,
    repeats: int,
    device: str | None,
    peer: Path | None,
    peer_python: Path | None,
    as_json: bool,
) -> None:
    """Forward, backward and AdamW of a training step: times, work, memory, and the release's beside them.

    Exit code 1: a step computes something else than the plain float32 model, or the release something else than ours;
    then its times are not given.
    """
    recipe = load_recipe(name, overrides)
    release = (peer, peer_python or Path(sys.executable)) if peer else None
    result = measure(recipe, batch, tokens, spread, precisions, repeats, device, release, vocabulary)
    click.echo(json.dumps(result) if as_json else describe(result))
    if not all(gate["passed"] for gate in result["parity"].values()) or (
        result["peer"] and not result["peer"]["passed"]
    ):
        click.get_current_context().exit(1)


def measure(
    recipe: Recipe,
    batch: int | None = None,
    tokens: float = TOKENS,
    spread: float = SPREAD,
    precisions: tuple[str, ...] = (),
    repeats: int = 5,
    device: str | None = None,
    peer: tuple[Path, Path] | None = None,
    vocab_size: int = VOCABULARY,
) -> dict[str, Any]:
    """All that the command prints.  peer: checkout of the release, Python that runs it.

    returns parity (by precision: of our step with the plain float32 model), ours (by precision, where it passed:
    seconds, images_per_second, flops_per_second, mfu, saved bytes, component_seconds), peer (versions, parity, passed,
    seconds, saved_bytes_per_sample, ratio and saved_ratio by precision) or None,
    flops_per_sample (by component, and total), and what it was measured on.
    """
    import torch

    from ecamp_fast.bench.data.synthetic import one_shape, synthetic_batch, text_lengths
    from ecamp_fast.bench.step.counting import predicted_rows
    from ecamp_fast.bench.step.timed_step import Step
    from ecamp_fast.bench.timing import environment
    from ecamp_fast.model.flops import step_work, summed

    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    count = batch or (recipe.micro if target.type == "cuda" and recipe.batch.micro != "auto" else 8)
    lengths = text_lengths(count, tokens, spread, recipe.text.max_tokens)
    host = synthetic_batch(recipe, vocab_size, lengths, recipe.seed)
    if not peer and recipe.fixed_text(target.type == "cuda"):  # the release pads its text anyway
        (host,) = one_shape(recipe, vocab_size, lengths, [recipe.seed])
    kinds = tuple(dict.fromkeys(precisions)) or ("fp32",)
    peaks = {kind: _peak_memory(partial(Step, recipe, vocab_size, kind, target), host.to(target)) for kind in kinds}
    steps = {precision: Step(recipe, vocab_size, precision, target) for precision in kinds}
    predicted = predicted_rows(host)
    work = step_work(recipe, vocab_size, lengths, predicted)
    flops = {part: done.total / count for part, done in work.items()} | {"total": summed(work).total / count}
    return {
        "schema": 1,
        "recipe": recipe.name,
        "batch": count,
        "tokens": sum(lengths) / count,
        "predicted": predicted / count,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "on": target.type,
        "flops_per_sample": flops,
        **_run(steps, peaks, host, target, repeats, flops["total"], (*peer, vocab_size) if peer else None),
        "environment": environment(),
    }


def _peak_memory(build: Callable[[], Any], inputs: Any) -> int | None:
    """Most bytes on the device in a step, the batch and AdamW included, while nothing else is there; None on a CPU."""
    import torch

    if inputs.image.device.type != "cuda":
        return None
    step = build()
    step.run(inputs)  # which compiles
    torch.cuda.reset_peak_memory_stats()
    step.run(inputs)
    return torch.cuda.max_memory_allocated()


def _run(
    steps: dict[str, Any],
    peaks: dict[str, int | None],
    host: Any,
    device: Any,
    repeats: int,
    flops: float,
    release: tuple[Path, Path, int] | None,
) -> dict[str, Any]:
    """``parity``, ``ours`` and ``peer`` of the result.  steps, peaks: by precision   host: the batch on the CPU."""
    from ecamp_fast.bench.step.parity import parity

    inputs, count = host.to(device), len(host)
    gates = {name: parity(step, inputs, name) for name, step in steps.items()}
    steps = {name: step for name, step in steps.items() if gates[name]["passed"]}
    turns: dict[str, Callable[[], dict[str, float]]] = {name: partial(step.run, inputs) for name, step in steps.items()}
    compared: dict[str, Any] | None = None
    with ExitStack() as stack:
        if release and steps:
            from ecamp_fast.bench.step.peer import introduce

            other, compared = introduce(*release, next(iter(steps.values())).model, host, device)
            stack.callback(other.close)
            if compared["passed"]:
                compared["saved_bytes_per_sample"] = other.saved() / count
                turns["peer"] = other.step
        times = in_turns(turns, repeats)
    ours = {
        name: {"peak_memory_bytes": peaks[name], **_ours(step, inputs, times[name], flops * count)}
        for name, step in steps.items()
    }
    if compared and compared["passed"]:
        compared |= _ratios(times, ours, compared["saved_bytes_per_sample"])
    return {"parity": gates, "ours": ours, "peer": compared}


def _ratios(times: dict[str, Any], ours: dict[str, Any], saved: float) -> dict[str, Any]:
    """The release's median over ours, by the clock and in time of the cores; bytes saved likewise, by precision."""

    def ratio(precision: str, kind: str) -> float:
        return float(times["peer"][kind]["median"] / times[precision][kind]["median"])

    return {
        "seconds": times["peer"],
        "ratio": {name: {kind: ratio(name, kind) for kind in ("together", "core")} for name in ours},
        "saved_ratio": {name: saved / found["saved_bytes_per_sample"] for name, found in ours.items()},
    }


def in_turns(turns: dict[str, Callable[[], dict[str, float]]], repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Each action once unmeasured, then A B A B; returns ``median``, ``p20``, ``p80`` of what they measure."""
    from ecamp_fast.bench.step.timed_step import summaries

    found: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
    for turn in range(repeats + 1):
        for name, action in turns.items():
            measured = action()
            if turn:
                found[name].append(measured)
    return {name: summaries(steps) for name, steps in found.items()}


def _ours(step: Any, inputs: Any, seconds: dict[str, dict[str, float]], flops: float) -> dict[str, Any]:
    """Times as rates, and what a watched step tells: memory and time by component.  flops: of the micro-batch."""
    import torch

    from ecamp_fast.bench.step.components import by_component, component_seconds, saved_for_backward
    from ecamp_fast.chips import find_chip

    count, cuda = len(inputs), step.device.type == "cuda"
    median = seconds["together"]["median"]
    bf16 = next(step.model.parameters()).dtype == torch.bfloat16
    chip = find_chip(torch.cuda.get_device_name()) if cuda and bf16 else None
    saved = saved_for_backward(step.model, inputs)
    return {
        "seconds": seconds,
        "images_per_second": count / median,
        "flops_per_second": flops / median,
        "mfu": flops / median / chip.bf16 if chip else None,
        "saved_bytes_per_sample": sum(row["bytes"] for row in saved) / count,
        "saved_by_component": {name: found / count for name, found in by_component(saved).items()},
        "saved_largest": _alike(saved, count),
        "component_seconds": component_seconds(step.model, inputs),
    }


def _alike(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Saved tensors of one component, shape and dtype as one row, largest first, bytes per sample."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["component"], *row["shape"], row["dtype"])
        group = groups.setdefault(key, row | {"number": 0, "bytes": 0})
        group["number"] += 1
        group["bytes"] += row["bytes"] / count
    return sorted(groups.values(), key=lambda group: -group["bytes"])[:LARGEST]


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    from ecamp_fast.bench.step.parity import describe_parity

    where, flops = result["environment"], result["flops_per_sample"]
    device = where["device"] if result["on"] == "cuda" else f"{result['threads']} threads of {where['device']}"
    lines = [
        f"{device}, torch {where['torch']}, commit {where['commit']}",
        f"recipe {result['recipe']}, micro-batch {result['batch']}, {result['tokens']:.1f} tokens a text on average,"
        f" {result['predicted']:.1f} of them predicted; {flops['total'] / 1e9:.1f} GFLOP a sample",
    ]
    lines += [f"ours {precision} {describe_parity(gate)}" for precision, gate in result["parity"].items()]
    for precision, found in result["ours"].items():
        lines += _step_lines(f"ours {precision}", found["seconds"])
        mfu = "" if found["mfu"] is None else f", {found['mfu']:.1%} of the chip's peak"
        memory = "" if not found["peak_memory_bytes"] else f", {found['peak_memory_bytes'] / 2**30:.1f} GiB at the peak"
        saved = f"{found['saved_bytes_per_sample'] / 1e6:.1f} MB a sample saved for backward"
        rate = f"{found['images_per_second']:.2f} images/s, {found['flops_per_second'] / 1e9:.0f} GFLOP/s{mfu}"
        lines += [f"  {rate}; {saved}{memory}", *_component_lines(result, found)]
    return "\n".join([*lines, *_peer_lines(result["peer"])])


def _step_lines(name: str, seconds: dict[str, dict[str, float]]) -> list[str]:
    parts = [
        f"{phase} {times['median'] * 1e3:.1f} ({times['p20'] * 1e3:.1f} to {times['p80'] * 1e3:.1f})"
        for phase, times in seconds.items()
    ]
    return [f"{name}, ms: {', '.join(parts)}"]


def _component_lines(result: dict[str, Any], found: dict[str, Any]) -> list[str]:
    lines = [f"  {'':18} {'forward ms':>11} {'backward ms':>12} {'GFLOP/s':>8} {'MB saved/sample':>16}"]
    for name, times in sorted(found["component_seconds"].items(), key=lambda item: -sum(item[1].values())):
        work = result["flops_per_sample"].get(name)
        rate = f"{work * result['batch'] / max(1e-9, sum(times.values())) / 1e9:.0f}" if work else ""
        saved = found["saved_by_component"].get(name, 0) / 1e6
        numbers = f"{times['forward'] * 1e3:11.1f} {times['backward'] * 1e3:12.1f} {rate:>8} {saved:16.2f}"
        lines.append(f"  {name:18} {numbers}")
    lines.append("  saved for backward, largest first:")
    for row in found["saved_largest"]:
        shape = " x ".join(map(str, row["shape"]))
        lines.append(
            f"  {row['bytes'] / 1e6:8.2f} MB/sample  {row['component']}: {row['number']} of {shape} {row['dtype']}"
        )
    return lines


def _peer_lines(peer: dict[str, Any] | None) -> list[str]:
    if not peer:
        return []
    versions = ", ".join(f"{name} {version}" for name, version in peer["versions"].items())
    distances = ", ".join(f"{name} {distance:.1e}" for name, distance in peer["parity"].items())
    lines = ["", f"release ({versions}); losses differ by {distances} (relative)"]
    if not peer["passed"]:
        return [*lines, "FAILED: it computes something else, so its times are not given"]
    lines += _step_lines("release", peer["seconds"])
    lines.append(f"  {peer['saved_bytes_per_sample'] / 1e6:.1f} MB a sample saved for backward")
    for precision, ratio in peer["ratio"].items():
        lines.append(
            f"  ours {precision}: {ratio['together']:.2f} times as fast ({ratio['core']:.2f} in core time),"
            f" {peer['saved_ratio'][precision]:.2f} times less saved"
        )
    return lines


if __name__ == "__main__":
    command()
