"""Several sets as one: what is read, in which order, by any number of ranks; and sets that do not fit together."""

import hashlib
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.build import Options, build, build_phantoms
from ecamp_fast.shards.format.manifest import IMAGE, TOKENIZER, read_manifest
from ecamp_fast.shards.load.alike import Named, shared_images, shared_patients
from ecamp_fast.shards.load.batching import MicroBatches, TokenEstimate, seed_of_set
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.mix import ShardMix, describe_change, digest_of, open_data, weights_of
from ecamp_fast.shards.load.order import global_samples
from ecamp_fast.shards.load.quarantine import Quarantine
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.phantom import PhantomSource

Sets = tuple[Path, Path]
SPLITS = ("train", "val")
SET, WINDOW = "591079fb1c730c8c", "3137d9f1b349a3a4"  # as sets were ordered before there could be several
Small = Callable[..., Recipe]


def named(sets: Sets, weight: str = "") -> list[str]:
    return [str(sets[0]), f"{sets[1]}{weight}"]


@pytest.fixture
def mix(two_sets: Sets) -> ShardMix:
    found = open_data(named(two_sets, ":0.3"))
    assert isinstance(found, ShardMix)
    return found


def test_one_set_is_the_set_itself(two_sets: Sets) -> None:
    for data in (two_sets[0], str(two_sets[0]), [str(two_sets[0])], [f"{two_sets[0]}:1"]):
        found = open_data(data)
        assert type(found) is ShardSet and found.epoch("train") == found.count("train") == 20
    third = open_data(f"{two_sets[0]}:0.3")
    assert isinstance(third, ShardMix) and third.epoch("train") == 6 and third.count("train") == 20


@pytest.mark.parametrize("shuffle", ["set", 8])
def test_one_set_has_the_order_that_it_always_had(two_sets: Sets, small: Small, shuffle: str | int) -> None:
    recipe = small("paper", "batch={total: 8, micro: 4, balance: false}", f"loader.shuffle={shuffle}")
    batches = MicroBatches(open_data([str(two_sets[0])]), "train", recipe)
    places = [part.tolist() for step in range(6) for part in batches(step)]
    assert hashlib.sha256(repr(places).encode()).hexdigest()[:16] == {"set": SET, 8: WINDOW}[shuffle]


def test_every_sample_is_that_of_its_set(mix: ShardMix, two_sets: Sets) -> None:
    for split in ("train", "val"):
        rows = [(part.shards, row) for part in mix.parts for row in range(part.shards.count(split))]
        assert mix.count(split) == len(rows)
        for index, (own, row) in enumerate(rows):
            one, other = mix.read(split, index), own.read(split, row)
            assert (one.key, dict(one)) == (other.key, dict(other))
            assert mix.locate(one.shard) == own.locate(other.shard)
            assert mix.metadata(split, index) == own.metadata(split, row) and mix.key(split, index) == own.key(
                split, row
            )
    assert mix.wordpiece_path.read_bytes() == (two_sets[0] / TOKENIZER).read_bytes()
    assert [sample.key for sample in mix.samples("train")] == [mix.key("train", i) for i in range(mix.count("train"))]


def test_the_manifest_counts_all(mix: ShardMix, two_sets: Sets) -> None:
    held = [read_manifest(folder) for folder in two_sets]
    for name in ("samples", "studies", "patients", "dropped_empty", "without_text"):
        assert mix.manifest.counts[name] == sum(one.counts[name] for one in held)
    assert mix.manifest.with_map("train") == sum(one.with_map("train") for one in held)
    of_a = open_data(f"{two_sets[0]}:2").manifest.text  # by the index, which knows as much as the builder did
    assert of_a == {name: value for name, value in held[0].text.items() if name.startswith("tokens_")}


