"""What ``bench roofline`` prints; its cluster section as Markdown tables, which docs/scaling.md has as well."""

from collections.abc import Iterable, Sequence
from typing import Any

from ecamp_fast.bench.roofline.cluster import GOOD, NODE, REASONS, STAGES

Table = tuple[str, Sequence[str], Iterable[Sequence[str]]]  # its title, its heads, its rows
FAST, SLOW = "optimistic", "doubter"


def describe(result: dict[str, Any]) -> str:
    """The result as text; the first word of every line says which kind it is."""
    lines = [
        f"recipe {result['recipe']}, micro-batch {result['batch']}, {result['tokens']:g} tokens a text,"
        f" {result['flops_per_sample'] / 1e9:.1f} GFLOP and {result['bytes_per_sample'] / 1e6:.0f} MB a sample;"
        f" beyond the ceiling {result['extra_bytes_per_sample'] / 1e6:.0f} MB a sample and"
        f" {result['launches']:,.0f} launches a micro-step",
        f"{'chip':5} {'ceiling':>8} {'range':>16} {'MFU':>14} {'hours on 4':>12} {'range, weights unaligned':>25}",
        *(_chip_line(result, chip) for chip in _chips(result)),
        "microseconds a sample on the GPU, ceiling; optimistic to doubter",
        *_parts(result),
        "images/s by tokens of a text",
        *_range_lines(result["sensitivity"], "tokens"),
        "images/s by micro-batch; the smaller, the less hides hooks and launches",
        *_range_lines(result["micro_batches"], "micro"),
        "what is assumed, and why",
        *_assumptions(result),
        *cluster_lines(result),
    ]
    return "\n".join([*(f"projection: {line}" for line in lines), *_measured_lines(result)])


def _chips(result: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["chip"] for row in result["projected"]))


def _ends(rows: list[dict[str, Any]], chip: str) -> dict[str, dict[str, Any]]:
    return {row["assumption"]: row for row in rows if row["chip"] == chip}


def _range(rows: dict[str, dict[str, Any]]) -> str:
    """As 2,500 to 3,700."""
    return f"{rows['doubter']['images_per_second']:,.0f} to {rows['optimistic']['images_per_second']:,.0f}"


def _chip_line(result: dict[str, Any], chip: str) -> str:
    ends, unaligned = (_ends(result[name], chip) for name in ("projected", "unaligned"))
    low, high = ends["doubter"], ends["optimistic"]
    return (
        f"{chip:5} {ends['ceiling']['images_per_second']:8,.0f} {_range(ends):>16}"
        f" {low['mfu']:5.1%} to {high['mfu']:5.1%} {high['hours']:4.2f} to {low['hours']:4.2f} {_range(unaligned):>25}"
    )


def _parts(result: dict[str, Any]) -> list[str]:
    """A table: a row a component, a column a chip."""
    found = {chip: _ends(result["projected"], chip) for chip in _chips(result)}
    times = {c: {end: row["component_microseconds"] for end, row in ends.items()} for c, ends in found.items()}
    parts = next(iter(times.values()))["doubter"]
    rows = [
        (part, *(f"{t['ceiling'].get(part, 0):.1f}; {t['optimistic'][part]:.1f} to {t['doubter'][part]:.1f}"
                 for t in times.values()))
        for part in parts
    ]  # fmt: skip
    return table(("part", *times), rows)


def _assumptions(result: dict[str, Any]) -> list[str]:
    rows = [
        (row["meaning"], *(f"{row[end]:g}" for end in ("ceiling", "optimistic", "doubter")), row["reason"])
        for row in result["assumptions"]
    ]
    return table(("what", "ceiling", "optimistic", "doubter", "reason"), rows)


def _range_lines(rows: list[dict[str, Any]], key: str) -> list[str]:
    """A line for every value of ``key``: the range of every chip; ``host`` where the host takes the longer."""
    lines = []
    for value in dict.fromkeys(row[key] for row in rows):
        found = [row for row in rows if row[key] == value]
        cells = []
        for chip in dict.fromkeys(row["chip"] for row in found):
            ends = _ends(found, chip)
            waits = [end for end in ("doubter", "optimistic") if ends[end]["bound"] == "host"]
            cells.append(f"{chip} {_range(ends)}{' (host: ' + ', '.join(waits) + ')' if waits else ''}")
        lines.append(f"{value:5} {key}: {'   '.join(cells)}")
    return lines


def _measured_lines(result: dict[str, Any]) -> list[str]:
    """Measured and projected images a second, each in a column of its own."""
    return [
        f"{row['chip']} {row['file']} {row['what']}, {row['tokens']:.0f} tokens: measured"
        f" {row['images_per_second']:,.0f} images/s | projection at {result['tokens']:g} tokens:"
        f" {_range(_ends(result['projected'], row['chip']))}"
        for row in result["measured"]
    ]


