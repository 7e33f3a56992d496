"""The page of a comparison: a plot a task and percentage, the numbers, the paper's by disease, and what is wrong."""

import math
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from ecamp_fast import __version__
from ecamp_fast.downstream.tables.differences import PairedDifference
from ecamp_fast.downstream.tables.diseases import DiseaseLine
from ecamp_fast.downstream.tables.render import (
    LEGEND,
    as_csv,
    as_latex,
    as_markdown,
    by_task,
    difference_told,
    differences_as_csv,
    differences_as_markdown,
    diseases_as_csv,
    told,
)
from ecamp_fast.downstream.tables.rows import ScoreRow, notes
from ecamp_fast.files import write_atomically
from ecamp_fast.printable import printable
from ecamp_fast.report.curves import Axis, ticks
from ecamp_fast.report.html import document

WIDTH, LABELS, RIGHT, LINE, FOOT = 720.0, 250.0, 16.0, 20.0, 30.0
SHORTENED = 36  # letters of a name beside a plot
KINDS = {"ours": "train", "baseline": "held", "paper": "paper"}  # classes of the style sheet


def write_comparison(
    out: Path,
    title: str,
    rows: Sequence[ScoreRow],
    diseases: Sequence[DiseaseLine],
    differences: Sequence[PairedDifference] = (),
) -> list[Path]:
    """Write the numbers of a grid into the folder ``out`` as CSV, Markdown, LaTeX and one page. Returns the files.

    Raises StorageError where the disk refuses.
    """
    texts = {
        "table.csv": as_csv(rows),
        "table.md": as_markdown(rows) + differences_as_markdown(differences),
        "table.tex": as_latex(rows),
        "report.html": comparison(title, rows, diseases, differences),
    }
    texts |= {"diseases.csv": diseases_as_csv(diseases)} if diseases else {}
    texts |= {"differences.csv": differences_as_csv(differences)} if differences else {}
    for name, text in texts.items():
        write_atomically(out / name, text.encode())
    return [out / name for name in texts]


def comparison(
    title: str, rows: Sequence[ScoreRow], diseases: Sequence[DiseaseLine], differences: Sequence[PairedDifference] = ()
) -> str:
    """The whole document as text."""
    legend = "".join(
        f'<span class="key {kind}">{name}</span>'
        for name, kind in (("ours", "train"), ("without pre-training", "held"), ("the paper", "paper"))
    )
    plots = [
        forest(f"{task}, {fraction:g} %", list(group))
        for (task, fraction), group in groupby(rows, lambda row: (row.task, row.fraction))
    ]
    remarks = "".join(f"<p>{escape(printable(note))}</p>" for note in [*LEGEND, *notes(rows)])
    body = [
        f"<header><h1>{escape(printable(title))}</h1></header>",
        f'<div class="legend">{legend}</div>',
        f'<div class="pair">{"".join(plots)}</div>',
        _tables(rows),
        _differences(differences),
        _by_disease(diseases),
        f'<h2>What must be known</h2><div class="card">{remarks}</div>',
        f"<footer>Made by ecamp-fast {escape(__version__)}. Nothing measured on phantoms is a medical result.</footer>",
    ]
    return document(title, body)


def forest(title: str, rows: Sequence[ScoreRow]) -> str:
    """Scores of one task and percentage, a line each, with their intervals; empty where there is no number."""
    known = [row for row in rows if row.score is not None]
    if not known:
        return ""
    axis = _axis(known)
    foot = LINE * len(known) + 8
    parts = []
    for tick in ticks(axis.low, axis.high):
        x = axis.place(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} 4V{foot:g}"/><text class="x" x="{x:.1f}" y="{foot + 16:g}">')
        parts.append(f"{tick:g}</text>")
    for number, row in enumerate(known):
        parts.append(_line(row, axis, LINE * number + 16))
    summary = "; ".join(f"{row.method} {told(row)}" for row in known)
    metric = next((row.metric for row in known if row.metric), "")
    return (
        f'<figure class="chart"><figcaption>{escape(printable(title))}<span class="unit">{escape(metric)}</span>'
        f'</figcaption><svg viewBox="0 0 {WIDTH:g} {foot + FOOT:g}" role="img" '
        f'aria-label="{escape(printable(f"{title}: {summary}"), quote=True)}">{"".join(parts)}</svg></figure>'
    )


