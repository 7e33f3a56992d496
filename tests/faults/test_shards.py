"""Table D of the fault catalogue: shards that are damaged at rest, and builds that meet each other.

What a training run does about a damaged sample (skip, replace, count) is tested with the loader.
"""

import gzip
import json
import multiprocessing
import os
import shutil
import tarfile
import time
from dataclasses import replace

import pytest
from PIL import Image

from ecamp_fast.errors import DataError, StorageError
from ecamp_fast.shards.builder.build import Options, build, build_phantoms
from ecamp_fast.shards.check.verify import inspect
from ecamp_fast.shards.format.manifest import EXTENSIONS, OPTIONAL, read_manifest, write_manifest
from ecamp_fast.shards.format.tar_writer import member_header
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.phantom import PhantomSource
from ecamp_fast.shards.sources.webdataset import WebdatasetSource
from ecamp_fast.shards.storage.presence import check_presence
from ecamp_fast.shards.storage.store import Folder

SMALL = Options(workers=1, shard_size=4, vocab_size=200)


def every_sample(folder):
    shards = ShardSet(folder)
    return [shards.read(split, index) for split in shards.splits for index in range(shards.count(split))]


def small_recipe(total=4, threads=1, quarantine=0.0):
    """Batches of one sample a rank."""
    from ecamp_fast.config import parse_recipe

    tree = {
        "image": {"high_size": 64, "low_size": 32},
        "batch": {"total": total, "micro": 1},
        "loader": {"threads": threads, "prefetch": 1, "quarantine": quarantine},
    }
    return parse_recipe(tree, "test")


def found(folder):
    return inspect(folder, workers=1).damage


def spot(shard, chance, extension="jpg"):
    """Row and byte offset of a random sample's member."""
    row = chance.randrange(len(shard.keys))
    return row, int(shard.members[extension].offset[row])


def flip(path, offset, chance):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


@pytest.mark.fault("D1.sample", "D1.header", "D1.data", "D1.between")
@pytest.mark.parametrize("where", ["sample", "header", "data", "member"])
def test_d1_a_shard_cut_short(damaged, chance, where):
    shard = read_manifest(damaged).shards[0]
    row = chance.randrange(1, len(shard.keys))
    start = int(shard.members["jpg"].offset[row]) - 512
    inside = chance.randrange(int(shard.members["jpg"].size[row]))
    cut = {
        "sample": start,
        "header": start + chance.randrange(1, 512),
        "data": start + 512 + inside,
        "member": int(shard.members["txt"].offset[row]) - 512,
    }[where]
    os.truncate(damaged / shard.name, cut)
    damage = found(damaged)
    assert {item.file for item in damage} == {shard.name}
    assert {item.key for item in damage if item.key} == set(shard.keys[row:])
    assert all(item.byte is not None and item.byte >= 0 for item in damage if item.key)
    assert any(f"the file ends at byte {cut}" in item.what for item in damage)
    with pytest.raises(DataError, match=shard.name) as caught:
        ShardSet(damaged)
    assert caught.value.exit_code == 3


@pytest.mark.fault("D2.empty", "D2.zeros", "D2.missing", "D2.all-named")
def test_d2_empty_zeroed_and_missing_shards_are_named_together(damaged):
    names = [shard.name for shard in read_manifest(damaged).shards]
    os.truncate(damaged / names[0], 0)
    (damaged / names[1]).unlink()
    (damaged / names[2]).write_bytes(bytes((damaged / names[2]).stat().st_size))
    with pytest.raises(DataError) as caught:
        ShardSet(damaged)
    assert all(name in str(caught.value) for name in names[:3])
    assert {item.file for item in found(damaged)} == set(names[:3])


SPARE = 0.5  # of 9 training samples


