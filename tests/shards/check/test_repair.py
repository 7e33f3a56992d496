"""Damaged files of a set are built again from its source: the same bytes, or nothing changes."""

import hashlib
import os
import shutil
from dataclasses import replace

import pytest

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.check.repair import repair
from ecamp_fast.shards.check.verify import verify
from ecamp_fast.shards.format.manifest import read_manifest, write_manifest
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.folder import FolderSource
from ecamp_fast.shards.sources.phantom import PhantomSource

SOURCE = PhantomSource(12, 42, 64)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def spoil(path):
    path.write_bytes(path.read_bytes()[:3000] + b"x" + path.read_bytes()[3001:])


def test_a_whole_set_is_left_alone(copied):
    before = digests(copied)
    done = repair(SOURCE, copied)
    assert done.files == () and done.left == () and digests(copied) == before


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_damaged_and_lost_shards_come_back(copied, phantom_set, workers):
    names = [shard.name for shard in read_manifest(copied).shards]
    spoil(copied / names[1])
    (copied / names[2]).unlink()
    (copied / "tokenizer.json").write_text("{}")
    done = repair(SOURCE, copied, workers)
    assert done.files == (names[1], names[2], "tokenizer.json") and not done.left
    assert digests(copied) == digests(phantom_set) and verify(copied).samples == 12
    assert os.listdir(copied.parent) == ["copied"]


def test_rows_that_were_left_out_stay_out(table, tmp_path):
    source = CsvSource(table([{"split": "train"} for _ in range(6)]))
    image = (source.folder / "s2.jpg").read_bytes()
    (source.folder / "s2.jpg").write_bytes(b"")
    build(source, tmp_path / "set", Options(workers=1, shard_size=6, vocab_size=200, reject_budget=0.5))
    before = digests(tmp_path / "set")
    (source.folder / "s2.jpg").write_bytes(image)  # fixed since: the set is as it was all the same
    spoil(tmp_path / "set" / "train-000000.tar")
    assert repair(source, tmp_path / "set").files == ("train-000000.tar",)
    assert digests(tmp_path / "set") == before


def test_another_source_is_refused(copied):
    spoil(copied / read_manifest(copied).shards[0].name)
    before = digests(copied)
    with pytest.raises(DataError, match="not the source the set was built from: studies is 13, was 12"):
        repair(PhantomSource(13, 42, 64), copied)
    assert digests(copied) == before and os.listdir(copied.parent) == ["copied"]


def test_a_source_under_another_name_is_that_source(table, tmp_path, monkeypatch):
    folder = table([{} for _ in range(4)]).parent
    for number in range(4):
        (folder / f"s{number}.txt").write_text(f"Small effusion, case {number}.")
    build(FolderSource(folder), out := tmp_path / "set", Options(workers=1, shard_size=4, vocab_size=200))
    before = digests(out)
    moved = folder.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    name = read_manifest(out).shards[0].name
    spoil(out / name)
    assert repair(FolderSource("."), out).files == (name,) and digests(out) == before


def test_a_changed_image_a_lost_image_and_a_changed_row_are_refused(table, tmp_path, film):
    source = CsvSource(path := table([{"split": "train"} for _ in range(4)]))
    out = tmp_path / "set"
    build(source, out, Options(workers=1, shard_size=4, vocab_size=200))
    spoil(out / "train-000000.tar")
    before = digests(out)
    image, rows = (source.folder / "s1.jpg").read_bytes(), path.read_text()
    film(99).save(source.folder / "s1.jpg", "JPEG")
    with pytest.raises(DataError, match="train-000000: rebuilt, it has other bytes"):
        repair(source, out)
    (source.folder / "s1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="train-000000 cannot be rebuilt"):
        repair(source, out)
    (source.folder / "s1.jpg").write_bytes(image)
    path.write_text(rows.replace("s3,", "s4,"))
    with pytest.raises(DataError, match="lists other samples than the set holds"):
        repair(source, out)
    path.write_text(rows)
    assert digests(out) == before
    assert repair(source, out).files == ("train-000000.tar",)


def test_what_rebuilding_cannot_fix_is_left_and_named(copied):
    shutil.copy(copied / read_manifest(copied).shards[0].name, copied / "train-000099.tar")
    done = repair(SOURCE, copied)
    assert done.files == () and [str(item) for item in done.left] == ["train-000099.tar: not in the manifest"]


def test_a_damaged_manifest_and_an_old_one_cannot_be_repaired(copied):
    manifest = read_manifest(copied)
    spoil(copied / manifest.shards[0].name)
    source = {name: value for name, value in manifest.source.items() if name != "shard_size"}
    write_manifest(copied, replace(manifest, source=source))
    with pytest.raises(DataError, match="does not record shard_size"):
        repair(SOURCE, copied)
    spoil(copied / "MANIFEST.json")
    with pytest.raises(DataError, match="damaged"):
        repair(SOURCE, copied)


def test_a_given_tokenizer_is_asked_for(table, tmp_path):
    from ecamp_fast.text.wordpiece import train_wordpiece

    train_wordpiece(["small effusion case 0 1 2"] * 2, 100).save(tmp_path / "mine.json")
    source = CsvSource(table([{}, {}]))
    build(source, tmp_path / "set", Options(workers=1, tokenizer=tmp_path / "mine.json"))
    before = digests(tmp_path / "set")
    spoil(tmp_path / "set" / "train-000000.tar")
    assert repair(source, tmp_path / "set").files == ("train-000000.tar",)
    (tmp_path / "set" / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="copy that file into the set"):
        repair(source, tmp_path / "set")
    shutil.copy(tmp_path / "mine.json", tmp_path / "set" / "tokenizer.json")
    assert digests(tmp_path / "set") == before


def test_a_set_that_is_none(tmp_path):
    with pytest.raises((DataError, ConfigError)):
        repair(SOURCE, tmp_path)
