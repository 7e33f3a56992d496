"""The plan for a person: sections with their names, in 80 columns. The keys come first, what they lead to last."""

from collections.abc import Iterator
from typing import Any

from ecamp_fast.config.keys import keys_of, spelt
from ecamp_fast.config.recipe import Recipe
from ecamp_fast.forecast.hours import PROJECTED, UNKNOWN
from ecamp_fast.printable import paragraph

_LABEL = 22  # columns of what a line is about
_KEY, _VALUE = 27, 24  # columns of a key in a recipe, of its value
_LONG_KEY, _SHORT_VALUE = 35, 11  # in DeepSpeed's JSON
_TITLES = {
    "": "The batch and the rest",
    "bf16": "Precision (bf16)",
    "data_types": "Sums of gradients (data_types)",
    "zero_optimization": "ZeRO (zero_optimization)",
    "timers.throughput": "DeepSpeed's timer (timers.throughput)",
}
_PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "masters": "float32 masters",
    "moments": "Adam's two moments",
    "sums": "gradient sums",
    "update": "gradient in float32",
}


def describe(plan: dict[str, Any]) -> Iterator[str]:
    """Lines."""
    yield from _recipe(plan["recipe"])
    yield from _deepspeed(plan["deepspeed"]["keys"])
    yield from _data(plan["data"])
    yield from _length(plan["length"], plan["model"])
    yield from _memory(plan["memory"], plan["length"]["micro"])
    yield from _disk(plan["disk"])
    yield from _time(plan["time"], plan["length"])
    yield from _off(plan["off"])
    yield from _run(plan["run"], plan["length"])
    if plan["fault"]:
        yield from ["", f"WOULD FAIL: {plan['fault']}"]
    yield from ["", "Nothing was written and nothing started; without --dry-run the run begins."]


