"""What an operating system or an editor leaves is passed over in folders, archives and tars, and counted."""

import io
import json
import os
import tarfile
import zipfile

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.sources.folder import FolderSource
from ecamp_fast.shards.sources.leftovers import NAMES, PATTERNS, Leftovers, in_leftover, is_leftover
from ecamp_fast.shards.sources.mimic_cxr import MimicCxrSource
from ecamp_fast.shards.sources.openi import OpeniSource
from ecamp_fast.shards.sources.reports import Reports
from ecamp_fast.shards.sources.webdataset import WebdatasetSource

LEFT = "that the operating system or an editor left"
# Below a folder or in an archive; each is data by its ending, or would be if its folder were.
PLACES = (
    "._a.jpg",
    "._a.txt",
    ".a.jpg",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "a.txt~",
    "~$a.txt",
    ".a.txt.swp",
    "deep/._b.txt",
    "__MACOSX/a.txt",
    "__MACOSX/deep/._b.txt",
    ".ipynb_checkpoints/a-checkpoint.txt",
    "deep/@eaDir/b.jpg",
    "lost+found/c.jpg",
    "$RECYCLE.BIN/d.txt",
    ".git/e.txt",
    ".Trash-1000/files/f.jpg",
)
FILES, FOLDERS = 10, 7


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_of_the_table_is_passed_over_in_any_case(name):
    assert is_leftover(name) and is_leftover(name.upper()) and is_leftover(name.title())


@pytest.mark.parametrize("start, end", PATTERNS)
def test_every_pattern_of_the_table_is_passed_over(start, end):
    assert is_leftover(f"{start}a.txt{end}") and is_leftover(f"{start}A{end}".upper())


@pytest.mark.parametrize("place", PLACES)
def test_what_is_left_is_known_by_any_part_of_its_path(place):
    assert in_leftover(place) and in_leftover(f"./x/{place}")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a.jpg",
        "1.2.840.113619",
        "p10",
        "s50414267.txt",
        "a~b.txt",
        "a.swp.jpg",
        "thumbs",
        "#1",
        "_a.jpg",
    ],
)
def test_names_of_data_are_not(name):
    assert not is_leftover(name) and not in_leftover(f"./deep/../{name}")


@pytest.mark.parametrize(
    "files, folders, note",
    [
        (0, 0, []),
        (1, 0, [f"1 file {LEFT} was passed over"]),
        (12, 0, [f"12 files {LEFT} were passed over"]),
        (0, 1, [f"1 folder {LEFT} was passed over"]),
        (1, 1, [f"1 file and 1 folder {LEFT} were passed over"]),
        (1234, 2, [f"1,234 files and 2 folders {LEFT} were passed over"]),
    ],
)
def test_they_are_counted(files, folders, note):
    leftovers = Leftovers()
    for number in range(files + folders):
        leftovers.add(folder=number >= files)
    assert leftovers.notes == note


@pytest.fixture
def folder(tmp_path, film):
    """Two images with their reports, one of them deep."""
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    for number, name in enumerate(("a", "deep/b")):
        film(number).save(data / f"{name}.jpg")
        (data / f"{name}.txt").write_text(f"Report {number}.")
    return data


def litter(folder, places=PLACES):
    for place in places:
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\26\7")
    return folder


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_has_the_same_samples_with_it_and_without(place, folder):
    clean = FolderSource(folder).list_records()
    listing = FolderSource(litter(folder, [place])).list_records()
    assert listing.records == clean.records and not listing.faults and not listing.absent
    assert len(listing.notes) == 1 and LEFT in listing.notes[0] and listing.notes[0].startswith("1 f")


def test_a_littered_folder_is_built_and_the_manifest_tells(folder, tmp_path):
    report = build(FolderSource(litter(folder)), tmp_path / "set", Options(workers=1, vocab_size=100))
    assert report.manifest.counts["samples"] == 2
    notes = [f"{FILES} files and {FOLDERS} folders {LEFT} were passed over"]
    assert list(report.manifest.notes[:1]) == FolderSource(folder).texts().notes == notes


def test_a_folder_of_nothing_else_has_no_data(tmp_path):
    with pytest.raises(DataError, match=r"no image and no \.txt file"):
        FolderSource(litter(tmp_path)).list_records()


def test_the_named_folder_itself_may_be_hidden(folder):
    hidden = folder.rename(folder.with_name(".data"))
    assert len(FolderSource(hidden).list_records().records) == 2


def test_what_cannot_be_listed_there_is_no_fault(folder, monkeypatch):
    """lost+found is the superuser's."""
    listed = os.scandir

    def scandir(path):
        if os.path.basename(path) == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (folder / "lost+found").mkdir()
    assert not FolderSource(folder).list_records().faults