@pytest.mark.fault("D1.quarantine")
@pytest.mark.parametrize("where", ["sample", "header", "data", "member"])
def test_d1_samples_behind_a_cut_may_be_spared(damaged, chance, where):
    shard = read_manifest(damaged).shards[0]
    row = chance.randrange(1, len(shard.keys))
    jpg, txt = shard.members["jpg"], shard.members["txt"]
    cut = {
        "sample": int(jpg.offset[row]) - 512,
        "header": int(jpg.offset[row]) - chance.randrange(1, 512),
        "data": int(jpg.offset[row]) + chance.randrange(int(jpg.size[row])),
        "member": int(txt.offset[row]) - 512,
    }[where]
    os.truncate(damaged / shard.name, cut)
    shards = ShardSet(damaged, spare=SPARE)
    assert shards.lost.tolist() == list(range(row, len(shard.keys)))
    assert [shards.read("train", index).key for index in range(row)] == list(shard.keys)[:row]
    with pytest.raises(DataError, match="cut short"):
        shards.read("train", row)


@pytest.mark.fault("D1.quarantine")
@pytest.mark.parametrize("short", [0, 1])
def test_d1_a_sample_whose_last_byte_is_there_is_not_lost(damaged, short):
    shard = read_manifest(damaged).shards[0]
    end = max(int(m.offset[1]) + int(m.size[1]) for m in shard.members.values() if m.size[1] >= 0)
    os.truncate(damaged / shard.name, end - short)
    assert ShardSet(damaged, spare=SPARE).lost.tolist() == list(range(2 - short, len(shard.keys)))


@pytest.mark.fault("D2.quarantine")
@pytest.mark.parametrize("how", ["missing", "empty", "zeroed", "unreadable"])
def test_d2_a_shard_that_is_gone_may_be_spared(damaged, monkeypatch, how):
    path = damaged / read_manifest(damaged).shards[0].name
    if how == "missing":
        path.unlink()
    elif how == "empty":
        os.truncate(path, 0)
    elif how == "zeroed":
        path.write_bytes(bytes(path.stat().st_size))
    else:
        may = os.access
        monkeypatch.setattr(os, "access", lambda place, mode: place != path and may(place, mode))
    shards = ShardSet(damaged, spare=SPARE)
    assert shards.lost.tolist() == [0, 1, 2, 3] and len(shards.faults) == 1 and path.name in shards.faults[0]


@pytest.mark.fault("D2.all-named", "D2.quarantine")
def test_d2_more_than_may_be_spared_are_named_together_before_the_first_step(damaged):
    names = [shard.name for shard in read_manifest(damaged).of("train")]
    (damaged / names[0]).unlink()
    os.truncate(damaged / names[1], 0)
    with pytest.raises(DataError, match=r"8 of \d+ training samples are lost, \d may be") as caught:
        ShardSet(damaged, spare=SPARE)
    assert all(name in str(caught.value) for name in names[:2]) and caught.value.exit_code == 3


@pytest.mark.fault("D2.missing")
def test_d2_only_training_shards_are_spared(damaged):
    (damaged / read_manifest(damaged).of("val")[0].name).unlink()
    with pytest.raises(DataError, match=r"val-.*is missing"):
        ShardSet(damaged, spare=1.0)


@pytest.mark.fault("D2.missing")
def test_d2_a_tokenizer_is_never_spared(damaged):
    (damaged / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"tokenizer\.json is missing"):
        ShardSet(damaged, spare=1.0)


@pytest.mark.fault("D2.zeros")
def test_d2_a_zeroed_header_alone_loses_no_sample(damaged):
    shard = read_manifest(damaged).shards[0]
    with open(damaged / shard.name, "r+b") as file:
        file.write(bytes(512))
    shards = ShardSet(damaged)
    assert [shards.read("train", index).key for index in range(len(shard.keys))] == list(shard.keys)
    assert found(damaged)


@pytest.mark.fault("D2.zeros")
def test_d2_a_shard_that_is_zeroed_under_its_reader_gives_no_sample(damaged):
    shard = read_manifest(damaged).shards[0]
    shards = ShardSet(damaged)
    (damaged / shard.name).write_bytes(bytes(shard.bytes))
    for index in range(len(shard.keys)):
        with pytest.raises(DataError, match="CRC32"):
            shards.read("train", index)


@pytest.mark.fault("D2.unreadable")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_d2_an_unreadable_shard(damaged):
    name = read_manifest(damaged).shards[0].name
    (damaged / name).chmod(0)
    assert [item.file for item in found(damaged)] == [name]
    with pytest.raises(DataError, match="permission denied"):
        ShardSet(damaged)


