"""What a record is made of: the digests against their definition, and that ranks and micro-batches do not matter."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from ecamp_fast.batch import Batch, Text
from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import Recipe
from ecamp_fast.keyed_random import sample_keys
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.objectives import Losses
from ecamp_fast.run.safety.tally import SLOTS, Measured, StepTally
from ecamp_fast.text.codes import MASK_ID
from ecamp_fast.text.packing.layout import Capacity, mask_digest, masked_batch
from ecamp_fast.text.packing.masking import mask_text

KEYS = sample_keys(1, 2, np.arange(6))
KEEP = torch.tensor([[0, 3, 5], [1, 2, 9], [0, 1, 2], [7, 8, 9], [3, 4, 5], [6, 0, 2]])


def constants(count: int) -> list[int]:
    """The definition: the keys of seed 0, epoch 0."""
    return [int(key) % 2**64 for key in sample_keys(0, 0, np.arange(count))]


def micro_batch(*samples: int, text: int = 0) -> tuple[Batch, Losses]:
    nothing = torch.zeros(0)
    keys = torch.from_numpy(KEYS[list(samples)])
    words = Text(*[nothing] * 7, max_seqlen=0, digest=text) if text else None
    batch = Batch(nothing, nothing, nothing, words, nothing, keys, torch.tensor(samples))
    return batch, Losses(*[nothing] * 4, keep=KEEP[list(samples)])


@pytest.fixture
def make(tiny: Callable[..., Recipe]) -> Callable[..., StepTally]:
    recipe = tiny("batch.total=6", "batch.micro=1")  # so that a mean is over six
    return lambda model=None: StepTally(model or torch.nn.Linear(3, 5), recipe, "cpu")


def measured(make: Callable[..., StepTally], *ranks: list[tuple[list[int], int]]) -> Measured:
    """Of a step whose ranks have these micro-batches, each its samples and the digest of its words."""
    total = torch.zeros(SLOTS, dtype=torch.float64)
    for micro_batches in ranks:
        tally, slots = make(), torch.zeros(SLOTS, dtype=torch.float64)
        for samples, text in micro_batches:
            tally.add(*micro_batch(*samples, text=text))
        tally.put(slots)
        total += slots
    return make().read(total.tolist())


def test_digests_are_as_defined(make: Callable[..., StepTally]) -> None:
    found = measured(make, [([0, 1, 2, 3, 4, 5], 7)])
    place, keys = constants(10), [int(key) % 2**64 for key in KEYS]
    assert found.samples == sum(keys) % 2**40
    kept = [sum(place[patch] for patch in row) for row in KEEP.tolist()]
    assert found.patches == sum(key * value for key, value in zip(keys, kept, strict=True)) % 2**40
    assert found.words == 7


@pytest.mark.fault("C8.same-samples-and-masks")
def test_ranks_micro_batches_and_order_do_not_matter(make: Callable[..., StepTally]) -> None:
    big = 2**64 - 2**20 + 5
    one = measured(make, [([0, 1, 2, 3, 4, 5], 3 * big % 2**64)])
    two = measured(make, [([4, 1], big)], [([5, 0], big), ([3, 2], big)])
    assert (one.samples, one.patches, one.words) == (two.samples, two.patches, two.words)


def test_a_change_of_a_sample_or_of_one_patch_changes_its_digest_alone(
    make: Callable[..., StepTally], monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_masks(keep: torch.Tensor) -> Measured:
        with monkeypatch.context() as patched:
            patched.setattr(sys.modules[__name__], "KEEP", keep)
            return measured(make, [([0, 1, 2], 1)])

    before, other = measured(make, [([0, 1, 2], 1)]), measured(make, [([0, 1, 3], 1)])
    assert other.samples != before.samples
    changed = KEEP.clone()
    changed[1, 2] = 8
    exchanged = KEEP[[1, 0, 2, 3, 4, 5]]
    for found in (with_masks(changed), with_masks(exchanged)):
        assert found.samples == before.samples and found.patches != before.patches
    assert with_masks(KEEP.flip(1)) == before  # the encoder's order is no mask


def test_a_step_begins_with_nothing(make: Callable[..., StepTally]) -> None:
    tally, slots = make(), torch.zeros(SLOTS, dtype=torch.float64)
    found = []
    for _ in range(2):
        tally.add(*micro_batch(0, 1, text=5))
        tally.put(slots)
        found.append(slots.clone())
    assert found[0].equal(found[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_bit_of_the_slice_counts(make: Callable[..., StepTally], dtype: torch.dtype) -> None:
    model = torch.nn.Linear(3, 5).to(dtype)
    tally, slots = make(model), torch.zeros(SLOTS, dtype=torch.float64)
    seen = set()
    integer, bits = {torch.float32: (torch.int32, 32), torch.bfloat16: (torch.int16, 16)}[dtype]
    for parameter in model.parameters():
        raw = parameter.data.view(integer).flatten()
        for place in range(len(raw)):
            for bit in range(bits):
                raw[place] ^= torch.tensor(1 << bit).to(integer)
                tally.put_weights(slots)
                seen.add(float(slots[3]))
                raw[place] ^= torch.tensor(1 << bit).to(integer)
    tally.put_weights(slots)
    assert len(seen) == (15 + 5) * bits and float(slots[3]) not in seen
    assert all(value == math.floor(value) < 2**52 for value in seen)


def test_weights_that_were_moved_are_followed(make: Callable[..., StepTally]) -> None:
    """As DeepSpeed does where it loads a checkpoint."""
    model = torch.nn.Linear(3, 5)
    tally, slots = make(model), torch.zeros(SLOTS, dtype=torch.float64)
    tally.put_weights(slots)
    before = float(slots[3])
    model.weight.data = model.weight.data + 1
    tally.put_weights(slots)
    assert float(slots[3]) != before


def test_a_large_model_gives_a_small_slice(make: Callable[..., StepTally]) -> None:
    model = torch.nn.ModuleList(torch.nn.Linear(70, 70) for _ in range(20))
    tally, slots = make(model), torch.zeros(SLOTS, dtype=torch.float64)
    tally.put_weights(slots)
    before = float(slots[3])
    for parameter in list(model.parameters())[::5]:  # of 40 tensors 8
        parameter.data.view(-1)[0] += 1
        tally.put_weights(slots)
        assert float(slots[3]) != before
        before = float(slots[3])


def test_the_model_tells_which_patches_it_saw(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny("precision=fp32")
    batch, model = synthetic_batch(recipe, 100, [20, 30]), Ecamp(recipe, 100)
    keep = model(batch).keep
    assert keep is not None and keep.equal(model.view(batch).keep)


def test_the_digest_of_words_is_as_defined_and_knows_no_layout(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny("text.max_tokens=16")
    lengths = [9, 5, 12]
    codes = torch.cat(
        [torch.tensor([2] + [20 + n] * (length - 1), dtype=torch.int32) for n, length in enumerate(lengths)]
    )
    keys = torch.from_numpy(KEYS[:3])

    def laid(order: list[int], capacity: Capacity | None = None) -> Text:
        parts = codes.split(lengths)
        ends = np.concatenate([[0], np.cumsum([lengths[n] for n in order])]).astype(np.int32)
        rows = torch.tensor([lengths[n] for n in order], dtype=torch.int32)
        return masked_batch(
            torch.cat([parts[n] for n in order]), torch.from_numpy(ends), rows, keys[order], recipe, capacity
        )

    text = laid([0, 1, 2])
    place, wanted = constants(16), 0
    for n, ids in enumerate(text.ids.split(lengths)):
        wanted += sum(place[at] for at, token in enumerate(ids.tolist()) if token == MASK_ID) * int(keys[n])
    assert text.digest == wanted % 2**64 != 0
    assert laid([2, 0, 1]).digest == laid([0, 1, 2], Capacity(40, 30)).digest == text.digest
    assert (laid([0]).digest + laid([2, 1]).digest) % 2**64 == text.digest
    inputs = codes, torch.tensor([0, 9, 14, 26], dtype=torch.int32), torch.tensor(lengths, dtype=torch.int32), keys
    masked = mask_text(*inputs, recipe)
    assert mask_digest(masked, 16) == text.digest
    masked.ids[(masked.ids == MASK_ID).nonzero()[0]] = 9
    assert mask_digest(masked, 16) != text.digest
    assert mask_digest(replace(masked, ids=torch.full_like(masked.ids, 9)), 16) == 0
    assert replace(text).to("cpu").digest == text.digest
