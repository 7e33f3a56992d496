"""Batches depend on seed and position alone; damage is an error that names the sample; no thread outlives its use."""

import gc
import hashlib
import io
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ecamp_fast.config import parse_recipe
from ecamp_fast.errors import ConfigError, DataError, StorageError
from ecamp_fast.geometry import ATTENTION_GRID
from ecamp_fast.keyed_random import sample_keys
from ecamp_fast.shards.format.manifest import (
    ATTENTION,
    IMAGE,
    METADATA,
    REPORT,
    TOKENIZER,
    TOKENS,
    Manifest,
    write_manifest,
)
from ecamp_fast.shards.format.tar_writer import ShardWriter
from ecamp_fast.shards.format.tokens import pack_tokens
from ecamp_fast.shards.images.encode import pgm
from ecamp_fast.shards.load import crop
from ecamp_fast.shards.load.capacity import measure_capacity
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.codes import CLS_ID, ID_BITS, Mark

GRID_14 = {"high_size": 448, "low_size": 224}
PER_SAMPLE = ("image", "attention", "window", "lengths", "keys", "samples")
COUNTS = {"train": 23, "val": 11}
SMALL = {"total": 8, "micro": 4}


def members(number):
    """A sample: odd sizes, an attention map on two of three, distilled text on most."""
    rng = np.random.default_rng(number)
    height, width = rng.integers(60, 130, 2)
    grain = rng.integers(0, 256, (9, 9), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG")
    report = rng.integers(5, 300, rng.integers(4, 40)).astype(np.int32)
    report[::7] |= int(Mark.SENTENCE_START) << ID_BITS
    distilled = rng.integers(5, 300, rng.integers(0, 6)).astype(np.int32)
    out = {IMAGE: file.getvalue(), REPORT: b"no effusion", TOKENS: pack_tokens(report, distilled), METADATA: b"{}"}
    if number % 3:
        out[ATTENTION] = pgm(Image.fromarray(rng.integers(0, 256, (19, 19), dtype=np.uint8)))
    return out


def write_set(folder, change=lambda key, members: members):
    folder.mkdir(parents=True)
    shards = []
    for split, count in COUNTS.items():
        for start in range(0, count, 10):
            with ShardWriter(folder, f"{split}-{start:04d}.tar", split) as writer:
                for number in range(start, min(start + 10, count)):
                    key = f"{split}{number}"
                    writer.add(key, change(key, members(number + 1000 * (split == "val"))))
                shards.append(writer.close())
    (folder / TOKENIZER).write_bytes(b"{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    write_manifest(folder, Manifest("test", {}, 130, digest, 300, "", {"samples": 34}, {}, tuple(shards)))
    return folder


@pytest.fixture(scope="module")
def shard_set(tmp_path_factory):
    return ShardSet(write_set(tmp_path_factory.mktemp("loader") / "set"))


def recipe(**changes):
    tree = {
        "seed": 7,
        "image": {"high_size": 64, "low_size": 32},
        "text": {"max_tokens": 32},
        "batch": SMALL,
        "loader": {"threads": 2, "prefetch": 2},
        **changes,
    }
    return parse_recipe(tree, "test")


def same(a, b):
    tensors = ({**one.tensors(), **one.text.tensors()} for one in (a, b))
    return all(torch.equal(*pair) for pair in zip(*(t.values() for t in tensors), strict=True))


def rows(batches):
    """The samples of batches, one tuple of tensors each."""
    out = []
    for batch in batches:
        for b in range(len(batch)):
            rows = slice(*batch.text.cu_seqlens[b : b + 2])
            others = (
                getattr(batch, name)[b] for name in ("image", "attention", "window", "lengths", "keys", "samples")
            )
            words = torch.stack([batch.text.codes[rows], batch.text.ids[rows].int()])
            out.append((words, *others))
    return out


def test_batches_are_as_batch_says(shard_set):
    batches = list(Loader(shard_set, "train", recipe()).batches(0, 2))
    assert len(batches) == 4
    for batch in batches:
        assert batch.image.shape == (4, 1, 64, 64) and batch.image.dtype == torch.uint8
        assert batch.attention.shape == (4, ATTENTION_GRID, ATTENTION_GRID) and batch.attention.dtype == torch.float32
        assert batch.window.shape == (4, 2) and batch.window.dtype == torch.int32
        text = batch.text
        assert text.codes.dtype == text.cu_seqlens.dtype == batch.lengths.dtype == torch.int32
        assert (
            text.cu_seqlens.tolist() == [0, *batch.lengths.cumsum(0).tolist()]
            and len(text.codes) == text.cu_seqlens[-1]
        )
        assert (text.codes[text.cu_seqlens[:-1].long()] == CLS_ID).all()
        expected = sample_keys(7, 0, batch.samples.numpy())
        assert batch.keys.tolist() == expected.tolist()
        for sample, attention in zip(batch.samples.tolist(), batch.attention, strict=True):
            assert bool(attention.any()) == (sample % 3 > 0)


@pytest.mark.parametrize("shuffle", ["set", 7, 10**20])
@pytest.mark.parametrize("balance", [True, False])
def test_every_sample_once_an_epoch(shard_set, balance, shuffle):
    same = recipe(batch=SMALL | {"balance": balance}, loader={"threads": 2, "shuffle": shuffle})
    batches = Loader(shard_set, "train", same).batches(0, 9)
    seen = np.sort(torch.cat([batch.keys for batch in batches]))  # a key names epoch and sample
    whole = np.concatenate([sample_keys(7, epoch, np.arange(23)) for epoch in range(4)])
    assert len(np.unique(seen)) == len(seen) == 72 and np.isin(whole[: 3 * 23], seen).all()
    assert np.isin(seen, whole).all()


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize(("layout", "shuffle"), [("packed", "set"), ("padded", "set"), ("packed", 7)])
def test_several_ranks_see_what_one_sees(shard_set, layout, shuffle, world):
    losses = {"mlm_positions": "all" if layout == "padded" else "masked"}
    same = recipe(losses=losses, batch={"total": 8, "micro": 2}, loader={"threads": 2, "shuffle": shuffle})
    one = rows(Loader(shard_set, "train", same).batches(3, 6))
    parts = [list(Loader(shard_set, "train", same, rank=r, world=world).batches(3, 6)) for r in range(world)]
    several = rows(batch for step in zip(*parts, strict=True) for batch in step)
    assert len(one) == len(several) == 24
    for a, b in zip(one, several, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("other", [{"balance": False}, {"micro": 1}, {"micro": 8}])
def test_however_a_step_is_cut_it_holds_the_same_samples(shard_set, other):
    for step in range(4):
        one, two = (
            {int(row[-2]): row for row in rows(Loader(shard_set, "train", recipe(batch=batch)).batches(step, step + 1))}
            for batch in (SMALL, SMALL | other)
        )
        assert len(one) == 8 and one.keys() == two.keys()
        assert all(torch.equal(x, y) for key in one for x, y in zip(one[key], two[key], strict=True))


def test_seeking_gives_what_running_through_gives(shard_set):
    loader = Loader(shard_set, "train", recipe())
    through = list(loader.batches(0, 7))[8:]
    assert all(same(a, b) for a, b in zip(through, loader.batches(4, 7), strict=True))


@pytest.mark.parametrize("settings", [{"threads": 1, "prefetch": 1}, {"threads": 4, "prefetch": 3}])
def test_threads_and_prefetching_change_nothing(shard_set, settings):
    expected = list(Loader(shard_set, "train", recipe()).batches(0, 4))
    batches = list(Loader(shard_set, "train", recipe(loader=settings)).batches(0, 4))
    assert all(same(a, b) for a, b in zip(batches, expected, strict=True))


def test_another_epoch_and_another_seed_show_other_crops(shard_set):
    first = {int(row[-1]): row for row in rows(Loader(shard_set, "train", recipe()).batches(0, 2))}
    later = {int(row[-1]): row for row in rows(Loader(shard_set, "train", recipe()).batches(3, 5))}
    reseeded = {int(row[-1]): row for row in rows(Loader(shard_set, "train", recipe(seed=8)).batches(0, 2))}
    for other in (later, reseeded):
        both = first.keys() & other.keys()
        assert len(both) >= 4
        assert all(not torch.equal(first[s][1], other[s][1]) for s in both)


def test_padded_text_has_equal_rows(shard_set):
    for batch in Loader(shard_set, "train", recipe(losses={"mlm_positions": "all"})).batches(0, 2):
        codes = batch.text.codes
        assert batch.text.cu_seqlens.tolist() == [0, 32, 64, 96, 128] and len(codes) == 128
        for b, length in enumerate(batch.lengths.tolist()):
            text = codes[32 * b : 32 * (b + 1)]
            assert (text[:length] != 0).all() and (text[length:] == 0).all()


def test_evaluation_shows_each_sample_once_whole_and_in_order(shard_set):
    loader = Loader(shard_set, "val", recipe(), train=False)
    batches = list(loader.evaluation())
    assert [len(b) for b in batches] == [4, 4, 3]
    assert torch.cat([b.samples for b in batches]).tolist() == list(range(11))
    assert torch.cat([b.keys for b in batches]).tolist() == sample_keys(7, 0, np.arange(11)).tolist()
    assert all(same(a, b) for a, b in zip(batches, loader.evaluation(), strict=True))
    for number in range(4):
        picture = Image.open(io.BytesIO(members(1000 + number)[IMAGE]))
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        view = picture.crop((left, top, left + side, top + side)).resize((64, 64), Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(view, int) - batches[0].image[number, 0].numpy()).max() <= 3


def test_ranks_share_the_batches_of_an_evaluation(shard_set):
    alone = list(Loader(shard_set, "val", recipe(), train=False).evaluation())
    ranks = [list(Loader(shard_set, "val", recipe(), rank=r, world=2, train=False).evaluation()) for r in range(2)]
    assert [len(batches) for batches in ranks] == [2, 1]
    for rank, batches in enumerate(ranks):
        assert all(same(a, b) for a, b in zip(batches, alone[rank::2], strict=True))


def test_evaluation_of_some(shard_set):
    batches = list(Loader(shard_set, "val", recipe(), train=False).evaluation(6))
    assert torch.cat([b.samples for b in batches]).tolist() == list(range(6))
    assert sum(len(b) for b in Loader(shard_set, "val", recipe(), train=False).evaluation(99)) == 11


@pytest.mark.parametrize("guidance", ["window_aligned", "window_fixed", "soft"])
def test_windows_follow_the_guidance(shard_set, guidance):
    one = rows(Loader(shard_set, "train", recipe(sr={"guidance": guidance}, image=GRID_14)).batches(0, 8))
    windows = torch.stack([row[3] for row in one])
    assert windows.min() >= 0 and windows.max() <= 2
    by_sample = {}
    for row in one:
        by_sample.setdefault(int(row[-1]), set()).add(tuple(row[3].tolist()))
    without_map = {window for sample, seen in by_sample.items() if sample % 3 == 0 for window in seen}
    assert without_map == {(1, 1)}
    changing = [len(seen) > 1 for sample, seen in by_sample.items()]
    if guidance == "window_aligned":
        assert any(changing)
    else:
        assert not any(changing)
    assert (len(set().union(*by_sample.values())) > 1) == (guidance != "soft")


def test_no_window_is_looked_for_where_none_is_asked_for(shard_set, monkeypatch):
    monkeypatch.setattr(crop, "windows", None)
    for batch in Loader(shard_set, "train", recipe(image=GRID_14)).batches(0, 1):
        assert (batch.window == 1).all()


def test_maps_may_be_ignored(shard_set):
    changes = {"sr": {"guidance": "window_aligned", "maps": "centre"}, "image": GRID_14}
    for batch in Loader(shard_set, "train", recipe(**changes)).batches(0, 1):
        assert (batch.window == 1).all()
        assert (batch.attention.sum((1, 2)) == 24 * 24).all()


def test_refuses_ranks_that_do_not_divide_the_batch_and_splits_that_are_not_there(shard_set):
    with pytest.raises(ConfigError, match=r"batch\.total 8"):
        Loader(shard_set, "train", recipe(), world=3)
    assert Loader(shard_set, "train", recipe(), world=3, train=False).count == 23
    with pytest.raises(DataError, match="test"):
        Loader(shard_set, "test", recipe())


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("ecamp-fast")]


@pytest.mark.parametrize("taken", [1, 3])
def test_closing_early_stops_the_threads(shard_set, taken):
    batches = Loader(shard_set, "train", recipe(loader={"threads": 3, "prefetch": 1})).batches(0, 10**6)
    for _ in range(taken):
        next(batches)
    assert loader_threads()
    batches.close()
    assert not loader_threads()


def test_dropping_the_iterator_stops_the_threads(shard_set):
    for batch in Loader(shard_set, "train", recipe()).batches(0, 10**6):
        assert len(batch) == 4
        break
    del batch
    gc.collect()
    assert not loader_threads()


@pytest.mark.parametrize("world", [1, 2])
def test_the_keys_of_a_micro_batch_are_known_to_every_rank(shard_set, world):
    loaders = [Loader(shard_set, "train", recipe(), rank=rank, world=world) for rank in range(world)]
    for rank, loader in enumerate(loaders):
        for number, batch in enumerate(loader.batches(3, 5)):
            step, part = divmod(number, 2 // world)
            keys = [shard_set.key("train", int(sample)) for sample in batch.samples]
            assert all(other.training_keys(3 + step, part, rank) == keys for other in loaders)
    loaders = [Loader(shard_set, "val", recipe(), rank=rank, world=world, train=False) for rank in range(world)]
    for rank, loader in enumerate(loaders):
        for part, batch in enumerate(loader.evaluation()):
            keys = [shard_set.key("val", int(sample)) for sample in batch.samples]
            assert all(other.evaluation_keys(0, part, rank) == keys for other in loaders)


@pytest.mark.fault("C6.stalled", "C6.named")
def test_a_loader_that_stands_still_is_an_error_that_names_where_it_is(shard_set, monkeypatch):
    monkeypatch.setenv("ECAMP_FAULT", "loader.read:nth=6:sleep=1.5")
    loader = Loader(shard_set, "train", recipe(loader={"threads": 2, "prefetch": 1}), patience=0.4)
    with pytest.raises(StorageError, match="stands still") as caught:
        list(loader.batches(0, 8))
    assert ", ".join(loader.training_keys(2, 1, 0)) in str(caught.value)  # the sixth
    while loader_threads():
        time.sleep(0.05)


def test_a_damaged_byte_is_an_error_that_names_the_sample(tmp_path):
    folder = write_set(tmp_path / "set")
    shard = ShardSet(folder).manifest.of("val")[1]
    place = int(shard.members[IMAGE].offset[0]) + 300
    with open(folder / shard.name, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 4]))
    batches = Loader(ShardSet(folder), "val", recipe(), train=False).evaluation()
    with pytest.raises(DataError, match=r"val-0010\.tar.*val10"):
        list(batches)
    assert not loader_threads()


@pytest.mark.parametrize("extension", [IMAGE, ATTENTION, TOKENS])
def test_content_that_its_checksum_does_not_excuse_names_the_sample(tmp_path, extension):
    def change(key, members):
        return members | {extension: members[IMAGE][:200] + b"junk"} if key == "val4" else members

    shard_set = ShardSet(write_set(tmp_path / "set", change))
    batches = Loader(shard_set, "val", recipe(), train=False).evaluation()
    with pytest.raises(DataError, match="val4"):
        list(batches)


def test_fixed_capacity_keeps_shapes_and_every_word(shard_set):
    changes = {"text": {"max_tokens": 32, "capacity": "fixed"}}
    fixed, exact = (Loader(shard_set, "train", recipe(**c)) for c in (changes, {}))
    again = measure_capacity(shard_set, "train", recipe(**changes))
    assert fixed.capacity == again and exact.capacity is None
    shapes = set()
    for one, other in zip(fixed.batches(0, 6), exact.batches(0, 6), strict=True):
        count = len(other.text.ids)
        assert one.text.ids[:count].equal(other.text.ids) and one.text.weights.sum() == other.text.weights.sum()
        shapes.add((len(one.text.ids), len(one.text.rows)) if not one.text.overflow else None)
    assert shapes - {None} == {(again.rows, again.predicted)}


def test_the_capacity_holds_almost_every_batch(shard_set):
    loader = Loader(shard_set, "train", recipe(text={"max_tokens": 32, "capacity": "fixed"}))
    overflows = [batch.text.overflow for batch in loader.batches(0, 40)]
    assert sum(overflows) <= 2
    assert loader.capacity.rows <= 4 * 32  # samples, tokens
