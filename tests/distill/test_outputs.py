"""What is done with answers: a page to read them on, conversations for a student. Nobody else may read either."""

import json
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast import cli
from ecamp_fast.distill.audit import draw_sample
from ecamp_fast.distill.journal import AnswerJournal, Finished
from ecamp_fast.distill.reports import Report, report_digest
from ecamp_fast.distill.sft import export_sft, split_of
from ecamp_fast.distill.source import State, read_marks
from ecamp_fast.distill.table_s2 import TableS2Distiller
from ecamp_fast.errors import DataError
from ecamp_fast.report.audit_page import audit_html, marked

PLAIN = TableS2Distiller(structured=False)
TEXTS = {
    "Small left effusion. No edema.": ("There is small left effusion. There is no edema.", "model"),
    "Possible pneumonia <b>&amp;</b> no mass.": ("There may be pneumonia. There is no mass.", "re-asked"),
    "Old rib fracture.": ("There is old rib fracture.", "rules"),
    "Lungs are clear.": ("", "nothing"),
}
CANARY = "Canary7731"


def answers() -> dict[str, Finished]:
    return {
        report_digest(report): Finished(report_digest(report), text, how, {"echo": 1} if how == "rules" else {})
        for report, (text, how) in TEXTS.items()
    }


def reports() -> list[Report]:
    found = [Report(f"{CANARY}-{n}", f"{CANARY}p{n}", report) for n, report in enumerate(TEXTS)]
    return [*found, Report("again", f"{CANARY}p9", "small left  effusion. No edema."), Report("new", "", "Big hernia.")]


def test_conversations_are_those_by_which_the_student_is_asked(tmp_path: Path) -> None:
    counts = export_sft(reports(), answers(), PLAIN, tmp_path / "sft", share=0.0)
    lines = [json.loads(line) for line in (tmp_path / "sft" / "train.jsonl").read_text().splitlines()]
    for line, report in zip(lines, TEXTS, strict=False):
        *asked, answer = line["messages"]
        assert asked == PLAIN.messages(report)
        assert answer == {"role": "assistant", "content": TEXTS[report][0].replace(". There", ".\nThere")}
    assert (counts.train, counts.val, counts.train_patients, counts.val_patients) == (2, 0, 2, 0)
    assert (counts.repeated, counts.by_rules, counts.nothing, counts.unanswered, counts.unknown) == (1, 1, 1, 1, 0)
    assert CANARY not in "".join(path.read_text() for path in (tmp_path / "sft").iterdir())
    for path in (tmp_path / "sft").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "sft").stat().st_mode) == 0o700
    assert "Data Use Agreement" in (tmp_path / "sft" / "NOTICE.txt").read_text()


def test_a_patient_is_on_one_side_whatever_else_is_exported(tmp_path: Path) -> None:
    many = [Report(str(n), f"p{n // 3}", f"Small effusion, {n} cm.") for n in range(600)]
    told = {
        report_digest(one.text): Finished(report_digest(one.text), "There is small effusion.", "model") for one in many
    }
    counts = export_sft(many, told, PLAIN, tmp_path / "all", share=0.2)
    assert counts.train + counts.val == 600 and 25 < counts.val_patients < 55
    assert counts.train == 3 * counts.train_patients and counts.val == 3 * counts.val_patients
    part = export_sft(many[300:], told, PLAIN, tmp_path / "part", share=0.2)
    assert set((tmp_path / "part" / "val.jsonl").read_text().splitlines()) == {
        line for line in (tmp_path / "all" / "val.jsonl").read_text().splitlines() if held(line) >= 300
    }
    assert 0 < part.val < counts.val
    assert {split_of(f"p{n}", 42, 0.2) for n in range(50)} == {"train", "val"}
    assert [split_of(f"p{n}", 42, 0.2) for n in range(50)] != [split_of(f"p{n}", 43, 0.2) for n in range(50)]


def held(line: str) -> int:
    return int(json.loads(line)["messages"][1]["content"].split("Small effusion, ")[1].split()[0])


def test_reports_of_nobody_count_as_one_patient_each(tmp_path: Path) -> None:
    text = next(iter(TEXTS))
    counts = export_sft([Report("a", "", text)], answers(), PLAIN, tmp_path / "sft", share=0.0)
    assert (counts.unknown, counts.train_patients) == (1, 1)


