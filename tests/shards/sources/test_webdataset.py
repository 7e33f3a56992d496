"""An existing tar set is adopted whole or refused with a reason; nothing of it is extracted."""

import io
import json
import math
import random
import tarfile
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder import naming
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.check.verify import verify
from ecamp_fast.shards.images.limits import BadImage
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources import webdataset
from ecamp_fast.shards.sources.webdataset import WebdatasetSource

QUICK = Options(workers=1, vocab_size=200)


@pytest.fixture
def tar(tmp_path, film, film_bytes):
    """tar(members=None, name="x.tar", samples=4, start=0, **options): writes an archive; returns its path.

    members: (name, bytes or TarInfo) instead of samples   options: of tarfile.open
    """

    def write(members=None, name="x.tar", samples=4, start=0, mode="w", **options):
        if members is None:
            members = []
            for number in range(start, start + samples):
                members += [
                    (f"{number:04d}.jpg", film_bytes(film(number))),
                    (f"{number:04d}.txt", f"Case {number}, no effusion.".encode()),
                ]
        path = tmp_path / "tars" / name
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, mode, **options) as archive:
            for member, data in members:
                entry = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
                entry.mtime = 1234.5  # as webdataset writes it: an extended header for every member
                entry.size = len(data) if data is not None else entry.size
                archive.addfile(entry, io.BytesIO(data) if data is not None else None)
        return path

    return write


def faults(path):
    return [str(fault) for fault in WebdatasetSource(path).list_records().faults]


def samples(folder):
    shards = ShardSet(folder)
    return [shards.read(split, index) for split in shards.splits for index in range(shards.count(split))]


def test_a_set_is_adopted_and_verified(tar, tmp_path):
    folder = tar(name="train-000000.tar").parent
    tar(name="train-000001.tar", start=4)
    tar(name="val-000000.tar", start=8, samples=2)
    build(WebdatasetSource(folder), tmp_path / "set", QUICK)
    shards = ShardSet(tmp_path / "set")
    assert (shards.count("train"), shards.count("val")) == (8, 2) and verify(tmp_path / "set").samples == 10
    assert {sample["txt"].decode() for sample in samples(tmp_path / "set")} == {
        f"Case {n}, no effusion." for n in range(10)
    }


def test_our_own_sets_are_adopted_with_all_they_say(phantom_set, tmp_path):
    build(WebdatasetSource(phantom_set), tmp_path / "set", QUICK)
    again = {json.loads(sample["json"])["study_id"]: sample for sample in samples(tmp_path / "set")}
    for one in samples(phantom_set):
        other = again.pop(json.loads(one["json"])["study_id"])
        assert one["txt"] == other["txt"] and one["distilled.txt"] == other["distilled.txt"]
        assert one["jpg"] == other["jpg"] and one["attn.pgm"] == other["attn.pgm"]
        first, second = json.loads(one["json"]), json.loads(other["json"])
        kept = ("study_id", "patient_id", "view", "labels", "split", "width", "height", "columns")
        assert all(first[name] == second[name] for name in kept)
        assert first.get("boxes") == second.get("boxes")
        assert np.array_equal(*(Image.open(io.BytesIO(sample["masks.png"])) for sample in (one, other)))
    assert not again


