"""The reports of a set and of a table, and what names them."""

import hashlib
from pathlib import Path

import pytest

from ecamp_fast.distill.reports import read_reports, report_digest
from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet

HEAD = "study_id,image_path,report,patient_id\n"


def test_a_set_and_its_table_name_reports_alike(tmp_path: Path) -> None:
    build_phantoms(8, tmp_path / "set", size=64, options=Options(workers=1, shard_size=4, vocab_size=200))
    shards = ShardSet(tmp_path / "set")
    stored = [(s.key, s["txt"].decode()) for split in shards.splits for s in shards.samples(split, ("txt",))]
    found = read_reports(str(tmp_path / "set"))
    assert [(report.key, report.text) for report in found.reports] == stored
    assert all(report.patient for report in found.reports) and found.kind == "phantom"
    rows = [f'{number},{number}.png,"{text}",p' for number, (_, text) in enumerate(stored)]
    (tmp_path / "t.csv").write_text(HEAD + "\n".join(rows))
    assert read_reports(str(tmp_path / "t.csv")).texts() == found.texts()


def test_views_share_a_report_and_what_says_nothing_is_left_out(tmp_path: Path) -> None:
    rows = ["a,1.png,Edema.,p", "a,2.png, Edema. ,p", "b,3.png,No edema.,q", "c,4.png,,q"]
    (tmp_path / "t.csv").write_text(HEAD + "\n".join(rows))
    found = read_reports(str(tmp_path / "t.csv"))
    assert [report.patient for report in found.reports] == ["p", "p", "q"] and found.kind == "csv"
    assert found.texts() == {hashlib.sha256(t.encode()).hexdigest(): t for t in ("Edema.", "No edema.")}
    assert report_digest(" Edema.\n") == report_digest("Edema.") == hashlib.sha256(b"Edema.").hexdigest()
    (tmp_path / "t.csv").write_text("study,path,caption\na,1.png,Edema.\n")
    names = ("study_id=study,image_path=path,report=caption",)
    assert list(read_reports(str(tmp_path / "t.csv"), names).texts().values()) == ["Edema."]


@pytest.mark.parametrize("text", [HEAD, HEAD + "a,1.png,,p\n", HEAD + "a,1.png,Edema\n", "x\ny\n", None])
def test_nothing_to_read(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_reports(str(tmp_path / "t.csv"))
    assert "Edema" not in str(caught.value)