@pytest.mark.fault("D2.missing")
@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_d2_what_is_no_file_is_not_opened(damaged, kind):
    name = read_manifest(damaged).shards[0].name
    (damaged / name).unlink()
    (os.mkfifo if kind == "pipe" else os.mkdir)(damaged / name)
    assert [str(item) for item in found(damaged)] == [f"{name}: is not a regular file"]
    with pytest.raises(DataError):
        ShardSet(damaged)


@pytest.mark.fault("D2.in-a-second", "D2.all-named")
def test_d2_a_thousand_shards_are_checked_in_a_second(pristine, tmp_path, least_seconds):
    manifest = read_manifest(pristine)
    shards = [replace(manifest.shards[0], name=f"train-{number:06d}.tar") for number in range(1000)]
    for shard in shards[:-3]:
        os.link(pristine / manifest.shards[0].name, tmp_path / shard.name)
    shutil.copy(pristine / "tokenizer.json", tmp_path)
    write_manifest(tmp_path, replace(manifest, shards=tuple(shards)))
    many = read_manifest(tmp_path)

    def refused() -> None:
        with pytest.raises(DataError) as caught:
            check_presence(Folder(tmp_path), many)
        assert all(shard.name in str(caught.value) for shard in shards[-3:])

    assert least_seconds(refused) < 1
    assert least_seconds(lambda: check_presence(Folder(tmp_path), many, spare=0.01)) < 1
    _, lost = check_presence(Folder(tmp_path), many, spare=0.01)
    assert len(lost) == 3 * len(manifest.shards[0].keys)


@pytest.mark.fault("D3.image", "D3.text")
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_d3_a_flipped_bit_in_content(damaged, chance, extension):
    shard = read_manifest(damaged).shards[0]
    row = next(row for row in range(len(shard.keys)) if shard.members[extension].size[row] > 0)
    offset, size = (int(getattr(shard.members[extension], name)[row]) for name in ("offset", "size"))
    flip(damaged / shard.name, offset + chance.randrange(size), chance)
    named = [(item.file, item.key, item.byte) for item in found(damaged) if item.key]
    assert named == [(shard.name, shard.keys[row], offset)]
    shards = ShardSet(damaged)
    assert [shards.read("train", other).key for other in range(4) if other != row]
    with pytest.raises(DataError, match=rf"{shard.keys[row]}\.{extension} at byte {offset}: damaged"):
        shards.read("train", row)


@pytest.mark.fault("D3.header")
def test_d3_a_flipped_bit_in_a_header_is_found_and_does_not_reach_the_reader(damaged, chance):
    shard = read_manifest(damaged).shards[0]
    row, offset = spot(shard, chance)
    place = offset - 512 + chance.randrange(512)
    before = ShardSet(damaged).read("train", row)
    flip(damaged / shard.name, place, chance)
    (_, header) = found(damaged)
    assert (header.file, header.key, header.byte) == (shard.name, shard.keys[row], place)
    assert ShardSet(damaged).read("train", row) == before  # it goes by the manifest


@pytest.mark.fault("D3.manifest", "D3.index", "T5.swapped")
@pytest.mark.parametrize("name", ["MANIFEST.json", "INDEX.bin", "tokenizer.json"])
def test_d3_damage_to_manifest_or_tokenizer_is_fatal(damaged, chance, name):
    flip(damaged / name, chance.randrange((damaged / name).stat().st_size), chance)
    assert {item.file for item in found(damaged)} == {name}
    with pytest.raises(DataError) as caught:
        ShardSet(damaged)
    assert caught.value.exit_code == 3


@pytest.mark.fault("D4.txt", "D4.jpg", "D4.json")
@pytest.mark.parametrize("extension", [ext for ext in EXTENSIONS if ext not in OPTIONAL])
def test_d4_a_sample_that_lacks_a_member(damaged, resealed, extension):
    def without(samples):
        del samples[1][1][extension]
        return samples

    shard = resealed(damaged, without)
    assert [(item.file, item.key, item.what) for item in found(damaged)] == [
        (shard.name, shard.keys[1], f"{extension} missing")
    ]
    with pytest.raises(DataError, match=f"{shard.keys[1]} has no member .{extension}"):
        ShardSet(damaged).read("train", 1)


