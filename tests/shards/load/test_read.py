"""Reading: every byte is checked, every fault names shard, key, member and place."""

import errno
import json
import os
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest

from ecamp_fast.errors import DataError, EnvironmentFault
from ecamp_fast.shards.format.manifest import MANIFEST, read_manifest, write_manifest
from ecamp_fast.shards.format.tokens import unpack_tokens
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.storage import store

IMAGE_AND_TEXT = ("jpg", "txt", "attn.pgm")


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def test_samples_lie_in_the_order_of_their_keys(phantom_set):
    shards = ShardSet(phantom_set)
    assert shards.splits == ("train", "val")
    assert shards.count("train") + shards.count("val") == 12
    keys = [shards.read("train", index, ()).key for index in range(shards.count("train"))]
    assert keys == sorted(keys) == [shards.key("train", index) for index in range(shards.count("train"))]


def test_a_sample_has_what_the_contract_says(phantom_set):
    sample = ShardSet(phantom_set).read("train", 0)
    assert list(sample) == ["jpg", "attn.pgm", "masks.png", "txt", "distilled.txt", "tokens", "json"]
    metadata = json.loads(sample["json"])
    assert metadata["split"] == "train" and metadata["width"] == 64 and metadata["patient_id"]
    report, distilled = unpack_tokens(sample["tokens"])
    assert report.dtype == distilled.dtype == np.int32 and len(report) > 3
    for wrong in (sample["tokens"][:-4], sample["tokens"] + b"\0" * 4, b"\2\0\0\0" + sample["tokens"][4:], b"\1\0\0\0"):
        with pytest.raises(ValueError):
            unpack_tokens(wrong)


def test_members_that_are_optional_may_be_asked_for(table):
    from ecamp_fast.shards.builder.build import Options, build
    from ecamp_fast.shards.sources.csv_file import CsvSource

    path = table([{}, {}])
    build(CsvSource(path), path.parent / "set", Options(workers=1, vocab_size=100))
    assert list(ShardSet(path.parent / "set").read("train", 0, IMAGE_AND_TEXT)) == ["jpg", "txt"]
    with pytest.raises(DataError, match=r"no member \.nothing"):
        ShardSet(path.parent / "set").read("train", 0, ("nothing",))


def test_an_empty_member_is_read_as_empty(table):
    from ecamp_fast.shards.builder.build import Options, build
    from ecamp_fast.shards.sources.csv_file import CsvSource

    path = table([{"report": "Nothing to say.", "split": "train"}])
    build(CsvSource(path), path.parent / "set", Options(workers=1, vocab_size=100))
    assert ShardSet(path.parent / "set").read("train", 0, ("distilled.txt",)) == {"distilled.txt": b""}


def test_indices_and_splits_that_do_not_exist(phantom_set):
    shards = ShardSet(phantom_set)
    for index in (-1, shards.count("train")):
        with pytest.raises(IndexError):
            shards.read("train", index)
    with pytest.raises(DataError, match="no split 'test'; it has train, val"):
        shards.count("test")


def test_a_flipped_byte_names_shard_key_member_and_offset(copied):
    shard = read_manifest(copied).shards[0]
    row = 2
    for extension in ("jpg", "txt", "tokens"):
        offset = int(shard.members[extension].offset[row])
        flip(copied / shard.name, offset + 3)
        with pytest.raises(DataError) as caught:
            ShardSet(copied).read("train", row, (extension,))
        for part in (shard.name, shard.keys[row], f".{extension}", f"byte {offset}", "CRC32"):
            assert part in str(caught.value)
        assert ShardSet(copied).read("train", row, ("json",)), "the other members are whole"


def test_a_file_cut_while_open_is_noticed(copied):
    shards = ShardSet(copied)
    shard = shards.manifest.shards[0]
    os.truncate(copied / shard.name, int(shard.members["jpg"].offset[1]) + 5)
    shards.read("train", 0)
    with pytest.raises(DataError, match="cut short"):
        shards.read("train", 1, ("jpg",))
    os.unlink(copied / shards.manifest.shards[1].name)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        shards.read("train", 4)


def test_opening_names_every_file_at_fault(copied):
    names = [shard.name for shard in read_manifest(copied).shards]
    (copied / names[0]).unlink()
    os.truncate(copied / names[1], 0)
    os.truncate(copied / names[2], 512)
    flip(copied / "tokenizer.json", 40)
    with pytest.raises(DataError) as caught:
        ShardSet(copied)
    for part in (f"{names[0]} is missing", f"{names[1]} has 0 bytes", f"{names[2]} has 512 bytes"):
        assert part in str(caught.value)
    assert "the tokenizer does not match the shards" in str(caught.value)
    assert caught.value.exit_code == 3 and caught.value.hint