def test_nothing_to_teach_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no answer of a model"):
        export_sft([Report("a", "p", "Big hernia.")], answers(), PLAIN, tmp_path / "sft")
    assert list(tmp_path.iterdir()) == []


# The page


class Words(HTMLParser):
    """What a reader sees, and the coloured words with their titles."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.marked, self.titles, self._title = "", [], [], None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._title = given.get("title") if "word" in str(given.get("class")) else None
        self.titles += [self._title] * bool(self._title)

    def handle_data(self, data: str) -> None:
        self.text += data
        self.marked += [(data, self._title)] * bool(self._title)
        self._title = None


def test_report_and_answer_stand_side_by_side_with_their_entities() -> None:
    sample = draw_sample(reports(), answers(), count=9)
    assert len(sample) == 4 and {one.report for one in sample} == set(TEXTS)
    page = audit_html(sample, 42)
    read = Words()
    read.feed(page)
    for report, (text, _) in TEXTS.items():
        assert report in read.text and all(sentence in read.text for sentence in text.split(". "))
    marks = (("pneumonia", "pneumonia, possible"), ("edema", "edema, absent"), ("effusion", "effusion, present"))
    assert [read.marked.count(mark) for mark in marks] == [2, 2, 2]
    assert "rejected before: echo 1" in read.text and "<b>&amp;" not in page
    head = page[: page.index("</head>")]
    assert CANARY not in page and not any(report in head for report in TEXTS)


def test_the_sample_hangs_on_the_seed_and_on_nothing_else() -> None:
    first = [one.report for one in draw_sample(reports(), answers(), count=3)]
    assert [one.report for one in draw_sample(reports()[::-1], answers(), count=3)] == first
    orders = {tuple(one.report for one in draw_sample(reports(), answers(), count=3, seed=n)) for n in range(9)}
    assert len(orders) > 3
    assert [one.how for one in draw_sample(reports(), answers(), how="rules")] == ["rules"]
    with pytest.raises(DataError, match="no report of this source"):
        draw_sample([Report("a", "p", "Big hernia.")], answers())


def test_marks_are_where_the_report_has_them() -> None:
    report = "No\u00a0e\ufb00usion.\r\nSuspected   Edema &c."
    assert [(report[slice(*span)], name, state) for span, name, state in read_marks(report)] == [
        ("e\ufb00usion", "effusion", State.ABSENT),
        ("Edema", "edema", State.POSSIBLE),
    ]
    assert marked("a <b", [((2, 3), "x", State.ABSENT)]) == (
        'a <span class="word absent" title="x, absent">&lt;</span>b'
    )


# The commands


@pytest.fixture
def table(tmp_path: Path) -> tuple[Path, Path]:
    """A table of the reports, and the journal of a run over them."""
    path = tmp_path / "reports.csv"
    rows = [f'{CANARY}s{n},{CANARY}{n}.png,"{report}",{CANARY}p{n}' for n, report in enumerate(TEXTS)]
    path.write_text("\n".join(["study_id,image_path,report,patient_id", *rows]))
    with AnswerJournal(tmp_path / "journal", {"model": "m"}) as journal:
        journal.add(answers().values())
    return path, tmp_path / "journal"


def run(*arguments: object) -> dict:
    done = CliRunner().invoke(cli.command, ["distill", *map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert CANARY not in done.output and not any(report in done.output for report in TEXTS)
    return json.loads(done.stdout)


def test_audit_writes_one_private_page(table: tuple[Path, Path], tmp_path: Path) -> None:
    told = run("audit", *table)
    page = table[1] / "audit.html"
    assert told == {
        "schema": 1,
        "out": str(page),
        "reports": 4,
        "how": {"model": 1, "re-asked": 1, "rules": 1, "nothing": 1},
    }
    assert stat.S_IMODE(page.stat().st_mode) == 0o600 and CANARY not in page.read_text()
    one = run("audit", *table, "--out", tmp_path / "else", "--count", 1, "--how", "model")
    assert (one["reports"], one["how"]) == (1, {"model": 1}) and (tmp_path / "else" / "audit.html").is_file()


def test_export_sft_tells_its_counts_and_overwrites_nothing(table: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "sft"
    told = run("export-sft", *table, out, "--val-share", 0)
    assert (told["train"], told["val"], told["by_rules"], told["nothing"]) == (2, 0, 1, 1)
    with pytest.raises(SystemExit) as left:
        cli.main(["distill", "export-sft", *map(str, table), str(out)])
    assert left.value.code == 5
