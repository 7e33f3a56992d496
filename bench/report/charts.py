"""The questions that results answer, one chart each. What is measured and what is projected never share one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ecamp_fast.bench.report.result_files import bench_of, command_of, device_of

Kind = Literal["measurement", "projection"]
MEASURED: Kind = "measurement"
PROJECTED: Kind = "projection"
PERCENTILES = "bar: median; line: 20th to 80th percentile"
RANGE = "bar: from a doubter's assumptions to optimistic ones"
DIRECTIONS = {True: "more is better", False: "less is better"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.  kind: of its number, which must be the chart's

    start      where it begins; 0 unless it is a range      low, high  ends of its interval; None where none is known
    group      number of its entry in the chart's legend    mark       a second number of it, drawn as a tick
    """

    label: str
    value: float
    kind: Kind
    start: float = 0.0
    low: float | None = None
    high: float | None = None
    group: int = 0
    mark: float | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """One question with the bars that answer it; all of one kind, or ValueError.

    name    of its file, without ending     axis     what the numbers are, with their unit
    legend  a name for each group; empty where there is one group only
    origin  command, device and commit      reading  how bars and lines are to be read
    """

    name: str
    question: str
    kind: Kind
    axis: str
    bars: tuple[Bar, ...]
    origin: str
    reading: str
    legend: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if strangers := {bar.kind for bar in self.bars} - {self.kind}:
            raise ValueError(f"{self.name}: a chart of kind {self.kind} with bars of kind {', '.join(strangers)}")


def charts(results: dict[str, dict[str, Any]]) -> list[Chart]:
    """All charts that the results, by file name, have numbers for."""
    makers = {
        "model": (_step, _parts, _memory),
        "loader": (_loaders, _stages),
        "train": (_feeds,),
        "scaling": (_zero,),
        "build": (_building,),
        "roofline": (_gpus, _projected_parts),
    }
    return [
        chart
        for file, result in results.items()
        for make in makers.get(bench_of(file, result), ())
        for chart in make(file, result)
        if chart.bars
    ]


def _name(stem: str, file: str) -> str:
    """Of a chart: with what the file's name says beside its bench, such as a device."""
    return "-".join([stem, *file.removesuffix(".json").split("-")[1:]])


def _origin(file: str, result: dict[str, Any]) -> str:
    where = result.get("environment", result)
    device, cores = device_of(result), f", {where['cores']} cores" if where.get("cores") else ""
    if bench_of(file, result) == "roofline":
        device, cores = "calculated, measured on no GPU", ""
    when = ", ".join([f"commit {where.get('commit')}", *([str(where["date"])] if where.get("date") else [])])
    return f"{command_of(file, result)} ({file}); {device}{cores}, torch {where.get('torch')}, {when}"


def _spread(label: str, found: dict[str, float], scale: float = 1.0, group: int = 0) -> Bar:
    """Of a median with its percentiles."""
    low, high = (found[key] * scale if key in found else None for key in ("p20", "p80"))
    return Bar(label, found["median"] * scale, MEASURED, low=low, high=high, group=group)


def _step(file: str, result: dict[str, Any]) -> Iterator[Chart]:
    bars = [
        _spread(f"ours, {name}", of["seconds"]["together"]) for name, of in result["ours"].items() if "seconds" in of
    ]
    if "seconds" in (result.get("peer") or {}):
        bars.append(_spread("released code, fp32", result["peer"]["seconds"]["together"], group=1))
    yield Chart(
        _name("step", file),
        "How long does a training step take, against the released code?",
        MEASURED,
        f"seconds: forward, backward and AdamW of {result.get('batch')} images, recipe {result['recipe']};"
        f" {DIRECTIONS[False]}",
        tuple(bars),
        _origin(file, result),
        PERCENTILES,
        ("ours", "released code") if any(bar.group for bar in bars) else (),
    )


def _parts(file: str, result: dict[str, Any]) -> Iterator[Chart]:
    precisions = list(result["ours"])
    times = {
        (component, group): (of["forward"] + of["backward"]) * 1e3
        for group, precision in enumerate(precisions)
        for component, of in result["ours"][precision].get("component_seconds", {}).items()
    }
    largest: dict[str, float] = {}
    for (component, _), time in times.items():
        largest[component] = max(largest.get(component, 0.0), time)
    order = sorted(largest, key=lambda component: -largest[component])
    yield Chart(
        _name("step-parts", file),
        "Where does the step's time go?",
        MEASURED,
        f"milliseconds, forward and backward of a micro-batch, recipe {result['recipe']}",
        tuple(
            Bar(component, times[component, group], MEASURED, group=group)
            for component in order
            for group in range(len(precisions))
            if (component, group) in times
        ),
        _origin(file, result),
        "one step that was watched: no interval, and a little slower than others",
        tuple(precisions),
    )


def _memory(file: str, result: dict[str, Any]) -> Iterator[Chart]:
    bars = [
        Bar(f"ours, {name}", of["saved_bytes_per_sample"] / 1e6, MEASURED)
        for name, of in result["ours"].items()
        if of.get("saved_bytes_per_sample")
    ]
    peer = result.get("peer") or {}
    if "saved_bytes_per_sample" in peer:
        bars.append(Bar("released code, fp32", peer["saved_bytes_per_sample"] / 1e6, MEASURED, group=1))
    yield Chart(
        _name("saved-memory", file),
        "How much does the forward pass keep for the backward pass?",
        MEASURED,
        f"MB a sample, recipe {result['recipe']}; {DIRECTIONS[False]}",
        tuple(bars),
        _origin(file, result),
        "counted: the storages that autograd saves",
        ("ours", "released code") if any(bar.group for bar in bars) else (),
    )