@pytest.mark.fault("D4.quarantine")
@pytest.mark.parametrize("extension", ["jpg", "tokens"])
def test_d4_training_takes_another_sample_for_one_that_lacks_what_it_reads(damaged, resealed, extension):
    """Never an empty tensor: the sample is not in any batch."""
    from ecamp_fast.shards.load.loader import Loader

    def without(samples):
        del samples[1][1][extension]
        return samples

    shard = resealed(damaged, without)
    notes = []
    loader = Loader(ShardSet(damaged), "train", small_recipe(quarantine=0.5), note=notes.append)
    seen = {int(number) for batch in loader.batches(0, 6) for number in batch.samples}
    assert seen and 1 not in seen
    assert {note["sample"] for note in notes} == {1}
    assert all(f"{shard.keys[1]} has no member .{extension}" in note["fault"] for note in notes)


@pytest.mark.fault("D4.build")
@pytest.mark.parametrize(
    ("lost", "reason"), [("txt", "1 images and 0 texts"), ("jpg", "0 images and 1 texts"), ("json", "no .json")]
)
def test_d4_a_sample_that_lacks_a_member_is_not_built(damaged, resealed, tmp_path, lost, reason):
    def without(samples):
        del samples[1][1][lost]
        return samples

    shard = resealed(damaged, without)
    with pytest.raises(DataError, match=rf"{shard.name}: {shard.keys[1]}: {reason}") as caught:
        build(WebdatasetSource(damaged), tmp_path / "set", SMALL)
    assert caught.value.exit_code == 3 and not (tmp_path / "set").exists()


@pytest.mark.fault("D5.both-origins")
def test_d5_the_same_sample_twice_names_both_origins(tmp_path):
    class Doubled(PhantomSource):
        def list_records(self):
            listing = super().list_records()
            listing.records.append(replace(listing.records[2], origin="row 9"))
            return listing

    with pytest.raises(DataError, match="row 9: the same sample as phantom 2"):
        build(Doubled(4, 1, 64), tmp_path / "set", SMALL)
    assert os.listdir(tmp_path) == []


@pytest.mark.fault("D5.adjacent", "D5.apart")
@pytest.mark.parametrize("place", ["adjacent", "apart"])
def test_d5_a_key_twice_in_a_shard(damaged, resealed, place):
    def doubled(samples):
        key = samples[0][0]
        samples.insert(1 if place == "adjacent" else len(samples), (key, samples[1][1]))
        return samples

    shard = resealed(damaged, doubled)
    assert [(item.file, item.key, item.what) for item in found(damaged)] == [
        (shard.name, shard.keys[0], f"the same key is in {shard.name}")
    ]


@pytest.mark.fault("D5.across-splits", "D5.patient")
def test_d5_a_key_and_a_patient_in_two_splits(damaged, resealed):
    manifest = read_manifest(damaged)
    train, val = manifest.shards[0], manifest.shards[-1]
    with tarfile.open(damaged / train.name, "r:") as archive:
        stolen = {ext: archive.extractfile(f"{train.keys[0]}.{ext}").read() for ext in ("jpg", "txt", "distilled.txt")}
        stolen["tokens"] = archive.extractfile(f"{train.keys[0]}.tokens").read()
        metadata = json.loads(archive.extractfile(f"{train.keys[0]}.json").read())
    leaked = stolen | {"json": json.dumps(metadata | {"split": "val"}).encode()}
    resealed(damaged, lambda samples: [*samples, (train.keys[0], leaked)], number=-1)
    whats = {item.what for item in found(damaged) if item.file == val.name and item.key == train.keys[0]}
    assert f"the same key is in {train.name}" in whats
    assert any(what.startswith("its patient is in split train too") for what in whats)


@pytest.mark.fault("D5.patient")
def test_d5_a_patient_in_two_splits_is_not_built(tmp_path):
    for number, name in enumerate("ab"):
        Image.linear_gradient("L").rotate(90 * number).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text(
        "study_id,image_path,view,report,patient_id,split\na,a.png,PA,Edema.,p,train\nb,b.png,PA,Edema.,p,test\n"
    )
    with pytest.raises(DataError, match=r"patient p.*test.*train") as caught:
        build(CsvSource(tmp_path / "t.csv"), tmp_path / "set", SMALL)
    assert caught.value.exit_code == 3


