"""Charts: what is drawn is what was measured."""

import json
import math
import re
from html import unescape
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.report.curves import POINTS, Line, chart, log_ticks, running_mean, ticks


def readings(svg: str) -> list[dict]:
    return json.loads(unescape(re.search(r'data-lines="([^"]*)"', svg).group(1)))


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_inside_and_even(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    assert 2 <= len(found) <= 11
    slack = 1e-6 * span + 1e-9 * abs(low)
    assert all(low - slack <= tick <= high + slack for tick in found)
    gaps = [b - a for a, b in pairwise(found)]
    assert max(gaps) - min(gaps) <= 1e-6 * max(gaps) + 1e-9 * abs(low)


def test_round_numbers() -> None:
    assert ticks(0, 1154) == [0, 200, 400, 600, 800, 1000]
    assert ticks(0.0, 0.00212) == pytest.approx([0, 0.0005, 0.001, 0.0015, 0.002])
    assert log_ticks(0.09, 1.1) == pytest.approx([0.1, 0.2, 0.5, 1.0])
    assert log_ticks(0.0005, 2.0) == pytest.approx([0.001, 0.01, 0.1, 1.0])


def test_a_chart_is_xml_and_says_its_values() -> None:
    lines = [Line("training", "train", [1, 2, 3], [3.0, 2.0, 1.0]), Line("held out", "held", [0, 3], [3.1, 0.9])]
    svg = chart("Loss <total>", lines, marks=[2.0], y="weighted sum")
    ElementTree.fromstring(svg)
    assert "Loss &lt;total&gt;: training from 3 to 1; held out from 3.1 to 0.9" in svg
    assert svg.count('class="mark"') == 1
    assert [point[2:] for point in readings(svg)[0]["points"]] == [["1", "3"], ["2", "2"], ["3", "1"]]


def test_higher_values_stand_higher_and_inside_the_picture() -> None:
    values = [math.exp(-x / 40) * 5 + 0.01 for x in range(200)]
    for noisy in (False, True):
        (line,) = readings(chart("Loss", [Line("training", "train", range(200), values, noisy)], y="loss"))
        heights = [y for _, y, *_ in line["points"]]
        assert heights == sorted(heights) and heights[0] > 0 and heights[-1] < 230


def test_two_measurements_are_two_dots_and_no_line() -> None:
    svg = chart("Loss", [Line("held out", "held", [0, 900], [3.0, 1.0])], y="loss")
    assert svg.count("<circle") == 2 and 'class="line' not in svg


def test_long_lines_are_thinned_to_means() -> None:
    (line,) = readings(
        chart("Loss", [Line("training", "train", range(6000), [float(x) for x in range(6000)])], y="loss")
    )
    assert len(line["points"]) == POINTS
    assert line["points"][0][2] == "9.5" and float(line["points"][-1][3]) == pytest.approx(5989.5, rel=1e-3)


def test_what_is_not_finite_is_left_out_and_nothing_draws_nothing() -> None:
    (line,) = readings(chart("Loss", [Line("training", "train", [1, 2, 3], [1.0, math.nan, math.inf])], y="loss"))
    assert len(line["points"]) == 1
    assert chart("Loss", [Line("training", "train", [], [])], y="loss") == ""
    assert chart("Loss", [Line("training", "train", [1], [math.nan])], y="loss") == ""


def test_a_constant_is_drawn() -> None:
    assert "NaN" not in chart("Rate", [Line("rate", "train", [5], [0.0])], y="rate", zero=True)
    ElementTree.fromstring(chart("Rate", [Line("rate", "train", [5, 6], [2.0, 2.0])], y="rate"))


def test_running_mean() -> None:
    assert running_mean([1.0, 2.0, 3.0, 10.0], 3) == pytest.approx([1.5, 2.0, 5.0, 6.5])
