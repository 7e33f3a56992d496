"""What a change of rules does to counts, and files that are no counts."""

import json

import pytest
from click.testing import CliRunner

from ecamp_fast.commands import shard
from ecamp_fast.errors import DataError
from ecamp_fast.shards.describe import annotate as module
from ecamp_fast.shards.describe.difference import differences, read_counts
from ecamp_fast.text.reading.version import RULES_DIGEST

REPORTS = (
    "No effusion. Possible pneumonia.",
    "HISTORY was long. There may be small effusion; edema versus atelectasis.",
    "Mild edema. Small mass.",
)


@pytest.fixture
def reports(tmp_path):
    folder = tmp_path / "reports"
    folder.mkdir()
    for number, text in enumerate(REPORTS):
        (folder / f"{number}.txt").write_text(text)
    return folder


def run(*arguments):
    return CliRunner().invoke(shard.command, ["annotate", "--from", "folder", *map(str, arguments)])


def counts(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_doubted_mentions_are_counted(reports):
    found = counts(reports)
    assert found["doubted_mentions"] == 4 and found["denied_mentions"] == 1 and found["distilled_sentences"] == 7
    assert found["entities"]["effusion"] == {"mentions": 2, "denied": 1, "doubted": 1}
    assert found["rules_digest"] == RULES_DIGEST and found["source"] == {"kind": "folder", "file": "reports"}


def test_what_is_denied_is_not_doubted(tmp_path):
    (tmp_path / "0.txt").write_text("Possible pneumonia. Negative for possible effusion.")
    found = counts(tmp_path)["entities"]
    assert found["effusion"] == {"mentions": 1, "denied": 1, "doubted": 0} and found["pneumonia"]["doubted"] == 1


def test_equal_counts_have_no_row(reports, tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(counts(reports)))
    done = run(reports, "--against", tmp_path / "old.json")
    assert done.stdout.splitlines() == [f"rules: {RULES_DIGEST[:12]} -> {RULES_DIGEST[:12]}", "no count differs"]
    assert done.stderr == ""


def test_only_what_differs_is_printed(reports, tmp_path, monkeypatch):
    (tmp_path / "old.json").write_text(json.dumps(counts(reports)))
    (reports / "2.txt").write_text("No edema. Small mass. No hernia.")
    monkeypatch.setattr(module, "RULES_DIGEST", "f" * 64)
    done = run(reports, "--against", tmp_path / "old.json")
    first, head, *rows = done.stdout.splitlines()
    assert first == f"rules: {RULES_DIGEST[:12]} -> ffffffffffff"
    assert head.split() == ["old", "new", "difference"] and len({*map(len, rows), len(head)}) == 1
    shown = {tuple(row.rsplit(maxsplit=3)) for row in rows}
    assert ("edema denied", "0", "1", "+1") in shown and ("hernia mentions", "0", "1", "+1") in shown
    assert not any(name.startswith(("mass", "effusion", "pneumonia", "reports")) for name, *_ in shown)
    tree = counts(reports, "--against", tmp_path / "old.json")
    assert tree["against"]["rules_digest"] == RULES_DIGEST and tree["rules_digest"] == "f" * 64
    assert tree["against"]["counts"]["edema denied"] == {"old": 0, "new": 1, "difference": 1}


def test_another_source_is_noted(reports, tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(counts(reports)))
    other = reports.rename(tmp_path / "others")
    assert "counts another source: folder reports" in run(other, "--against", tmp_path / "old.json").stderr


def whole():
    entities = {"edema": {"mentions": 2, "denied": 1, "doubted": 0}}
    return {"schema": 1, "rules_digest": "a", "source": {}, "reports": 3, "denied_mentions": 1, "entities": entities}


@pytest.mark.parametrize(
    ("old", "new", "rows"),
    [
        ({}, {}, {}),
        ({"reports": 3}, {"reports": 3}, {}),
        ({"reports": 3}, {"reports": 2}, {"reports": (3, 2, -1)}),
        ({"reports": 3}, {}, {"reports": (3, 0, -3)}),
        ({}, {"reports": 3}, {"reports": (0, 3, 3)}),
        ({"entities": {"mass": {"denied": 1}}}, {"entities": {"mass": {"denied": 4}}}, {"mass denied": (1, 4, 3)}),
        ({"entities": {"mass": {"denied": 1}}}, {"entities": {}}, {"mass denied": (1, 0, -1)}),
        ({"sections": {"empty": 1}}, {"sections": {"empty": 2}}, {"sections empty": (1, 2, 1)}),
        ({"left_out": {"HISTORY": {"words": 1}}}, {"left_out": {}}, {"left_out HISTORY words": (1, 0, -1)}),
        ({"schema": 1, "notes": ["a"]}, {"schema": 2, "notes": []}, {}),
        ({"rules_digest": "a"}, {"rules_digest": "b"}, {}),
        ({"imbalance": {"findings": {"ratio": 1.5}}}, {"imbalance": {"findings": {"ratio": None}}}, {}),
    ],
)
def test_rows_of_a_difference(old, new, rows):
    found = {name: (row["old"], row["new"], row["difference"]) for name, row in differences(old, new).items()}
    assert found == rows


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "no such file"),
        ("", "not JSON"),
        ("reports: 3", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no counts of reports"),
        ("7", "no counts of reports"),
        ("null", "no counts of reports"),
        ("{}", "no counts of reports"),
        (json.dumps({"schema": 1, "samples": 3, "splits": {"train": 3}}), "no counts of reports"),
        (json.dumps(whole() | {"entities": ["edema"]}), "no counts of reports"),
        (json.dumps(whole() | {"entities": {"edema": 3}}), "no counts of reports"),
        (json.dumps(whole() | {"entities": {"edema": {"mentions": "2"}}}), "no counts of reports"),
        (json.dumps(whole() | {"schema": 2}), "another version"),
        (json.dumps(whole() | {"rules_digest": None}), "another version"),
        (json.dumps({name: one for name, one in whole().items() if name != "source"}), "another version"),
    ],
)
def test_what_are_no_counts_is_refused(text, what, tmp_path, reports):
    path = tmp_path / "old.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=what) as error:
        read_counts(path)
    assert "--json > FILE" in error.value.hint
    assert isinstance(run(reports, "--against", path).exception, DataError)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_counts_that_another_shell_wrote_are_read(encoding, tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(whole()), encoding=encoding)
    assert read_counts(tmp_path / "old.json") == whole()


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "old.json").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match="not JSON"):
        read_counts(tmp_path / "old.json")
