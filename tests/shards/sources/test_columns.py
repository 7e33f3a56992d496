"""Columns: their names as tables have them, what parts them, and those without a name."""

import json
import shlex
import subprocess

import pytest
from click.testing import CliRunner

from ecamp_fast.cli import command
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.describe.rules import build_command
from ecamp_fast.shards.format.manifest import read_manifest
from ecamp_fast.shards.sources.columns import likely, option, parse, positions
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.table import read_table

QUICK = Options(workers=1, vocab_size=200)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((), {}),
        (("report=caption",), {"report": "caption"}),
        (("image_path=Path,report=caption",), {"image_path": "Path", "report": "caption"}),
        (("image_path=Path", "report=caption"), {"image_path": "Path", "report": "caption"}),
        ((" image_path = Path , report = Report Text ",), {"image_path": "Path", "report": "Report Text"}),
        (("labels=Finding, Labels",), {"labels": "Finding, Labels"}),
        (("labels=Finding, Labels,view=View",), {"labels": "Finding, Labels", "view": "View"}),
        (("study_id=Path,image_path=Path",), {"study_id": "Path", "image_path": "Path"}),
        (("report=a", "report=a"), {"report": "a"}),
        (("report=a=b",), {"report": "a=b"}),
        (("image_path=Path, of = img",), {"image_path": "Path, of = img"}),
        (("image_path=Path, of = img,report=a",), {"image_path": "Path, of = img", "report": "a"}),
        (("report=a, b=c, d=e",), {"report": "a, b=c, d=e"}),
        (("labels=No (0=no, 1=yes)",), {"labels": "No (0=no, 1=yes)"}),
        (("labels=No (0=no, 1=yes), view = v",), {"labels": "No (0=no, 1=yes)", "view": "v"}),
    ],
)
def test_names_are_read(values, names):
    assert parse(values) == names


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("caption",), "is not NAME=COLUMN"),
        (("",), "is not NAME=COLUMN"),
        (("report=",), "is not NAME=COLUMN"),
        (("=caption",), "is not NAME=COLUMN"),
        (("captoin=x",), "'captoin' is no column we read"),
        (("reprt=x",), "is it report?"),
        (("PatientID=x",), "is it patient_id?"),
        (("caption=report",), "our name comes first: --columns report=caption"),
        (("Report Text=report",), "our name comes first: --columns 'report=Report Text'"),
        (("report=a,report=b",), "report: given twice, as 'a' and 'b'"),
        (("report=a", "path=b"), "NAME is one of study_id, image_path"),
        (("image_path=Path,reprt=x",), "is it report?"),
        (("image_path=Path,caption=report",), "our name comes first: --columns report=caption"),
        (("image_path=Path,zz=report",), "our name comes first: --columns report=zz"),
    ],
)
def test_what_is_no_name_is_refused(values, message):
    with pytest.raises(ConfigError) as caught:
        parse(values)
    assert message in f"{caught.value.what}; {caught.value.hint}"


@pytest.mark.parametrize(
    "column",
    [
        "PatientID", "patientId", "Patient ID", "patient", "subject_id", "Subject", "deid_patient_id",
        "PATIENT-ID", "MRN",
        "patient_number", "empi_anon", "SubjectID", "Patient_Id (anonymised)", "anon_patient_key", "PatientName",
    ],
)  # fmt: skip
def test_columns_that_look_like_patients(column):
    assert likely("patient_id", ["study_id", column, "age"]) == column


@pytest.mark.parametrize(
    "column", ["PatientAge", "patient_sex", "Patient Position", "patient_report_date_order", "patients", "patient_note"]
)
def test_columns_of_patients_that_do_not_name_them(column):
    assert likely("patient_id", ["study_id", column]) == ""


