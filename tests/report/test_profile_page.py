"""The page of a profile: what stands in it, and that names of operations cannot break it."""

import json
import re

import pytest

from ecamp_fast.report.profile_page import profile_files, profile_html, profile_markdown
from ecamp_fast.run.profiling.attribution import Attribution
from ecamp_fast.run.profiling.ceiling import Ceiling
from ecamp_fast.run.profiling.summary import Summary, summarise

MS = 1_000_000
FACTS = {
    "recipe": "demo<b>",
    "images a step": "16",
    "micro-batch": "8 x 1 ranks x 2 micro-steps",
    "precision": "fp32",
    "ZeRO stage": "2",
    "device": "CPU, 2 threads",
}


def summary(before: float | None = 55.0) -> Summary:
    parts = {("encoder", "forward"): 20 * MS, ("encoder", "backward"): 30 * MS, ("data wait", ""): 49 * MS}
    parts |= {("image loss", "forward"): MS}
    operators = {"aten::mm": (25 * MS, 4), "void k<a, b>(T|U)": (5 * MS, 2)}
    found = Attribution({3: 40 * MS, 4: 60 * MS}, parts, operators, between=8 * MS)
    limit = Ceiling(1e12, 2e10, "measured here")
    return summarise(
        found, {"encoder": 5e9}, 1000, limit, precision="fp32", before=before, facts=FACTS, trace="trace-3-4.json.gz"
    )


def test_markdown_says_what_takes_the_time_and_what_waits() -> None:
    text = profile_markdown(summary())
    assert text.startswith("# Profile of steps 3 to 4\n") and "40.0, 60.0; the step before, unwatched: 55.0." in text
    assert "| encoder | 25.0 | 50.0% | 10.0 | 15.0 | 5.00 GFLOP | 20.0% |" in text
    assert "| data wait | 24.5 | 49.0% | - | - | - | - |" in text and "| step | 50.0 | 100.0% |" in text
    assert "Ceiling: 1 TFLOP/s, 20 GB/s (measured here). A dash: image loss: moves bytes, no matrix products." in text
    assert "| between operations (within the others) | 4.0 | 8.0% |" in text
    assert "| aten::mm | 12.5 | 25.0% | 2 |" in text and "void k<a, b>(T\\|U)" in text


def test_the_page_is_whole_loads_nothing_and_escapes() -> None:
    html = profile_html(summary())
    assert "demo&lt;b&gt;" in html and "void k&lt;a, b&gt;" in html and "<b>," not in html
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", html) and "default-src 'none'" in html
    assert html.count("<rect") == 3 and html.count('var(--held)" rx') == 1  # waiting has a colour of its own
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', html)]
    assert widths[1] / widths[0] == pytest.approx(0.49 / 0.5, abs=1e-3)
    assert "<b>50.0 ms</b>" in html and "320.0" in html and "unwatched" not in profile_html(summary(None))


def test_json_is_for_machines() -> None:
    found = json.loads(profile_files(summary())["summary.json"])
    assert found["schema"] == 1 and found["step_milliseconds"] == 50.0 and found["trace"] == "trace-3-4.json.gz"
    assert {row["component"]: row["share"] for row in found["rows"]} == {
        "encoder": 0.5,
        "data wait": 0.49,
        "image loss": 0.01,
    }