def test_boxes_masks_and_maps_follow_their_image(tar, tmp_path, film, film_bytes):
    """A foreign set: masks of 16 bits, an empty distilled text, an image larger than the set's."""
    bits = np.zeros((70, 90), np.uint16)
    bits[10:20, 30:50] = 2**12 + 1
    box = {"finding": "effusion", "x": 30, "y": 10.5, "width": 20, "height": 10}
    path = tar([
        ("a.jpg", film_bytes(film(1))),
        ("a.masks.png", film_bytes(Image.fromarray(bits), "PNG")),
        ("a.attn.pgm", film_bytes(film(2, 45, 35), "PPM")),
        ("a.txt", b"Small effusion."),
        ("a.distilled.txt", b""),
        ("a.json", json.dumps({"split": "train", "boxes": [box]}).encode()),
    ])  # fmt: skip
    build(WebdatasetSource(path), tmp_path / "set", Options(workers=1, vocab_size=200, short_side=35))
    (sample,) = samples(tmp_path / "set")
    assert sample["distilled.txt"] == b""
    assert json.loads(sample["json"])["boxes"] == [
        {"finding": "effusion", "x": 15, "y": 5.25, "width": 10, "height": 5}
    ]
    with Image.open(io.BytesIO(sample["masks.png"])) as masks, Image.open(io.BytesIO(sample["attn.pgm"])) as attention:
        assert np.array_equal(np.asarray(masks), bits[1::2, 1::2]) and masks.size == (45, 35)
        assert np.array_equal(np.asarray(attention), np.asarray(film(2, 45, 35)))


@pytest.mark.parametrize(
    "boxes",
    [7, ["x"], [[1, 2, 3, 4]], [{"x": 1, "y": 1, "width": 2, "height": 2}]]
    + [[{"finding": "a", "x": 1, "y": 1, "width": width, "height": 2}] for width in (0, -1, "wide", None, math.nan)],
)  # fmt: skip
def test_boxes_that_are_none_are_faults(boxes, tar, film, film_bytes):
    metadata = json.dumps({"boxes": boxes}).encode()
    (fault,) = faults(tar([("a.jpg", film_bytes(film(1))), ("a.txt", b"Case."), ("a.json", metadata)]))
    assert fault.startswith('x.tar: a: its "boxes" have not all a finding and the numbers x, y, width, height')


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (b"no picture", "no PNG, or damaged"),
        (Image.new("L", (90, 71)), "90 x 71 pixels of kind L"),
        (Image.new("RGB", (90, 70)), "of kind RGB"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, message, tar, film, film_bytes):
    data = masks if isinstance(masks, bytes) else film_bytes(masks, "PNG")
    source = WebdatasetSource(tar([("a.jpg", film_bytes(film(1))), ("a.txt", b"Case."), ("a.masks.png", data)]))
    with pytest.raises(BadImage, match=message):
        source.load(source.list_records().records[0], 64)


def test_webdatasets_own_writer_is_read(tmp_path, film, film_bytes):
    wds = pytest.importorskip("webdataset")
    with wds.TarWriter(str(tmp_path / "x.tar")) as writer:
        for number in range(3):
            writer.write({"__key__": f"s/{number}", "png": film_bytes(film(number), "PNG"), "txt": f"Case {number}."})
    listing = WebdatasetSource(tmp_path / "x.tar").list_records()
    assert [record.study_id for record in listing.records] == ["s/0", "s/1", "s/2"] and not listing.faults


def test_metadata_and_encodings(tar, film, film_bytes):
    tree = {"study_id": 7, "patient_id": "p", "view": "AP", "split": "test", "labels": ["Edema"], "columns": {"a": 1}}
    path = tar([
        ("a.jpg", film_bytes(film(1))),
        ("a.txt", b"\x93Edema\x94."),
        ("a.json", json.dumps(tree).encode()),
        ("a.distilled.txt", b"There is edema."),
        ("b.jpg", film_bytes(film(2))),
        ("b.txt", b"___"),
    ])  # fmt: skip
    listing = WebdatasetSource(path).list_records()
    (record,) = listing.records
    assert (record.study_id, record.patient_id, record.view, record.split) == ("7", "p", "AP", "test")
    assert (record.report, record.distilled, record.labels) == ("“Edema”.", "There is edema.", {"Edema": 1})
    assert record.columns == {"a": "1"} and listing.dropped_empty == 1
    assert listing.notes == ["1 text is not UTF-8, read otherwise: x.tar: a.txt as cp1252"]