FOREIGN = {
    "CheXpert": ("image_path=Path,study_id=Path,report=report", "Path,report,Sex"),
    "PadChest": ("study_id=StudyID,image_path=ImageID,report=Report,patient_id=PatientID",
                 "StudyID,ImageID,Report,PatientID"),
    "captions": ("study_id=uid,image_path=file name,report=caption", "uid,file name,caption"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_table_of_other_names_is_built_by_the_command_it_records(kind, table, tmp_path):
    """The manifest records the names, a build resumes by them, and the command that it gives builds the same set."""
    names, header = FOREIGN[kind]
    table([{}, {}, {}])
    path = tmp_path / "data" / "reports.csv"
    values = {"Path": "s{n}.jpg", "ImageID": "s{n}.jpg", "file name": "s{n}.jpg", "report": "Edema {n}."}
    values |= {"Report": "Edema {n}.", "caption": "Edema {n}.", "Sex": "M"}
    rows = [[values.get(name, "x{n}").format(n=n) for name in header.split(",")] for n in range(3)]
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    arguments = ["shard", "build", "--from", "csv", str(path), str(tmp_path / "set"), "--columns", names]
    done = CliRunner().invoke(command, [*arguments, "--workers", "1", "--vocab-size", "200"])
    assert done.exit_code == 0, done.output
    manifest = read_manifest(tmp_path / "set")
    assert manifest.source["columns"] == parse([names]) and manifest.counts["samples"] == 3
    words = shlex.split(build_command(manifest))[1:]
    words[words.index("reports.csv")], words[words.index("NEW_SET")] = str(path), str(tmp_path / "again")
    done = CliRunner().invoke(command, [*words, "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert read_manifest(tmp_path / "again").digest == manifest.digest


def test_annotate_and_repair_take_names(table, tmp_path):
    path = table([{"caption": "Edema.", "patient_id": "a"}, {"caption": "Effusion.", "patient_id": "b"}])
    path.write_text(path.read_text().replace("report", "unread"))
    done = CliRunner().invoke(command, ["shard", "annotate", "--from", "csv", str(path), "--columns", "report=caption"])
    assert done.exit_code == 0 and "reports: 2" in done.stdout, done.output
    build(CsvSource(path, names={"report": "caption"}), tmp_path / "set", QUICK)
    damaged = tmp_path / "set" / "train-000000.tar"
    data = damaged.read_bytes()
    damaged.write_bytes(data[:600] + b"!" + data[601:])
    done = CliRunner().invoke(command, ["shard", "repair", "--from", "csv", str(path), str(tmp_path / "set")])
    assert done.exit_code == 0 and damaged.read_bytes() == data, done.output


def test_other_names_are_another_source(table, tmp_path, interrupted):
    path = table([{"caption": f"Edema {n}.", "patient_id": f"p{n}"} for n in range(4)])
    interrupted(3, lambda: build(CsvSource(path), tmp_path / "set", Options(workers=1, vocab_size=200, shard_size=1)))
    said = []
    build(CsvSource(path, names={"report": "caption"}), tmp_path / "set", QUICK, said.append)
    assert any("columns" in line and "starting over" in line for line in said)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"report": "captoin"}, "no column 'captoin'; is it column 'caption'?"),
        ({"report": "Caption"}, "pass --columns report=caption"),
        ({"view": "Vew"}, "no column 'Vew'; is it column 'view'?"),
        ({"view": "Vew"}, "leave out --columns view=Vew, or correct it"),
        ({"patient_id": "nowhere"}, "the columns are study_id, image_path, view, report, caption, PatientID"),
        ({"patient_id": "patient id"}, "pass --columns patient_id=PatientID"),
    ],
)
def test_a_name_that_the_table_does_not_have(names, message, table):
    path = table([{"caption": "x", "PatientID": "1"}])
    with pytest.raises(DataError) as caught:
        CsvSource(path, names=names).list_records()
    assert message in f"{caught.value.what}; {caught.value.hint}"


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("study_id,Path,report", "--columns image_path=Path"),
        ("study_id,filename,report", "--columns image_path=filename"),
        ("study_id,Image Index,report", "--columns 'image_path=Image Index'"),
        ("AccessionNumber,image_path,report", "--columns study_id=AccessionNumber"),
        ("StudyInstanceUID,image_path,report", "--columns study_id=StudyInstanceUID"),
        ("study_id,image_path,caption", "--columns report=caption"),
        ("study_id,image_path,Report_Text", "--columns report=Report_Text"),
        ("study_id,image_path,text", "--columns report=text"),
        ("study_id,image_path,reprot", "--columns report=reprot"),
        ("uid,Path,caption", "--columns study_id=uid,image_path=Path,report=caption"),
        ("Path,Sex,caption", "--columns image_path=Path,report=caption"),
        ("study_id,image_path,foo", "the columns are study_id, image_path, foo"),
    ],
)
def test_a_missing_column_is_found_by_another_name(header, hint, tmp_path):
    (tmp_path / "x.csv").write_text(f"{header}\na,b,c\n")
    with pytest.raises(DataError) as caught:
        CsvSource(tmp_path / "x.csv").list_records()
    assert hint in caught.value.hint


