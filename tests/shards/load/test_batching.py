"""Micro-batches of a step get about as many tokens; which samples a step sees, and how often, is as without that."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecamp_fast.config import Recipe, parse_recipe
from ecamp_fast.keyed_random import sample_keys
from ecamp_fast.shards.format.manifest import DISTILLED, IMAGE, REPORT, TOKENIZER, TOKENS, Manifest, write_manifest
from ecamp_fast.shards.format.tar_writer import ShardWriter
from ecamp_fast.shards.format.tokens import pack_tokens, unpack_tokens
from ecamp_fast.shards.load import capacity as capacity_module
from ecamp_fast.shards.load.batching import MicroBatches, TokenEstimate, assign
from ecamp_fast.shards.load.capacity import measure_capacity
from ecamp_fast.shards.load.order import global_samples
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.packing.assemble import assemble
from ecamp_fast.text.packing.masking import mask_text

COUNT = 1900  # samples; an epoch ends within a step of 512


def members(draw: np.random.Generator) -> dict[str, bytes]:
    """A sample without a picture: words of 2 to 10 letters, a report of 55 tokens or so, distilled text on most."""
    sizes = min(int(draw.lognormal(3.9, 0.45)), 300), int(draw.integers(10, 60)) * (draw.random() < 0.9)
    report, distilled = ((draw.integers(2, 11, n), draw.integers(5, 300, n).astype(np.int32)) for n in map(int, sizes))
    texts = (b" ".join(b"x" * int(size) for size in letters) for letters, _ in (report, distilled))
    tokens = pack_tokens(report[1], distilled[1])
    return dict(zip((IMAGE, REPORT, DISTILLED, TOKENS), (b"", *texts, tokens), strict=True))


@pytest.fixture(scope="module")
def shard_set(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder, draw, shards = tmp_path_factory.mktemp("balance"), np.random.default_rng(0), []
    for start in range(0, COUNT, 500):
        with ShardWriter(folder, f"train-{start:04d}.tar", "train") as writer:
            for number in range(start, min(start + 500, COUNT)):
                writer.add(f"s{number}", members(draw))
            shards.append(writer.close())
    (folder / TOKENIZER).write_bytes(b"{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    write_manifest(folder, Manifest("test", {}, 130, digest, 300, "", {"samples": COUNT}, {}, tuple(shards)))
    return ShardSet(folder)


def recipe(total: int = 512, micro: int = 32, balance: bool = True, **changes: object) -> Recipe:
    return parse_recipe({"seed": 7, "batch": {"total": total, "micro": micro, "balance": balance}, **changes}, "test")


Counts = Callable[[Recipe, np.ndarray, np.ndarray], list[np.ndarray]]


@pytest.fixture(scope="module")
def true_counts(shard_set: ShardSet) -> Counts:
    """true_counts(recipe, epochs, samples): tokens, and words predicted, by the text itself; arrays shaped as those."""
    texts = [unpack_tokens(shard_set.read("train", number, (TOKENS,))[TOKENS]) for number in range(COUNT)]

    def count(recipe: Recipe, epochs: np.ndarray, samples: np.ndarray) -> list[np.ndarray]:
        reports, distilled = zip(*(texts[number] for number in samples.ravel()), strict=True)
        keys = sample_keys(recipe.seed, epochs.ravel(), samples.ravel())
        arrays = assemble(reports, distilled, keys, recipe.text, padded=False)
        codes, cu_seqlens, lengths = map(torch.from_numpy, arrays)
        ends = mask_text(codes, cu_seqlens, lengths, torch.from_numpy(keys), recipe).predicted.cumsum(0)
        predicted = torch.nn.functional.pad(ends, (1, 0))[cu_seqlens.long()].diff()
        return [counts.numpy().reshape(samples.shape) for counts in (lengths, predicted)]

    return count


@given(data=st.data(), micro=st.integers(1, 60), batches=st.integers(1, 40))
def test_assignment_gives_every_sample_once_and_keeps_the_order_within(data, micro, batches):
    seed, longest = data.draw(st.integers(0, 2**32)), data.draw(st.sampled_from([1, 3, 256]))
    lengths = np.random.default_rng(seed).integers(1, longest + 1, micro * batches)
    assigned = assign(lengths, micro)
    assert assigned.shape == (batches, micro)
    assert np.array_equal(np.sort(assigned.ravel()), np.arange(micro * batches))
    assert (np.diff(assigned, axis=1) > 0).all()
    sums = lengths[assigned].sum(1)
    assert np.ptp(sums) <= np.ptp(lengths)


@pytest.mark.parametrize(("total", "micro", "spread"), [(8192, 256, 2e-4), (8192, 1024, 5e-5), (1024, 64, 1e-3)])
def test_micro_batches_differ_by_less_than_a_token_in_a_thousand(total, micro, spread):
    """Divided as they come, the largest of these exceeds the mean by 2 to 13 %; assigned, by 0.002 to 0.05 %."""
    lengths = np.minimum(np.random.default_rng(1).lognormal(4.6, 0.4, total).astype(int), 256)
    as_they_come, assigned = (
        lengths[places].sum(1) for places in (np.arange(total).reshape(-1, micro), assign(lengths, micro))
    )
    assert as_they_come.max() / as_they_come.mean() > 1.01
    assert assigned.max() / assigned.mean() < 1 + spread


def test_assigning_a_step_of_the_paper_takes_milliseconds(least_seconds):
    lengths = np.random.default_rng(1).integers(2, 257, 8192)
    assert least_seconds(lambda: assign(lengths, 256), times=5) < 5e-3


@pytest.mark.parametrize("max_tokens", [256, 48])
def test_lengths_are_exact_where_the_distilled_text_enters_or_is_empty(shard_set, true_counts, max_tokens):
    some = recipe(text={"max_tokens": max_tokens})
    epochs, samples = (part.ravel() for part in MicroBatches(shard_set, "train", some)(5))
    estimates, true = TokenEstimate(shard_set, "train", some)(epochs, samples), true_counts(some, epochs, samples)[0]
    always = recipe(text={"max_tokens": max_tokens, "distilled_probability": 1.0})
    exact = true == true_counts(always, epochs, samples)[0]
    assert exact.mean() > 0.75
    assert np.array_equal(estimates[exact], true[exact])
    assert np.abs(estimates - true).max() <= 8  # of texts whose words have 2 to 10 letters at random
    assert estimates.min() >= 1 and estimates.max() <= max_tokens


@pytest.mark.parametrize("step", [0, 3, 7, 10**6])
def test_a_step_sees_the_same_samples_balanced_or_not(shard_set, step):
    """Steps 3 and 7 lie across the end of an epoch; a million steps ahead is as near as the first."""
    plain, balanced = (MicroBatches(shard_set, "train", recipe(balance=balance))(step) for balance in (False, True))
    positions = np.arange(step * 512, (step + 1) * 512)
    assert np.array_equal(np.stack(plain).reshape(2, -1), np.stack(global_samples(COUNT, 7, positions)))
    assert balanced[0].shape == balanced[1].shape == (16, 32)
    pairs = [
        sorted(zip(*(part.ravel().tolist() for part in micro_batches), strict=True))
        for micro_batches in (plain, balanced)
    ]
    assert pairs[0] == pairs[1]
    assert not np.array_equal(plain[1], balanced[1])


def test_every_sample_once_an_epoch_across_its_end(shard_set):
    micro_batches = MicroBatches(shard_set, "train", recipe())
    epochs, samples = (
        np.concatenate([part.ravel() for part in parts]) for parts in zip(*map(micro_batches, range(8)), strict=True)
    )
    for epoch in (0, 1):
        assert np.array_equal(np.sort(samples[epochs == epoch]), np.arange(COUNT))
    assert len(np.unique(samples[epochs == 2])) == (epochs == 2).sum() == 8 * 512 - 2 * COUNT


def test_any_step_is_cut_by_itself(shard_set):
    running = MicroBatches(shard_set, "train", recipe())
    for step in range(6):
        sought = MicroBatches(ShardSet(shard_set.path), "train", recipe())(step)
        assert all(np.array_equal(a, b) for a, b in zip(running(step), sought, strict=True))


def test_the_cut_is_part_of_the_format():
    """Frozen values: assigned otherwise, a resumed run would sum other micro-batches."""
    lengths = np.array([9, 1, 4, 4, 7, 2, 8, 8, 3, 5, 6, 2])
    assert assign(lengths, 4).tolist() == [[0, 2, 9, 11], [4, 5, 6, 8], [1, 3, 7, 10]]  # sums 20, 20, 19


@pytest.mark.parametrize("changes", [{"losses": {"mlm": False}}, {"losses": {"mlm_positions": "all"}}])
def test_where_all_texts_cost_alike_nothing_is_assigned(shard_set, changes):
    plain, balanced = (
        MicroBatches(shard_set, "train", recipe(balance=balance, **changes))(1) for balance in (False, True)
    )
    assert all(np.array_equal(a, b) for a, b in zip(plain, balanced, strict=True))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_wait_less(shard_set, true_counts, world):
    """In tokens as trained on, not as estimated: the largest of a micro-step exceeds its mean by a tenth of before."""
    waits = {}
    for balance in (False, True):
        some = recipe(balance=balance)
        micro_batches = MicroBatches(shard_set, "train", some)
        sums = np.concatenate([true_counts(some, *micro_batches(step))[0].sum(1) for step in range(6)])
        together = sums.reshape(-1, world)
        waits[balance] = (together.max(1) - together.mean(1)).mean()
    assert waits[True] <= 0.1 * waits[False]


@pytest.mark.parametrize("max_tokens", [256, 16])  # lengths differ, or next to none does and only masks do
def test_the_capacity_holds_99_of_100_batches_and_little_more(shard_set, true_counts, monkeypatch, max_tokens):
    """Of 240 micro-batches of 32, and before it is rounded up: masks alone make less of a difference than that."""
    monkeypatch.setattr(capacity_module, "MULTIPLE", 1)
    some = recipe(balance=False, text={"max_tokens": max_tokens})
    room, micro_batches = measure_capacity(shard_set, "train", some), MicroBatches(shard_set, "train", some)
    places = (np.concatenate(parts) for parts in zip(*map(micro_batches, range(100, 115)), strict=True))
    for counts, most in zip(true_counts(some, *places), (room.rows, room.predicted), strict=True):
        sums = counts.sum(1)
        assert (sums <= most).mean() >= 0.99 and most <= sums.mean() + 4 * sums.std()


@pytest.mark.slow
def test_the_capacity_is_smaller_and_holds_99_of_100_batches(shard_set, true_counts):
    """Of 320 micro-batches of 128. As they come, an eighth of the text rows is filler; balanced, a twentieth."""
    filler = {}
    for balance in (False, True):
        some = recipe(1024, 128, balance)
        capacity, micro_batches = measure_capacity(shard_set, "train", some), MicroBatches(shard_set, "train", some)
        places = (np.concatenate(parts) for parts in zip(*map(micro_batches, range(100, 140)), strict=True))
        rows, predicted = (counts.sum(1) for counts in true_counts(some, *places))
        assert len(rows) == 320
        assert (rows <= capacity.rows).mean() >= 0.99 and (predicted <= capacity.predicted).mean() >= 0.99
        filler[balance] = 1 - rows.mean() / capacity.rows
    assert filler[True] < 0.05 < 0.1 < filler[False]