@pytest.fixture
def described(tar, film, film_bytes):
    """described(*trees): a listing of one sample for each, with these metadata."""

    def list_records(*trees):
        members = []
        for number, tree in enumerate(trees):
            members += [(f"{number}.jpg", film_bytes(film(number))), (f"{number}.txt", b"Case.")]
            members.append((f"{number}.json", json.dumps(tree).encode()))
        return WebdatasetSource(tar(members)).list_records()

    return list_records


@pytest.mark.parametrize("value", [7, 7.0, "7", " 7 "])
@pytest.mark.parametrize("field", ["study_id", "patient_id"])
def test_whole_numbers_are_names_however_they_are_written(field, value, described):
    """pandas writes a column of numbers as 7.0 where one of them is missing."""
    (record,) = described({field: value}).records
    assert getattr(record, field) == "7"


@pytest.mark.parametrize("value", [7.5, math.nan, math.inf, 1e300, True, ["p"], {"p": 1}])
@pytest.mark.parametrize("field", ["study_id", "patient_id", "split", "view"])
def test_what_is_no_name_is_a_fault(field, value, described):
    """Passed over, its patient would be unknown, and could be in two splits."""
    (fault,) = described({field: value}).faults
    assert f'its "{field}" is neither a text nor a whole number' in fault.what


def test_metadata_that_are_not_taken_are_counted(described):
    tree = {"patient_id": None, "labels": {"Edema": 2}, "age": 50, "columns": [], "row": 1, "image": "a/b.jpg"}
    listing = described(tree, tree | {"No focal consolidation.": 1})
    assert [record.stem for record in listing.records] == ["b", "b"] and not listing.faults
    assert listing.notes == [
        "metadata left out: labels (no 1, 0 and -1 by name) of 2 samples, age of 2 samples, "
        "columns (no object) of 2 samples, (a text of 23 characters) of 1 sample"
    ]


@pytest.mark.fault("T1.noted-once")
def test_many_texts_in_another_encoding_are_one_note(tar, film, film_bytes):
    for name in "ab":
        members = [[(f"{name}{n}.jpg", film_bytes(film(n))), (f"{name}{n}.txt", b"\x93Edema\x94.")] for n in range(3)]
        folder = tar([member for pair in members for member in pair], f"{name}.tar").parent
    assert WebdatasetSource(folder).list_records().notes == [
        "6 texts are not UTF-8, read otherwise: a.tar: a0.txt as cp1252, a.tar: a1.txt as cp1252, "
        "a.tar: a2.txt as cp1252 and 3 more"
    ]


def test_masks_are_named_alike_in_all_samples(tar, film, film_bytes):
    planes = film_bytes(film(0).point(lambda value: value & 3), "PNG")

    def source(*names):
        return WebdatasetSource(
            tar(
                [
                    (f"s{number}.{ending}", data)
                    for number, own in enumerate(names)
                    for ending, data in (
                        ("jpg", film_bytes(film(number))),
                        ("txt", b"Edema."),
                        ("masks.png", planes),
                        ("json", json.dumps({"masks": own} if own else {}).encode()),
                    )
                ]
            )
        )

    assert source(["heart", "lung"], ["heart", "lung"]).list_records().masks == ("heart", "lung")
    assert source([], []).list_records().masks == ()
    for other in (["lung", "heart"], ["heart"], []):
        (fault,) = source(["heart", "lung"], other).list_records().faults
        assert "are not those of x.tar: s0" in fault.what
    (fault,) = source(["heart", "heart"]).list_records().faults
    assert 'its "masks" are no names, or have one twice' in fault.what
    assert np.all(source(["heart", "lung"]).load(source(["heart", "lung"]).list_records().records[0], 64).masks < 4)


@pytest.mark.parametrize(("ending", "what"), [("attn.pgm", "attention map: "), ("masks.png", "masks: ")])
def test_a_bad_part_is_not_called_a_bad_image(ending, what, tar, film, film_bytes):
    members = [("a.jpg", film_bytes(film(1))), ("a.txt", b"Case."), (f"a.{ending}", b"no picture")]
    source = WebdatasetSource(tar(members))
    with pytest.raises(BadImage, match=f"^{what}"):
        source.load(source.list_records().records[0], 64)


