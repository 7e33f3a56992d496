"""MIMIC-CXR as PhysioNet gives it, made of phantoms: one command, nothing lost silently, joins that are proved."""

import json
import zipfile

import pytest
from click.testing import CliRunner

from ecamp_fast.commands import shard
from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.check.verify import verify
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.mimic_cxr import MimicCxrSource
from ecamp_fast.shards.sources.selection.choice import Selection

METADATA = "mimic-cxr-2.0.0-metadata.csv.gz"
SPLIT = "mimic-cxr-2.0.0-split.csv.gz"
CHEXPERT = "mimic-cxr-2.0.0-chexpert.csv.gz"


def list_records(tree, **options):
    return MimicCxrSource(tree.folder, **options).list_records()


def samples(folder):
    shards = ShardSet(folder)
    read = (shards.read(split, index) for split in shards.splits for index in range(shards.count(split)))
    return {json.loads(sample["json"])["image"].rsplit("/", 1)[1][:-4]: sample for sample in read}


def by_style(tree, *styles):
    return {study for study, style in tree.styles.items() if style in styles}


def check_set(tree, out):
    """Every image of a report that says something is a sample with the text, split, view and labels of its own."""
    found = samples(out)
    assert set(found) == {dicom_id for dicom_id, study in tree.images.items() if tree.texts[study]}
    for dicom_id, sample in found.items():
        metadata = json.loads(sample["json"])
        study = tree.images[dicom_id]
        assert metadata["study_id"] == study and metadata["patient_id"].startswith("p1")
        assert sample["txt"].decode() == tree.texts[study]
        assert metadata["split"] == {"validate": "val"}.get(tree.splits[study], tree.splits[study])
        assert metadata["view"] == dicom_id.split("-")[1].upper()
        stated = dict(item.split("=") for item in metadata["columns"]["chexpert"].split(";"))
        assert stated and metadata["labels"] == {name: int(value) for name, value in stated.items()}
        assert metadata["columns"]["negbio"] == metadata["columns"]["chexpert"]
    assert verify(out).samples == len(found)


@pytest.mark.fault("T2.no-section", "T2.counted")
@pytest.mark.parametrize("archive", [True, False], ids=["zip", "tree"])
def test_one_command_makes_shards_and_the_counts_add_up(archive, mimic_tree, tmp_path):
    tree = mimic_tree(20, archive=archive)
    arguments = ["--from", "mimic-cxr", tree.folder, tmp_path / "set", "--workers", "1", "--vocab-size", "300"]
    done = CliRunner().invoke(shard.command, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["samples"] + result["dropped_empty"] == len(tree.images)
    check_set(tree, tmp_path / "set")
    sections = ShardSet(tmp_path / "set").manifest.source["sections"]
    assert sections == {
        "reports": 20,
        "without_findings": len(by_style(tree, "impression")),
        "without_impression": len(by_style(tree, "findings")),
        "without_both": len(by_style(tree, "neither")),
        "empty": len(by_style(tree, "empty")),
    }
    assert "have no findings" in " ".join(result["notes"])


def test_the_dicom_tree_gives_the_same_samples(mimic_tree, tmp_path):
    pytest.importorskip("pydicom", reason="needs pydicom")
    trees = {"jpg": mimic_tree(12), "dcm": mimic_tree(12, dicom=True)}
    for name, tree in trees.items():
        build(MimicCxrSource(tree.folder), tmp_path / name, Options(workers=1, vocab_size=300))
        check_set(tree, tmp_path / name)
    ours, other = samples(tmp_path / "jpg"), samples(tmp_path / "dcm")
    assert set(ours) == set(other)
    assert all(ours[name]["txt"] == other[name]["txt"] for name in ours)
    assert all(ours[name]["tokens"] == other[name]["tokens"] for name in ours)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dicom", "studies"),
    [(False, 500), (True, 100), pytest.param(True, 500, marks=pytest.mark.complete)],
    ids=["jpg", "dcm", "dcm-all"],
)
def test_five_hundred_studies(dicom, studies, mimic_tree, tmp_path):
    if dicom:
        pytest.importorskip("pydicom", reason="needs pydicom")
    tree = mimic_tree(studies, dicom=dicom)
    report = build(MimicCxrSource(tree.folder), tmp_path / "set", Options(vocab_size=2000))
    counts = report.manifest.counts
    assert counts["samples"] + counts["dropped_empty"] == len(tree.images)
    check_set(tree, tmp_path / "set")


def test_images_whose_report_says_nothing_are_kept_on_request(mimic_tree):
    tree = mimic_tree(40)
    dropped, kept = list_records(tree), list_records(tree, keep_empty=True)
    assert dropped.dropped_empty > 0 == kept.dropped_empty and len(kept.records) == len(tree.images)
    assert sum(not record.report for record in kept.records) == dropped.dropped_empty


