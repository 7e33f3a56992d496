"""A release of MIMIC-CXR is found below the folders that PhysioNet and wget put above it."""

import shutil

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.sources.mimic_cxr import MimicCxrSource
from ecamp_fast.shards.sources.selection.release import find_release

METADATA = "mimic-cxr-2.0.0-metadata.csv.gz"
JPG = "physionet.org/files/mimic-cxr-jpg/2.1.0"
DICOM = "physionet.org/files/mimic-cxr/2.1.0"


def moved(tree, to):
    """The tree, moved to another place below a folder of its own; returns that folder."""
    top = tree.folder.parent / "top"
    (top / to).parent.mkdir(parents=True, exist_ok=True)
    tree.folder = tree.folder.rename(top / to)
    return top


@pytest.mark.parametrize(
    "within", ["2.1.0", "2.0.0", "mimic-cxr-jpg/2.1.0", "files/mimic-cxr-jpg/2.0.0", JPG, "a/" + JPG]
)
@pytest.mark.parametrize("up", [0, 1, 2, 3])
def test_every_folder_above_is_understood_and_makes_the_same_set(within, up, mimic_tree):
    tree = mimic_tree(3)
    top = moved(tree, within)
    before = MimicCxrSource(tree.folder)
    records = before.list_records().records
    named = ([tree.folder, *tree.folder.parents])[: 1 + len(within.split("/"))]
    source = MimicCxrSource(named[min(up, len(named) - 1)])
    listing = source.list_records()
    assert listing.records == records and source.description == before.description and not listing.faults
    where = tree.folder.relative_to(named[min(up, len(named) - 1)]).as_posix()
    assert (f"the release in {where} is read" in listing.notes) == (up > 0)
    assert top.name == "top" and len(MimicCxrSource(top).texts().records) == sum(map(bool, tree.texts.values()))


def test_a_set_of_the_parent_is_the_set_of_the_release(mimic_tree, tmp_path):
    tree = mimic_tree(6)
    top, options = moved(tree, JPG), Options(workers=1, vocab_size=200)
    one = build(MimicCxrSource(tree.folder), tmp_path / "one", options).manifest
    two = build(MimicCxrSource(top), tmp_path / "two", options).manifest
    assert one.source == two.source and [s.sha256 for s in one.shards] == [s.sha256 for s in two.shards]


def test_reports_of_the_release_beside_are_found(mimic_tree):
    tree = mimic_tree(6)
    top = moved(tree, JPG)
    (top / DICOM).mkdir(parents=True)
    (tree.folder / "mimic-cxr-reports.zip").rename(top / DICOM / "mimic-cxr-reports.zip")
    assert len(MimicCxrSource(top).list_records().records) and not MimicCxrSource(top).list_records().faults
    assert MimicCxrSource(tree.folder).list_records().faults  # it does not look above what is named


def test_of_two_releases_the_one_with_images_is_read(mimic_tree):
    tree = mimic_tree(3)
    top = moved(tree, JPG)
    (top / DICOM).mkdir(parents=True)
    (top / DICOM / "cxr-record-list.csv.gz").write_bytes(b"")
    assert find_release(top).root == tree.folder
    (top / DICOM / "files" / "p10").mkdir(parents=True)  # its reports are there too
    assert find_release(top).root == tree.folder


def test_two_versions_of_one_release_are_refused_by_name(mimic_tree):
    tree = mimic_tree(3)
    top = moved(tree, "2.1.0")
    shutil.copytree(tree.folder, top / "2.0.0")
    with pytest.raises(DataError, match=r"several releases: 2\.0\.0, 2\.1\.0"):
        MimicCxrSource(top).list_records()


@pytest.mark.parametrize("hidden", [".snapshot", "__MACOSX", "@eaDir", "lost+found"])
def test_copies_in_what_is_passed_over_do_not_count(hidden, mimic_tree):
    tree = mimic_tree(3)
    top = moved(tree, "2.1.0")
    shutil.copytree(tree.folder, top / hidden / "2.0.0")
    assert find_release(top).root == tree.folder


def test_where_there_is_none_the_named_folder_is_told(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(DataError, match=f"{tmp_path}: neither mimic-cxr"):
        MimicCxrSource(tmp_path).list_records()
    with pytest.raises(DataError, match="nowhere: neither mimic-cxr"):
        MimicCxrSource(tmp_path / "nowhere").list_records()


def test_it_is_not_looked_for_without_end(tmp_path):
    deep = tmp_path.joinpath(*"abcdefg")
    deep.mkdir(parents=True)
    (deep / METADATA).write_bytes(b"")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert find_release(tmp_path).root == tmp_path
    assert find_release(tmp_path / "a" / "b").root == deep


def test_reports_may_be_named_by_the_folder_of_their_archive(mimic_tree, tmp_path):
    tree = mimic_tree(3)
    (tmp_path / "2.1.0").mkdir()
    (tree.folder / "mimic-cxr-reports.zip").rename(tmp_path / "2.1.0" / "mimic-cxr-reports.zip")
    listing = MimicCxrSource(tree.folder, tmp_path / "2.1.0").list_records()
    assert listing.records and not listing.faults