def _recipe(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "RECIPE: key, value, where that is from"
    sections = {key.name.rpartition(".")[0]: key.section for key in keys_of(Recipe)}
    section = None
    for row in rows:
        within, _, leaf = row["key"].rpartition(".")
        if within != section:
            section = within
            yield from paragraph(sections[within], f"  {f'{within}: ' if within else ''}")
        yield from _keyed(f"    {leaf}", spelt(row["value"]), row["origin"], _KEY, _VALUE)


def _deepspeed(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from ["", "DEEPSPEED JSON: key, value, where that is from"]
    sections = dict.fromkeys(row["key"].rpartition(".")[0] for row in rows)
    for section in sorted(sections, key=lambda name: name != ""):
        yield f"  {_TITLES.get(section, section)}"
        for row in rows:
            within, _, leaf = row["key"].rpartition(".")
            if within == section:
                yield from _keyed(f"    {leaf}", spelt(row["value"]), row["origin"], _LONG_KEY, _SHORT_VALUE)


def _keyed(key: str, value: str, origin: str, left: int, middle: int) -> Iterator[str]:
    """A key and its value, and behind them where that is from; below them where they are long."""
    head = f"{key:<{left}} {value}"
    if len(head) > left + middle:
        yield from paragraph(value, f"{key:<{left}} ")
        head = ""
    yield from paragraph(origin, f"{head:<{left + middle}} ")


def _line(label: str, text: str) -> list[str]:
    return paragraph(text, f"  {label:<{_LABEL}}")


def _data(data: dict[str, Any]) -> Iterator[str]:
    yield from ["", "DATA"]
    yield from _line("shard set", f"{data['path']}{', drawn by the run: phantoms' if data['drawn'] else ''}")
    epoch = "" if data["epoch"] == data["train"] else f", {data['epoch']:,} of an epoch by their weights"
    yield from _line("samples", f"{data['train']:,} to train on{epoch}, {data['val']:,} held out")
    text = f"{data['tokens']:.0f} tokens a sample, vocabulary of {data['vocabulary']:,}" if data["tokens"] else "none"
    yield from _line("text", f"{text}; {data['distilled']:,} training samples with distilled text")
    yield from _line("attention maps", f"{data['maps']:,} training samples have one")


def _length(length: dict[str, Any], model: dict[str, Any]) -> Iterator[str]:
    yield from ["", "LENGTH"]
    yield from _line("model", f"{model['parameters'] / 1e6:.1f} M parameters in {model['tensors']} tensors")
    per_epoch = f"{length['steps_per_epoch']:.2f} steps an epoch"
    yield from _line(
        "steps", f"{length['steps']:,} ({length['epochs']:g} epochs, {per_epoch}), {length['left']:,} left"
    )
    yield from _line("samples seen", f"{length['samples']:,}")
    parts = f"{length['micro']} a micro-batch x {length['ranks']} rank(s) x {length['accumulation']} micro-step(s)"
    yield from _line("batch", f"{length['batch']} = {parts}")


def _memory(memory: dict[str, Any], micro: int) -> Iterator[str]:
    where = f"a GPU ({memory['gpu']})" if memory["gpu"] else "a rank in main memory (no GPU here)"
    yield from ["", f"MEMORY of {where}, ZeRO-{memory['stage']}"]
    for name, value in memory["parts"].items():
        if value:
            yield from _line(_PARTS[name], size(value))
    if memory["activations"] is None:
        yield from _line("activations", "not forecast for this model")
    else:
        each = f"{micro} samples of {size(memory['sample'])}, and {size(memory['once'])} beside them"
        yield from _line(
            "activations", f"{size(memory['activations'])}: {each}; kept for the backward, by shapes alone"
        )
    yield from _line("together", f"{size(memory['total'])} of {size(memory['available'])}")


def _disk(disk: dict[str, Any]) -> Iterator[str]:
    yield from ["", "DISK"]
    yield from _line("checkpoints", f"{size(disk['checkpoints'])}: {disk['kept']} of {size(disk['checkpoint'])}")
    yield from _line("weights.safetensors", size(disk["weights"]))
    yield from _line("logs", f"{size(disk['logs'])}: metrics, events, flight recorder")
    for name in ("deepspeed", "phantoms", "cache"):
        if disk[name]:
            yield from _line({"deepspeed": "DeepSpeed's files"}.get(name, name), size(disk[name]))
    more = f"{size(disk['writing'])} more while one is written"
    yield from _line("together", f"{size(disk['total'])}, {more}; {size(disk['free'])} free")


def _time(time: dict[str, Any], length: dict[str, Any]) -> Iterator[str]:
    yield from ["", "TIME"]
    if time["kind"] == UNKNOWN:
        yield from _line("hours", time["source"])
    else:
        label = f"{PROJECTED} " if time["kind"] == PROJECTED else ""
        rates = " to ".join(dict.fromkeys(f"{rate:,.0f}" for rate in time["images_per_second"]))
        yield from _line("hours", f"{label}{_span(time['hours'])} for {length['left']:,} steps, at {rates} images/s")
        yield from _line("by", f"{time['source']} ({time['kind']})")
    for chip, hours in time["elsewhere"].items():
        gpus = f"{length['ranks']} x {chip}"
        by = f"by the roofline, micro-batches of {length['micro']}"
        yield from _line(f"{PROJECTED}, {gpus}", f"{_span(hours)}, {by}")


def _span(hours: list[float]) -> str:
    """From least to most, in minutes where that is little."""
    few = hours[1] < 1
    low, high = (f"{60 * end:.2g}" if few else f"{end:.3g}" for end in hours)
    return f"{low if low == high else f'{low} to {high}'} {'minutes' if few else 'hours'}"


def _off(rows: list[dict[str, str]]) -> Iterator[str]:
    yield from ["", "SWITCHED OFF"]
    for row in rows:
        yield from paragraph(f"{row['what']}: {row['why']}", "  ")
    if not rows:
        yield "  nothing"


def _run(run: dict[str, Any], length: dict[str, Any]) -> Iterator[str]:
    yield from ["", "RUN"]
    if run["aside"]:
        what = "holds a run, which would be set aside; starts at step 0"
    elif run["exists"] and run["from_step"] and not length["left"]:
        what = f"is complete at step {run['from_step']:,}: nothing to do"
    elif run["from_step"]:
        held = f"holds a run{', ' if run['status'] else ''}{run['status'] or ''}" if run["exists"] else "is new"
        left = "" if length["left"] else ", where it is complete"
        what = f"{held}: goes on from step {run['from_step']:,} ({run['checkpoint']}){left}"
    else:
        what = "holds a run without a checkpoint: starts at step 0" if run["exists"] else "is new: starts at step 0"
    yield from _line(run["path"], what) if len(run["path"]) < _LABEL else [f"  {run['path']}", *_line("", what)]
    for change in run["changes"]:
        yield from _line("changed", change)
    if run["unsure"]:
        yield from _line("its data", "compared with the checkpoint's when the phantoms are drawn")


def size(count: float) -> str:
    """Bytes in the unit that leaves two to four digits."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:,.{1 if count < 100 * scale else 0}f} {unit}"
    return f"{count:.0f} bytes"