def test_a_report_for_a_header_is_not_repeated(tmp_path):
    (tmp_path / "x.csv").write_text("s1,a.jpg,Small SECRET effusion.,PA\ns2,b.jpg,Clear lungs.,PA\n")
    with pytest.raises(DataError) as caught:
        CsvSource(tmp_path / "x.csv").list_records()
    assert "SECRET" not in str(caught.value) and "(column 3)" in caught.value.hint


@pytest.mark.parametrize("column", ["PatientID", "Patient ID", "subject_id"])
def test_a_column_of_patients_is_suggested(column, table):
    (note,) = CsvSource(table([{column: "1"}, {column: "2"}])).list_records().notes
    assert f"no column 'patient_id'; '{column}' looks like one: pass {option({'patient_id': column})}" in note
    assert shlex.split(option({"patient_id": column})) == ["--columns", f"patient_id={column}"]


def test_a_view_is_not_needed_and_another_name_is_suggested(table):
    path = table([{"ViewPosition": "AP", "patient_id": "a"}], ["study_id", "image_path", "report", "patient_id"])
    assert [record.view for record in CsvSource(path).list_records().records] == [""]
    path = table([{"ViewPosition": "AP", "patient_id": "a"}], ["study_id", "image_path", "report", "ViewPosition"])
    assert any("--columns view=ViewPosition" in note for note in CsvSource(path).list_records().notes)
    (record,) = CsvSource(path, names={"view": "ViewPosition"}).list_records().records
    assert record.view == "AP" and not record.columns


def test_two_tables_may_each_have_the_names(table):
    path = table([{}, {}], ["study_id", "image_path", "view"])
    path.write_text(path.read_text().replace("image_path", "Path"))
    (path.parent / "said.csv").write_text("image_path;caption\ns0.jpg;Edema.\ns1.jpg;Effusion, small.\n")
    names = {"image_path": "Path", "report": "caption"}
    listing = CsvSource(path, path.parent / "said.csv", names=names).list_records()
    assert [record.report for record in listing.records] == ["Edema.", "Effusion, small."]
    assert any("said.csv: columns are parted by semicolons" in note for note in listing.notes)
    with pytest.raises(DataError, match="no column 'Paths'"):
        CsvSource(path, path.parent / "said.csv", names=names | {"image_path": "Paths"}).list_records()


SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars"}
HEADERS = (
    ["study_id", "image_path", "view", "report"],
    ["report", "image_path", "study_id"],
    ["study_id", "image_path", "view", "report", "labels, of a rater", "a, b, c, d, e, f"],
    ["\ufeffstudy_id", '"image_path"', "report"],
)


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("header", HEADERS)
def test_the_separator_is_guessed_and_said(header, separator, tmp_path):
    values = {"image_path": "i0.jpg", '"image_path"': "i0.jpg", "report": "No edema, no effusion."}
    row = separator.join(values.get(name, "x") for name in header)
    (tmp_path / "x.csv").write_text(f"{separator.join(header)}\r\n{row}\r\n", encoding="utf-8", newline="")
    listing = CsvSource(tmp_path / "x.csv").texts()
    assert [record.report for record in listing.records] == ["No edema, no effusion."]
    assert f"x.csv: columns are parted by {SEPARATORS[separator]}" in listing.notes[0]


