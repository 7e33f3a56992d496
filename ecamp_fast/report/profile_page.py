"""What the steps of a run spend their time on: the page of ``train --profile``, as HTML, Markdown and JSON."""

from collections.abc import Sequence
from html import escape

from ecamp_fast import __version__
from ecamp_fast.report.html import document
from ecamp_fast.run.profiling.summary import Row, Summary
from ecamp_fast.strict_json import dump_json

DASH = "-"
_HEAD = ("component", "ms a step", "share", "forward ms", "backward ms", "GFLOP or MB", "of the ceiling")
_WAITS = ("what waits", "ms a step", "share", "what it is")
_OPERATORS = ("operation", "ms a step", "share", "calls a step")
_SHOWN = 60  # characters of an operation's name


def profile_files(summary: Summary) -> dict[str, bytes]:
    """File name -> content, of what stands beside the trace."""
    return {
        "summary.json": (dump_json(summary.as_dict(), indent=1) + "\n").encode(),
        "summary.md": profile_markdown(summary).encode(),
        "summary.html": profile_html(summary).encode(),
    }


def profile_markdown(summary: Summary) -> str:
    """The page for people who read text."""

    def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)

    parts = [f"# {_title(summary)}", _under(summary), table(_HEAD, _components(summary))]
    parts += [_ceiling(summary), "## What waits", table(_WAITS, _waiting(summary))]
    parts += [f"## The {len(summary.operators)} largest operations, own time", table(_OPERATORS, _operators(summary))]
    return "\n\n".join([*parts, _how(summary)]) + "\n"


def profile_html(summary: Summary) -> str:
    """The whole document as text: names of components and operations, and numbers."""
    largest = next((row for row in summary.rows if not row.waits), None)
    waiting = sum(row.share for row in summary.rows if row.waits)
    tiles = [(f"{summary.step:,.1f} ms", "a step, watched"), (f"{summary.images_per_second:,.1f}", "images a second")]
    if summary.before is not None:
        tiles.append((f"{summary.before:,.1f} ms", "the step before, unwatched"))
    if largest:
        tiles.append((f"{largest.share:.0%}", f"largest component: {largest.component}"))
    tiles.append((f"{waiting:.0%}", "of the step waits"))
    facts = "".join(f"<tr><th>{escape(name)}</th><td>{escape(told)}</td></tr>" for name, told in summary.facts.items())
    body = [
        f'<header><h1>{escape(_title(summary))}</h1><p class="under">{escape(_under(summary))}</p></header>',
        f'<div class="tiles">{"".join(_tile(*tile) for tile in tiles)}</div>',
        f'<h2>Time by component</h2><div class="card">{_bars(summary.rows)}</div>',
        f'<div class="card wide sample">{_table(_HEAD, _components(summary))}</div>',
        f'<p class="soft">{escape(_ceiling(summary))}</p>',
        f'<h2>What waits</h2><div class="card wide">{_table(_WAITS, _waiting(summary), prose=True)}</div>',
        f'<h2>Largest operations, own time</h2><div class="card wide">{_table(_OPERATORS, _operators(summary))}</div>',
        f'<h2>About</h2><div class="card wide"><table class="facts">{facts}</table></div>',
        f"<footer>Made by ecamp-fast {escape(__version__)}. {escape(_how(summary))}</footer>",
    ]
    return document(_title(summary), body)


def _title(summary: Summary) -> str:
    return f"Profile of {summary.told}"


def _under(summary: Summary) -> str:
    facts = summary.facts
    steps = ", ".join(f"{time:,.1f}" for time in summary.of_steps.values())
    before = "" if summary.before is None else f"; the step before, unwatched: {summary.before:,.1f}"
    return (
        f"recipe {facts['recipe']}, {facts['precision']}, {facts['device']}, micro-batch {facts['micro-batch']}, "
        f"ZeRO-{facts['ZeRO stage']}. Milliseconds of each step: {steps}{before}."
    )