def test_halves_of_samples_are_absent(tar, film, film_bytes):
    jpeg = film_bytes(film(1))
    path = tar([("a.jpg", jpeg), ("b.txt", b"Case."), ("c.jpg", jpeg), ("c.png", jpeg), ("c.txt", b"Case.")])
    listing = WebdatasetSource(path).list_records()
    assert [fault.kind for fault in listing.absent] == ["no-text", "missing", "no-text"] and not listing.records
    assert ["--empty-reports keep" in fault.hint for fault in listing.absent] == [True, False, False]


@pytest.mark.fault("D5.adjacent", "D5.apart", "D5.both-origins", "D8.absolute", "D8.dot-dot")
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jpg", "a.txt", "a.jpg", "a.txt"], "two members .jpg"),
        (["a.jpg", "a.txt", "b.jpg", "b.txt", "a.jpg", "a.txt"], "x.tar: a: two members .jpg, at byte"),
        (["../a.jpg", "../a.txt"], "leads out of the archive"),
        (["/a.jpg", "/a.txt"], "leads out of the archive"),
    ],
)
def test_names_that_do_not_make_samples(names, message, tar, film, film_bytes):
    path = tar([(name, film_bytes(film(1)) if "jpg" in name else b"Case.") for name in names])
    assert any(message in fault for fault in faults(path))


@pytest.mark.fault("D8.symlink", "D8.hardlink", "D8.device")
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_members_that_are_no_files_are_refused(kind, tar):
    entry = tarfile.TarInfo("a.jpg")
    entry.type, entry.linkname = kind, "/etc/passwd"
    assert any("not a regular file" in fault for fault in faults(tar([(entry, None)])))


@pytest.mark.fault("D6.interleaved", "D6.extra", "D6.upper-case", "D6.build")
def test_what_another_writer_does_otherwise_is_put_in_order_and_counted(tar, tmp_path, film, film_bytes):
    """Samples whose members do not follow each other, endings in capitals, members that mean nothing here."""
    pictures = [film_bytes(film(number)) for number in range(2)]
    usual = [("a.jpg", pictures[0]), ("a.txt", b"Clear."), ("b.jpg", pictures[1]), ("b.txt", b"Edema.")]
    odd = [
        ("README.md", b"hello"),
        ("a.JPG", pictures[0]),
        ("b.Jpg", pictures[1]),
        ("a.cls", b"1"),
        ("b.cls", b"0"),
        ("a.TXT", b"Clear."),
        ("b.seg.png", b"?"),
        ("b.txt", b"Edema."),
    ]
    build(WebdatasetSource(tar(usual, "usual.tar")), tmp_path / "usual", QUICK)
    report = build(WebdatasetSource(tar(odd, "odd.tar")), tmp_path / "odd", QUICK)
    first, second = samples(tmp_path / "usual"), samples(tmp_path / "odd")
    assert [one["txt"] for one in first] == [two["txt"] for two in second] and len(second) == 2
    assert [one["jpg"] for one in first] == [two["jpg"] for two in second]
    assert report.manifest.notes[:2] == (
        "odd.tar: the members of 2 samples did not follow each other",
        "odd.tar: 4 members of other kinds left out (2 .cls, 1 .md, 1 .seg.png)",
    )


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a sample of the first part"])
def test_every_sample_whose_name_has_dots_is_named(beside, tar, film, film_bytes):
    """A reader of webdatasets takes them all for one sample, 1, and finds no image in it."""
    jpeg, members = film_bytes(film(1)), []
    for number in range(3):
        name = f"d.c/1.2.840.{number}"
        members += [
            (f"{name}.JPG", jpeg),
            (f"{name}.txt", b"Case."),
            (f"{name}.distilled.txt", b""),
            (f"{name}.cls", b""),
        ]
    if beside:
        members += [("d.c/1.jpg", jpeg), ("d.c/1.txt", b"Case.")]
    listing = WebdatasetSource(tar(members)).list_records()
    assert [(fault.origin, fault.kind) for fault in listing.absent] == [
        (f"x.tar: d.c/1.2.840.{number}", "dotted-name") for number in range(3)
    ]
    assert "webdataset cuts at the first" in listing.absent[0].what and len(listing.records) == beside


