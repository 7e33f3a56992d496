"""Empty cells and identifiers: one rule for the tables, texts and metadata of every source."""

import json

import pytest

from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.cells import cell, identifier, is_blank
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.folder import FolderSource
from ecamp_fast.shards.sources.mimic_cxr import MimicCxrSource
from ecamp_fast.shards.sources.openi import OpeniSource
from ecamp_fast.shards.sources.webdataset import WebdatasetSource

QUICK = Options(workers=1, vocab_size=200)
EMPTY = (
    "nan", "NaN", "NAN", "-nan", "None", "none", "NONE", "None.", "NULL", "null", "(null)", "N/A", "n/a",
    "N/A.", "n.a.",
    "NA", "na", "<NA>", "<na>", "#N/A", "#NA", "#NULL!", "NaT", "\\N", "1.#QNAN", "-1.#IND", "[nan]",
    "['nan']", '"nan"',
    "nan nan", "nan; nan", "NaN\nNaN", "N / A", "", " ", "\t", "\xa0", "-", "--", "–", "—", "_", "___", ".",
    "XXXX", " nan ",
)  # fmt: skip
TEXTS = (
    "Nanning", "nano", "nana", "Nanna",
    "nullnull", "Anna", "N", "No", "no", "nil", "Na+", "NAD", "None seen.", "No edema.",
    "Null findings are noted.",
    "na2", "NA1", "nan1", "p-nan-1", "n/a1", "A", "0", "-1", "+", "-1.0", "unknown", "N/A in the left lung",
    "NaN values",
)  # fmt: skip


@pytest.mark.parametrize("value", EMPTY)
def test_what_programs_write_for_nothing_is_empty(value):
    assert is_blank(value) and cell(value) == identifier(value) == ""


@pytest.mark.parametrize("value", TEXTS)
def test_what_looks_alike_is_kept(value):
    assert not is_blank(value) and cell(f" {value}\n") == identifier(f"\t{value} ") == value


def test_a_long_cell_of_marks_is_read_in_time():
    assert is_blank("nan " * 100_000) and not is_blank("nan " * 100_000 + "edema")
    assert not is_blank("-" * 100_000 + "a") and not is_blank("n" * 100_000)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("123.0", "123"),
        ("123.00", "123"),
        (" 123 ", "123"),
        ("0.0", "0"),
        ("00123", "00123"),
        ("00123.0", "00123"),
        ("50414267.0", "50414267"),
        ("\xa07\u2003", "7"),
        ("1.5", "1.5"),
        ("1.2.840.0", "1.2.840.0"),
        ("1e5", "1e5"),
        ("1E5.0", "1E5.0"),
        ("1.23E+08", "1.23E+08"),
        ("5.0414267E7", "5.0414267E7"),
        ("-7.0", "-7.0"),
        ("P001", "P001"),
        ("p.0", "p.0"),
        ("12345678901234567890.0", "12345678901234567890"),
        ("1.01", "1.01"),
    ],
)
def test_identifiers_have_one_form(written, name):
    assert identifier(written) == name == identifier(name)


def test_a_table_of_nothings(table, tmp_path):
    """Reports that are a mark are dropped and counted, patients that are one are nobody."""
    rows = [{"report": text, "patient_id": "p"} for text in ("nan", "None", "<NA>", "N/A", "NULL")]
    rows += [{"patient_id": "nan", "view": "nan", "labels": "nan", "distilled": "NaN"} for _ in range(6)]
    report = build(CsvSource(table(rows)), tmp_path / "set", QUICK)
    assert report.manifest.counts["dropped_empty"] == 5 and report.manifest.counts["patients"] == 0
    assert report.manifest.count("train") and report.manifest.count("val") < 6
    shards = ShardSet(tmp_path / "set")
    about = json.loads(shards.read("train", 0)["json"])
    assert (about["view"], about["patient_id"], about["labels"]) == ("", "", {})
    assert b"nan" not in shards.read("train", 0)["distilled.txt"].lower()


@pytest.mark.parametrize("name", ["study_id", "image_path"])
@pytest.mark.parametrize("value", ["nan", "NULL", "<NA>", "-"])
def test_a_row_without_study_or_image_is_a_fault(name, value, table):
    path = table([{}, {}])
    path.write_text(path.read_text().replace({"study_id": "s1,", "image_path": ",s1.jpg"}[name], {
        "study_id": f"{value},", "image_path": f",{value}"}[name]))  # fmt: skip
    (fault,) = CsvSource(path).list_records().faults
    assert f"empty {name}" in str(fault)


