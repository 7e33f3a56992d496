"""Thousands of random damages of many kinds: ``verify`` finds every one, and the reader delivers no changed sample."""

import gzip
import io
import os
import random
import shutil
import tarfile
import time

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.check.verify import inspect
from ecamp_fast.shards.format.manifest import EXTENSIONS, read_manifest
from ecamp_fast.shards.load.read import ShardSet

BLOCK = 512


class Case:
    """What a mutator gets: a folder to damage, the chance, and what a whole set holds."""

    def __init__(self, folder, chance, manifest, other):
        self.folder, self.chance, self.manifest, self.other = folder, chance, manifest, other
        self.shard = chance.choice(manifest.shards)
        self.path = folder / self.shard.name
        self.row = chance.randrange(len(self.shard.keys))

    def span(self, extension):
        columns = self.shard.members[extension]
        return int(columns.offset[self.row]), int(columns.size[self.row])

    def edit(self, change, path=None):
        """change(bytearray) -> bytes or None"""
        path = path or self.path
        data = bytearray(path.read_bytes())
        changed = change(data)
        path.write_bytes(data if changed is None else changed)

    def block(self, data):
        return self.chance.randrange(len(data) // BLOCK) * BLOCK


def flip(case, start, size, path=None):
    def change(data):
        data[start + case.chance.randrange(size)] ^= 1 << case.chance.randrange(8)

    case.edit(change, path)


def flip_anywhere(case):
    flip(case, 0, case.shard.bytes)


def flip_in_content(case):
    flip(case, *case.span(case.chance.choice(("jpg", "txt", "tokens", "json"))))


def flip_in_header(case):
    flip(case, case.span("jpg")[0] - BLOCK, BLOCK)


def flip_at_the_end(case):
    flip(case, case.shard.bytes - 2 * BLOCK, 2 * BLOCK)


def zero_a_run(case):
    offset, size = case.span("jpg")

    def change(data):
        length = case.chance.randrange(8, size)
        data[offset : offset + length] = bytes(length)

    case.edit(change)


def random_run(case):
    def change(data):
        start = case.chance.randrange(len(data))
        length = min(case.chance.randrange(1, 2000), len(data) - start)
        data[start : start + length] = case.chance.randbytes(length)

    case.edit(change)


def swap_two_bytes(case):
    def change(data):
        a, b = (case.chance.randrange(len(data)) for _ in range(2))
        data[a], data[b] = data[b], data[a]

    case.edit(change)


def swap_two_blocks(case):
    def change(data):
        a, b = case.block(data), case.block(data)
        data[a : a + BLOCK], data[b : b + BLOCK] = data[b : b + BLOCK], data[a : a + BLOCK]

    case.edit(change)


def lose_a_block(case):
    def change(data):
        at = case.block(data)
        del data[at : at + BLOCK]

    case.edit(change)


def repeat_a_block(case):
    def change(data):
        at = case.block(data)
        data[at:at] = data[at : at + BLOCK]

    case.edit(change)


def lose_and_repeat(case):
    """The size stays, a stretch is shifted."""

    def change(data):
        a, b = case.block(data), case.block(data)
        kept = data[b : b + BLOCK]
        del data[a : a + BLOCK]
        data[b:b] = kept

    case.edit(change)


def cut(case):
    os.truncate(case.path, case.chance.randrange(case.shard.bytes))


def cut_at_a_sample(case):
    os.truncate(case.path, case.span("jpg")[0] - BLOCK)


def empty(case):
    os.truncate(case.path, 0)


def zeros(case):
    case.path.write_bytes(bytes(case.shard.bytes))


def grow_with_zeros(case):
    os.truncate(case.path, case.shard.bytes + BLOCK * case.chance.randrange(1, 30))


def grow_with_noise(case):
    case.edit(lambda data: bytes(data) + case.chance.randbytes(case.chance.randrange(1, 3000)))


def append_a_member(case):
    with tarfile.open(case.path, "a:", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(case.chance.choice(("x.jpg", "../x.txt", "/etc/x", f"{case.shard.keys[0]}.jpg")))
        entry.type = case.chance.choice((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE))
        archive.addfile(entry, io.BytesIO())


def lose_the_shard(case):
    case.path.unlink()


def a_folder_in_its_place(case):
    case.path.unlink()
    case.path.mkdir()


def compress(case):
    case.edit(lambda data: gzip.compress(data, 1))


def exchange_two_shards(case):
    other = case.folder / case.chance.choice(case.manifest.shards).name
    first, second = case.path.read_bytes(), other.read_bytes()
    case.path.write_bytes(second)
    other.write_bytes(first)


def another_shard_too(case):
    shutil.copy(case.path, case.folder / f"train-{case.chance.randrange(10, 10**6):06d}.tar")


def turn_into_a_link(case):
    def change(data):
        entry = tarfile.TarInfo(f"{case.shard.keys[case.row]}.jpg")
        entry.type, entry.linkname = case.chance.choice((tarfile.SYMTYPE, tarfile.LNKTYPE)), "/etc/passwd"
        at = case.span("jpg")[0] - BLOCK
        data[at : at + BLOCK] = entry.tobuf(tarfile.USTAR_FORMAT)

    case.edit(change)


def exchange_members(case):
    """Two samples' pictures, where they have one size; else a part of them."""

    def change(data):
        columns = case.shard.members["jpg"]
        spans = list(zip(columns.offset.tolist(), columns.size.tolist(), strict=True))
        (a, n), (b, m) = case.chance.choices(spans, k=2)
        size = min(n, m)
        data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]

    case.edit(change)


def written_by_another(case):
    """The same members in another order, spelling or format of tar."""
    with tarfile.open(case.path, "r:") as archive:
        members = [(entry.name, archive.extractfile(entry).read()) for entry in archive]
    how = case.chance.choice(("order", "case", "pax", "gnu", "times"))
    if how == "order":
        case.chance.shuffle(members)
    format = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}.get(how, tarfile.USTAR_FORMAT)
    with tarfile.open(case.path, "w:", format=format) as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name.upper() if how == "case" else name)
            entry.size, entry.mtime = len(data), 7 if how == "times" else 0
            archive.addfile(entry, io.BytesIO(data))


