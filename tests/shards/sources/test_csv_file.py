"""Tables: what is read, and what is refused with file, row and hint."""

import re

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.images.encode import BadImage
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.table import read_table


def list_records(path):
    return CsvSource(path).list_records()


def test_rows_become_records(table):
    row = {"patient_id": "p1", "labels": "Edema; Effusion;", "age": "63", "split": "train", "distilled": "There is x."}
    (record,) = list_records(table([row])).records
    assert (record.study_id, record.patient_id, record.view, record.split) == ("s0", "p1", "PA", "train")
    assert record.labels == {"Edema": 1, "Effusion": 1} and record.columns == {"age": "63"}
    assert record.distilled == "There is x." and record.stem == "s0" and record.row == 2


def test_several_images_of_one_study_are_normal(table):
    listing = list_records(table([{"study_id": "s"}, {"study_id": "s"}]))
    assert len(listing.records) == 2 and not listing.faults


def test_quoted_line_breaks_keep_the_row_number(table):
    listing = list_records(table([{"report": 'Line one,\nline "two".'}, {"report": "x y"}, {"image_path": ""}]))
    assert listing.records[0].report == 'Line one,\nline "two".'
    assert [r.row for r in listing.records] == [2, 4]
    assert "reports.csv row 5: empty image_path" in str(listing.faults[0])


def test_empty_reports_are_dropped_and_counted(table):
    listing = list_records(table([{"report": text} for text in ("", "  ", "___", " __ \n_", "Fine.")]))
    assert listing.dropped_empty == 4 and len(listing.records) == 1


def test_cp1252_is_read_and_noted_once(table):
    listing = list_records(table([{"report": "Patient’s lungs – clear."}, {"report": "“x” é"}], encoding="cp1252"))
    assert listing.records[0].report == "Patient’s lungs – clear."
    assert len(listing.notes) == 1 and "cp1252" in listing.notes[0] and "reports.csv" in listing.notes[0]