def test_hidden_members_are_no_samples(tar, film, film_bytes):
    """macOS writes one beside every file."""
    members = [("a.jpg", film_bytes(film(1))), ("a.txt", b"Case."), ("._a.jpg", b"?"), ("._a.txt", b"?"), (".x", b"?")]
    listing = WebdatasetSource(tar(members)).list_records()
    assert len(listing.records) == 1 and not listing.absent
    assert listing.notes == ["3 members that the operating system or an editor left were passed over"]


def test_archives_that_name_no_split_are_refused_where_others_do(tar):
    """Else the official splits would be dropped, and others drawn."""
    tar(name="train-0.tar")
    tar(name="val-0.tar", start=4)
    folder = tar(name="extra-0.tar", start=8, samples=3).parent
    listing = WebdatasetSource(folder).list_records()
    (fault,) = listing.faults
    assert fault.origin == "extra-0.tar" and "that of train-0.tar does; 3 samples would have none" in fault.what
    with pytest.raises(DataError, match="1 fault"):
        build(WebdatasetSource(folder), folder / "set", QUICK)


def test_the_metadata_may_state_the_split_that_a_name_does_not(tar, film, film_bytes):
    folder = tar(name="train-0.tar").parent
    tar([("a.jpg", film_bytes(film(1))), ("a.txt", b"Case."), ("a.json", b'{"split": "test"}')], "extra.tar")
    source = WebdatasetSource(folder / "extra.tar")
    assert not source.list_records().faults
    assert not WebdatasetSource(folder).list_records().faults


@pytest.mark.parametrize(
    ("name", "split"),
    [("validation-0.tar", "val"), ("dev-0.tar", "val"), ("train/0.tar", "train"), ("Test/part-0.tar", "test")],
)
def test_splits_are_read_off_names_and_folders(name, split, tar, tmp_path):
    (tmp_path / "tars" / name).parent.mkdir(parents=True)
    folder = tar(name="train-0.tar").parent
    tar(name=name, start=4)
    records = WebdatasetSource(folder).list_records().records
    naming.assign_splits(records, 0.1, 0)
    assert {record.split for record in records if record.place.startswith(name)} == {split}


@pytest.mark.fault("D8.gzip")
@pytest.mark.parametrize("name", ["val-0.tar.gz", "val-0.tgz", "val-0.TAR.ZST", "val-0.tar.part"])
def test_packed_archives_beside_plain_ones_are_refused_by_name(name, tar):
    folder = tar(name="train-0.tar").parent
    (folder / name).write_bytes(b"?")
    (folder / "train-0.tar.md5").write_text("0")
    (fault,) = WebdatasetSource(folder).list_records().faults
    assert fault.origin == name and "unpack it" in fault.hint


@pytest.mark.fault("D5.across-shards")
def test_a_key_in_two_archives_is_named(tar):
    folder = tar(name="a.tar", samples=2).parent
    tar(name="b.tar", samples=2, start=1)
    assert [fault for fault in faults(folder) if "b.tar: 0001: its key came before, in a.tar" in fault]


@pytest.mark.fault("D8.gzip", "D8.declared-size", "D8.pax-flood")
def test_compressed_archives_and_bombs_are_refused(tar):
    assert any("not a readable plain tar" in fault for fault in faults(tar(mode="w:gz")))
    entry = tarfile.TarInfo("a.jpg")
    entry.size = 2**33
    path = tar([(entry, None)])
    assert any("MiB, the limit is" in fault for fault in faults(path))
    entry = tarfile.TarInfo("a.jpg")
    entry.pax_headers = {"comment": "x" * (2**20 + 1)}
    assert any("extended header" in fault for fault in faults(tar([(entry, b"")], format=tarfile.PAX_FORMAT)))


