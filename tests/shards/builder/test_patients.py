"""Patients: read off names where no table names them, and what is doubtful about them said."""

import pytest

from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.dry_run import preview
from ecamp_fast.shards.builder.patients import doubts, name_patients
from ecamp_fast.shards.sources.base import Record
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.folder import FolderSource

QUICK = Options(workers=1, vocab_size=200)
BOTH_SIDES = "held out by study, so that a patient may be on both sides of the split"


def records(*rows, study="s{n}", place="{n}.jpg"):
    """Records of (patient, split); study and place are written by the row's number."""
    return [
        Record(f"row {n}", n, study.format(n=n), f"i{n}", place.format(n=n), "Edema.", patient_id=patient, split=split)
        for n, (patient, split) in enumerate(rows)
    ]


FAMILIES = {
    "files/p10/p10000032/s50414267/a.jpg files/p10/p10000032/s53189527/b.jpg files/p11/p11000183/s51967845/c.jpg": (
        "10000032 10000032 11000183"
    ),
    "mimic/10000032/50414267/a.png mimic/10000032/53189527.png 19999987_58971208.png": "10000032 10000032 19999987",
    "p10000032_s50414267.jpg p10000032_s53189527.jpg p10000764-s57375967.jpg": "10000032 10000032 10000764",
    "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg train/patient00002/study1/v.jpg": (
        "patient00001 patient00002"
    ),
    "patient1/study1/a.jpg patient1/study2/a.jpg patient2/study3/a.jpg": "patient1 patient1 patient2",
    "sub-S03044/ses-E07185/a.png sub-S03044/ses-E08000/a.png sub-S04/ses-E1/a.png": "sub-S03044 sub-S03044 sub-S04",
    "images/p001-s01-i1.jpg images/p001-s02-i1.jpg images/p002-s01-i1.jpg": "p001 p001 p002",
    "pat_7/visit_1.jpg pat_7/visit_2.jpg pat_8/visit_1.jpg": "pat_7 pat_7 pat_8",
    "Subject12_Exam3.dcm Subject12_Exam4.dcm Subject13_Exam1.dcm": "Subject12 Subject12 Subject13",
    "images/00000001_000.png images/00000001_001.png images/00030805_000.png": "00000001 00000001 00030805",
    "subj3\\session1\\a.png subj3\\session2\\a.png subj4\\session1\\a.png": "subj3 subj3 subj4",
    "patient9/study9/patient1/study1.jpg patient9/study9/patient2/study1.jpg": "patient1 patient2",
}


@pytest.mark.parametrize("by", ["study_id", "place"])
@pytest.mark.parametrize("names", FAMILIES)
def test_patients_are_read_off_names(names, by):
    found = records(*[("", "")] * len(names.split()))
    for record, name in zip(found, names.split(), strict=True):
        setattr(record, by, name)
    (note,) = name_patients(found)
    assert [record.patient_id for record in found] == FAMILIES[names].split()
    assert note.startswith("patients are read off the names") and f"{len(set(FAMILIES[names].split()))} of them" in note


@pytest.mark.parametrize(
    "names",
    [
        "a.jpg b.jpg c.jpg",
        "files/p10/p10000032/s50414267/a.jpg other.jpg third.jpg",  # not all
        "p10000032/a.jpg p10000764/b.jpg",  # no study behind
        "s50414267.jpg s53189527.jpg",
        "patient1/study1/a.jpg patient1/study2/a.jpg",  # one patient is as good as none: a folder is called so
        "step1-s1.jpg step2-s1.jpg",
        "group1/set1/a.jpg group2/set1/a.jpg",
        "20000032/50414267/a.jpg 30000032/50414267/b.jpg",
        "20240101_001.png 20240102_001.png",
        "p1-section2.jpg p2-section2.jpg",
        "mp1-s1.jpg mp2-s1.jpg",
        "patient-study.jpg patients-studies.jpg",
    ],
)
def test_other_names_tell_no_patients(names):
    found = records(*[("", "")] * len(names.split()))
    for record, name in zip(found, names.split(), strict=True):
        record.place = name
    assert name_patients(found) == [] and {record.patient_id for record in found} == {""}