@pytest.mark.fault("D6.interleaved", "D6.extra", "D6.upper-case", "D6.verify")
@pytest.mark.parametrize("how", ["interleaved", "extra", "upper case", "pax", "gnu"])
def test_d6_a_tar_of_another_writer_is_refused_with_a_reason(damaged, foreign, how):
    shard = foreign(damaged, how)
    damage = found(damaged)
    assert damage and {item.file for item in damage} == {shard.name}
    reason = {
        "interleaved": "header is that of member",
        "extra": "member 'README.md'",
        "upper case": f"header is that of member '{shard.keys[0]}.JPG'",
        "pax": "header",
        "gnu": "header damaged",
    }[how]
    assert any(reason in item.what for item in damage)


@pytest.mark.fault("D7.named", "D7.never-a-wrong-place")
def test_d7_a_stale_index_is_named(damaged, resealed):
    IndexCreator = pytest.importorskip("wds2idx").IndexCreator
    for shard in read_manifest(damaged).shards:
        with IndexCreator(str(damaged / shard.name), str((damaged / shard.name).with_suffix(".idx")), False) as index:
            index.create_index()
    assert found(damaged) == []
    indices = {path: path.read_bytes() for path in damaged.glob("*.idx")}
    shard = resealed(damaged, lambda samples: [(key, m | {"jpg": m["jpg"] + b"\0" * 600}) for key, m in samples])
    stored = [(sample.key, dict(sample)) for sample in every_sample(damaged)]
    assert indices == {path: path.read_bytes() for path in damaged.glob("*.idx")}
    (stale,) = found(damaged)
    assert stale.file == shard.name.replace(".tar", ".idx") and stale.what.startswith("stale: no")
    assert stored == [(sample.key, dict(sample)) for sample in every_sample(damaged)]  # read by the manifest
    (damaged / stale.file).write_text("garbage\n")
    (damaged / "train-000077.idx").write_text("v1.2 0\n")
    whats = {item.file: item.what for item in found(damaged)}
    assert whats[stale.file].startswith("not an index") and "not in the manifest" in whats["train-000077.idx"]


@pytest.mark.fault("D8.symlink", "D8.hardlink", "D8.device", "D8.sparse", "D8.nothing-extracted")
@pytest.mark.parametrize("kind", ["LNKTYPE", "SYMTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE", "GNUTYPE_SPARSE", "XHDTYPE"])
def test_d8_what_is_no_plain_file_is_named_and_nothing_is_extracted(damaged, chance, tmp_path, kind):
    shard = read_manifest(damaged).shards[0]
    row, offset = spot(shard, chance)
    entry = tarfile.TarInfo(f"{shard.keys[row]}.jpg")
    entry.type, entry.linkname = getattr(tarfile, kind), str(tmp_path / "target")
    data = bytearray((damaged / shard.name).read_bytes())
    data[offset - 512 : offset] = entry.tobuf(tarfile.USTAR_FORMAT)[:512]
    (damaged / shard.name).write_bytes(data)
    assert any(item.key == shard.keys[row] and "header" in item.what for item in found(damaged))
    assert os.listdir(tmp_path) == ["damaged"]


@pytest.mark.fault("D8.absolute", "D8.dot-dot", "D8.nothing-extracted")
@pytest.mark.parametrize("name", ["/etc/cron.d/x.jpg", "../../x.jpg", "a/../../x.jpg"])
def test_d8_names_that_lead_out_are_only_words(damaged, tmp_path, name):
    shard = read_manifest(damaged).shards[0]
    data = bytearray((damaged / shard.name).read_bytes())
    data[:512] = member_header(name, int(shard.members["jpg"].size[0]))
    (damaged / shard.name).write_bytes(data)
    assert f"jpg header is that of member '{name}'" in "\n".join(map(str, found(damaged)))
    assert os.listdir(tmp_path) == ["damaged"]


@pytest.mark.fault("D8.declared-size")
def test_d8_sizes_that_are_lies_take_no_memory(damaged, resealed_columns):
    """A manifest that promises huge members: nothing of that size is read."""
    import tracemalloc

    shard = resealed_columns(damaged, "size", 2**31 - 1)  # the most that it can say
    tracemalloc.start()
    damage = found(damaged)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6 and any(item.key == shard.keys[0] and "lost" in item.what for item in damage)