def cluster_lines(result: dict[str, Any]) -> list[str]:
    """Of the result's ``cluster``: titles and tables, a line each."""
    return [line for title, heads, rows in _tables(result["cluster"]) for line in (title, *table(heads, rows))]


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """In Markdown, a line a row."""
    heads = list(heads)
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def _tables(cluster: dict[str, Any]) -> Iterable[Table]:
    chip, micros = cluster["chip"], list(dict.fromkeys(row["micro_asked"] for row in cluster["rows"]))
    yield f"Reckoned with, for {chip}:", ("what", "value"), _basis(cluster)
    yield (
        "Bytes a rank sends in an optimizer step, MB:",
        ("GPUs", "micro-batch x A", *_stages()),
        _sent(cluster["rows"]),
    )
    for micro in micros:
        title = f"Images a second in all, micro-batch of at most {micro}; in brackets efficiency at the faster end:"
        rows = [row for row in cluster["rows"] if row["micro_asked"] == micro]
        if micro != micros[0]:  # where the batch leaves less than that, it is the table before
            rows = [row for row in rows if row["micro"] > micros[0]]
        if rows:
            yield title, ("GPUs", "link", "micro-batch x A", *_stages()), _rates(rows)
    title = (
        f"Where a link ends: most GPUs of at least {GOOD:.0%} efficiency; GPUs from which the wire takes the longer:"
    )
    yield title, ("link", *_stages()), _links(cluster["links"])
    title = f"What must be delivered at the faster end; a node has up to {NODE} GPUs:"
    heads = ("GPUs", "images/s in all", "cores a node, CPU decodes", "cores a node, GPU decodes (not measured)")
    yield (
        title,
        (*heads, "disk or page cache a node, GB/s", "object store in all, nothing cached, GB/s"),
        _feeds(cluster),
    )
    yield "Where the feeding ends:", ("what", "feeds"), [line.split(": ", 1) for line in cluster["data_ends"]]


def _stages() -> list[str]:
    return [f"ZeRO-{stage}" for stage in STAGES]


def _basis(cluster: dict[str, Any]) -> list[tuple[str, str]]:
    loader = cluster["loader"]
    rows = [
        ("model", f"{cluster['parameters'] / 1e6:.1f} M parameters; batch {cluster['batch']:,}"),
        ("loader", f"{loader['core_milliseconds']:.1f} ms of a CPU core an image (measured on a CPU), of which"
                   f" {loader['host_core_milliseconds']:.2f} stay where the GPU decodes"),
        ("shards", f"{cluster['sample_bytes']:,} bytes a sample (phantoms of 1024 pixels; --sample-bytes for yours)"),
    ]  # fmt: skip
    rows += [("assumed", reason) for reason in REASONS]
    beyond = [row for row in cluster["rows"] if row["batch_asked"] > cluster["batch"]]
    asked = dict.fromkeys((row["ranks"], row["micro_asked"], row["batch_asked"], row["micro"]) for row in beyond)
    rows += [
        (
            "not possible",
            f"{ranks} GPUs x {micro} = {batch:,} images: {batch / cluster['batch']:g} times the recipe's batch, another"
            f" training; its own leaves {left} a GPU",
        )
        for ranks, micro, batch, left in asked
    ]
    return rows


def _sent(rows: list[dict[str, Any]]) -> Iterable[Sequence[str]]:
    found: dict[tuple[int, int, int], dict[int, float]] = {}
    for row in rows:
        if row["ranks"] > 1:
            key = row["ranks"], row["micro"], row["micro_steps"]
            found.setdefault(key, {})[row["stage"]] = row["sent_bytes"]
    for (ranks, micro, steps), sent in found.items():
        yield str(ranks), f"{micro} x {steps}", *(f"{sent[stage] / 1e6:,.0f}" for stage in STAGES)


def _rates(rows: list[dict[str, Any]]) -> Iterable[Sequence[str]]:
    """Networks that differ only between nodes are one row where there is one node."""
    found: dict[tuple[int, str, int, int], dict[int, str]] = {}
    for row in rows:
        link = row["network"] if row["ranks"] > NODE else row["network"].split(" + ")[0]
        link = "none" if row["ranks"] == 1 else link
        rate = row["images_per_second"]
        cell = f"{rate[SLOW]:,.0f} to {rate[FAST]:,.0f} ({row['efficiency'][FAST]:.0%})"
        found.setdefault((row["ranks"], link, row["micro"], row["micro_steps"]), {})[row["stage"]] = cell
    for (ranks, link, micro, steps), cells in found.items():
        yield str(ranks), link, f"{micro} x {steps}", *(cells[stage] for stage in STAGES)


def _links(rows: list[dict[str, Any]]) -> Iterable[Sequence[str]]:
    found: dict[str, dict[int, str]] = {}
    for row in rows:
        limit, longer = row["most_good"] or "none", row["wire_longer_from"] or "none"
        found.setdefault(row["network"], {})[row["stage"]] = f"{limit}; {longer}"
    for network, cells in found.items():
        yield network, *(cells[stage] for stage in STAGES)


def _feeds(cluster: dict[str, Any]) -> Iterable[Sequence[str]]:
    for row in cluster["feeds"]:
        yield (
            str(row["ranks"]),
            f"{row['images_per_second']:,.0f}",
            f"{row['cores']:,.0f}",
            f"{row['host_cores']:,.1f}",
            f"{row['disk_bytes_per_second'] / 1e9:,.1f}",
            f"{row['store_bytes_per_second'] / 1e9:,.1f}",
        )