def _loaders(file: str, result: dict[str, Any]) -> Iterator[Chart]:
    found = result.get("core_milliseconds") or {}
    names = {"release": "released steps, on originals", "libjpeg-turbo": "libjpeg-turbo, decoding alone"}
    names["half size"] = "libjpeg-turbo, to half size"
    yield Chart(
        _name("loader", file),
        "How long does a core take for an image, against other loaders?",
        MEASURED,
        f"core milliseconds an image of {result.get('size')} pixels; {DIRECTIONS[False]}",
        tuple(_spread(names.get(name, name), of, group=int(name != "ours")) for name, of in found.items()),
        _origin(file, result),
        PERCENTILES,
        ("ours", "others"),
    )


def _stages(file: str, result: dict[str, Any]) -> Iterator[Chart]:
    stages = sorted((result.get("stages") or {}).items(), key=lambda item: -item[1])
    yield Chart(
        _name("loader-stages", file),
        "Where does the loader's time go?",
        MEASURED,
        "core milliseconds an image",
        tuple(Bar(name, time, MEASURED) for name, time in stages),
        _origin(file, result),
        f"means over {result.get('images')} images",
    )


def _feeds(file: str, result: dict[str, Any]) -> Iterator[Chart]:
    stall = result.get("stall_share")
    yield Chart(
        _name("whole-step", file),
        "How fast is the whole training step, and does it wait for data?",
        MEASURED,
        f"images a second, recipe {result['recipe']}, one rank; {DIRECTIONS[True]}",
        tuple(Bar(f"fed from {feed}", of["images_per_second"], MEASURED) for feed, of in result["feeds"].items()),
        _origin(file, result),
        "means over blocks of steps" + ("" if stall is None else f"; from shards {stall:.0%} of the time is waiting"),
    )


def _zero(file: str, result: dict[str, Any]) -> Iterator[Chart]:
    rows = [row for row in result.get("rows", []) if "images_per_second_per_rank" in row]
    ranks = sorted({row["ranks"] for row in rows})
    stages = sorted({str(row["stage"]) for row in rows})
    rates = {(str(row["stage"]), row["ranks"]): row["images_per_second_per_rank"] for row in rows}
    yield Chart(
        _name("zero-stages", file),
        "What does a ZeRO stage cost?",
        MEASURED,
        f"images a second and rank, recipe {result['recipe']}; {DIRECTIONS[True]}",
        tuple(
            Bar("plain DDP" if stage == "ddp" else f"stage {stage}", rates[stage, count], MEASURED, group=group)
            for stage in stages
            for group, count in enumerate(ranks)
            if (stage, count) in rates
        ),
        _origin(file, result),
        f"medians of {result.get('steps')} steps; ranks of one machine share its cores and memory",
        tuple(f"{count} rank{'' if count == 1 else 's'}" for count in ranks),
    )


def _building(file: str, result: dict[str, Any]) -> Iterator[Chart]:
    found, images = result.get("seconds") or {}, result.get("images", 0)
    names = {"floor": "decoding and encoding alone", "build": "building shards"}
    bars = []
    for name in names:
        if times := found.get(name):
            rates = sorted(images / time for time in times)
            middle = rates[len(rates) // 2]
            group = int(name == "floor")
            bars.append(Bar(names[name], middle, MEASURED, low=rates[0], high=rates[-1], group=group))
    yield Chart(
        _name("build", file),
        "How near does building shards come to decoding and encoding alone?",
        MEASURED,
        f"images a second, {result.get('workers')} processes; {DIRECTIONS[True]}",
        tuple(bars[::-1]),
        _origin(file, result),
        "bar: median of the runs; line: slowest to fastest",
        ("ours", "the floor"),
    )


def _gpus(file: str, result: dict[str, Any]) -> Iterator[Chart]:
    rows = {(row["chip"], row["assumption"]): row["images_per_second"] for row in result.get("projected", [])}
    chips = dict.fromkeys(chip for chip, assumption in rows if assumption == "optimistic")
    bars = []
    for chip in chips:
        high = rows[chip, "optimistic"]
        low = rows.get((chip, "doubter"), high)
        bars.append(Bar(chip, high, PROJECTED, start=low, mark=rows.get((chip, "ceiling"))))
    yield Chart(
        _name("projected-gpus", file),
        "What should a GPU reach?",
        PROJECTED,
        f"images a second and GPU, calculated for recipe {result['recipe']}, micro-batch {result.get('batch')};"
        f" {DIRECTIONS[True]}",
        tuple(bars),
        _origin(file, result),
        f"{RANGE}; tick: ceiling of the counted work",
    )


def _projected_parts(file: str, result: dict[str, Any]) -> Iterator[Chart]:
    chip = "H100"
    found = {row["assumption"]: row for row in result.get("projected", []) if row["chip"] == chip}
    optimistic = found.get("optimistic", {}).get("component_microseconds", {})
    doubter = found.get("doubter", {}).get("component_microseconds", {})
    order = sorted(doubter, key=lambda component: -doubter[component])
    yield Chart(
        _name("projected-parts", file),
        f"Where should a step's time go on an {chip}?",
        PROJECTED,
        f"microseconds of the GPU a sample, calculated for recipe {result['recipe']}",
        tuple(Bar(name, doubter[name], PROJECTED, start=optimistic[name]) for name in order if name in optimistic),
        _origin(file, result),
        RANGE,
    )