def test_named_patients_are_never_replaced():
    found = records(("7", ""), ("", ""), study="p{n}-s1")
    assert name_patients(found) == [] and [record.patient_id for record in found] == ["7", ""]


def test_a_study_of_two_such_patients_tells_none():
    found = records(("", ""), ("", ""), study="study1", place="patient{n}/study1/a.jpg")
    assert name_patients(found) == [] and not found[0].patient_id


def test_stated_splits_are_not_refused_by_what_was_read_off():
    found = records(("", "train"), ("", "val"), ("", "val"), study="s{n}")
    for record, name in zip(found, ("p1-s1", "p1-s2", "p2-s1"), strict=True):
        record.study_id = name
    (note,) = name_patients(found)
    assert "1 patient is in more than one split" in note and not found[0].patient_id
    found[0].split = "val"
    assert "patients are read off" in name_patients(found)[0] and found[0].patient_id == "p1"


@pytest.mark.parametrize("patients", [8, 40])
def test_no_patient_read_off_is_on_both_sides(patients, table, tmp_path):
    rows = [{"study_id": f"p{n // 4:03d}-s{n % 4}"} for n in range(4 * patients)]
    source = CsvSource(table(rows))
    result = preview(source, QUICK)
    assert result["patients"] == patients and "of them" in " ".join(result["notes"])
    assert result["splits"]["train"] % 4 == 0 == result["splits"]["val"] % 4


def test_a_folder_of_mimic_reads_its_patients(tmp_path, film):
    for patient, study in (("p10000032", "s50414267"), ("p10000032", "s53189527"), ("p11000183", "s51967845")):
        folder = tmp_path / "files" / patient[:3] / patient / study
        folder.mkdir(parents=True)
        film(1).save(folder / "a.jpg")
        (folder / "a.txt").write_text("Small effusion.")
    assert preview(FolderSource(tmp_path), QUICK)["patients"] == 2


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize(
    ("patients", "said"),
    [
        (["", "", ""], "no sample names a patient"),
        (["", "a", "b"], "1 of 3 samples does not name a patient"),
        (["", "", "b"], "2 of 3 samples do not name a patient"),
        (["a", "b", "c"], ""),
    ],
)
def test_samples_without_a_patient_are_said(patients, said, stated):
    found = records(*zip(patients, ("train", "val", "train"), strict=True))
    notes = [note for note in doubts(found, stated=stated, holdout=0.1) if "name a patient" in note or "names" in note]
    assert len(notes) == bool(said) and all(said in note for note in notes)
    assert all(("cannot be told" if stated else BOTH_SIDES) in note for note in notes)


def test_nothing_is_on_both_sides_of_one_split():
    assert doubts(records(*[("", "train")] * 3), stated=False, holdout=0) == []


@pytest.mark.parametrize(
    "name",
    [
        "Anonymous", "anonymized", "Anonymised", "ANON", "unknown", "UNKNOWN", "0", "000", "0000000", "999",
        "XXX", "patient",
        "de-identified", "Deidentified", "removed", "No Name", "not available", "[redacted]", "missing",
        "test", "dummy", "-1", "-9", "-99", "-1.0", "-0",
    ],
)  # fmt: skip
def test_a_patient_whose_name_is_nobodys_is_said_where_no_other_has_more(name):
    found = records(*[(name, "train")] * 3, *[(f"p{n}", "val") for n in range(9)])
    (note,) = doubts(found, stated=False, holdout=0.1)
    assert "has 3 of 12 samples (3 studies)" in note and "leave these cells empty" in note
    found += records(*[("p1", "val")] * 2)  # as many
    assert doubts(found, stated=False, holdout=0.1) == []
    found += records(("p1", "val"))
    assert doubts(found, stated=False, holdout=0.1) == []


@pytest.mark.parametrize(
    ("own", "others", "said"),
    [
        (12, 0, True),
        (7, 5, True),
        (6, 6, False),
        (6, 5, True),
        (2, 9, False),
        (1, 1, False),
        (2, 1, True),
        (2, 0, True),
    ],
)
def test_a_patient_who_has_most_samples_is_said(own, others, said):
    found = records(*[("Smith7", "train")] * own, *[(f"p{n}", "val") for n in range(others)])
    notes = [note for note in doubts(found, stated=False, holdout=0.1) if "Smith7" in note]
    assert len(notes) == said and all(f"has {own} of {own + others} samples" in note for note in notes)