def test_the_same_sets_are_the_same_data_in_any_order(two_sets: Sets) -> None:
    one, other = open_data(named(two_sets, ":0.3")), open_data(named(two_sets, ":0.3")[::-1])
    assert one.manifest.digest == other.manifest.digest and one.named == other.named
    again = open_data(one.named)
    assert again.manifest.digest == one.manifest.digest
    others = [named(two_sets), named(two_sets, ":0.31"), [f"{two_sets[0]}:0.3", str(two_sets[1])], [str(two_sets[0])]]
    assert len({open_data(data).manifest.digest for data in others} | {one.manifest.digest}) == 5
    digests = [read_manifest(folder).digest for folder in two_sets]
    assert digest_of(digests, [1, 0.3]) == one.manifest.digest and digest_of(digests[:1], [1]) == digests[0]


def test_it_goes_to_other_processes(mix: ShardMix) -> None:
    again = pickle.loads(pickle.dumps(mix))
    assert again.manifest.digest == mix.manifest.digest and again.read("train", 30) == mix.read("train", 30)


@pytest.mark.parametrize(("weight", "share"), [("", 12), (":0.3", 4), (":2", 24), (":0.001", 1), (":1.3", 16)])
def test_what_a_run_sees_of_each(two_sets: Sets, small: Small, weight: str, share: int) -> None:
    mix = open_data(named(two_sets, weight))
    assert isinstance(mix, ShardMix)
    assert {part.shards.path: part.share("train") for part in mix.parts} == {two_sets[0]: 20, two_sets[1]: share}
    total, epochs = 20 + share, 14
    assert mix.epoch("train") == total
    recipe = small("paper", f"batch={{total: {total}, micro: {total}, balance: false}}")
    batches = MicroBatches(mix, "train", recipe)
    seen: Counter[int] = Counter()
    for step in range(epochs):
        visits, samples = batches(step)
        seen.update(samples.ravel().tolist())
        assert (visits // mix.visits("train") == step).all()
    of_a, of_b = (
        [seen[row] for row in range(32) if mix.key("train", row).startswith("b") == second] for second in (False, True)
    )
    assert of_a == [epochs] * 20 and len(of_b) == 12 and sum(of_b) == epochs * share
    assert max(of_b) - min(of_b) <= 1  # none came again before all others had


def test_crops_of_a_sample_differ_from_visit_to_visit(two_sets: Sets, small: Small) -> None:
    recipe = small("paper", "batch={total: 28, micro: 28}")
    mix = open_data([f"{two_sets[0]}:0.5", f"{two_sets[1]}:1.5"])
    batches = MicroBatches(mix, "train", recipe)
    places = [
        place for step in range(8) for place in zip(*(part.ravel().tolist() for part in batches(step)), strict=True)
    ]
    assert mix.epoch("train") == 28 and len({*places}) == 8 * 28


@pytest.mark.parametrize("shuffle", ["set", 8])
def test_the_order_of_a_set_is_the_same_beside_other_weights(two_sets: Sets, small: Small, shuffle: str | int) -> None:
    def of_b(weight: str) -> list[str]:
        mix = open_data(named(two_sets, weight))
        recipe = small("paper", "batch={total: 8, micro: 8, balance: false}", f"loader.shuffle={shuffle}")
        batches = MicroBatches(mix, "train", recipe)
        keys = [mix.key("train", sample) for step in range(40) for sample in batches(step)[1].ravel().tolist()]
        return [key for key in keys if key.startswith("b")]

    one, other = of_b(":0.3"), of_b(":2")
    if shuffle == "set":  # a window is a share of the epoch, so windows differ
        assert one == other[: len(one)]
        own = ShardSet(two_sets[1])
        order = global_samples(12, seed_of_set(small("paper").seed, own), np.arange(len(one)))[1]
        assert one == [own.key("train", row) for row in order.tolist()]
        assert seed_of_set(42, own) not in (42, seed_of_set(42, ShardSet(two_sets[0])), seed_of_set(43, own))
    assert len({*one[:12]}) == 12 and one[:12] != one[12:24]


def test_any_number_of_ranks_sees_the_same_samples(mix: ShardMix, small: Small) -> None:
    recipe = small("paper", "batch={total: 8, micro: 2}", "image.crop_area=[0.5, 1.0]")

    def keys(world: int) -> list[tuple[list[int], list[int]]]:
        loaders = [Loader(mix, "train", recipe, rank=rank, world=world) for rank in range(world)]
        batches = [list(loader.batches(3, 8)) for loader in loaders]
        flat = [batch for group in zip(*batches, strict=True) for batch in group]
        return [(batch.samples.tolist(), batch.keys.tolist()) for batch in flat]

    alone = keys(1)
    assert keys(2) == alone and len(alone) == 20
    assert Loader(mix, "train", recipe).training_keys(3, 0, 0) == [mix.key("train", row) for row in alone[0][0]]
    resumed = [batch.samples.tolist() for batch in Loader(mix, "train", recipe).batches(6, 8)]
    assert resumed == [samples for samples, _ in alone[12:]]


@pytest.mark.parametrize("weights", [(":0.3", ":3"), (":0.3", ":0.5"), ("", "")])
def test_iterating_is_one_epoch_by_the_weights(two_sets: Sets, small: Small, weights: tuple[str, str]) -> None:
    mix = open_data([f"{place}{weight}" for place, weight in zip(two_sets, weights, strict=True)])
    recipe = small("paper", "batch={total: 2, micro: 2, balance: false}")
    seen = [row for batch in Loader(mix, "train", recipe) for row in batch.samples.tolist()]
    of_b = sum(mix.key("train", row).startswith("b") for row in seen)
    times = [float(weight[1:] or 1) for weight in weights]
    assert (len(seen) - of_b, of_b) == (round(20 * times[0]), round(12 * times[1]))


def test_what_is_held_out_comes_once_and_of_each_set(mix: ShardMix, small: Small) -> None:
    recipe = small("paper", "batch={total: 2, micro: 2}")
    count = mix.count("val")
    assert mix.epoch("val") == count == 7  # whatever the weights
    assert sorted(mix.first("val", 99).tolist()) == list(range(count))
    both = mix.first("train", 12)
    assert {mix.key("train", row).startswith("b") for row in both.tolist()} == {True, False}
    assert np.array_equal(mix.first("train", 99)[:12], both)  # few are the beginning of many
    loader = Loader(mix, "val", recipe, train=False)
    seen = [row for batch in loader.evaluation() for row in batch.samples.tolist()]
    assert seen == mix.first("val", count).tolist()
    assert loader.evaluation_keys(0, 0, 0) == [mix.key("val", row) for row in seen[:2]]


def test_lengths_are_those_of_each_sample(mix: ShardMix, small: Small) -> None:
    recipe = small("paper")
    own = np.concatenate([TokenEstimate(part.shards, "train", recipe)._both for part in mix.parts])
    assert np.array_equal(TokenEstimate(mix, "train", recipe)._both, own)


def test_lost_samples_are_numbered_over_all_sets(two_sets: Sets, tmp_path: Path) -> None:
    shutil.copytree(two_sets[1], tmp_path / "b")
    (tmp_path / "b" / "train-000000.tar").unlink()
    mix = open_data([str(two_sets[0]), str(tmp_path / "b")], spare=0.9)
    assert {mix.key("train", row)[:1] for row in mix.lost.tolist()} == {"b"} and len(mix.lost) == 8
    assert mix.faults == (f"{tmp_path / 'b'}: train-000000.tar is missing",)
    with pytest.raises(DataError, match=r"train-000000\.tar is missing"):
        open_data([str(two_sets[0]), str(tmp_path / "b")])


def test_damaged_samples_are_counted_by_epochs_whatever_their_visits() -> None:
    quarantine = Quarantine(100, 0.5, 0, visits=3)
    for visit, sample in ((0, 1), (1, 1), (2, 2), (3, 1)):
        quarantine.replace(visit, sample, 0, DataError("damaged"))
    assert quarantine.found == (2, 1)


def test_sets_of_other_tokenizers_are_refused_with_a_way_out(two_sets: Sets, tmp_path: Path) -> None:
    build(PhantomSource(12, 7, 64), tmp_path / "c", Options(workers=1, vocab_size=150))
    with pytest.raises(DataError, match=r"has another tokenizer than .*") as caught:
        open_data([str(two_sets[0]), str(two_sets[1]), str(tmp_path / "c")])
    assert str(tmp_path / "c") in str(caught.value) and "--tokenizer " in str(caught.value.hint)


def test_a_set_named_twice_is_refused(two_sets: Sets) -> None:
    with pytest.raises(ConfigError, match="the same set"):
        open_data([str(two_sets[0]), f"{two_sets[0]}:2"])


def test_an_image_on_both_sides_is_refused(two_sets: Sets, tmp_path: Path) -> None:
    """The same phantoms, split by another seed."""
    options = Options(workers=1, seed=5, tokenizer=two_sets[0] / TOKENIZER)
    build(PhantomSource(24, 1, 64), tmp_path / "again", options)
    with pytest.raises(DataError, match=r"\d images of .* \(train\) are held out in"):
        open_data([str(two_sets[0]), str(tmp_path / "again")])
    sets = [ShardSet(two_sets[0]), ShardSet(tmp_path / "again")]
    images = [
        {split: {one.read(split, row)[IMAGE] for row in range(one.count(split))} for split in SPLITS} for one in sets
    ]
    found = shared_images([Named(name, one.manifest) for name, one in zip("ab", sets, strict=True)])
    pairs = (("a", "b", images[0]["train"] & images[1]["val"]), ("b", "a", images[1]["train"] & images[0]["val"]))
    assert found == [(train, held, len(both)) for train, held, both in pairs if both] and found


def test_the_same_keys_are_other_samples_in_another_set(two_sets: Sets, tmp_path: Path) -> None:
    """Phantoms of another seed have the names of these, and other pictures."""
    build_phantoms(12, tmp_path / "c", seed=9, size=64, options=Options(workers=1, tokenizer=two_sets[0] / TOKENIZER))
    mix = open_data([str(two_sets[0]), str(tmp_path / "c")])
    keys = [mix.key("train", row) for row in range(mix.count("train"))]
    assert len({*keys}) < len(keys)
    assert len({mix.read("train", row)[IMAGE] for row in range(len(keys))}) == len(keys)


def test_patients_on_both_sides_are_counted(two_sets: Sets, tmp_path: Path) -> None:
    """The same patients, split by another seed and seen in other pictures."""
    options = Options(workers=1, seed=5, short_side=48, tokenizer=two_sets[0] / TOKENIZER)
    build(PhantomSource(24, 1, 64), tmp_path / "again", options)
    one, other = ShardSet(two_sets[0]), ShardSet(tmp_path / "again")
    named = [
        {each.metadata(split, row)["patient_id"] for row in range(each.count(split))}
        for each in (one, other)
        for split in ("train", "val")
    ]
    assert shared_patients([one, other]) == len((named[0] & named[3]) | (named[1] & named[2])) > 0
    assert shared_patients([one, ShardSet(two_sets[1])]) == 0


def test_what_differs_is_named(two_sets: Sets) -> None:
    before, now = (weights_of(open_data(named(two_sets, weight))) for weight in (":0.3", ":0.5"))
    assert describe_change(before, now) == "the weight of b was 0.3, is 0.5"
    digest = read_manifest(two_sets[1]).digest
    assert describe_change(before, {key: one for key, one in now.items() if key != digest}) == (
        f"b ({digest[:12]}) is missing"
    )
    assert weights_of(open_data(two_sets[0])) == {}
