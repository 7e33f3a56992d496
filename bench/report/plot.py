"""A chart as SVG: the same numbers give the same bytes, on any machine and without a library.

Measured: filled bars on white. Projected: hatched bars on cream, and the word. The colours are Okabe and Ito's, which
the colour-blind tell apart; groups differ in lightness too.
"""

import math
import textwrap
from html import escape

from ecamp_fast.bench.report.charts import PROJECTED, Bar, Chart

WIDTH, LEFT, RIGHT = 860, 210, 120
TOP, PLAIN_TOP = 76, 56  # where bars begin: below a legend or a word, and without
BESIDE_MARK = 60  # pixels more on the right for the number of a mark
BAR, GAP, FOOT = 18, 8, 16  # pixels: of a bar, between rows, of a line below
INK, SOFT, GRID = "#1a1a1a", "#595959", "#d9d9d9"
FILLS, PROJECTED_FILL = ("#0072B2", "#E69F00", "#56B4E9"), "#D55E00"
PAPER = {False: "#ffffff", True: "#fdf6ec"}
_LINE = 118  # characters below the axis
_HATCH = (
    '<pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    f'<rect width="7" height="7" fill="{PAPER[True]}"/><rect width="3" height="7" fill="{PROJECTED_FILL}"/></pattern>'
)


def svg(chart: Chart) -> str:
    """The picture as text."""
    projected = chart.kind == PROJECTED
    ticks = ticks_to(max(top(bar) for bar in chart.bars))
    marked = any(bar.mark is not None for bar in chart.bars)
    scale = (WIDTH - LEFT - RIGHT - BESIDE_MARK * marked) / ticks[-1]
    begin = TOP if chart.legend or projected else PLAIN_TOP
    body, y, before = [], begin, ""
    for bar in chart.bars:
        y += GAP if bar.label != before and before else 0
        body += _bar(bar, y, scale, projected, bar.label != before)
        y, before = y + BAR, bar.label
    below = [*textwrap.wrap(chart.reading, _LINE), *textwrap.wrap(chart.origin, _LINE)]
    height = y + 52 + FOOT * len(below)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="system-ui, -apple-system, Segoe UI, Liberation Sans, Arial, sans-serif" role="img">',
        f"<title>{escape(chart.question)}</title><desc>{escape(f'{chart.kind}: {chart.axis}. {chart.origin}')}</desc>",
        f"<defs>{_HATCH}</defs>" if projected else "",
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER[projected]}"/>',
        _text(24, 32, chart.question, 19, weight=650),
        _text(WIDTH - 24, 56, "PROJECTED", 15, PROJECTED_FILL, "end", 700) if projected else "",
        *_legend(chart),
        *(_tick(tick, scale, begin, y) for tick in ticks),
        *body,
        _text(LEFT, y + 36, chart.axis, 13),
        *(_text(24, y + 60 + FOOT * row, line, 12, SOFT) for row, line in enumerate(below)),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def top(bar: Bar) -> float:
    """The largest number that is drawn of a bar."""
    return max(number for number in (bar.value, bar.high, bar.mark) if number is not None)


def ticks_to(largest: float) -> list[float]:
    """From 0 in round steps, 4 to 8 of them, to the first at or beyond ``largest``."""
    if not largest > 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(largest))
    step = next(power * part for part in (0.2, 0.25, 0.5, 1, 2) if largest / (power * part) <= 7)
    return [step * number for number in range(math.ceil(largest / step - 1e-9) + 1)]


def _bar(bar: Bar, y: int, scale: float, projected: bool, named: bool) -> list[str]:
    x, end, middle = LEFT + bar.start * scale, LEFT + bar.value * scale, y + BAR / 2
    fill, edge = ("url(#hatch)", PROJECTED_FILL) if projected else (FILLS[bar.group],) * 2
    parts = [
        _text(LEFT - 10, middle + 4.5, bar.label, 13, INK, "end") if named else "",
        f'<rect x="{x:.1f}" y="{y + 1}" width="{max(end - x, 1.5):.1f}" height="{BAR - 2}" fill="{fill}"'
        f' stroke="{edge}"/>',
    ]
    last, told = end, f"{number(bar.start)} to {number(bar.value)}" if bar.start else number(bar.value)
    if bar.low is not None and bar.high is not None:
        low, high = LEFT + bar.low * scale, LEFT + bar.high * scale
        parts.append(
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"'
            f' stroke="{INK}" stroke-width="1.5" fill="none"/>'
        )
        last = max(last, high)
    if bar.mark is not None:
        mark = LEFT + bar.mark * scale
        parts.append(f'<path d="M{mark:.1f} {y}v{BAR}" stroke="{PROJECTED_FILL}" stroke-width="2.5"/>')
        last, told = max(last, mark), f"{told}, at most {number(bar.mark)}"
    return [*parts, _text(last + 7, middle + 4.5, told, 12, SOFT)]


def _tick(tick: float, scale: float, begin: int, bottom: int) -> str:
    x = LEFT + tick * scale
    line = f'<path d="M{x:.1f} {begin - 6}V{bottom + 4}" stroke="{GRID if tick else SOFT}"/>'
    return line + _text(x, bottom + 18, f"{tick:,g}", 11.5, SOFT, "middle")


def _legend(chart: Chart) -> list[str]:
    parts, x = [], LEFT
    for group, name in enumerate(chart.legend):
        parts.append(f'<rect x="{x}" y="46" width="12" height="12" fill="{FILLS[group]}"/>')
        parts.append(_text(x + 18, 56.5, name, 12.5))
        x += 40 + 7 * len(name)
    return parts


def number(value: float) -> str:
    """Three digits, all of a large one, two of one below 1."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:#.2g}"


def _text(
    x: float, y: float, text: str, size: float, colour: str = INK, anchor: str = "start", weight: int = 400
) -> str:
    bold = f' font-weight="{weight}"' if weight != 400 else ""
    where = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}"{where}{bold}>{escape(text)}</text>'
