"""Ours beside the paper's: means, gains, what is shown where a fit diverged, and the texts that come of it."""

import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.tables.cells import Group
from ecamp_fast.downstream.tables.diseases import PRINTED, PUT_RIGHT, by_disease
from ecamp_fast.downstream.tables.evaluate import GroupResult
from ecamp_fast.downstream.tables.published import published_by_disease
from ecamp_fast.downstream.tables.render import as_csv, as_latex, as_markdown, diseases_as_csv, told
from ecamp_fast.downstream.tables.rows import ScoreRow, compare, notes
from ecamp_fast.report.comparison import comparison, forest


def result(score: float, **changes: Any) -> TaskResult:
    counts = {"train": 1, "val": 1, "test": 1}
    one = TaskResult("t", "auroc", score, score - 0.1, score + 0.2, {}, {}, "", "", 1.0, 1, counts)
    return replace(one, **changes)


def number(rows: list[ScoreRow], method: str, fraction: float = 1) -> ScoreRow:
    (found,) = (row for row in rows if (row.method, row.fraction) == (method, fraction))
    return found


def test_the_papers_rows_come_first_and_baselines_before_ours(computed: Any) -> None:
    rows = compare(*computed)
    one = [row for row in rows if row.fraction == 1]
    assert [row.method for row in one[-5:]] == ["untrained", "pixels 16 x 16", "pixels PCA 96", "ours", "better"]
    paper = [row for row in one if row.origin == "Table 1"]
    assert len(paper) == 13 and one[:13] == paper
    assert number(rows, "MRM (ViT)", 10).score == 84.0 and number(rows, "ECAMP (ViT)").score == 81.9
    assert (
        number(rows, "MGCA (ViT)").note
        == "its probe (Table 2) is above its fine-tuning on CXP at all three fractions; uses labels of diseases"
    )


def test_a_row_is_the_mean_of_pre_trainings_and_seeds_and_gains_are_paired(computed: Any) -> None:
    rows = compare(*computed)
    ours, base = number(rows, "ours"), number(rows, "untrained")
    assert ours.fits == base.fits == 4 and ours.diverged == 0
    # 0.80 - 0.02 + 0.001 of the percentage + 0.00015 of the mean seed, less what the rate 0.03 costs: nothing
    assert ours.score == pytest.approx(100 * (0.78 + 0.001 + 0.00015))
    assert (ours.low, ours.high) == pytest.approx((ours.score - 5, ours.score + 4))
    assert (ours.smallest, ours.largest) == pytest.approx((ours.score - 0.005, ours.score + 0.005))
    assert ours.gain == pytest.approx(20.0) == ours.gain_smallest == ours.gain_largest
    assert number(rows, "pixels 16 x 16").gain is None and base.gain is None
    assert number(rows, "better").gain == pytest.approx(25.0)


def test_gains_are_between_fits_of_one_number() -> None:
    group = Group("t", "k", "ours", ("a", "b"), 1)
    base = Group("t", "k", "untrained", ("u:0", "u:1"), 1, True)
    ours = GroupResult(group, {("a", 1): result(0.8), ("b", 1): result(0.6), ("a", 2): None}, 1.0, {})
    theirs = GroupResult(base, {("u:0", 1): result(0.5), ("u:1", 1): result(0.5), ("u:0", 2): result(0.1)}, 1.0, {})
    from ecamp_fast.downstream.tables.rows import _ours

    row = _ours(ours, theirs, "")
    assert (row.gain, row.gain_smallest, row.gain_largest) == pytest.approx((20.0, 10.0, 30.0))
    assert (row.fits, row.diverged, row.score) == pytest.approx((2, 1, 70.0))
    assert told(row) == "70.0 [60.0, 90.0] (60.0 to 80.0) (1 diverged)"
    nothing = _ours(GroupResult(group, {("a", 1): None}, 1.0, {}), theirs, "")
    assert nothing.score is None and told(nothing) == "diverged" and nothing.metric == ""


def test_a_rate_at_the_end_of_those_tried_is_noted(computed: Any) -> None:
    rows = compare(*computed)
    assert number(rows, "better").note.startswith("the learning rate") and number(rows, "ours").note == ""
    assert (number(rows, "better").factor, number(rows, "ours").factor) == (0.1, 0.3)


