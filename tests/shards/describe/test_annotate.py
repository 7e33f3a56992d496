"""Reports are counted without their images, and each one once."""

import io
import shutil
import tarfile

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.shards.describe.annotate import annotate
from ecamp_fast.shards.describe.terms import Terms
from ecamp_fast.shards.sources.base import RecordFault
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.folder import FolderSource
from ecamp_fast.shards.sources.phantom import PhantomSource
from ecamp_fast.shards.sources.webdataset import WebdatasetSource


def counted(source):
    found = annotate(source)
    return found["reports"], found["dropped_empty"], found["faults"]


def test_a_table_needs_no_images(table):
    path = table([{}, {}, {"report": "___"}])
    for image in path.parent.glob("*.jpg"):
        image.unlink()
    assert counted(CsvSource(path)) == (2, 1, [])


def test_a_folder_of_reports_alone(tmp_path):
    for name, text in (("a", "Small effusion."), ("b", "No edema."), ("c", "___")):
        (tmp_path / f"{name}.txt").write_text(text)
    assert counted(FolderSource(tmp_path)) == (2, 1, [])
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    with pytest.raises(DataError, match=r"no \.txt file"):
        annotate(FolderSource(tmp_path))


def test_archives_of_reports_alone(tmp_path):
    members = {"a.txt": b"Small effusion.", "b.txt": b"No edema.", "b.json": b"{}", "c.txt": b"___", "d.jpg": b"none"}
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    assert counted(WebdatasetSource(tmp_path)) == (2, 1, [])


def test_what_a_source_without_a_listing_of_texts_lacks_is_reported(monkeypatch):
    source = PhantomSource(3, 42, 64)
    listing = source.list_records()
    listing.absent.append(RecordFault(listing.records.pop().origin, "no image", "add it", "missing"))
    monkeypatch.setattr(PhantomSource, "list_records", lambda self: listing)
    assert counted(source) == (2, 0, [str(listing.absent[0])])


def test_views_share_their_report_and_two_reports_of_a_study_are_two(table):
    rows = [("s0", "a", "Small effusion."), ("s0", "b", "Small effusion."), ("s0", "c", "No edema.")]
    path = table([{"study_id": study, "image_path": f"{name}.jpg", "report": text} for study, name, text in rows])
    found = annotate(CsvSource(path))
    assert found["reports"] == 2 and found["mentions"] == 2 and found["denied_mentions"] == 1
    terms = Terms()
    for study, _, text in rows:
        terms.add(study, text)
    assert {name: row["count"] for name, row in terms.table(0)["descriptors"].items()} == {"small": 1}