def _ceiling(summary: Summary) -> str:
    limit = summary.ceiling
    rates = [f"{limit.operations / 1e12:,.3g} TFLOP/s"] if limit.operations else []
    rates += [f"{limit.bandwidth / 1e9:,.4g} GB/s"] if limit.bandwidth else []
    told = [f"{row.component}: {row.reason}" for row in summary.rows if row.of_ceiling is None and not row.waits]
    dashes = f" A dash: {'; '.join(told)}." if told else ""
    return f"Ceiling: {', '.join(rates) or 'none'} ({limit.source}).{dashes}"


def _how(summary: Summary) -> str:
    return (
        f"{summary.trace} opens in Perfetto or chrome://tracing. Rank 0; watching makes a step longer. "
        "Backward time belongs to the component whose forward made it."
    )


def _components(summary: Summary) -> list[list[str]]:
    rows = [
        [
            row.component,
            _time(row.together),
            f"{row.share:.1%}",
            _time(row.forward),
            _time(row.backward),
            *_roofline(row),
        ]
        for row in summary.rows
    ]
    return [*rows, ["step", _time(summary.step), "100.0%", *[""] * 4]]


def _roofline(row: Row) -> tuple[str, str]:
    of_ceiling = DASH if row.of_ceiling is None else f"{row.of_ceiling:.1%}"
    if row.moved is not None:
        return f"{row.moved / 1e6:,.1f} MB", of_ceiling
    return DASH if row.operations is None else f"{row.operations / 1e9:,.2f} GFLOP", of_ceiling


def _waiting(summary: Summary) -> list[list[str]]:
    return [
        [
            f"{wait.what} (within the others)" if wait.within else wait.what,
            _time(wait.together),
            f"{wait.share:.1%}",
            wait.meaning,
        ]
        for wait in summary.waits
    ]


def _operators(summary: Summary) -> list[list[str]]:
    return [
        [
            one.name if len(one.name) <= _SHOWN else one.name[: _SHOWN - 3] + "...",
            _time(one.together),
            f"{one.share:.1%}",
            f"{one.calls:,.0f}",
        ]
        for one in summary.operators
    ]


def _time(milliseconds: float | None) -> str:
    return DASH if milliseconds is None else f"{milliseconds:,.1f}" if milliseconds >= 1 else f"{milliseconds:.3f}"


def _tile(number: str, told: str) -> str:
    return f'<div class="tile"><b>{escape(number)}</b><span>{escape(told)}</span></div>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], prose: bool = False) -> str:
    """prose: the last column is text"""

    def cells(line: Sequence[str], tag: str) -> str:
        texts = {0, len(line) - 1} if prose else {0}
        numeric = ' class="n"'
        return "".join(
            f"<{tag}{'' if column in texts else numeric}>{escape(cell)}</{tag}>" for column, cell in enumerate(line)
        )

    lines = [f"<tr>{cells(head, 'th')}</tr>", *(f"<tr>{cells(row, 'td')}</tr>" for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def _bars(rows: Sequence[Row]) -> str:
    """A bar a component: computing in one colour, waiting in another."""
    height, left, width = 22, 150, 760
    longest = max((row.share for row in rows), default=1.0) or 1.0
    parts = []
    for number, row in enumerate(rows):
        y, length = number * height, row.share / longest * (width - left - 110)
        colour = "var(--held)" if row.waits else "var(--train)"
        parts.append(
            f'<text class="y" x="{left - 8}" y="{y + 15}">{escape(row.component)}</text>'
            f'<rect x="{left}" y="{y + 4}" width="{length:.1f}" height="{height - 8}" fill="{colour}" rx="2"/>'
            f'<text x="{left + length + 6:.1f}" y="{y + 15}">{_time(row.together)} ms, {row.share:.1%}</text>'
        )
    key = '<p class="soft"><span class="key train">computes</span> <span class="key held">waits</span></p>'
    return f'<svg viewBox="0 0 {width} {len(rows) * height}" role="img">{"".join(parts)}</svg>{key}'
