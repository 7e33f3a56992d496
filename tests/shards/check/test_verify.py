"""Verification finds all damage of every kind, and names it."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecamp_fast.errors import DataError
from ecamp_fast.shards.check.verify import inspect, verify
from ecamp_fast.shards.format.manifest import MANIFEST, read_manifest, write_manifest
from ecamp_fast.shards.format.tar_writer import ShardWriter, member_header


def text(folder):
    return "\n".join(map(str, inspect(folder, workers=1).damage))


def flip(path, offset, bit=0x10):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bit]))


def reseal(folder, number, **changes):
    """Write the manifest again with a shard changed, as a faulty builder would."""
    manifest = read_manifest(folder)
    shards = list(manifest.shards)
    shards[number] = replace(shards[number], **changes)
    write_manifest(folder, replace(manifest, shards=tuple(shards)))


def test_a_whole_set_passes(phantom_set):
    verdict = verify(phantom_set)
    assert verdict.samples == 12 and verdict.shards == 4 and not verdict.damage
    assert verdict.bytes == sum(path.stat().st_size for path in phantom_set.glob("*.tar"))


def test_verify_raises_what_inspect_finds(copied):
    shard = read_manifest(copied).shards[0]
    (copied / shard.name).unlink()
    with pytest.raises(DataError, match=f"{shard.name}: is missing") as caught:
        verify(copied)
    assert caught.value.exit_code == 3 and caught.value.hint


def test_four_kinds_of_cuts(copied):
    """At a sample's end, inside a header, inside data, between two members of a sample."""
    shard = read_manifest(copied).shards[0]
    path = copied / shard.name
    whole = path.read_bytes()
    second = int(shard.members["jpg"].offset[1]) - 512
    text_of_second = int(shard.members["txt"].offset[1]) - 512
    for cut in (second, second + 100, second + 700, text_of_second):
        path.write_bytes(whole[:cut])
        found = text(copied)
        assert f"{shard.name}: has {cut:,} bytes" in found
        assert f"lost (the file ends at byte {cut})" in found
        assert all(key in found for key in shard.keys[1:])
        assert f"{shard.keys[0]}:" not in found


def test_a_flipped_byte_in_each_place(copied):
    shard = read_manifest(copied).shards[0]
    path = copied / shard.name
    whole = path.read_bytes()
    for extension in ("jpg", "attn.pgm", "masks.png", "txt", "tokens", "json"):
        flip(path, int(shard.members[extension].offset[2]) + 2)
        found = text(copied)
        assert f"{shard.name}: {shard.keys[2]}: {extension} damaged (CRC32 differs)" in found
        path.write_bytes(whole)
    flip(path, int(shard.members["jpg"].offset[1]) - 512 + 3)  # the name in a header
    header = int(shard.members["jpg"].offset[1]) - 512
    found = text(copied)
    assert "SHA-256" in found and f"{shard.keys[1]}: jpg header damaged, at byte {header + 3}" in found
    path.write_bytes(whole)
    flip(path, len(whole) - 1)  # padding at the end
    found = text(copied)
    assert "SHA-256" in found and f"bytes behind the last sample, at byte {len(whole) - 1}" in found


def test_empty_zeroed_missing_and_foreign_files(copied):
    names = [shard.name for shard in read_manifest(copied).shards]
    os.truncate(copied / names[0], 0)
    (copied / names[1]).write_bytes(bytes((copied / names[1]).stat().st_size))
    (copied / names[2]).unlink()
    shutil.copy(copied / names[3], copied / "train-000099.tar")
    found = text(copied)
    assert f"{names[0]}: has 0 bytes" in found and "lost (the file ends at byte 0)" in found
    assert f"{names[1]}: holds zeros" in found and "json header damaged, at byte 0" in found
    assert f"{names[2]}: is missing" in found
    assert "train-000099.tar: not in the manifest" in found


@pytest.mark.parametrize("where", [0, 30, 90, 500, -1])
def test_damage_to_the_manifest(copied, where):
    path = copied / MANIFEST
    flip(path, where % path.stat().st_size)
    assert text(copied).startswith("MANIFEST.json: ") and "damaged" in text(copied)


def test_another_tokenizer(copied):
    flip(copied / "tokenizer.json", 100)
    assert text(copied) == "tokenizer.json: the tokenizer does not match the shards"
    (copied / "tokenizer.json").unlink()
    assert text(copied) == "tokenizer.json: is missing"


@pytest.mark.fault("D5.across-shards")
def test_the_same_key_in_two_shards(copied):
    manifest = read_manifest(copied)
    twin = manifest.shards[0].keys[0]
    shutil.copy(copied / manifest.shards[0].name, copied / "train-000007.tar")
    copy = replace(manifest.shards[0], name="train-000007.tar")
    write_manifest(copied, replace(manifest, shards=(*manifest.shards, copy)))
    assert f"train-000007.tar: {twin}: the same key is in {manifest.shards[0].name}" in text(copied)


def rewritten(folder, number, change):
    """Rewrite a shard with changed metadata, and the manifest with it: the damage is in the content alone."""
    manifest = read_manifest(folder)
    shard = manifest.shards[number]
    with tarfile.open(folder / shard.name, "r:") as archive:
        members = {entry.name: archive.extractfile(entry).read() for entry in archive}
    with ShardWriter(folder, shard.name, shard.split) as writer:
        for key in shard.keys:
            sample = {
                name.removeprefix(f"{key}."): data for name, data in members.items() if name.startswith(f"{key}.")
            }
            sample["json"] = json.dumps(change(key, json.loads(sample["json"]))).encode()
            writer.add(key, sample)
        new = writer.close()
    reseal(folder, number, bytes=new.bytes, sha256=new.sha256, members=new.members)


