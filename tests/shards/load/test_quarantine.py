"""Damaged training samples: within the budget others stand in, the same ones whoever reads; beyond it the run ends."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import DataError
from ecamp_fast.keyed_random import Stream, sample_keys, uniform_at
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.capacity import measure_capacity
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.quarantine import IN_A_ROW, Quarantine
from ecamp_fast.shards.load.read import ShardSet

DAMAGED = (3, 11)
FAULT = DataError("sample x: damaged", "fix it")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quarantine") / "set"
    build_phantoms(24, out, size=64, options=Options(workers=1, vocab_size=300, holdout=0.1))
    return out


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> ShardSet:
    """The set with a flipped bit in the image of two training samples."""
    shutil.copytree(whole, tmp_path / "set")
    for index in DAMAGED:
        shards = ShardSet(tmp_path / "set")
        shard, row = shards._locate("train", index)
        columns, path = shard.members["jpg"], tmp_path / "set" / shard.name
        content = bytearray(path.read_bytes())
        content[int(columns.offset[row]) + int(columns.size[row]) // 2] ^= 1
        path.write_bytes(content)
    return ShardSet(tmp_path / "set")


def recipe(share: float, threads: int = 2) -> Recipe:
    changes = ["image.high_size=64", "image.low_size=32", "batch.total=8", "batch.micro=4"]
    return load_recipe("demo", [*changes, f"loader.quarantine={share}", f"loader.threads={threads}"])


def same(one: Batch, other: Batch) -> bool:
    pairs = zip(one.tensors().values(), other.tensors().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.fault("D3.quarantine")
def test_others_stand_in_and_all_agree_on_them(damaged: ShardSet) -> None:
    notes: list[dict] = []
    first = list(Loader(damaged, "train", recipe(0.2), note=notes.append).batches(0, 6))
    assert {note["sample"] for note in notes} == set(DAMAGED)
    assert all("damaged (CRC32 differs)" in note["fault"] for note in notes)
    seen = torch.cat([batch.samples for batch in first])
    assert len(first) == 12 and not np.isin(seen, DAMAGED).any()
    count, seed = damaged.count("train"), recipe(0.2).seed
    own = {(key, n) for epoch in range(3) for n, key in enumerate(sample_keys(seed, epoch, np.arange(count)).tolist())}
    assert set(zip(torch.cat([batch.keys for batch in first]).tolist(), seen.tolist(), strict=True)) <= own
    for again in (
        list(Loader(damaged, "train", recipe(0.2, threads=1)).batches(0, 6)),
        [b for step in range(6) for b in Loader(damaged, "train", recipe(0.2)).batches(step, step + 1)],
    ):
        assert all(same(one, other) for one, other in zip(first, again, strict=True))
    ranks = [list(Loader(damaged, "train", recipe(0.2), rank=r, world=2).batches(0, 6)) for r in (0, 1)]
    assert sorted(seen.tolist()) == sorted(torch.cat([b.samples for rank in ranks for b in rank]).tolist())


def test_untouched_samples_are_those_of_the_whole_set(damaged: ShardSet, whole: Path) -> None:
    loaders = Loader(damaged, "train", recipe(0.2)), Loader(ShardSet(whole), "train", recipe(0.2))
    for one, other in zip(*(loader.batches(0, 4) for loader in loaders), strict=True):
        sound = ~torch.isin(other.samples, torch.tensor(DAMAGED))
        assert torch.equal(one.samples[sound], other.samples[sound]) and torch.equal(
            one.image[sound], other.image[sound]
        )


@pytest.mark.fault("D3.quarantine")
@pytest.mark.parametrize(("share", "message"), [(0.0, "damaged"), (0.05, "2 of .* samples are damaged, 1 may be")])
def test_beyond_the_budget_the_run_ends(damaged: ShardSet, share: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(Loader(damaged, "train", recipe(share)).batches(0, 6))


def test_evaluation_takes_no_substitutes(damaged: ShardSet) -> None:
    with pytest.raises(DataError, match="CRC32"):
        list(Loader(damaged, "train", recipe(1.0), train=False).evaluation())


def test_a_set_that_is_all_damage_ends_the_run() -> None:
    quarantine = Quarantine(1000, 1.0, seed=1)
    tried = [quarantine.replace(0, 5, attempt, FAULT) for attempt in range(IN_A_ROW)]
    assert len(set(tried)) > 10 and all(0 <= sample < 1000 for sample in tried)
    with pytest.raises(DataError, match="the last: sample x: damaged"):
        quarantine.replace(0, 5, IN_A_ROW, FAULT)


def test_what_stands_in_is_drawn_by_epoch_sample_and_attempt() -> None:
    notes: list[dict] = []
    quarantine = Quarantine(1000, 1.0, seed=5, note=notes.append)
    for epoch, sample, attempt in ((0, 7, 0), (3, 7, 0), (3, 8, 0), (3, 8, 2)):
        key = sample_keys(5, epoch, np.array([sample]))
        instead = int(float(uniform_at(key, Stream.SUBSTITUTE, np.array([attempt]))[0]) * 1000)
        assert quarantine.replace(epoch, sample, attempt, FAULT) == instead
        assert notes.pop() == {"sample": sample, "epoch": epoch, "fault": FAULT.what, "instead": instead}


def test_the_budget_is_of_all_ranks_and_of_an_epoch() -> None:
    ranks = [Quarantine(100, 0.1, seed=1, lost=[0, 1]) for _ in range(3)]
    for number, rank in enumerate(ranks):
        for epoch in (4, 5):
            for sample in (0, 10 + number, 20 + number, 10 + number):
                rank.replace(epoch, sample, 0, FAULT)
    assert [rank.found for rank in ranks] == [(2, 2)] * 3
    together = [sum(of) for of in zip(*(rank.found for rank in ranks), strict=True)]
    ranks[0].judge(together)  # 2 lost and 6 more, in each of the epochs
    ranks[0].judge([8, 0])  # all that may be
    for sample in (30, 31, 32):
        ranks[0].replace(5, sample, 0, FAULT)  # 7 of 10 as far as this rank knows
    together = [sum(of) for of in zip(*(rank.found for rank in ranks), strict=True)]
    with pytest.raises(DataError, match="11 of 100 samples are damaged, 10 may be"):
        ranks[0].judge(together)
    ranks[0].replace(6, 40, 0, FAULT)
    assert ranks[0].found == (1, 5)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """40 training samples in 10 shards, and none held out."""
    out = tmp_path / "many"
    build_phantoms(40, out, size=64, options=Options(workers=1, vocab_size=300, holdout=0.0, shard_size=4))
    return out


@pytest.mark.fault("D1.quarantine", "D2.quarantine")
def test_samples_of_missing_shards_have_others_stand_in(many: Path) -> None:
    names = [shard.name for shard in ShardSet(many).manifest.of("train")]
    (many / names[2]).unlink()
    shards = ShardSet(many, spare=0.1)
    assert shards.faults == (f"{names[2]} is missing",) and shards.lost.tolist() == [8, 9, 10, 11]
    notes: list[dict] = []
    seen = torch.cat([b.samples for b in Loader(shards, "train", recipe(0.1), note=notes.append).batches(0, 5)])
    assert len(seen) == 40 and not np.isin(seen, shards.lost).any()
    fresh = Loader(shards, "train", recipe(0.1)).quarantine
    assert fresh is not None and fresh.found == (0, 0)
    fresh.judge([0])
    with pytest.raises(DataError, match="5 of 40 samples are damaged, 4 may be"):
        fresh.judge([1])  # what is lost counts before anybody has tried to read it
    assert {note["sample"] for note in notes} == {8, 9, 10, 11}


def test_a_shard_that_goes_during_a_run_or_comes_back_is_treated_alike(many: Path) -> None:
    name = ShardSet(many).manifest.of("train")[2].name
    opened_whole, content = ShardSet(many, spare=0.1), (many / name).read_bytes()
    (many / name).unlink()
    opened_without = ShardSet(many, spare=0.1)
    loaders = [Loader(shards, "train", recipe(0.1)).batches(0, 10) for shards in (opened_whole, opened_without)]
    for one, other in zip(*(list(loader)[:10] for loader in loaders), strict=True):
        assert same(one, other) and not np.isin(one.samples, opened_without.lost).any()
    (many / name).write_bytes(content)
    back = torch.cat([batch.samples for batch in Loader(opened_without, "train", recipe(0.1)).batches(0, 5)])
    assert sorted(back.tolist()) == list(range(40))


@pytest.mark.fault("D2.quarantine")
def test_lost_samples_use_up_the_budget(many: Path) -> None:
    first, second = ShardSet(many).manifest.of("train")[:2]
    (many / first.name).unlink()
    content = bytearray((many / second.name).read_bytes())
    content[int(second.members["jpg"].offset[1]) + 9] ^= 1
    (many / second.name).write_bytes(content)
    with pytest.raises(DataError, match="5 of 40 samples are damaged, 4 may be"):
        list(Loader(ShardSet(many, spare=0.1), "train", recipe(0.1)).batches(0, 5))


def test_room_for_text_is_measured_on_what_is_there(many: Path) -> None:
    (many / ShardSet(many).manifest.of("train")[2].name).unlink()
    shards = ShardSet(many, spare=0.1)
    fixed = load_recipe("demo", ["text.capacity=fixed", "batch.total=8", "batch.micro=4", "loader.quarantine=0.1"])
    assert measure_capacity(shards, "train", fixed).rows > 0
    with pytest.raises(DataError, match="No such file"):
        measure_capacity(
            shards, "train", load_recipe("demo", ["batch.total=8", "batch.micro=4", "loader.quarantine=0.0"])
        )