@pytest.mark.fault("D2.unreadable")
def test_a_shard_without_permission_is_named(copied, monkeypatch):
    name = read_manifest(copied).shards[0].name
    real = os.access
    monkeypatch.setattr(store.os, "access", lambda path, mode: path.name != name and real(path, mode))
    with pytest.raises(DataError, match=f"{name} cannot be read: permission denied"):
        ShardSet(copied)


def test_what_is_no_set_is_said_so(tmp_path):
    with pytest.raises(DataError, match="is no shard set"):
        ShardSet(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        ShardSet(tmp_path / "nowhere")


@pytest.mark.parametrize("where", [0, 5, 20, 60, 75, 300, -1])
def test_any_damage_to_the_manifest_is_noticed(copied, where):
    path = copied / MANIFEST
    size = path.stat().st_size
    flip(path, where % size)
    with pytest.raises(DataError, match=r"MANIFEST\.json: damaged"):
        ShardSet(copied)


def test_a_cut_or_grown_manifest_is_noticed(copied):
    path = copied / MANIFEST
    whole = path.read_bytes()
    for data in (b"", whole[:-1], whole[:100], whole + b"\n"):
        path.write_bytes(data)
        with pytest.raises(DataError, match="damaged"):
            read_manifest(copied)


def test_the_manifest_survives_its_own_writing(phantom_set, tmp_path):
    manifest = read_manifest(phantom_set)
    write_manifest(tmp_path, manifest)
    assert (tmp_path / MANIFEST).read_bytes() == (phantom_set / MANIFEST).read_bytes()
    assert len(manifest.digest) == 64 and read_manifest(tmp_path).digest == manifest.digest


@pytest.mark.parametrize("name", ["../evil.tar", "/etc/passwd", "a.zip", "a/b.tar", "a.tar/../b.tar"])
def test_a_manifest_cannot_point_outside_its_folder(phantom_set, tmp_path, name):
    manifest = read_manifest(phantom_set)
    write_manifest(tmp_path, replace(manifest, shards=(replace(manifest.shards[0], name=name),)))
    with pytest.raises(DataError, match="not a manifest"):
        read_manifest(tmp_path)


def test_threads_may_share_a_set_and_few_files_stay_open(phantom_set, monkeypatch):
    monkeypatch.setattr(store, "_OPEN_FILES", 2)
    shards = ShardSet(phantom_set)
    expected = [shards.read("train", index) for index in range(shards.count("train"))]
    wrong = []

    def work(seed):
        for index in np.random.default_rng(seed).integers(0, len(expected), 300):
            if shards.read("train", int(index)) != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(shards.store._files) == 2


def test_a_set_travels_to_other_processes(phantom_set):
    shards = ShardSet(phantom_set)
    assert pickle.loads(pickle.dumps(shards)).read("val", 0) == shards.read("val", 0)


def test_a_thousand_shards_open_in_under_a_second(phantom_set, tmp_path, least_seconds):
    manifest = read_manifest(phantom_set)
    first = manifest.shards[0]
    shards = [replace(first, name=f"train-{number:06d}.tar") for number in range(1000)]
    for shard in shards:
        os.link(phantom_set / first.name, tmp_path / shard.name)
    os.link(phantom_set / "tokenizer.json", tmp_path / "tokenizer.json")
    write_manifest(tmp_path, replace(manifest, shards=tuple(shards)))
    assert least_seconds(lambda: ShardSet(tmp_path)) < 1
    assert ShardSet(tmp_path).count("train") == 1000 * len(first.keys)


def test_a_stale_handle_is_opened_again(phantom_set, monkeypatch):
    shards = ShardSet(phantom_set)
    expected = dict(shards.read("train", 0))
    real, faults = os.pread, [OSError(errno.ESTALE, "Stale file handle")]

    def pread(*arguments):
        if faults:
            raise faults.pop()
        return real(*arguments)

    monkeypatch.setattr(os, "pread", pread)
    assert dict(shards.read("train", 0)) == expected and not faults
    faults += [OSError(errno.ESTALE, "Stale file handle")] * 2
    with pytest.raises(DataError, match="Stale file handle"):
        shards.read("train", 0)


def test_few_descriptors_are_enough_and_none_is_the_machines_fault(phantom_set, monkeypatch):
    real, faults = os.open, []

    def opened(*arguments, **options):
        if faults:
            raise faults.pop()
        return real(*arguments, **options)

    shards = ShardSet(phantom_set)
    expected = dict(shards.read("train", 0))
    shards = ShardSet(phantom_set)
    monkeypatch.setattr(os, "open", opened)
    faults.append(OSError(errno.EMFILE, "Too many open files"))
    assert dict(shards.read("train", 0)) == expected and not faults
    shards = ShardSet(phantom_set)
    faults += [OSError(errno.EMFILE, "Too many open files")] * 2
    with pytest.raises(EnvironmentFault, match="Too many open files") as caught:
        shards.read("train", 0)
    assert "ulimit" in caught.value.hint