@pytest.mark.fault("T2.no-section")
def test_reports_without_sections_can_be_used(mimic_tree):
    tree = mimic_tree(16)
    record = next(r for r in list_records(tree, use_last=True).records if tree.styles[r.study_id] == "neither")
    assert record.report.startswith("As compared to the previous film,")


@pytest.mark.parametrize("table", ["cxr-record-list.csv.gz", "cxr-study-list.csv.gz"])
def test_the_lists_of_the_dicom_release_are_joined_too(table, mimic_tree):
    tree = mimic_tree(6, dicom=True)
    rows = tree.rows(table)
    tree.rewrite(table, rows[:-1])
    assert any("is not in" in fault and table in fault for fault in faults(tree))


def test_what_is_left_out_is_counted_by_heading(mimic_tree):
    tree = mimic_tree(40)
    for listing in (list_records(tree), MimicCxrSource(tree.folder).texts()):
        found = listing.left_out
        assert found["INDICATION"]["reports"] == 40 - len(by_style(tree, "views", "empty"))
        assert found["NOTIFICATION"]["reports"] == len(by_style(tree, "impression"))
        assert found["WET READ"] == {"reports": 5, "words": 30} and found["ADDENDUM"]["words"] == 15
    used = list_records(tree, use_last=True).left_out
    assert used["INDICATION"]["words"] < found["INDICATION"]["words"]


def test_reports_elsewhere(mimic_tree, tmp_path):
    tree = mimic_tree(6)
    moved = (tree.folder / "mimic-cxr-reports.zip").rename(tmp_path / "r.zip")
    assert len(list_records(tree, reports=moved).records) == len(tree.images)
    assert MimicCxrSource(tree.folder, moved).description["reports"] == "r.zip"
    assert len(MimicCxrSource(tree.folder, moved).texts().records) == 6


def test_groups_that_were_not_copied_are_left_out_and_noted(mimic_tree):
    tree = mimic_tree(9)
    (tree.folder / "files" / "p11").rename(tree.folder / "elsewhere")
    listing = list_records(tree)
    assert not listing.faults and not listing.absent
    assert all(not record.patient_id.startswith("p11") for record in listing.records)
    assert any("images of p11 left out" in note for note in listing.notes)


def faults(tree):
    return [str(fault) for fault in list_records(tree).faults]


def test_a_clean_tree_has_no_faults_and_says_what_was_joined(mimic_tree):
    listing = list_records(mimic_tree(6))
    assert not listing.faults and not listing.absent
    assert f"8 images joined one to one by dicom_id over {METADATA}, {SPLIT}" in listing.notes


@pytest.mark.fault("T4.extra-row", "T4.by-key")
def test_an_image_in_one_table_only_is_named(mimic_tree):
    tree = mimic_tree(6)
    rows = tree.rows(SPLIT)
    lost = rows.pop()
    tree.rewrite(SPLIT, rows)
    assert [f"{lost[0]} is not in {SPLIT}" in fault for fault in faults(tree)] == [True]


@pytest.mark.fault("T4.extra-row")
def test_a_row_twice_is_named(mimic_tree):
    tree = mimic_tree(6)
    rows = tree.rows(METADATA)
    tree.rewrite(METADATA, [*rows, rows[1]])
    (fault,) = faults(tree)
    assert f"{METADATA} row {len(rows) + 1}" in fault and "row 2" in fault


def test_a_study_of_another_patient_is_named(mimic_tree):
    tree = mimic_tree(6)
    rows = tree.rows(SPLIT)
    rows[1][2] = "19999999"
    tree.rewrite(SPLIT, rows)
    assert [fault for fault in faults(tree) if "p19999999" in fault and rows[1][0] in fault]


@pytest.mark.fault("T4.shifted")
def test_shifted_columns_are_named_without_showing_them(mimic_tree):
    tree = mimic_tree(6)
    rows = tree.rows(METADATA)
    rows[2] = [rows[2][-1], *rows[2][:-1]]
    tree.rewrite(METADATA, rows)
    assert any("row 3: study_id and subject_id are no numbers" in fault for fault in faults(tree))


def test_label_values_are_checked(mimic_tree):
    tree = mimic_tree(6)
    rows = tree.rows(CHEXPERT)
    rows[1][2] = "50.5"
    tree.rewrite(CHEXPERT, rows)
    assert any("neither 1, 0 nor -1" in fault for fault in faults(tree))


@pytest.mark.fault("T4.extra-row")
def test_labels_of_an_unknown_study_are_named(mimic_tree):
    tree = mimic_tree(6)
    rows = tree.rows(CHEXPERT)
    tree.rewrite(CHEXPERT, [*rows, [rows[1][0], "59999999", *rows[1][2:]]])
    assert any("s59999999 has no image" in fault for fault in faults(tree))


