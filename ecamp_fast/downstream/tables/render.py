"""The comparison as CSV for programs, and as Markdown and LaTeX as papers have it: methods down, percentages across."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, astuple, fields

from ecamp_fast.downstream.tables.differences import PairedDifference
from ecamp_fast.downstream.tables.diseases import DiseaseLine
from ecamp_fast.downstream.tables.rows import ScoreRow, notes
from ecamp_fast.printable import one_line

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
_Table = list[tuple[ScoreRow, dict[float, ScoreRow]]]


def as_csv(rows: Sequence[ScoreRow]) -> str:
    """A line a number, with everything that is known of it; empty where something is not."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(ScoreRow)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None else value for key, value in asdict(row).items()})
    return buffer.getvalue()


def diseases_as_csv(lines: Sequence[DiseaseLine]) -> str:
    """A line a method and reading, a column a disease; empty where a disease has no score."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["task", "fraction", "method", "origin", "reading", *(lines[0].values if lines else ())])
    for line in lines:
        scores = ("" if value is None else value for value in line.values.values())
        writer.writerow([line.task, line.fraction, line.method, line.origin, line.reading, *scores])
    return buffer.getvalue()


def as_markdown(rows: Sequence[ScoreRow]) -> str:
    """A table a task; the paper's rows in italics, baselines and ours below."""
    parts = []
    for title, fractions, table in by_task(rows):
        head = ["method", *(f"{fraction:g} %" for fraction in fractions), "from"]
        lines = [f"### {one_line(title)}", "", _piped(head), _piped(["---", *["---:"] * len(fractions), "---"])]
        for first, cells in table:
            name = _plain(first.method) if first.origin == "ours" else f"*{_plain(first.method)}*"
            lines.append(_piped([name, *(told(cells.get(fraction)) for fraction in fractions), first.origin]))
        parts.append("\n".join(lines))
    remarks = [f"- {one_line(note)}" for note in [*LEGEND, *notes(rows)]]
    return "\n\n".join([*parts, "\n".join(remarks)]) + "\n"


def as_latex(rows: Sequence[ScoreRow]) -> str:
    """A ``tabular`` a task, with booktabs' rules."""
    parts = []
    for title, fractions, table in by_task(rows):
        columns = f"l{'r' * len(fractions)}"
        head = " & ".join(["Method", *(rf"{fraction:g}\%" for fraction in fractions)])
        lines = [f"% {one_line(title)}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rf"{head} \\", r"\midrule"]
        paper = None
        for first, cells in table:
            if paper and first.origin == "ours":
                lines.append(r"\midrule")
            paper = first.origin != "ours"
            scores = (_escaped(told(cells.get(fraction))) for fraction in fractions)
            name = _escaped(one_line(first.method)) + (rf" ({first.origin})" if paper else "")
            lines.append(" & ".join([name, *scores]) + r" \\")
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
    return "\n\n".join(parts) + "\n"


LEGEND = (
    "Points, 0 to 100; in brackets the 95 % interval over patients of the test split.",
    "Where a row is the mean of several pre-trainings or seeds, the smallest and the largest follow it.",
    "The learning rate of each encoder was chosen on validation data among the same few.",
)


def by_task(rows: Sequence[ScoreRow]) -> list[tuple[str, list[float], _Table]]:
    """Title, percentages, and rows of a table for each task and metric: a method's first number, and all of them."""
    found: dict[tuple[str, str], dict[tuple[str, str], dict[float, ScoreRow]]] = {}
    for row in rows:
        metric = row.metric or next((other.metric for other in rows if other.task == row.task and other.metric), "")
        table = found.setdefault((row.task, metric), {})
        table.setdefault((row.origin, row.method), {})[row.fraction] = row
    out = []
    for (task, metric), table in found.items():
        fractions = sorted({fraction for cells in table.values() for fraction in cells})
        lines = [(next(iter(cells.values())), cells) for cells in table.values()]
        lines.sort(key=lambda line: (line[0].origin == "ours", not line[0].baseline))  # stable
        out.append((f"{task} ({metric})" if metric else task, fractions, lines))
    return out


def told(row: ScoreRow | None) -> str:
    """A number with its interval and its spread; a dash where there is none."""
    if row is None:
        return "-"
    if row.score is None:
        return "diverged"
    parts = [f"{row.score:.1f}"]
    if row.low is not None and row.high is not None:
        parts.append(f"[{row.low:.1f}, {row.high:.1f}]")
    if row.smallest is not None and row.largest is not None:
        parts.append(f"({row.smallest:.1f} to {row.largest:.1f})")
    if row.diverged:
        parts.append(f"({row.diverged} diverged)")
    return " ".join(parts)


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    return one_line(text).replace("|", r"\|").replace("*", r"\*")


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def differences_as_csv(found: Sequence[PairedDifference]) -> str:
    """One line an encoder and row that it stands against."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([field.name for field in fields(PairedDifference)])
    writer.writerows(map(astuple, found))
    return buffer.getvalue()


def differences_as_markdown(found: Sequence[PairedDifference]) -> str:
    """A table of all of them; empty where there is none."""
    if not found:
        return ""
    head = ("task", "data", "encoder", "against", "better by", "pairs above 0")
    lines = ["### Paired differences", "", _piped(head), _piped(["---"] * len(head))]
    for one in found:
        cells = (one.task, f"{one.fraction:g} %", one.method, one.against, difference_told(one))
        lines.append(_piped([*map(_plain, cells), f"{one.above} of {one.pairs}"]))
    return "\n" + "\n".join(lines) + "\n"


def difference_told(one: PairedDifference) -> str:
    """``+1.2 (+0.3 to +2.1)``"""
    return f"{one.value:+.1f} ({one.low:+.1f} to {one.high:+.1f})".replace("-", "\N{MINUS SIGN}")