def test_utf8_with_byte_order_mark_and_crlf(table):
    path = table([{}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    listing = list_records(path)
    assert len(listing.records) == 1 and not listing.notes


def test_the_same_image_twice_names_both_rows(table):
    listing = list_records(table([{}, {"image_path": "a.jpg"}, {"image_path": "./b/../s0.jpg"}]))
    assert len(listing.faults) == 1
    assert "row 4" in str(listing.faults[0]) and "row 2" in str(listing.faults[0])


def test_missing_images_and_maps_are_named_all(table):
    path = table([{}, {}, {"attention_map": "maps/a.pgm"}, {}])
    for name in ("s1.jpg", "s3.jpg"):
        (path.parent / name).unlink()
    listing = list_records(path)
    assert [fault.origin for fault in listing.absent] == [
        "reports.csv row 3 (s1.jpg)",
        "reports.csv row 4 (s2.jpg)",
        "reports.csv row 5 (s3.jpg)",
    ]
    assert "maps/a.pgm: no such file" in listing.absent[1].what
    assert str(path.parent) in listing.absent[0].hint


def test_absolute_paths_are_named_by_their_last_part(table, tmp_path):
    """The manifest lists what was left out, and may go where the private folders may not."""
    path = table([{"image_path": str(tmp_path / "Smith_John" / f"scan {n}.jpg")} for n in range(4)])
    (tmp_path / "Smith_John" / "scan 1.jpg").unlink()
    (tmp_path / "Smith_John" / "scan 2.jpg").write_bytes(b"no picture")
    options = Options(workers=1, vocab_size=100, reject_budget=0.5)
    report = build(CsvSource(path), tmp_path / "set", options)
    assert [row["origin"] for row in report.manifest.quarantined] == [
        "reports.csv row 3 (scan 1.jpg)",
        "reports.csv row 4 (scan 2.jpg)",
    ]
    assert not [path for path in (tmp_path / "set").iterdir() if b"Smith_John" in path.read_bytes()]


@pytest.mark.parametrize("place", ["nul\0.jpg", "x" * 300 + ".jpg"])
def test_names_that_cannot_be_opened_are_absent(place, table):
    path = table([{}, {}])
    path.write_text(path.read_text().replace("s1.jpg", place))
    (fault,) = list_records(path).absent
    assert fault.origin.startswith("reports.csv row 3") and str(path.parent) not in fault.what


def test_a_folder_for_an_image_is_refused(table):
    path = table([{}, {}])
    (path.parent / "s1.jpg").unlink()
    (path.parent / "s1.jpg").mkdir()
    assert "not a file" in list_records(path).absent[0].what


@pytest.mark.parametrize("column", ["study_id", "image_path", "report"])
def test_a_missing_column_is_named(column, table):
    path = table([{}], columns=[c for c in ("study_id", "image_path", "view", "report") if c != column])
    with pytest.raises(DataError, match=f"reports.csv row 1: no column '{column}'"):
        list_records(path)


def test_a_column_of_nearly_that_name_is_suggested(table):
    path = table([{}])
    path.write_text(path.read_text().replace("image_path", "image_paths"))
    with pytest.raises(DataError, match="is it column 'image_paths'"):
        list_records(path)


def test_rows_that_are_shifted_are_faults(table):
    path = table([{}, {}])
    path.write_text(path.read_text() + "s9,s0.jpg,PA,text, with a comma\n")
    listing = list_records(path)
    assert "row 4: 5 fields, the header has 4" in str(listing.faults[0]) and len(listing.records) == 2


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"study_id,image_path,view,report,view\n", "'view' appears twice"),
        (b"s1,a.jpg,No edema.,No edema.\n", "row 1: column 3 appears twice; is this row a header?"),
        (b"study_id,image path,view,report\n", "no column 'image_path'; is it column 2?"),
        (b'study_id,image_path,view,report\na,b,c,"never closed\n', "row 2: not CSV"),
    ],
)
def test_what_is_no_table_is_refused(content, message, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        list_records(path)
    assert caught.value.hint


def test_a_table_that_is_not_there():
    with pytest.raises(DataError, match="no such file"):
        list_records("/nowhere/x.csv")


def test_long_fields_are_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("report\n" + "word " * 100_000 + "\n")
    assert len(read_table(path, ("report",)).rows[0][1]["report"]) == 500_000


def test_attention_maps_are_loaded_with_their_image(table, film):
    path = table([{"attention_map": "map.png"}, {}])
    film(3, 20, 20).save(path.parent / "map.png")
    source = CsvSource(path)
    with_map, without = source.list_records().records
    assert source.load(with_map, 64).attention.size == (20, 20)
    assert source.load(without, 64).attention is None
    (path.parent / "map.png").write_bytes(b"no picture")
    with pytest.raises(BadImage, match=r"attention map map\.png"):
        source.load(with_map, 64)


def test_no_text_in_messages(table):
    listing = list_records(
        table([{"report": "SECRET finding", "study_id": ""}, {"report": "SECRET", "image_path": ""}])
    )
    assert listing.faults and "SECRET" not in " ".join(map(str, listing.faults))


@pytest.mark.parametrize(
    ("place", "study"),
    [
        ("a.jpg", "a"),
        ("./a.jpg", "a"),
        ("a.b.jpg", "a.b"),
        ("one/a.jpg", "one/a"),
        ("patient1/study2/view1_frontal.jpg", "patient1/study2/view1_frontal"),
        ("{folder}/one/a.jpg", "one/a"),
    ],
)
def test_the_study_of_an_image_that_names_none_is_its_path(place, study, table):
    path = table([{}])
    place = place.format(folder=path.parent)
    path = table([{"image_path": place}], ["image_path"])
    (record,) = CsvSource(path, keep_empty=True).list_records().records
    assert record.study_id == study


def test_images_of_one_name_in_two_folders_are_two_studies(table, tmp_path):
    places = [
        f"{name}/view1.jpg" for name in ("p1", "p2", tmp_path / "elsewhere" / "p1", tmp_path / "elsewhere" / "p2")
    ]
    path = table([{"image_path": place} for place in places], ["image_path"])
    records = CsvSource(path, keep_empty=True).list_records().records
    studies = [record.study_id for record in records]
    assert len(set(studies)) == 4 and str(tmp_path) not in " ".join(studies) and "elsewhere" not in " ".join(studies)