def test_one_study_of_most_samples_is_no_stand_in():
    found = records(*[("7", "train")] * 3, ("8", "val"), study="s1")
    (note,) = doubts(found, stated=False, holdout=0.1)
    assert note == "patient 7 has 3 of 4 samples (1 study)"


def test_a_patient_of_blanks_is_not_repeated():
    found = records(*[("SECRET name of a person", "train")] * 3, ("8", "val"))
    assert "SECRET" not in " ".join(doubts(found, stated=False, holdout=0.1))


@pytest.mark.parametrize(
    ("splits", "stated", "holdout", "said"),
    [
        (["train", "train"], False, 0.1, "val is empty, nothing is held out: all samples are of one patient"),
        (["train", "train"], False, 0, ""),
        (["train", "train"], True, 0.1, "val is empty, nothing is held out: the source names none"),
        (["train", "test"], True, 0, "val is empty, nothing is held out: the source names none"),
        (["val", "val"], True, 0.1, "no sample is in the split train"),
        (["test", "val"], True, 0.1, "no sample is in the split train"),
        (["train", "val"], True, 0.1, ""),
        (["train", "val"], False, 0.1, ""),
        (["train"], False, 0.1, ""),
    ],
)
def test_a_split_that_stays_empty_is_said(splits, stated, holdout, said):
    found = records(*[(f"p{n}", split) for n, split in enumerate(splits)])
    notes = doubts(found, stated=stated, holdout=holdout)
    assert len(notes) == bool(said) and all(said in note for note in notes)


@pytest.mark.parametrize(("name", "rounded"), [("1.23E+08", True), ("5,0E+7", True), ("1E+5", True), ("1E5", False),
                                               ("1e+07", True), ("1.23e+08", True), ("1e5", False),
                                               ("E+5", False), ("123", False)])  # fmt: skip
def test_names_that_a_spreadsheet_has_rounded_are_said(name, rounded):
    found = records((name, "train"), ("p2", "val"))
    notes = doubts(found, stated=False, holdout=0.1)
    assert len(notes) == rounded and all("a spreadsheet wrote them" in note for note in notes)


def test_the_notes_are_printed_and_in_the_manifest(table, tmp_path):
    lines = []
    rows = [{"patient_id": "Anonymous"} for _ in range(4)]
    notes = build(CsvSource(table(rows)), tmp_path / "set", QUICK, lines.append).manifest.notes
    assert any("patient Anonymous has 4 of 4" in note for note in notes)
    assert any("the split val is empty" in note for note in notes)
    assert all(f"note: {note}" in lines for note in notes)


@pytest.mark.parametrize(
    ("name", "own", "others", "strong"),
    [
        ("Smith7", 12, 0, True),
        ("Smith7", 7, 5, True),
        ("Smith7", 6, 3, False),
        ("Smith7", 2, 1, False),
        ("p10000000", 12, 0, False),
        ("10000032", 9, 4, False),
        ("patient00001", 9, 4, False),
        ("00000013", 9, 4, False),
        ("20000032", 9, 4, True),
        ("Anonymous", 2, 1, True),
        ("-1", 2, 1, True),
    ],
)
def test_a_patient_who_may_well_be_real_is_only_counted(name, own, others, strong):
    found = records(*[(name, "train")] * own, *[(f"p{n}", "val") for n in range(others)])
    (note,) = (note for note in doubts(found, stated=False, holdout=0) if name in note)
    assert ("leave these cells empty" in note) is strong


@pytest.mark.parametrize("splits", [["fold1", "fold2"], ["0", "1"], ["a", "val"], ["b", "test"], ["", "val"]])
def test_splits_that_are_faults_are_not_called_empty_as_well(splits):
    found = records(*[(f"p{n}", split) for n, split in enumerate(splits)])
    assert not [note for note in doubts(found, stated=True, holdout=0.1) if "split train" in note or "empty" in note]


def test_one_rounded_name_is_one():
    (note,) = doubts(records(("1E+5", "train"), ("p2", "val")), stated=False, holdout=0.1)
    assert note.startswith("1 name of a patient or study is a rounded number, as 1E+5")