def test_a_patient_in_two_splits(copied):
    rewritten(copied, 0, lambda key, metadata: metadata | {"patient_id": "leaky"})
    assert text(copied) == ""
    rewritten(copied, -1, lambda key, metadata: metadata | {"patient_id": "leaky"})
    manifest = read_manifest(copied)
    found = text(copied)
    assert found.startswith(
        f"{manifest.shards[-1].name}: {manifest.shards[-1].keys[0]}: its patient is in split train too"
    )
    assert manifest.shards[0].keys[0] in found


def test_metadata_that_is_none_or_of_another_split(copied):
    rewritten(copied, 0, lambda key, metadata: [1, 2])
    rewritten(copied, 1, lambda key, metadata: metadata | {"split": "val"})
    found = text(copied)
    assert "json not metadata with patient_id and split" in found and "json names the split val" in found


@pytest.mark.parametrize("kind", ["symlink", "absolute", "parent", "extra", "device"])
def test_foreign_members_are_named_even_if_all_digests_agree(copied, kind, tmp_path):
    shard = read_manifest(copied).shards[0]
    path = copied / shard.name
    entry = tarfile.TarInfo({"absolute": "/etc/evil.jpg", "parent": "../evil.jpg"}.get(kind, "evil.jpg"))
    entry.type = {"symlink": tarfile.SYMTYPE, "device": tarfile.CHRTYPE}.get(kind, tarfile.REGTYPE)
    entry.linkname = "/etc/passwd" if kind == "symlink" else ""
    with tarfile.open(path, "a:", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(entry, io.BytesIO())
    data = path.read_bytes()
    reseal(copied, 0, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    kinds = {"symlink": ", a symbolic link", "device": ", a device"}
    assert f"{shard.name}: member {entry.name!r}{kinds.get(kind, '')} behind the last sample, at byte" in text(copied)


def test_bytes_behind_a_content_are_found_even_if_all_digests_agree(copied):
    shard = read_manifest(copied).shards[0]
    end = int(shard.members["txt"].offset[1] + shard.members["txt"].size[1])
    assert end % 512, "zeros fill its last block"
    flip(copied / shard.name, end)
    reseal(copied, 0, sha256=hashlib.sha256((copied / shard.name).read_bytes()).hexdigest())
    assert text(copied) == f"{shard.name}: {shard.keys[1]}: txt followed by bytes that are not zero, at byte {end}"


def test_a_member_between_samples_is_found_even_if_all_digests_agree(copied):
    """Of the size of a record, so that the zeros at the end of the archive are as many as before."""
    shard = read_manifest(copied).shards[0]
    whole, size = (copied / shard.name).read_bytes(), tarfile.RECORDSIZE
    at = int(shard.members["jpg"].offset[1]) - 512
    data = whole[:at] + member_header("evil.jpg", size - 512) + bytes(size - 512) + whole[at:]
    (copied / shard.name).write_bytes(data)
    members = {
        extension: replace(columns, offset=columns.offset + size * (columns.offset > at))
        for extension, columns in shard.members.items()
    }
    reseal(copied, 0, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), members=members)
    place = at + size + 512
    what = f"jpg placed by the manifest at byte {place}, where no builder puts it, at byte {place}"
    assert text(copied) == f"{shard.name}: {shard.keys[1]}: {what}"


def test_a_link_in_a_members_place(copied):
    shard = read_manifest(copied).shards[0]
    path = copied / shard.name
    with open(path, "r+b") as file:
        entry = tarfile.TarInfo(f"{shard.keys[0]}.jpg")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.write(entry.tobuf(tarfile.USTAR_FORMAT))
    assert f"jpg header is that of member '{shard.keys[0]}.jpg', a symbolic link" in text(copied)


def test_damage_in_several_files_is_found_at_once(copied):
    shards = read_manifest(copied).shards
    for shard in shards[:3]:
        flip(copied / shard.name, int(shard.members["txt"].offset[1]))
    found = text(copied)
    assert all(f"{shard.name}: {shard.keys[1]}: txt damaged" in found for shard in shards[:3])


@pytest.mark.slow
def test_processes_find_the_same(copied, monkeypatch):
    from ecamp_fast.shards.check import verify as module

    shards = read_manifest(copied).shards
    for shard in shards[:2]:
        flip(copied / shard.name, int(shard.members["jpg"].offset[1]))
    alone = inspect(copied, workers=1).damage
    monkeypatch.setattr(module, "_PARALLEL_BYTES", 0)
    assert inspect(copied, workers=2).damage == alone != []


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_flipped_bit_anywhere_goes_unnoticed(phantom_set, tmp_path, data):
    folder = tmp_path / "flipped"
    if not folder.exists():
        shutil.copytree(phantom_set, folder)
    path = folder / data.draw(st.sampled_from(sorted(p.name for p in phantom_set.iterdir())))
    flip(path, place := data.draw(st.integers(0, path.stat().st_size - 1)), bit := 1 << data.draw(st.integers(0, 7)))
    try:
        damage = inspect(folder, workers=1).damage
        assert damage and all(d.file == path.name for d in damage)
    finally:
        flip(path, place, bit)
    assert not inspect(folder, workers=1).damage