@pytest.fixture
def tar(tmp_path, film, film_bytes):
    """tar(places): an archive in a folder of its own: one sample, and these members."""

    def write(places, name="x.tar"):
        path = tmp_path / "tars" / name
        path.parent.mkdir(exist_ok=True)
        members = [("./a.jpg", film_bytes(film(1))), ("./a.txt", b"Case.")] + [
            (place, b"\0\5\26\7") for place in places
        ]
        with tarfile.open(path, "w") as archive:
            for place, data in members:
                entry = tarfile.TarInfo(place)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        return path

    return write


@pytest.mark.parametrize("place", [*PLACES, "./._a.jpg", "./__MACOSX/._a.txt", "PaxHeader/.x.jpg"])
def test_a_tar_has_the_same_samples_with_it_and_without(place, tar):
    listing = WebdatasetSource(tar([place])).list_records()
    assert [record.report for record in listing.records] == ["Case."] and not listing.faults and not listing.absent
    assert listing.notes == [f"1 member {LEFT} was passed over"]


def test_members_of_all_archives_are_one_note_and_archives_another(tar):
    tar(["._a.jpg", "Thumbs.db"])
    folder = tar(["x/.DS_Store"], name="y.tar").parent
    (folder / "._x.tar").write_bytes(b"\0\5\26\7")
    (folder / "y.tar~").write_bytes(b"")
    notes = WebdatasetSource(folder).list_records().notes
    assert notes == [f"2 files {LEFT} were passed over", f"3 members {LEFT} were passed over"]


XML = """<eCitation><uId id="CXR{0}"/><AbstractText Label="FINDINGS">Clear.</AbstractText>
<parentImage id="{0}_1"/></eCitation>"""


@pytest.mark.parametrize("place", [*PLACES, "._1.xml", ".ipynb_checkpoints/1.xml", "__MACOSX/1_1.png", "1.xml~"])
def test_the_indiana_collection_has_the_same_samples_with_it_and_without(place, tmp_path, film):
    (tmp_path / "1.xml").write_text(XML.format(1))
    film(1).save(tmp_path / "1_1.png")
    source = OpeniSource(litter(tmp_path, [place]))
    for listing in (source.list_records(), source.texts()):
        assert len(listing.records) == 1 and not listing.faults and not listing.absent
        assert sum(LEFT in note for note in listing.notes) == 1


@pytest.mark.parametrize(
    "place",
    [
        "__MACOSX/files/p10/s1.txt",
        "files/__MACOSX/s1.txt",
        ".ipynb_checkpoints/s1.txt",
        "files/p10/.snapshot/s1.txt",
        "@eaDir/s1.txt",
        "lost+found/s1.txt",
        "#recycle/s1.txt",
        "files/p10/._s1.txt",
        "files/p10/s1.txt~",
        ".DS_Store",
    ],
)
@pytest.mark.parametrize("archive", [True, False], ids=["zip", "folder"])
def test_report_files_are_the_same_with_it_and_without(place, archive, tmp_path):
    path = tmp_path / ("r.zip" if archive else "r")
    if archive:
        with zipfile.ZipFile(path, "w") as file:
            file.mkdir("__MACOSX")
            for name in ("files/p10/s1.txt", place):
                file.writestr(name, "FINDINGS: Clear.")
    else:
        litter(path, ["files/p10/s1.txt", place])
    with Reports(path) as reports:
        assert reports.studies == ["s1"] and not reports.faults
        assert len(reports.notes) == 1 and reports.notes[0].startswith("1 f") and LEFT in reports.notes[0]


@pytest.mark.parametrize("name", ["._{0}", ".{0}.swp", "{0}~", ".~lock.{0}#", ".#{0}"])
def test_no_table_of_mimic_is_taken_for_another(name, mimic_tree):
    """The first that sorts would be read: a dot comes before every letter."""
    tree = mimic_tree(3)
    before = MimicCxrSource(tree.folder).list_records()
    for table in ("metadata", "split", "chexpert"):
        path = tree.folder / name.format(f"mimic-cxr-2.0.0-{table}.csv.gz")
        path.write_bytes(b"\0\5\26\7")
    listing = MimicCxrSource(tree.folder).list_records()
    assert listing.records == before.records and not listing.faults
    assert f"3 files {LEFT} were passed over" in listing.notes


def test_a_note_is_the_same_for_every_order_of_listing(folder, monkeypatch):
    listed = os.scandir
    first = FolderSource(litter(folder)).list_records()

    class Turned:
        def __init__(self, path):
            with listed(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(os, "scandir", Turned)
    again = FolderSource(folder).list_records()
    assert json.dumps([again.notes, len(again.records)]) == json.dumps([first.notes, len(first.records)])


def test_a_link_among_them_is_no_fault_either(tar):
    path = tar([])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo(".git/HEAD")
        link.type, link.linkname = tarfile.SYMTYPE, "../elsewhere"
        archive.addfile(link)
    listing = WebdatasetSource(path).list_records()
    assert not listing.faults and len(listing.records) == 1