def test_another_metric_than_the_papers_stands_alone(computed: Any) -> None:
    plan, kinds, results = computed
    other = [
        replace(one, results={k: v and replace(v, metric="accuracy") for k, v in one.results.items()})
        for one in results
    ]
    assert {row.origin for row in compare(plan, kinds, other)} == {"ours"} and notes(compare(plan, kinds, other)) == []


# Texts


def test_csv_holds_every_number(computed: Any) -> None:
    rows = compare(*computed)
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert len(read) == len(rows) and [float(one["score"]) for one in read] == [row.score for row in rows]
    assert read[0]["low"] == "" and read[0]["origin"] == "Table 1"


def test_markdown_and_latex_have_a_column_a_percentage(computed: Any) -> None:
    rows = compare(*computed)
    markdown, latex = as_markdown(rows), as_latex(rows)
    assert "| *MRM (ViT)* | 79.4 | 84.0 | Table 1 |" in markdown and "| method | 1 % | 10 % | from |" in markdown
    assert "### nih (AUC)" in markdown and "- Table 1: One number a cell" in markdown
    assert r"MRM (ViT) (Table 1) & 79.4 & 84.0 \\" in latex and r"Method & 1\% & 10\% \\" in latex
    assert latex.count(r"\midrule") == 2 and latex.count("{") == latex.count("}")
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {5}


def test_names_cannot_break_a_table() -> None:
    row = ScoreRow("t", "k", "", "AUC", 1, "a|b & c_%\n<script>", "ours", 50.0)
    assert r"a\|b & c_%\n<script>" in as_markdown([row]) and r"a|b \& c\_\%\textbackslash{}n<script>" in as_latex([row])
    page = comparison("t<i>", [row], [])
    assert "<script>\n" not in page and "a|b &amp; c_%\\n&lt;script&gt;" in page and "t&lt;i&gt;" in page


def test_the_page_shows_every_row_and_loads_nothing(computed: Any) -> None:
    plan, kinds, results = computed
    page = comparison("nih", compare(plan, kinds, results), by_disease(plan, kinds, results))
    assert page.count('<circle class="dot paper"') == 26 and page.count('<circle class="dot train"') == 4
    assert page.count('<circle class="dot held"') == 6 and "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "") and page.count("<svg") == 2
    assert PRINTED in page and PUT_RIGHT in page.replace("&#x27;", "'") and "predicting nothing" not in page


def test_a_plot_places_scores_in_order() -> None:
    rows = [
        ScoreRow("t", "k", "", "AUC", 1, name, "ours", score, score - 5, score + 5)
        for name, score in (("a", 50.0), ("b", 80.0))
    ]
    text = forest("t", rows)
    places = [float(part.split('"')[0]) for part in text.split('cx="')[1:]]
    assert 250 < places[0] < places[1] < 704
    (low, high) = (float(part.split("H")[0].split()[0]) for part in text.split('class="line train" d="M')[1:])
    assert places[0] - low == pytest.approx(places[1] - high, abs=0.2) and places[0] > low
    assert forest("t", []) == "" == forest("t", [replace(rows[0], score=None)])


# By disease


def test_rows_of_the_paper_stand_in_both_readings_and_ours_by_name(computed: Any) -> None:
    lines = [line for line in by_disease(*computed) if line.fraction == 1]
    theirs = [(line.method, line.reading) for line in lines if line.origin == "Table S4"]
    assert len(theirs) == 4 * 2 + 3 and ("KAD (CNN)", PRINTED) in theirs and ("KAD (CNN)", PUT_RIGHT) in theirs
    assert ("MRM (ViT)", "") in theirs
    kad = {line.reading: line.values for line in lines if line.method == "KAD (CNN)"}
    assert (kad[PRINTED]["Effusion"], kad[PUT_RIGHT]["Effusion"]) == (75.1, 82.9)
    (ours,) = (line.values for line in lines if line.method == "ours")
    assert list(ours) == list(published_by_disease("S4").classes)
    assert ours["Mass"] == pytest.approx((ours["Atelectasis"] or 0) + 1) and ours["Pleural Thickening"] is None
    read = list(csv.DictReader(io.StringIO(diseases_as_csv(lines))))
    assert len(read) == len(lines) and read[-1]["Edema"] == ""


def test_other_data_has_no_table_by_disease(computed: Any) -> None:
    plan, kinds, results = computed
    other = replace(plan, tasks={"nih": plan.tasks["nih"].model_copy(update={"paper": "RSNA"})})
    assert by_disease(other, kinds, results) == [] and diseases_as_csv([]).startswith("task,")