def test_studies_without_labels_are_noted(mimic_tree):
    tree = mimic_tree(6)
    tree.rewrite(CHEXPERT, tree.rows(CHEXPERT)[:-1])
    assert any("1 of 6 studies has no row" in note for note in list_records(tree).notes)


def test_a_missing_image_and_the_images_of_a_missing_report_are_absent(mimic_tree):
    tree = mimic_tree(6, archive=False)
    image = next(tree.folder.rglob("*.jpg"))
    report = next(path for path in tree.folder.rglob("*.txt") if path.stem != image.parent.name)
    image.unlink()
    report.unlink()
    listing = list_records(tree)
    lost = [fault for fault in listing.absent if fault.kind == "no-text"]
    assert [image.stem in str(fault) for fault in listing.absent if fault.kind == "missing"] == [True]
    assert len(lost) == sum(study == report.stem for study in tree.images.values())
    assert all(report.name in str(fault) and "--empty-reports keep" in fault.hint for fault in lost)
    assert not listing.faults


def test_without_the_split_table_patients_are_held_out(mimic_tree):
    tree = mimic_tree(6)
    (tree.folder / SPLIT).unlink()
    listing = list_records(tree)
    assert {record.split for record in listing.records} == {""}
    assert any("no table of the official split" in note for note in listing.notes)


def test_what_is_no_release_is_refused(tmp_path, mimic_tree):
    with pytest.raises(DataError, match="neither"):
        MimicCxrSource(tmp_path).list_records()
    tree = mimic_tree(3)
    (tree.folder / "mimic-cxr-reports.zip").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="zip"):
        list_records(tree)


def test_a_table_cut_short_is_refused(mimic_tree):
    tree = mimic_tree(3)
    path = tree.folder / METADATA
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="gzip"):
        list_records(tree)


def test_a_damaged_report_is_named(mimic_tree):
    tree = mimic_tree(3)
    path = tree.folder / "mimic-cxr-reports.zip"
    with zipfile.ZipFile(path) as archive:
        offset = archive.infolist()[0].header_offset + 80
    data = bytearray(path.read_bytes())
    data[offset + 40] ^= 0xFF
    path.write_bytes(data)
    assert any("cannot be read" in fault for fault in faults(tree))


def test_reports_in_another_encoding_are_read_and_noted(mimic_tree):
    tree = mimic_tree(6, archive=False)
    report = next(path for path in sorted(tree.folder.rglob("*.txt")) if tree.styles[path.stem] == "full")
    report.write_bytes(b" FINAL REPORT\r\n FINDINGS:  The patient\x92s lungs are clear.\r\n")
    listing = list_records(tree)
    assert any(record.report == "The patient’s lungs are clear." for record in listing.records)
    assert any("1 text is not UTF-8" in note and "cp1252" in note for note in listing.notes)


def test_no_report_text_in_messages(mimic_tree):
    tree = mimic_tree(6, archive=False)
    for path in tree.folder.rglob("*.txt"):
        path.write_text(path.read_text().replace("FINDINGS", "CANARY").replace("IMPRESSION", "CANARY"))
    listing = list_records(tree)
    messages = " ".join([*listing.notes, *map(str, listing.faults), *map(str, listing.absent)])
    assert "canary" not in messages.lower()


def test_without_any_report_file_it_is_said_once_where_they_are(mimic_tree):
    tree = mimic_tree(20)
    (tree.folder / "mimic-cxr-reports.zip").unlink()
    source = MimicCxrSource(tree.folder)
    for listing in (source.list_records(), source.texts()):
        (fault,) = listing.faults
        assert fault.origin == "files" and "mimic-cxr-reports.zip" in fault.hint and "PhysioNet" in fault.hint


def without_reports(tree, *studies):
    """The tree, whose reports lie as files, without those of some studies."""
    for study in studies:
        next(tree.folder.rglob(f"{study}.txt")).unlink()
    return tree