@pytest.mark.parametrize(
    "header",
    [
        "study_id,image_path,view,report",
        "study_id,image_path,report,labels;a;b;c;d;e;f",
        "study_id,image_path,report,a|b|c|d|e|f",
        'study_id,image_path,report,"a;b;c;d;e;f;g"',
        "study_id,image_path,report,a\tb\tc\td\te\tf",
        "report,image_path,study_id",
        "report",
        "report ; all of it",
    ],
)
def test_commas_stay_commas(header, tmp_path):
    (tmp_path / "x.csv").write_text(f"{header}\n")
    table = read_table(tmp_path / "x.csv", ("report",) if "," in header or header == "report" else (header,))
    assert not table.note and len(table.columns) == len(header.split(","))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_first_line_may_state_the_separator(separator, tmp_path):
    rows = [["report", "a,b;c"], ["x;y", "1"]]
    quoted = [separator.join(f'"{value}"' for value in row) for row in rows]
    (tmp_path / "x.csv").write_text("\n".join([f"sep={separator}", *quoted]) + "\n")
    assert read_table(tmp_path / "x.csv", ("report",)).rows == [(3, {"report": "x;y", "a,b;c": "1"})]


def test_shifted_rows_of_another_separator_name_it(tmp_path):
    (tmp_path / "x.csv").write_text("study_id;report\n1;a;b\n")
    (fault,) = read_table(tmp_path / "x.csv", ("report",)).faults
    assert "3 fields, the header has 2" in fault.what and "semicolons" in fault.hint


NAMELESS = {
    "two at the end": ("study_id,image_path,view,report,,", "s{n},s{n}.jpg,PA,Edema.,,"),
    "blanks for names": ("study_id,image_path,view,report, ,  ", "s{n},s{n}.jpg,PA,Edema.,,"),
    "one at the end": ("study_id,image_path,view,report,", "s{n},s{n}.jpg,PA,Edema.,"),
    "one in the middle, one at the end": ("study_id,,image_path,report,", "s{n},,s{n}.jpg,Edema.,"),
    "quoted nothing": ('study_id,image_path,report,"",""', "s{n},s{n}.jpg,Edema.,,"),
    "the index of pandas": (",study_id,image_path,report", "{n},s{n},s{n}.jpg,Edema."),
    "an index written twice": ("Unnamed: 0.1,Unnamed: 0,study_id,image_path,report", "{n},{n},s{n},s{n}.jpg,Edema."),
    "an index and an end": (",study_id,image_path,report,,,", "{n},s{n},s{n}.jpg,Edema.,,,"),
    "pandas' names": ("study_id,image_path,report,Unnamed: 3,Unnamed: 4", "s{n},s{n}.jpg,Edema.,,"),
    "cells of blanks": ("study_id,image_path,report,,", "s{n},s{n}.jpg,Edema., ,  "),
    "semicolons": ("study_id;image_path;report;;", "s{n};s{n}.jpg;Edema.;;"),
}


@pytest.mark.parametrize("kind", NAMELESS)
def test_columns_without_a_name_pass(kind, table):
    path = table([{}, {}])
    header, row = NAMELESS[kind]
    path.write_text("\n".join([header, *(row.format(n=n) for n in range(2))]) + "\n")
    listing = CsvSource(path).list_records()
    assert [record.study_id for record in listing.records] == ["s0", "s1"] and not listing.faults
    assert [record.columns for record in listing.records] == [{}, {}]
    assert not any("without a name" in note for note in listing.notes)


@pytest.mark.parametrize(
    ("header", "row", "column"),
    [
        ("study_id,image_path,,report", "s0,s0.jpg,held,Edema.", "3"),
        ("study_id,image_path,report,Unnamed: 3,Unnamed: 4", "s0,s0.jpg,Edema.,,held", "5"),
        (",study_id,,image_path,report", "0,s0,held,s0.jpg,Edema.", "3"),
    ],
)
def test_columns_without_a_name_that_hold_something_are_said(header, row, column, table):
    path = table([{}])
    path.write_text(f"{header}\n{row}\n")
    listing = CsvSource(path).list_records()
    assert len(listing.records) == 1 and not listing.records[0].columns
    assert listing.notes[0].endswith(f"columns without a name are left out, though they hold values: {column}")