def flip_in_the_manifest(case):
    path = case.folder / "MANIFEST.json"
    flip(case, 0, path.stat().st_size, path)


def cut_the_manifest(case):
    path = case.folder / "MANIFEST.json"
    os.truncate(path, case.chance.randrange(path.stat().st_size))


def lose_the_manifest(case):
    (case.folder / "MANIFEST.json").unlink()


def the_manifest_of_another_set(case):
    shutil.copy(case.other / "MANIFEST.json", case.folder)


def flip_in_the_tokenizer(case):
    path = case.folder / "tokenizer.json"
    flip(case, 0, path.stat().st_size, path)


def lose_the_tokenizer(case):
    (case.folder / "tokenizer.json").unlink()


def the_shard_of_another_set(case):
    shutil.copy(case.other / "train-000000.tar", case.path)


def a_stale_index(case):
    lines = [f"v1.2 {len(case.shard.keys)}"]
    for row, key in enumerate(case.shard.keys):
        offset = int(case.shard.members["jpg"].offset[row]) + BLOCK * case.chance.randrange(1, 9)
        lines.append(f"jpg {offset} {int(case.shard.members['jpg'].size[row])} {key}.jpg")
    case.path.with_suffix(".idx").write_text("\n".join(lines) + "\n")


KINDS = [
    value
    for value in list(globals().values())
    if callable(value) and getattr(value, "__module__", "") == __name__ and value not in (Case, flip)
]


def build(out, seed=42):
    build_phantoms(8, out, seed=seed, size=64, options=Options(workers=1, shard_size=3, vocab_size=150))
    return out


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return build(tmp_path_factory.mktemp("mutations") / "set")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return build(tmp_path_factory.mktemp("mutations") / "other", seed=5)


def content(folder):
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


def delivered(folder):
    """What the reader delivers: {(split, index): (key, members)}, faults named left out."""
    try:
        shards = ShardSet(folder)
    except DataError:
        return {}
    samples = {}
    for split in shards.splits:
        for index in range(shards.count(split)):
            try:
                sample = shards.read(split, index, EXTENSIONS)
            except DataError:
                continue
            samples[split, index] = (sample.key, dict(sample))
    return samples


def put_back(folder, files):
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in files:
            path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def mutate(folder, files, seed, manifest, other, kind):
    """Damage the folder by ``kind``; again with another draw where that changed nothing."""
    for attempt in range(50):
        kind(Case(folder, random.Random(f"{seed} {attempt}"), manifest, other))
        if content(folder) != files:
            return
    raise AssertionError(f"{kind.__name__} changes nothing")


def run(pristine, other, tmp_path, count, first=0):
    """Damage a set ``count`` times, with seeds from ``first`` on, one kind after another."""
    folder = shutil.copytree(pristine, tmp_path / "set")
    files, manifest, whole = content(folder), read_manifest(pristine), delivered(pristine)
    assert len(whole) == 8
    for seed in range(first, first + count):
        kind = KINDS[seed % len(KINDS)]
        mutate(folder, files, seed, manifest, other, kind)
        named = f"{kind.__name__}, seed {seed}"
        assert inspect(folder, workers=1).damage, f"not found: {named}"
        if kind is not the_manifest_of_another_set:  # it vouches for other samples, and none of them is here
            read = delivered(folder)
            assert all(whole[place] == sample for place, sample in read.items()), f"changed sample read: {named}"
        else:
            assert not any(sample in whole.values() for sample in delivered(folder).values()), named
        put_back(folder, files)
    assert not inspect(folder, workers=1).damage


@pytest.mark.fault("D1.data", "D3.image")
def test_every_kind_of_damage_is_found(pristine, other, tmp_path):
    assert len(KINDS) >= 30
    run(pristine, other, tmp_path, 2 * len(KINDS))


@pytest.mark.fault("D1.data", "D3.image")
@pytest.mark.slow
@pytest.mark.parametrize("count", [400, pytest.param(2000, marks=pytest.mark.complete)])
def test_so_many_damages_are_found(pristine, other, tmp_path, count):
    began = time.monotonic()
    run(pristine, other, tmp_path, count)
    assert time.monotonic() - began < 0.03 * count
