"""Images without a report, kept as samples of their own: built, resumed, merged, repaired, described, trained on."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ecamp_fast.config import parse_recipe
from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.dry_run import preview
from ecamp_fast.shards.builder.merge import merge
from ecamp_fast.shards.check.repair import repair
from ecamp_fast.shards.check.verify import inspect, verify
from ecamp_fast.shards.describe.annotate import annotate
from ecamp_fast.shards.describe.show import show
from ecamp_fast.shards.describe.stats import stats
from ecamp_fast.shards.format.manifest import MANIFEST, TEXT, TOKENIZER, read_manifest, write_manifest
from ecamp_fast.shards.format.member_index import Members
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.folder import FolderSource
from ecamp_fast.shards.sources.webdataset import WebdatasetSource

QUICK = Options(workers=1, vocab_size=200, shard_size=2, holdout=0.3)
SAID = {"mixed": ["", "___", "Small effusion.", "", "No effusion.", ""], "alone": [""] * 6}


@pytest.fixture(params=["mixed", "alone"])
def built(request, table, tmp_path):
    """A source of six images, its set, and how many of them have no text."""
    splits = ["train", "train", "train", "val", "train", "train"]
    path = table([{"report": text, "split": s} for text, s in zip(SAID[request.param], splits, strict=True)])
    source = CsvSource(path, keep_empty=True)
    build(source, tmp_path / "set", QUICK)
    return source, tmp_path / "set", {"mixed": 4, "alone": 6}[request.param]


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def recipe(**changes):
    base = {"batch": {"total": 2, "micro": 2}, "image": {"high_size": 64, "low_size": 32}}
    return parse_recipe(base | changes, origin="test")


def test_a_sample_has_all_its_text_or_none(built):
    _, folder, alone = built
    shards = ShardSet(folder)
    samples = [shards.read(split, index) for split in shards.splits for index in range(shards.count(split))]
    assert {len(TEXT & sample.keys()) for sample in samples} == ({0} if alone == 6 else {0, 3})
    assert sum("txt" not in sample for sample in samples) == alone == shards.manifest.counts["without_text"]
    assert (folder / TOKENIZER).exists() == bool(shards.manifest.vocab_size) == (alone < 6)
    assert verify(folder).samples == 6 and sum(map(shards.manifest.without_text, shards.splits)) == alone


def test_any_way_to_build_gives_the_same_set(built, tmp_path, interrupted):
    source, folder, _ = built
    build(source, tmp_path / "three", replace(QUICK, workers=3))
    parts = [tmp_path / f"part{number}" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        build(source, part, QUICK, part=(number, 2))
    merge(parts, tmp_path / "merged")
    interrupted(4, lambda: build(source, tmp_path / "killed", QUICK))
    assert build(source, tmp_path / "killed", QUICK).resumed > 0
    assert all(digests(tmp_path / name) == digests(folder) for name in ("three", "merged", "killed"))


def test_a_lost_shard_is_repaired(built):
    source, folder, _ = built
    before = digests(folder)
    (folder / "train-000000.tar").unlink()
    assert repair(source, folder).files == ("train-000000.tar",) and digests(folder) == before


def test_stats_show_annotate_and_forecast(built):
    source, folder, alone = built
    found = stats(folder)
    assert found["samples"] == 6 and found["without_text"] == alone and bool(found["text"]) == (alone < 6)
    picture, keys = show(ShardSet(folder), "train", 5)
    assert picture.startswith(b"\x89PNG") and len(keys) == 5
    assert annotate(source)["reports"] == 6 - alone
    planned = preview(source, QUICK)
    assert (planned["samples"], planned["without_text"]) == (6, alone) and planned["forecast"]["bytes"] > 0


def test_a_recipe_that_learns_from_text_refuses_at_once(built, monkeypatch):
    _, folder, alone = built
    shards = ShardSet(folder)
    monkeypatch.setattr(shards, "read", None)  # the manifest is enough
    count = shards.manifest.without_text("train")
    with pytest.raises(DataError, match=f"{count} of 5 samples of split 'train' have no text") as caught:
        Loader(shards, "train", recipe())
    assert "losses.mlm=false" in caught.value.hint and count == alone - 1


def test_a_recipe_without_text_takes_images_alone(built):
    loader = Loader(ShardSet(built[1]), "train", recipe(losses={"mlm": False}))
    for batch in loader.batches(0, 3):
        assert batch.text is None and batch.image.shape == (2, 1, 64, 64)


def test_a_sample_that_lost_one_of_its_texts_is_damaged(table, tmp_path):
    """Unlike one that has none of the three."""
    path = table([{"split": "train"}, {"split": "train", "report": ""}])
    build(CsvSource(path, keep_empty=True), tmp_path / "set", QUICK)
    manifest = read_manifest(tmp_path / "set")
    (shard,) = manifest.shards
    for extension in TEXT:
        columns = shard.members[extension]
        lost = Members(*(np.where(np.arange(2) == 0, -1, c) for c in (columns.offset, columns.size, columns.crc32)))
        folder = shutil.copytree(tmp_path / "set", tmp_path / f"lost-{extension}")
        _rewrite(folder, manifest, shard.members | {extension: lost})
        with pytest.raises(DataError, match=f"has no member .{extension}"):
            ShardSet(folder).read("train", 0)
        assert any(f"{extension} missing" in str(item) for item in inspect(folder).damage)
    folder = shutil.copytree(tmp_path / "set", tmp_path / "lost")
    _rewrite(folder, manifest, {name: columns for name, columns in shard.members.items() if name not in TEXT})
    assert any("2 samples have no text, the manifest says 1" in str(item) for item in inspect(folder).damage)


def _rewrite(folder, manifest, members):
    (folder / MANIFEST).unlink()
    (shard,) = manifest.shards
    write_manifest(folder, replace(manifest, shards=(replace(shard, members=members),)))


def test_dropped_unless_kept(table):
    path = table([{"report": ""}, {}])
    listing = CsvSource(path).list_records()
    assert len(listing.records) == 1 and listing.dropped_empty == 1
    assert len(CsvSource(path, keep_empty=True).list_records().records) == 2


def test_a_table_of_images_alone(table):
    """It needs no column but image_path, and says that it found no report."""
    path = table([{"patient_id": "p", "labels": "Mass"}, {"patient_id": "p"}], ["image_path", "patient_id", "labels"])
    with pytest.raises(DataError, match="no column 'study_id', 'report'") as caught:
        CsvSource(path).list_records()
    assert "--empty-reports keep" in caught.value.hint
    listing = CsvSource(path, keep_empty=True).list_records()
    assert [(record.study_id, record.report, record.labels) for record in listing.records] == [
        ("s0", "", {"Mass": 1}),
        ("s1", "", {}),
    ]
    assert listing.notes == ["reports.csv has no column 'report': every image is taken without text"]


def test_reports_of_another_table_are_joined_by_image(table):
    images = table([{}, {}, {}], ["study_id", "image_path", "view"])
    reports = images.with_name("said.csv")
    reports.write_text("report,image_path\nFine.,./s2.jpg\nSmall effusion.,s0.jpg\n")
    texts = {
        record.study_id: record.report for record in CsvSource(images, reports, keep_empty=True).list_records().records
    }
    assert texts == {"s0": "Small effusion.", "s1": "", "s2": "Fine."}
    dropped = CsvSource(images, reports).list_records()
    assert len(dropped.records) == 2 and dropped.dropped_empty == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [("Fine.,s9.jpg", "said.csv row 3: its image is not in reports.csv"), ("Fine.,s0.jpg", "comes twice")],
)
def test_reports_that_match_no_image_or_twice_are_faults(table, text, fault):
    images = table([{}], ["study_id", "image_path", "view"])
    reports = images.with_name("said.csv")
    reports.write_text(f"report,image_path\nSmall effusion.,s0.jpg\n{text}\n")
    assert fault in str(CsvSource(images, reports).list_records().faults[0])


def test_reports_from_two_tables_are_refused(table):
    path = table([{}])
    with pytest.raises(DataError, match="has a column 'report'"):
        CsvSource(path, path).list_records()


def test_a_folder_of_images(table):
    folder = table([{}, {}, {}]).parent
    (folder / "s0.txt").write_text("Small effusion.")
    (folder / "s1.txt").write_text("___")
    assert [r.report for r in FolderSource(folder, keep_empty=True).list_records().records] == [
        "Small effusion.",
        "",
        "",
    ]
    listing = FolderSource(folder).list_records()
    assert len(listing.records) == 1 and listing.dropped_empty == 1 and len(listing.absent) == 1


def test_a_set_of_ours_is_adopted_with_its_images_alone(built, tmp_path):
    _, folder, alone = built
    if alone < 6:
        dropped = build(WebdatasetSource(folder), tmp_path / "dropped", replace(QUICK, reject_budget=1.0)).manifest
        assert dropped.counts["samples"] == 6 - alone and {row["kind"] for row in dropped.quarantined} == {"no-text"}
    build(WebdatasetSource(folder, keep_empty=True), tmp_path / "again", QUICK)
    again = verify(tmp_path / "again")
    assert again.samples == 6 and read_manifest(tmp_path / "again").counts["without_text"] == alone
