"""Images beside their reports, paired by name alone."""

import os

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.sources.folder import FolderSource


@pytest.fixture
def folder(tmp_path, film):
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.PNG", "deep/a.png")):
        film(number).save(data / name)
        (data / name).with_suffix(".txt").write_text(f"Report {number}.\n")
    return data


def test_pairs_become_samples(folder, tmp_path):
    records = FolderSource(folder).list_records().records
    assert [(r.study_id, r.place, r.report) for r in records] == [
        ("a", "a.jpg", "Report 0."),
        ("b", "b.PNG", "Report 1."),
        ("deep/a", "deep/a.png", "Report 2."),
    ]
    report = build(FolderSource(folder), tmp_path / "set", Options(workers=1, vocab_size=100))
    assert report.manifest.counts["samples"] == 3 and report.manifest.source["file"] == "data"


def test_halves_of_pairs_are_absent_by_class(folder, tmp_path):
    (folder / "a.txt").unlink()
    (folder / "b.PNG").unlink()
    absent = FolderSource(folder).list_records().absent
    assert [(fault.origin, fault.kind) for fault in absent] == [("a.jpg", "no-text"), ("b.txt", "missing")]
    assert "--empty-reports keep" in absent[0].hint
    with pytest.raises(DataError, match="2 of 3 rows left out, 0 may be"):
        build(FolderSource(folder), tmp_path / "set", Options(workers=1, vocab_size=100))


def test_the_folder_here_has_its_own_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert FolderSource(".").description["file"] == "data"


def test_two_images_of_one_name_are_a_fault(folder, film):
    film(9).save(folder / "a.png")
    (fault,) = FolderSource(folder).list_records().faults
    assert fault.origin == "a" and ".jpg, .png" in fault.what


def test_empty_reports_are_dropped_and_other_encodings_noted(folder):
    (folder / "a.txt").write_text(" ___\n")
    (folder / "b.txt").write_bytes(b"\x93Clear\x94")
    listing = FolderSource(folder).list_records()
    assert listing.dropped_empty == 1 and listing.records[0].report == "“Clear”"
    assert listing.notes == ["1 text is not UTF-8, read otherwise: b.txt as cp1252"]


@pytest.mark.fault("T1.noted-once")
def test_many_texts_in_another_encoding_are_one_note(folder, film):
    for number in range(30):
        film(number).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_bytes(b"\x93Clear\x94")
    assert FolderSource(folder).list_records().notes == [
        "30 texts are not UTF-8, read otherwise: 00.txt as cp1252, 01.txt as cp1252, 02.txt as cp1252 and 27 more"
    ]


def test_long_texts_are_no_reports(folder):
    (folder / "a.txt").write_text("x" * (2**20 + 1))
    assert "1 MiB" in str(FolderSource(folder).list_records().faults[0])


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="no image"):
        FolderSource(tmp_path).list_records()


def test_two_reports_of_one_name_are_a_fault(folder):
    (folder / "a.TXT").write_text("Another report.")
    (fault,) = FolderSource(folder).list_records().faults
    assert "a.TXT" in str(fault) and "a.txt" in str(fault)


@pytest.mark.parametrize("name", ["a.txt", "c.jpg"])
def test_a_pipe_is_a_fault_and_is_not_opened(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    (fault,) = FolderSource(folder).list_records().faults
    assert fault.origin == name and "not a regular file" in fault.what


def test_where_all_is_passed_over_it_is_said(folder):
    for name in ("a.jpg", "a.txt", "b.PNG", "b.txt"):
        (folder / name).unlink()
    (folder / "deep").rename(folder / ".deep")
    for read in (FolderSource(folder).list_records, FolderSource(folder).texts):
        with pytest.raises(DataError, match=r"\.txt file; 1 folder that .* was passed over"):
            read()