@pytest.mark.fault("D8.pax-flood")
@pytest.mark.parametrize("members", [1, 80], ids=["before one member", "before each member"])
def test_floods_of_extended_headers_take_no_memory(members, tar, film_bytes, film):
    entry = tarfile.TarInfo("a.md")
    entry.pax_headers = {"comment": "x" * 500_000}
    path = tar([(entry, b"")] * members, format=tarfile.PAX_FORMAT)
    if members == 1:
        header = path.read_bytes()[: 512 + 500_224]
        path.write_bytes(header * 80 + path.read_bytes())
    tracemalloc.start()
    found = faults(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6
    assert members > 1 or any("an extended header of" in fault for fault in found)


@pytest.mark.fault("D1.sample", "D1.header", "D1.data", "D1.between")
def test_every_cut_is_noticed(tar):
    """webdataset loses what is behind a cut without a word."""
    path = tar()
    whole = path.read_bytes()
    used = len(whole.rstrip(b"\0"))
    rng = random.Random(3)
    cuts = [0, 511, 512, 513, *(at for at in range(512, used, 512)), *(rng.randrange(used) for _ in range(60))]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        found = WebdatasetSource(path).list_records()
        assert found.faults or found.absent, f"cut at byte {cut} of {used}"


def test_damaged_headers_are_noticed(tar):
    path = tar()
    whole, records = path.read_bytes(), WebdatasetSource(path).list_records().records
    with tarfile.open(path) as archive:
        headers = [member.offset for member in archive] + [member.offset_data - 512 for member in archive]
    rng = random.Random(4)
    for number in range(100):
        data = bytearray(whole)
        data[rng.choice(headers) + rng.randrange(156)] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        found = WebdatasetSource(path).list_records()
        assert found.faults or found.absent or found.records == records, f"mutation {number}"


def test_zeros_and_nothing(tar, tmp_path):
    path = tar()
    path.write_bytes(bytes(10240))
    assert faults(path)
    path.write_bytes(b"")
    assert faults(path)
    with pytest.raises(DataError, match="No such file"):
        WebdatasetSource(tmp_path / "nowhere").list_records()


def test_long_texts_and_bad_metadata_are_faults(tar, film, film_bytes, monkeypatch):
    jpeg = film_bytes(film(1))
    path = tar([("a.jpg", jpeg), ("a.txt", b"x" * 2000), ("b.jpg", jpeg), ("b.txt", b"Case."), ("b.json", b"[1]")])
    monkeypatch.setattr(webdataset, "_TEXT_BYTES", 1500)
    found = faults(path)
    assert any("a: a text of 2,000 bytes" in fault for fault in found) and any("b: its .json" in f for f in found)


def test_an_archive_that_becomes_shorter_is_a_bad_image(tar, tmp_path):
    path = tar()
    source = WebdatasetSource(path)
    records = source.list_records().records
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="shorter"):
        source.load(records[-1], 64)


@pytest.mark.parametrize("folder", [".cache", "a/.hidden", "__MACOSX", ".ipynb_checkpoints", "@eaDir"])
def test_where_all_is_passed_over_it_is_said_how_much(folder, tar, film, film_bytes):
    path = tar([(f"{folder}/a.jpg", film_bytes(film(1))), (f"{folder}/a.txt", b"Case.")])
    for read in (WebdatasetSource(path).list_records, WebdatasetSource(path).texts):
        with pytest.raises(DataError, match=r"no sample; 2 members that .* were passed over") as caught:
            read()
        assert "hidden" in caught.value.hint


def test_where_all_archives_are_passed_over_it_is_said(tar):
    path = tar(name=".x.tar")
    with pytest.raises(DataError, match=r"no .tar file; 1 file that .* was passed over"):
        WebdatasetSource(path.parent).list_records()