def of_studies(tree, studies):
    return {dicom_id for dicom_id, study in tree.images.items() if study in studies}


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "tree"])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_images_without_a_report_file_are_kept_alone_on_request(number, archive, mimic_tree):
    tree = mimic_tree(12, archive=False)
    lost = sorted(tree.texts)[:number]
    without_reports(tree, *lost)
    if archive:
        with zipfile.ZipFile(tree.folder / "mimic-cxr-reports.zip", "w") as file:
            for path in sorted(tree.folder.rglob("*.txt")):
                file.write(path, path.relative_to(tree.folder))
                path.unlink()
    listing = list_records(tree, keep_empty=True)
    assert not listing.faults and not listing.absent and len(listing.records) == len(tree.images)
    assert {r.stem for r in listing.records if not r.report and r.study_id in lost} == of_studies(tree, lost)
    have = "1 study has" if number == 1 else f"{number} studies have"
    assert f"{have} no report: the images are taken alone" in listing.notes
    dropped = list_records(tree)
    assert len(dropped.absent) == len(of_studies(tree, lost)) and {f.kind for f in dropped.absent} == {"no-text"}
    assert {r.stem for r in dropped.records} == {
        dicom_id for dicom_id, study in tree.images.items() if tree.texts[study] and study not in lost
    }


@pytest.mark.parametrize("budget, passes", [(0.0, False), (0.05, False), (0.3, True)])
def test_the_budget_excuses_missing_reports_and_the_manifest_lists_them(budget, passes, mimic_tree, tmp_path):
    tree = mimic_tree(12, archive=False)
    without_reports(tree, "s50000000")
    lost, options = of_studies(tree, ["s50000000"]), Options(workers=1, vocab_size=200, reject_budget=budget)
    assert len(lost) == 2
    if not passes:
        with pytest.raises(DataError, match=r"2 of 13 rows left out, 0 may be: --reject-budget") as caught:
            build(MimicCxrSource(tree.folder), tmp_path / "set", options)
        assert str(caught.value).count("no report s50000000.txt in files") == 2
        return
    manifest = build(MimicCxrSource(tree.folder), tmp_path / "set", options).manifest
    assert [item["kind"] for item in manifest.quarantined] == ["no-text"] * 2
    assert all(any(dicom_id in item["origin"] for item in manifest.quarantined) or "-" in dicom_id for dicom_id in lost)


def test_the_command_line_lists_each_missing_report_once(mimic_tree, tmp_path):
    tree = without_reports(mimic_tree(12, archive=False), "s50000001", "s50000002", "s50000004")
    arguments = ["--from", "mimic-cxr", str(tree.folder), str(tmp_path / "set"), "--workers", "1"]
    done = CliRunner().invoke(shard.command, arguments)
    said = done.output + str(done.exception)
    assert done.exit_code and [said.count(f"no report s5000000{n}.txt") for n in (1, 2, 4)] == [1, 1, 1]


def test_the_images_alone_need_no_report_at_all(mimic_tree, tmp_path):
    tree = mimic_tree(6)
    archive = tree.folder / "mimic-cxr-reports.zip"
    archive.unlink()
    listing = list_records(tree, keep_empty=True)
    assert not listing.faults and len(listing.records) == len(tree.images)
    assert not any(record.report for record in listing.records)
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as file:
        file.writestr("readme.md", "nothing")
    (fault,) = list_records(tree, reports=tmp_path / "r.zip", keep_empty=True).faults
    assert "holds no report" in fault.what  # an archive that was named is another thing


@pytest.mark.parametrize(
    "named", [str, str.upper, lambda name: name.replace("/", "\\"), lambda name: name.replace("/", "\\").upper()]
)
def test_an_archive_of_reports_made_elsewhere(named, mimic_tree):
    tree = mimic_tree(6, archive=False)
    with zipfile.ZipFile(tree.folder / "mimic-cxr-reports.zip", "w") as file:
        for path in sorted(tree.folder.rglob("*.txt")):
            entry = zipfile.ZipInfo(named(str(path.relative_to(tree.folder))))
            file.writestr(entry, path.read_bytes())
            path.unlink()
    listing = list_records(tree)
    assert not listing.absent and not listing.faults
    assert {record.stem for record in listing.records} == {
        name for name, study in tree.images.items() if tree.texts[study]
    }


@pytest.mark.parametrize("left", ["views", "groups"])
def test_reports_of_images_that_are_left_out_belong_to_images(left, mimic_tree):
    tree = mimic_tree(12)
    if left == "groups":
        (tree.folder / "files" / "p11").rename(tree.folder / "elsewhere")
    selection = Selection(("LATERAL",) if left == "views" else ())
    notes = MimicCxrSource(tree.folder, selection=selection).list_records().notes
    assert any(" left out" in note for note in notes) and not any("report files belong" in note for note in notes)


@pytest.mark.parametrize(("number", "said"), [(1, "1 report file belongs"), (3, "3 report files belong")])
def test_reports_of_no_image_are_counted(number, said, mimic_tree):
    tree = mimic_tree(6)
    with zipfile.ZipFile(tree.folder / "mimic-cxr-reports.zip", "a") as file:
        for study in range(number):
            file.writestr(f"files/p10/p10000000/s9000000{study}.txt", "FINDINGS: Clear.")
    assert f"{said} to no image of the tables" in list_records(tree).notes