@pytest.mark.parametrize(
    "row",
    ["s1,s1.jpg,PA,No edema, no effusion,", "s1,s1.jpg,PA,No edema, no effusion", "s1,s1.jpg,PA,No edema,,.", "s1,s1"],
)
def test_a_text_that_spills_into_columns_without_a_name_is_a_fault(row, table):
    path = table([{}, {}])
    path.write_text(f"study_id,image_path,view,report,,\ns0,s0.jpg,PA,Edema.,,\n{row}\n")
    listing = CsvSource(path).list_records()
    (fault,) = listing.faults
    assert len(listing.records) == 1 and "row 3" in str(fault) and "quote fields that hold commas" in str(fault)


def test_fields_without_a_name_may_be_missing(table):
    path = table([{}, {}])
    path.write_text("study_id,image_path,report,,\ns0,s0.jpg,Edema.\ns1,s1.jpg,Edema.,\n")
    listing = CsvSource(path).list_records()
    assert len(listing.records) == 2 and not listing.faults


def test_rows_without_any_value_are_no_rows(table):
    path = table([{}, {}])
    path.write_text(path.read_text() + ",,,\n , , ,\n,,,,,\n")
    listing = CsvSource(path).list_records()
    assert len(listing.records) == 2 and not listing.faults


def test_an_option_is_for_a_shell():
    column = "it's a column"
    words = subprocess.run(["sh", "-c", f"printf '%s\\n' {option({'report': column})}"], capture_output=True, text=True)
    assert words.stdout.splitlines() == ["--columns", f"report={column}"]
    assert json.dumps(parse([words.stdout.splitlines()[1]])) == '{"report": "it\'s a column"}'


@pytest.mark.parametrize("column", ["study_id", "image_path", "patient_id", "view", "split", "report"])
def test_a_column_of_our_name_may_serve_for_another_too(column):
    other = "distilled" if column == "report" else "study_id" if column != "study_id" else "patient_id"
    header = ["image_path", "report", column] if column not in ("image_path", "report") else ["image_path", "report"]
    found = positions(header, {other: column})
    assert found[column] == found[other] == header.index(column)


@pytest.mark.parametrize("column", ["labels", "attention_map", "distilled", "caption"])
def test_other_columns_serve_for_one(column):
    assert positions(["image_path", column], {"report": column}) == {"image_path": 0, "report": 1}


@pytest.mark.parametrize("column", ["Split", "SPLIT", "set", "Set", "subset", "partition", "fold"])
def test_a_column_that_looks_like_the_split_is_suggested(column, table):
    path = table([{column: "train"}, {column: "val"}])
    (note,) = (note for note in CsvSource(path).list_records().notes if "'split'" in note)
    assert f"'{column}' looks like one" in note and f"--columns split={column}" in note


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("findings", "impression"),
        ("impression", "findings"),
        ("Findings", "Impression"),
        ("FINDINGS", "IMPRESSIONS"),
        ("findings_text", "impression_text"),
    ],
)
def test_half_of_a_report_is_told_of(one, other, table):
    path = table([{one: "Edema.", other: "Failure."}], ["study_id", "image_path", one, other])
    with pytest.raises(DataError) as caught:
        CsvSource(path).list_records()
    assert "for both, write one column of both" in caught.value.hint or "report=" not in caught.value.hint
    (note,) = (note for note in CsvSource(path, names={"report": one}).list_records().notes if "taken for" in note)
    assert f"column '{one}' is taken for the report, without column '{other}'" in note


def test_the_hint_for_findings_tells_of_the_impression(table):
    path = table([{"findings": "Edema.", "impression": "x"}], ["study_id", "image_path", "findings", "impression"])
    with pytest.raises(DataError) as caught:
        CsvSource(path).list_records()
    assert "--columns report=findings (without column 'impression': for both" in caught.value.hint


@pytest.mark.parametrize("header", [["findings"], ["findings", "labels"], ["caption", "impression"]])
def test_a_whole_report_is_told_nothing_of(header, table):
    path = table([dict.fromkeys(header, "Edema.")], ["study_id", "image_path", *header])
    assert not [n for n in CsvSource(path, names={"report": header[0]}).list_records().notes if "for both" in n]
