"""One chart a question: all of one kind, drawn in its look; those that are kept are what the kept results give."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ecamp_fast.bench.report.charts import MEASURED, PROJECTED, Bar, Chart, Kind, charts
from ecamp_fast.bench.report.page import chart_file, page
from ecamp_fast.bench.report.plot import FILLS, PROJECTED_FILL, number, svg, ticks_to
from ecamp_fast.bench.report.result_files import RESULTS, command_of, device_of, read_results

KEPT = Path(__file__).parents[3] / RESULTS
SVG = "{http://www.w3.org/2000/svg}"


def chart(kind: Kind = MEASURED, *bars: Bar) -> Chart:
    bars = bars or (Bar("ours", 5.0, kind, low=4.0, high=6.0), Bar("theirs", 10.0, kind, group=1))
    return Chart("step", "How long?", kind, "seconds", bars, "command; device", "bar: median")


@pytest.mark.parametrize("kind", [MEASURED, PROJECTED])
def test_no_axis_holds_both_kinds(kind: Kind) -> None:
    other = PROJECTED if kind == MEASURED else MEASURED
    with pytest.raises(ValueError, match=f"kind {kind} with bars of kind {other}"):
        chart(kind, Bar("a", 1.0, kind), Bar("b", 1.0, other))


def test_bars_are_as_long_as_their_numbers() -> None:
    drawn = ElementTree.fromstring(svg(chart()))
    bars = [rect for rect in drawn.iter(f"{SVG}rect") if rect.get("stroke")]
    lengths = [float(str(bar.get("width"))) for bar in bars]
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=0.2) and bars[0].get("x") == bars[1].get("x")
    (line,) = (path.get("d") for path in drawn.iter(f"{SVG}path") if path.get("stroke-width") == "1.5")
    low, high = (float(end) for end in re.findall(r"^M([\d.]+) [\d.]+H([\d.]+)", str(line))[0])
    left = float(str(bars[0].get("x")))
    assert (low - left, high - left) == (
        pytest.approx(0.8 * lengths[0], abs=0.2),
        pytest.approx(1.2 * lengths[0], abs=0.2),
    )


def test_a_projection_looks_otherwise_and_says_so() -> None:
    measured = svg(chart())
    projected = svg(chart(PROJECTED, Bar("A100", 9.0, PROJECTED, start=3.0, mark=20.0)))
    assert "PROJECTED" in projected and "PROJECTED" not in measured
    assert PROJECTED_FILL in projected and PROJECTED_FILL not in measured and "url(#hatch)" not in measured
    assert not any(fill in projected for fill in FILLS)
    assert "3.00 to 9.00, at most 20.0" in projected


@pytest.mark.parametrize(
    ("largest", "last", "count"),
    [(10.0, 10.0, 6), (73.5, 80.0, 5), (0.33, 0.35, 8), (8105.0, 10000.0, 6), (0.0, 1.0, 2)],
)
def test_ticks_are_round_and_reach_beyond(largest: float, last: float, count: int) -> None:
    ticks = ticks_to(largest)
    assert ticks[0] == 0 and ticks[-1] == pytest.approx(last) and len(ticks) == count


@pytest.mark.parametrize(
    ("value", "text"),
    [(8105.4, "8,105"), (127.2, "127"), (11.02, "11.0"), (5.386, "5.39"), (0.895, "0.90"), (0.0156, "0.016")],
)
def test_numbers_have_the_digits_that_a_reader_wants(value: float, text: str) -> None:
    assert number(value) == text


def test_what_is_kept_is_what_the_kept_results_give() -> None:
    """``ecamp-fast bench report`` makes it so."""
    results = read_results(KEPT)
    drawn = charts(results)
    files = {chart_file(one): svg(one) for one in drawn}
    assert len(files) == len(drawn)
    assert {path.name for path in KEPT.iterdir() if path.suffix not in (".json", ".md")} == set(files)
    for name, text in files.items():
        assert (KEPT / name).read_text() == text, f"{name}: ecamp-fast bench report writes it"
        assert len(text) < 60_000
        ElementTree.fromstring(text)
    assert (KEPT / "report.md").read_text() == page(results)


def test_each_names_its_question_unit_command_device_and_commit() -> None:
    results = read_results(KEPT)
    measured = [one for one in charts(results) if one.kind == MEASURED]
    assert len({one.question for one in charts(results)}) == len(charts(results))
    for one in measured:
        (file,) = (name for name in results if f"({name})" in one.origin)
        text = " ".join(ElementTree.fromstring(svg(one)).itertext())
        assert one.question.endswith("?") and one.question in text and one.axis in text
        assert command_of(file, results[file]) in one.origin and device_of(results[file]) in one.origin
        commit = results[file]["environment"]["commit"]
        assert f"commit {commit}" in one.origin


def test_numbers_are_those_of_the_results() -> None:
    found = {one.name: one for one in charts(read_results(KEPT))}
    model = json.loads((KEPT / "model-cpu.json").read_text())
    seconds = {bar.label: (bar.low, bar.value, bar.high) for bar in found["step-cpu"].bars}
    ours, released = (of["seconds"]["together"] for of in (model["ours"]["bf16"], model["peer"]))
    assert seconds["ours, bf16"] == (ours["p20"], ours["median"], ours["p80"])
    assert seconds["released code, fp32"] == (released["p20"], released["median"], released["p80"])
    gpus = {bar.label: bar for bar in found["projected-gpus"].bars}
    rows = {
        (row["chip"], row["assumption"]): row["images_per_second"]
        for row in json.loads((KEPT / "project.json").read_text())["projected"]
    }
    for chip, bar in gpus.items():
        assert (bar.start, bar.value, bar.mark) == tuple(rows[chip, of] for of in ("doubter", "optimistic", "ceiling"))
    parts = [(bar.value, bar.group) for bar in found["step-parts-cpu"].bars if bar.label == "encoder"]
    times = [model["ours"][precision]["component_seconds"]["encoder"] for precision in ("fp32", "bf16")]
    assert parts == [((of["forward"] + of["backward"]) * 1e3, group) for group, of in enumerate(times)]
