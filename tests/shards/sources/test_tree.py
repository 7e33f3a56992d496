"""Folders are listed whole: what cannot be listed is a fault, links are followed once."""

import os

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.shards.sources.folder import FolderSource
from ecamp_fast.shards.sources.openi import OpeniSource
from ecamp_fast.shards.sources.reports import Reports
from ecamp_fast.shards.sources.tree import walk


@pytest.fixture
def folder(tmp_path):
    for place in ("data/a/1.txt", "data/b/2.txt", "data/3.txt", "elsewhere/deep/4.txt", "elsewhere/5.jpg"):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Clear.")
    return tmp_path / "data"


@pytest.fixture
def locked(folder, monkeypatch):
    """The folder, with a part that may not be listed; root may list everything, so the refusal is acted."""
    listed = os.scandir

    def scandir(path):
        if os.path.basename(path) == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return folder


def texts(name):
    return name.endswith(".txt")


def test_linked_folders_are_read(folder):
    (folder / "c").symlink_to(folder.parent / "elsewhere")
    tree = walk(folder, texts)
    assert tree.places == ["3.txt", "a/1.txt", "b/2.txt", "c/deep/4.txt"] and not tree.faults and not tree.notes


def test_links_in_a_circle_end_and_a_folder_is_read_once_by_its_own_name(folder):
    (folder / "a" / "up").symlink_to(folder)
    (folder / "0").symlink_to(folder / "b")
    tree = walk(folder, texts)
    assert tree.places == ["3.txt", "a/1.txt", "b/2.txt"]
    assert tree.notes == ["0 is the same folder as b: read once", "a/up is the same folder as data: read once"]


def test_a_link_that_leads_nowhere_is_left_to_its_reader(folder):
    (folder / "lost.txt").symlink_to(folder / "nowhere")
    (folder / "self").symlink_to(folder / "self")
    assert "lost.txt" in walk(folder, texts).places and not walk(folder, texts).faults


def test_a_folder_that_cannot_be_listed_is_a_fault(locked):
    tree = walk(locked, texts)
    assert tree.places == ["3.txt", "a/1.txt"]
    assert [str(fault) for fault in tree.faults] == [
        "b: a folder that cannot be read: Permission denied; check its permissions"
    ]


def test_the_folder_itself_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: cannot be read: No such file"):
        walk(tmp_path / "nowhere", texts)


def test_no_source_passes_over_a_locked_folder(locked):
    (locked / "a" / "s1.txt").write_text("Clear.")
    (locked / "r.xml").write_text('<eCitation><uId id="1"/></eCitation>')
    with Reports(locked) as reports:
        assert [fault.origin for fault in reports.faults] == ["b"] and reports.studies == ["s1"]
    for source in (FolderSource(locked), OpeniSource(locked)):
        assert [fault.origin for fault in source.list_records().faults] == ["b"]


def test_images_in_a_linked_folder_become_samples(folder):
    (folder.parent / "elsewhere" / "5.txt").write_text("Clear.")
    (folder / "c").symlink_to(folder.parent / "elsewhere")
    assert [record.place for record in FolderSource(folder).list_records().records] == ["c/5.jpg"]
