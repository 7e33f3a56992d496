"""Line charts as inline SVG, coloured by the page's style sheet, so they follow light and dark."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 420.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 12.0, 14.0, 46.0
POINTS = 300  # per line at most: what is more, a phone does not show
DOTTED = 24  # lines with no more points than this show each of them
LOG_RATIO = 5.0  # values that span more are drawn on a logarithmic axis
STEPS = "optimizer step"  # the name of the x axis, unless another is given
SMOOTHED = 60  # noisy lines with more points than this get a running mean


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    label  for the legend
    kind   class of the style sheet (``train``, ``held``)
    xs     ascending
    ys     one for each of ``xs``
    noisy  draw a running mean, and the values faintly behind it, where there are many
    """

    label: str
    kind: str
    xs: Sequence[float]
    ys: Sequence[float]
    noisy: bool = False


@dataclass(frozen=True)
class Axis:
    """Maps values to the places between ``start`` and ``stop``."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def place(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.stop - self.start)


def chart(
    title: str,
    lines: Sequence[Line],
    marks: Sequence[float] = (),
    *,
    y: str,
    x: str = STEPS,
    zero: bool = False,
) -> str:
    """A chart with its title, the names of its axes and its legend, as a ``<figure>``; empty where no line has a point.

    marks: places on the x axis that get a dashed line (resumes)
    y, x   what the axes show, with its unit   zero: the y axis starts at zero
    """
    lines = [_thinned(line) for line in (_finite(line) for line in lines) if line.xs]
    if not lines:
        return ""
    horizontal, vertical = _axes(lines, zero)
    y = f"{y}, log scale" if vertical.log else y
    parts = [_grid(horizontal, vertical, whole=x == STEPS), _names(x, y)]
    parts += [_mark(horizontal.place(x)) for x in marks if horizontal.low <= x <= horizontal.high]
    for line in lines:
        parts.append(_drawn(line, horizontal, vertical))
    keys = [f'<span class="key {line.kind}">{escape(line.label)}</span>' for line in lines]
    legend = "".join(keys) if len(keys) > 1 else ""
    summary = "; ".join(f"{line.label} from {_number(line.ys[0])} to {_number(line.ys[-1])}" for line in lines)
    data = escape(json.dumps(_readings(lines, horizontal, vertical), separators=(",", ":")), quote=True)
    return (
        f'<figure class="chart"><figcaption>{escape(title)}{legend}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(f"{title}: {summary}", quote=True)}" '
        f'data-x="{escape(x, quote=True)}" data-lines="{data}">{"".join(parts)}</svg></figure>'
    )


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Centred mean over ``window`` values, over fewer at the ends."""
    half = window // 2
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    spans = [(max(0, i - half), min(len(values), i + half + 1)) for i in range(len(values))]
    return [(sums[stop] - sums[start]) / (stop - start) for start, stop in spans]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from low to high, about ``count``: steps of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    rows = []
    for step in (power * factor for factor in (1, 2, 5, 10)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        rows.append([n * step for n in range(first, last + 1)])
    return min(rows, key=lambda row: abs(len(row) - count))


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between low and high; the powers alone where that is enough."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [f * 10.0**p for p in powers for f in (1, 2, 5) if low <= f * 10.0**p <= high]
    alone = [10.0**p for p in powers if low <= 10.0**p <= high]
    return alone if len(alone) >= 3 else every


def _finite(line: Line) -> Line:
    kept = [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(y)]
    return replace(line, xs=[x for x, _ in kept], ys=[y for _, y in kept])


def _thinned(line: Line) -> Line:
    """Means of equal groups of points, where there are too many."""
    count = len(line.xs)
    if count <= POINTS:
        return line
    cuts = [round(i * count / POINTS) for i in range(POINTS + 1)]
    groups = list(pairwise(cuts))
    xs, ys = ([sum(values[a:b]) / (b - a) for a, b in groups] for values in (line.xs, line.ys))
    return replace(line, xs=xs, ys=ys)


def _axes(lines: Sequence[Line], zero: bool) -> tuple[Axis, Axis]:
    xs = [x for line in lines for x in line.xs]
    ys = [y for line in lines for y in line.ys]
    low, high = min(ys), max(ys)
    log = not zero and low > 0 and high / low > LOG_RATIO
    if log:
        low, high = low / 1.12, high * 1.12
    else:
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = (0.0 if zero else low - room), high + room
    right = max(xs) if max(xs) > min(xs) else min(xs) + 1
    return Axis(min(xs), right, LEFT, WIDTH - RIGHT), Axis(low, high, HEIGHT - BOTTOM, TOP, log)


def _grid(horizontal: Axis, vertical: Axis, whole: bool) -> str:
    """whole: the x axis has whole numbers alone"""
    parts = []
    for y in log_ticks(vertical.low, vertical.high) if vertical.log else ticks(vertical.low, vertical.high):
        place = vertical.place(y)
        parts.append(f'<path class="grid" d="M{LEFT:g} {place:.1f}H{WIDTH - RIGHT:g}"/>')
        parts.append(f'<text class="y" x="{LEFT - 6:g}" y="{place + 3.5:.1f}">{_number(y)}</text>')
    for x in ticks(horizontal.low, horizontal.high, 5):
        if x == round(x) or not whole:
            place = horizontal.place(x)
            parts.append(f'<text class="x" x="{place:.1f}" y="{HEIGHT - BOTTOM + 16:g}">{_number(x)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT:g} {HEIGHT - BOTTOM:g}H{WIDTH - RIGHT:g}"/>')
    return "".join(parts)


def _names(x: str, y: str) -> str:
    """Of the axes."""
    middle, height = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<text class="x name" x="{middle:g}" y="{HEIGHT - 8:g}">{escape(x)}</text>'
        f'<text class="x name" transform="translate(12 {height:g}) rotate(-90)">{escape(y)}</text>'
    )


def _mark(x: float) -> str:
    return f'<path class="mark" d="M{x:.1f} {TOP:g}V{HEIGHT - BOTTOM:g}"/>'


def _drawn(line: Line, horizontal: Axis, vertical: Axis) -> str:
    xs = [horizontal.place(x) for x in line.xs]

    def path(ys: Sequence[float], kind: str) -> str:
        points = "L".join(f"{x:.1f} {vertical.place(y):.1f}" for x, y in zip(xs, ys, strict=True))
        return f'<path class="line {line.kind}{kind}" d="M{points}"/>'

    if line.noisy and len(xs) > SMOOTHED:
        return path(line.ys, " faint") + path(running_mean(line.ys, len(xs) // 20), "")
    dots = ""
    if len(xs) <= DOTTED:
        places = zip(xs, (vertical.place(y) for y in line.ys), strict=True)
        dots = "".join(f'<circle class="dot {line.kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places)
    # Between two or three points lies nothing that was measured.
    return dots if len(xs) <= 3 else path(line.ys, "") + dots


def _readings(lines: Sequence[Line], horizontal: Axis, vertical: Axis) -> list[dict[str, object]]:
    """What the script shows under a pointer: places in the picture, and the values as text."""
    return [
        {
            "label": line.label,
            "kind": line.kind,
            "points": [
                [round(horizontal.place(x), 1), round(vertical.place(y), 1), _number(x), _number(y)]
                for x, y in zip(line.xs, line.ys, strict=True)
            ],
        }
        for line in lines
    ]


def _number(value: float) -> str:
    """Four significant digits at most, plain where a person would write it plainly."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000 and value == round(value):
        return f"{value:,.0f}"
    if abs(value) < 1e-4 or abs(value) >= 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.4g}"