def test_other_columns_stay_as_they_are_written(table):
    (record,) = CsvSource(table([{"devices": "None", "culture": "-"}])).list_records().records
    assert record.columns == {"devices": "None", "culture": "-"}


def test_a_study_is_one_however_its_number_is_written(table):
    rows = [{"study_id": name, "patient_id": "7.0"} for name in ("12.0", "12", " 12 ")] + [{"patient_id": "7"}]
    listing = CsvSource(table(rows)).list_records()
    assert [record.study_id for record in listing.records] == ["12", "12", "12", "s3"]
    assert {record.patient_id for record in listing.records} == {"7"}


def test_reports_of_another_table_may_be_nothing(table):
    images = table([{}, {}, {}], ["study_id", "image_path", "view"])
    (images.parent / "said.csv").write_text("image_path,report\ns0.jpg,nan\ns1.jpg,Edema.\ns2.jpg,None\n")
    listing = CsvSource(images, images.parent / "said.csv").list_records()
    assert listing.dropped_empty == 2 and [record.report for record in listing.records] == ["Edema."]


def test_text_files_that_hold_a_mark(tmp_path, film):
    for number, text in enumerate(("nan", "NULL\n", "Edema.", "N/A")):
        film(number).save(tmp_path / f"{number}.jpg")
        (tmp_path / f"{number}.txt").write_text(text)
    listing = FolderSource(tmp_path).list_records()
    assert listing.dropped_empty == 3 and [record.report for record in listing.records] == ["Edema."]
    kept = FolderSource(tmp_path, keep_empty=True).list_records().records
    assert [record.report for record in kept] == ["", "", "Edema.", ""]


def test_texts_and_metadata_of_a_webdataset(tmp_path, film, film_bytes):
    import io
    import tarfile

    about = {"study_id": "7.0", "patient_id": "NaN", "split": "None", "view": "N/A", "labels": ["Edema", "nan"]}
    members = {"a.jpg": film_bytes(film(1)), "a.txt": b"Edema.", "a.json": json.dumps(about).encode()}
    members |= {"a.distilled.txt": b"nan", "b.jpg": film_bytes(film(2)), "b.txt": b"<NA>", "b.json": b"{}"}
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    listing = WebdatasetSource(tmp_path / "x.tar").list_records()
    (record,) = listing.records
    assert listing.dropped_empty == 1 and record.distilled is None
    assert (record.study_id, record.patient_id, record.split, record.view) == ("7", "", "", "")
    assert record.labels == {"Edema": 1}


def test_tables_of_the_indiana_collection(tmp_path, film):
    reports = "uid,MeSH,Problems,findings,impression\n1.0,x,nan,nan,NaN\n2.0,x,Edema,nan,Edema.\n3,x,,None,Clear.\n"
    (tmp_path / "indiana_reports.csv").write_text(reports)
    (tmp_path / "indiana_projections.csv").write_text(
        "uid,filename,projection\n1,1.png,Frontal\n2,2.png,nan\n3.0,3.png,Frontal\n"
    )
    for number in (1, 2, 3):
        film(number).save(tmp_path / f"{number}.png")
    listing = OpeniSource(tmp_path).list_records()
    assert not listing.faults and listing.dropped_empty == 1
    found = [(record.study_id, record.report, record.view, record.labels) for record in listing.records]
    assert found == [("2", "Edema.", "", {"Edema": 1}), ("3", "Clear.", "Frontal", {})]


def test_tables_of_mimic_that_pandas_wrote(mimic_tree):
    """Numbers with holes become floats, holes become nan."""
    tree = mimic_tree(4)
    before = MimicCxrSource(tree.folder).list_records()
    for name in ("mimic-cxr-2.0.0-metadata.csv.gz", "mimic-cxr-2.0.0-chexpert.csv.gz"):
        header, *rows = tree.rows(name)
        numbers = [header.index("subject_id"), header.index("study_id")]
        labels = range(2, len(header)) if "chexpert" in name else ()
        for row in rows:
            for at in numbers:
                row[at] = f"{row[at]}.0"
            for at in labels:
                row[at] = row[at] or "nan"
        tree.rewrite(name, [header, *rows])
    after = MimicCxrSource(tree.folder).list_records()
    assert not after.faults and after.records == before.records and before.records
