"""The Indiana collection: its XML, its tables, and its texts alone."""

import csv
import json

import pytest
from click.testing import CliRunner

from ecamp_fast.commands import shard
from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.describe.annotate import annotate
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.openi import OpeniSource

COLUMNS = ["uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression"]
TEXTS = [("No effusion.", "Normal chest."), ("Small effusion.", ""), ("", "Edema."), ("", ""), ("XXXX.", " ")]
LEARNED = ["No effusion. Normal chest.", "Small effusion.", "Edema."]
XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><meta type="rr"/><uId id="CXR{uid}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText><AbstractText Label="INDICATION">Cough</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText><AbstractText Label="IMPRESSION">{impression}</AbstractText>
</Abstract></Article></MedlineCitation><MeSH><major>Pleural Effusion/left/small</major><major>normal</major></MeSH>
<parentImage id="CXR{uid}_IM-1"><caption>PA</caption></parentImage>
<parentImage id="CXR{uid}_IM-2"><caption>Lateral</caption></parentImage></eCitation>
"""


@pytest.fixture
def tables(tmp_path, film):
    folder = tmp_path / "indiana"
    (folder / "images" / "images_normalized").mkdir(parents=True)
    with open(folder / "indiana_reports.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for uid, (findings, impression) in enumerate(TEXTS, 1):
            writer.writerow([uid, "normal", "normal;Cough", "PA", "Cough", "None.", findings, impression])
    with open(folder / "indiana_projections.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uid", "filename", "projection"])
        for uid in range(len(TEXTS), 0, -1):
            for number, projection in ((1, "Frontal"), (2, "Lateral")):
                name = f"{uid}_IM-000{number}.dcm.png"
                writer.writerow([uid, name, projection])
                film(uid + 10 * number).save(folder / "images" / "images_normalized" / name)
    return folder


@pytest.fixture
def xml(tmp_path, film):
    folder = tmp_path / "openi"
    (folder / "ecgen-radiology").mkdir(parents=True)
    (folder / "NLMCXR_png").mkdir()
    for uid, (findings, impression) in enumerate(TEXTS, 1):
        text = XML.format(uid=uid, findings=findings, impression=impression)
        (folder / "ecgen-radiology" / f"{uid}.xml").write_text(text)
        for number in (1, 2):
            film(uid + 10 * number).save(folder / "NLMCXR_png" / f"CXR{uid}_IM-{number}.png")
    return folder


def test_tables_become_samples(tables):
    listing = OpeniSource(tables).list_records()
    assert not listing.faults and not listing.absent
    assert sorted(record.report for record in listing.records) == sorted(2 * LEARNED)
    assert listing.dropped_empty == 4
    record = next(r for r in listing.records if r.study_id == "2" and r.view == "Lateral")
    assert record.labels == {"normal": 1, "Cough": 1} and record.columns["indication"] == "Cough"
    assert record.place == "images/images_normalized/2_IM-0002.dcm.png"


def test_images_of_empty_reports_are_kept_on_request(tables):
    listing = OpeniSource(tables, keep_empty=True).list_records()
    assert len(listing.records) == 10 and listing.dropped_empty == 0
    assert sum(not record.report for record in listing.records) == 4


def test_xml_becomes_samples(xml, tmp_path):
    listing = OpeniSource(xml).list_records()
    assert not listing.faults and not listing.absent
    assert sorted(record.report for record in listing.records) == sorted(2 * LEARNED)
    assert listing.records[0].labels == {"Pleural Effusion": 1, "normal": 1}
    report = build(OpeniSource(xml), tmp_path / "set", Options(workers=1, vocab_size=200))
    assert report.manifest.counts == {"samples": 6, "studies": 3, "patients": 0, "dropped_empty": 4, "without_text": 0}
    assert report.manifest.source["sections"]["empty"] == 2
    assert ShardSet(tmp_path / "set").splits == ("train", "val")


def test_images_of_the_dicom_release_lack_the_prefix_and_some_reports_have_no_image(xml):
    (image,) = xml.rglob("CXR1_IM-1.png")
    image.rename(image.with_name("IM-1.png"))
    path = xml / "ecgen-radiology" / "2.xml"
    path.write_text(path.read_text().replace("parentImage", "noImage"))
    listing = OpeniSource(xml).list_records()
    assert "NLMCXR_png/IM-1.png" in [record.place for record in listing.records] and not listing.absent
    assert "1 report has no image in the collection" in listing.notes


def test_a_projection_without_a_report_and_a_report_twice_are_named(tables):
    for name in ("indiana_projections.csv", "indiana_reports.csv"):
        path = tables / name
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines, lines[1].replace("5", "77") if "proj" in name else lines[1]]) + "\n")
    faults = [str(fault) for fault in OpeniSource(tables).list_records().faults]
    assert any("indiana_projections.csv row 12: no report has its uid" in fault for fault in faults)
    assert any("indiana_reports.csv row 7: the key 1 comes twice" in fault for fault in faults)


def test_missing_images_are_absent(tables):
    (tables / "images" / "images_normalized" / "1_IM-0001.dcm.png").unlink()
    (fault,) = OpeniSource(tables).list_records().absent
    assert "1_IM-0001.dcm.png: no such file" in str(fault)


@pytest.mark.parametrize(
    "text",
    ["<a><b></a>", "<!DOCTYPE x [<!ENTITY a 'b'>]><eCitation/>", "x" * 2**21, ""],
    ids=["broken", "entities", "long", "empty"],
)
def test_bad_xml_is_a_fault_of_its_file(text, xml):
    (xml / "ecgen-radiology" / "1.xml").write_text(text)
    listing = OpeniSource(xml).list_records()
    assert [fault.origin for fault in listing.faults] == ["1.xml"] and len(listing.records) == 4


def test_xml_in_another_encoding_is_read_and_noted(xml):
    path = xml / "ecgen-radiology" / "1.xml"
    path.write_bytes(path.read_bytes().replace(b"No effusion.", b"No \x93effusion\x94."))
    listing = OpeniSource(xml).list_records()
    assert any(record.report.startswith("No “effusion”.") for record in listing.records)
    assert "1 text is not UTF-8, read otherwise: 1.xml as cp1252" in listing.notes


def test_xml_that_cannot_be_read_is_a_fault(xml):
    (xml / "ecgen-radiology" / "9.xml").symlink_to(xml / "nowhere")
    (xml / "folder.xml").mkdir()
    listing = OpeniSource(xml).list_records()
    assert [fault.origin for fault in listing.faults] == ["9.xml"] and len(listing.records) == 6


def test_an_image_in_two_places_is_a_fault_that_names_both(xml, film):
    (xml / "copy").mkdir()
    film(1).save(xml / "copy" / "CXR1_IM-1.png")
    film(1).save(xml / "copy" / "CXR2_IM-1.jpg")
    (fault,) = OpeniSource(xml).list_records().faults
    assert fault.origin == "1.xml (CXR1_IM-1)"
    assert "both NLMCXR_png/CXR1_IM-1.png and copy/CXR1_IM-1.png" in fault.what


def test_texts_need_no_images(tables):
    (tables / "indiana_projections.csv").unlink()
    with pytest.raises(DataError, match="shard annotate"):
        OpeniSource(tables).list_records()
    summary = annotate(OpeniSource(tables / "indiana_reports.csv"))
    assert summary["reports"] == 3 and summary["dropped_empty"] == 2
    assert summary["sections"] == {
        "reports": 5,
        "without_findings": 1,
        "without_impression": 1,
        "without_both": 0,
        "empty": 2,
    }
    assert summary["entities"]["effusion"] == {"mentions": 2, "denied": 1, "doubted": 0} and summary["only_denied"] == 1


def test_the_command_counts_without_images(tables):
    done = CliRunner().invoke(shard.command, ["annotate", "--from", "openi", str(tables), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["schema"] == 1
    assert json.loads(done.stdout)["reports"] == 3


def test_what_is_left_out_is_counted_and_printed(tables, xml):
    summary = annotate(OpeniSource(tables / "indiana_reports.csv"))
    each = {"reports": 5, "words": 5}
    assert summary["left_out"] == OpeniSource(xml).list_records().left_out == {"COMPARISON": each, "INDICATION": each}
    told = CliRunner().invoke(shard.command, ["annotate", "--from", "openi", str(tables)]).stdout
    assert "left out, by heading:\n  COMPARISON: 5 words in 5 reports\n" in told
    assert "imbalance, in words" in told and "doubted" in told


def test_what_is_not_the_collection(tmp_path):
    with pytest.raises(DataError, match="neither"):
        OpeniSource(tmp_path).list_records()


def test_real_reports_are_cut_and_annotated(real_data):
    """All 2,673 reports; each is either read or explained."""
    summary = annotate(OpeniSource(real_data / "reports-mini"))
    sections = summary["sections"]
    assert sections["reports"] == 2673 == summary["reports"] + sections["empty"] + sections["without_both"]
    assert (sections["empty"], sections["without_both"]) == (25, 0) and summary["dropped_empty"] == 25
    assert (sections["without_findings"], sections["without_impression"]) == (353, 4)
    assert not summary["faults"] and summary["mentions"] > summary["denied_mentions"] > 0
    assert summary["left_out"].keys() == {"INDICATION", "COMPARISON"}
    assert 2500 < summary["left_out"]["INDICATION"]["reports"] <= 2673
    assert 1 <= summary["imbalance"]["descriptors"]["ratio"] <= summary["imbalance"]["findings"]["ratio"] <= 3