def _axis(rows: Sequence[ScoreRow]) -> Axis:
    values = [value for row in rows for value in (row.score, row.low, row.high) if value is not None]
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 1.0
    return Axis(low - room, high + room, LABELS, WIDTH - RIGHT)


def _line(row: ScoreRow, axis: Axis, y: float) -> str:
    assert row.score is not None
    kind = KINDS["paper" if row.origin != "ours" else "baseline" if row.baseline else "ours"]
    name = printable(row.method)
    name = name if len(name) <= SHORTENED else f"{name[: SHORTENED - 1]}…"
    span = ""
    if row.low is not None and row.high is not None and all(map(math.isfinite, (row.low, row.high))):
        span = f'<path class="line {kind}" d="M{axis.place(row.low):.1f} {y:g}H{axis.place(row.high):.1f}"/>'
    return (
        f'<text class="y" x="{LABELS - 10:g}" y="{y + 4:g}">{escape(name)}</text>{span}'
        f'<circle class="dot {kind}" cx="{axis.place(row.score):.1f}" cy="{y:g}" r="4">'
        f"<title>{escape(f'{printable(row.method)}: {told(row)}')}</title></circle>"
    )


def _tables(rows: Sequence[ScoreRow]) -> str:
    parts = []
    for title, fractions, table in by_task(rows):
        head = "".join(f'<th class="n">{fraction:g} %</th>' for fraction in fractions)
        lines = [f'<tr><th>method</th>{head}<th class="n">over random init</th><th>from</th></tr>']
        for first, cells in table:
            scores = "".join(f'<td class="n">{escape(told(cells.get(fraction)))}</td>' for fraction in fractions)
            gains = ", ".join(_gain(cells[fraction]) for fraction in fractions if fraction in cells)
            name, note = escape(printable(first.method)), escape(printable(first.note))
            remark = f'<div class="under">{note}</div>' if note else ""
            lines.append(f'<tr><td>{name}{remark}</td>{scores}<td class="n">{gains}</td><td>{first.origin}</td></tr>')
        parts.append(f'<h2>{escape(printable(title))}</h2><div class="card wide"><table>{"".join(lines)}</table></div>')
    return "".join(parts)


def _gain(row: ScoreRow) -> str:
    if row.gain is None:
        return ""
    spread = f" ({row.gain_smallest:+.1f} to {row.gain_largest:+.1f})" if row.gain_smallest is not None else ""
    return f"{row.gain:+.1f}{spread}".replace("-", "\N{MINUS SIGN}")


def _differences(found: Sequence[PairedDifference]) -> str:
    """An interval above 0 is bold."""
    if not found:
        return ""
    lines = [
        '<tr><th>task</th><th>encoder</th><th>against</th><th class="n">better by</th><th>trainings above 0</th></tr>'
    ]
    for one in found:
        texts = [escape(printable(text)) for text in (f"{one.task}, {one.fraction:g} %", one.method, one.against)]
        told = difference_told(one)
        told = f"<strong>{told}</strong>" if one.low > 0 else told
        cells = "".join(f"<td>{text}</td>" for text in texts)
        lines.append(f'<tr>{cells}<td class="n">{told}</td><td>{one.above} of {one.pairs}</td></tr>')
    note = "Paired by training and patients; intervals are over patients and, of several, over trainings."
    table = f'<div class="card wide"><table>{"".join(lines)}</table></div>'
    return f"<h2>Paired differences</h2><p>{note}</p>{table}"


def _by_disease(lines: Sequence[DiseaseLine]) -> str:
    parts = []
    for (task, fraction), group in groupby(lines, lambda line: (line.task, line.fraction)):
        known = list(group)
        head = "".join(f'<th class="n">{escape(name)}</th>' for name in known[0].values)
        body = "".join(_disease_row(line) for line in known)
        parts.append(
            f"<h2>{escape(printable(task))}, {fraction:g} %, by disease</h2>"
            f'<div class="card wide"><table><tr><th>method</th>{head}</tr>{body}</table></div>'
        )
    return "".join(parts)


def _disease_row(line: DiseaseLine) -> str:
    cells = "".join(f'<td class="n">{"-" if v is None else f"{v:.1f}"}</td>' for v in line.values.values())
    where = ", ".join(part for part in (line.origin, line.reading) if part)
    return f'<tr><td>{escape(printable(line.method))}<div class="under">{escape(where)}</div></td>{cells}</tr>'