@pytest.mark.fault("D8.gzip", "D8.sparse")
def test_d8_a_compressed_shard_and_a_sparse_giant_are_refused_at_once(damaged):
    first, second = read_manifest(damaged).shards[:2]
    (damaged / first.name).write_bytes(gzip.compress(bytes(50 * 2**20)))
    os.truncate(damaged / second.name, 2**40)
    began = time.perf_counter()
    assert {item.file for item in found(damaged)} == {first.name, second.name}
    assert time.perf_counter() - began < 5
    with pytest.raises(DataError):
        ShardSet(damaged)


@pytest.mark.fault("D9.uneven")
@pytest.mark.slow  # imports torch
def test_d9_uneven_shards_give_every_rank_the_same_steps_and_every_sample_once(tmp_path):
    """Shards of 9 and 1 samples, 4 ranks with 3 threads each: nobody waits for a shard of its own."""
    from ecamp_fast.shards.load.loader import Loader

    build_phantoms(10, tmp_path / "set", size=64, options=replace(SMALL, shard_size=9, holdout=0.0))
    shards = ShardSet(tmp_path / "set")
    assert [len(shard.keys) for shard in shards.manifest.of("train")] == [9, 1]
    recipe = small_recipe(total=4, threads=3)
    seen = []
    for rank in range(4):
        loader = Loader(shards, "train", recipe, rank=rank, world=4)
        seen.append([int(number) for batch in loader.batches(0, 5) for number in batch.samples])
    assert [len(numbers) for numbers in seen] == [5] * 4
    assert sorted(number for numbers in seen for number in numbers) == sorted([*range(10)] * 2)  # two epochs


@pytest.mark.fault("D9.few")
@pytest.mark.slow  # imports torch
def test_d9_more_ranks_than_shards_have_the_same_number_of_steps(pristine):
    from ecamp_fast.shards.load.loader import Loader

    shards = ShardSet(pristine)
    ranks = 8
    assert len(shards.manifest.of("train")) < ranks
    recipe = small_recipe(total=8, threads=1)
    seen = []
    for rank in range(ranks):
        loader = Loader(shards, "train", recipe, train=True, rank=rank, world=ranks)
        seen.append([int(number) for batch in loader.batches(0, 3) for number in batch.samples])
    assert {len(numbers) for numbers in seen} == {3}


@pytest.mark.fault("D10.two-builders")
def test_d10_a_second_builder_is_told_and_the_first_is_not_disturbed(tmp_path, pristine):
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    first = context.Process(target=_slow_build, args=(tmp_path / "set", ready, release))
    first.start()
    try:
        assert ready.wait(30)
        with pytest.raises(StorageError, match=f"another build is writing it .process {first.pid} on"):
            build_phantoms(12, tmp_path / "set", size=64, options=SMALL)
        release.set()
        first.join(60)
    finally:
        release.set()
        first.join(5)
    assert first.exitcode == 0 and os.listdir(tmp_path) == ["set"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "set").iterdir()} == {
        p.name: p.read_bytes() for p in pristine.iterdir()
    }


@pytest.mark.fault("D10.clock")
def test_d10_another_clock_gives_the_same_bytes(tmp_path, pristine, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    build_phantoms(12, tmp_path / "set", size=64, options=SMALL)
    assert {p.name: p.read_bytes() for p in (tmp_path / "set").iterdir()} == {
        p.name: p.read_bytes() for p in pristine.iterdir()
    }


@pytest.mark.fault("D10.clock")
def test_d10_times_of_files_mean_nothing(damaged):
    """A copy may have any dates, a shard older or younger than its manifest: content alone counts."""
    for number, path in enumerate(sorted(damaged.iterdir())):
        os.utime(path, (0, 0) if number % 2 else (4e9, 4e9))
    assert found(damaged) == [] and len(list(every_sample(damaged))) == 12


def _slow_build(out, ready, release):
    class Slow(PhantomSource):
        def load(self, record, short_side):
            ready.set()
            release.wait(30)
            return super().load(record, short_side)

    build(Slow(12, 42, 64), out, SMALL)
